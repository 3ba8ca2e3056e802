//! The backups that this process makes by a schedule.

use backups::{MadeBy, Schedule};
use infra::health::Health;

use super::ServeConfig;
use crate::{VERSION, config::Role, stores};

/// `None` without a place for backups, and in processes that own no file: those of the installation that may share its
/// settings.
pub(super) fn schedule(config: &ServeConfig, health: &Health) -> Option<Schedule> {
    let place = config.backup.backup_url.clone()?;
    // The role that runs where the embedded files are.
    if !config.roles.has(Role::CommandApi) {
        return None;
    }
    Some(Schedule {
        sources: stores::backup_sources(&config.event_store, &config.read_models, &config.data_dir),
        place,
        every: config.backup.backup_every,
        keep: config.backup.backup_keep,
        made_by: made_by(),
        health: health.clone(),
    })
}

/// This program.
pub(crate) fn made_by() -> MadeBy {
    MadeBy { version: VERSION.version.to_owned(), commit: VERSION.commit.to_owned() }
}

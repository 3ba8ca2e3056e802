//! Backups that a running process makes by itself.

use std::{sync::Arc, time::Duration};

use infra::{
    event_store::{EventLog, sqlite::SqliteEventLog},
    health::Health,
    measurements::{
        BACKUP_BYTES, BACKUP_INTERVAL_SECONDS, BACKUP_LAST_GOOD_SECONDS, BACKUPS, Counter, Gauge, number,
    },
};
use jiff::{SignedDuration, Timestamp};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{BackupError, Keep, MadeBy, Manifest, Place, Report, Sources, Storage, take};

/// The longest time until a failed backup is repeated.
const REPEATED_AFTER_MAX: Duration = Duration::from_mins(5);
/// The name of the condition in [`Health`].
const PROBLEM: &str = "backup_failed";

/// Makes a backup every so often, and deletes old ones of the same log.
#[derive(Debug)]
pub struct Schedule {
    pub sources: Sources,
    pub place: Place,
    pub every: Duration,
    pub keep: Keep,
    pub made_by: MadeBy,
    pub health: Health,
}

pub(crate) struct Measured {
    last_good: Gauge,
    bytes: Gauge,
    good: Counter,
    failed: Counter,
}

impl Schedule {
    /// Runs until `shutdown`, which also breaks off a backup under way. A restart of the process does not change the
    /// times: the next backup is due `every` after the newest one at the place.
    pub async fn run(self, shutdown: CancellationToken) {
        shutdown.run_until_cancelled(self.make_backups()).await;
    }

    async fn make_backups(self) {
        let measured = Measured::new();
        BACKUP_INTERVAL_SECONDS.with([]).set(self.every.as_secs_f64());
        loop {
            let pause = match self.make_due(&measured).await {
                Ok(pause) => {
                    self.health.resolve(PROBLEM);
                    pause
                }
                Err(error) => {
                    measured.failed.increment(1);
                    let pause = self.every.min(REPEATED_AFTER_MAX);
                    tracing::error!(%error, retry.after_s = pause.as_secs(), "The backup has failed; it is repeated");
                    self.health.degraded(PROBLEM, format!("the last backup has failed: {error}"));
                    pause
                }
            };
            sleep(pause).await;
        }
    }

    /// Makes a backup if one is due. Returns the time until the next one is.
    pub(crate) async fn make_due(&self, measured: &Measured) -> Result<Duration, BackupError> {
        let storage = Storage::open_or_make(&self.place)?;
        let own = self.own_backups(&storage).await?;
        if let Some(newest) = own.first() {
            measured.note(newest);
            let age = Timestamp::now().duration_since(newest.made_at);
            let rest = SignedDuration::try_from(self.every).map_or(SignedDuration::MAX, |every| every - age);
            if let Ok(rest) = Duration::try_from(rest)
                && !rest.is_zero()
            {
                return Ok(rest.min(self.every));
            }
        }
        let unseen: Report = Arc::new(|_| {});
        let made = take(&self.sources, &storage, &self.made_by, &unseen).await?;
        measured.note(&made);
        measured.good.increment(1);
        tracing::info!(
            backup.name = made.name, backup.place = %self.place,
            position = made.log.as_ref().and_then(|log| log.last_event.as_ref()).map(|mark| mark.position),
            "A backup is complete"
        );
        let own = self.own_backups(&storage).await?;
        for outdated in self.keep.outdated(&own, |backup| backup.made_at, Timestamp::now()) {
            storage.delete(outdated).await?;
            tracing::info!(backup.name = outdated.name, backup.place = %self.place, "An old backup is deleted");
        }
        Ok(self.every)
    }

    /// The backups of this log. Those of another installation in the same place are left alone.
    async fn own_backups(&self, storage: &Storage) -> Result<Vec<Manifest>, BackupError> {
        let id = match &self.sources.log {
            Some(path) => Some(SqliteEventLog::open_read_only(path)?.store_id()),
            None => None,
        };
        let mut backups = storage.backups().await?;
        backups.retain(|backup| backup.log.as_ref().map(|log| log.original_id) == id);
        Ok(backups)
    }
}

impl Measured {
    pub(crate) fn new() -> Self {
        Self {
            last_good: BACKUP_LAST_GOOD_SECONDS.with([]),
            bytes: BACKUP_BYTES.with([]),
            good: BACKUPS.with(["good"]),
            failed: BACKUPS.with(["failed"]),
        }
    }

    fn note(&self, backup: &Manifest) {
        self.last_good.set(backup.made_at.as_duration().as_secs_f64());
        self.bytes.set(number(backup.files.iter().map(|file| file.bytes).sum::<u64>()));
    }
}

//! `orderly backup`: copies the event store at one moment, also while a server writes to it.
//!
//! Copies events only. Read models and snapshots are rebuilt from them. Webhook subscriptions are in
//! `operations.db` or Postgres, and need a copy of their own.

use std::path::PathBuf;

use clap::Args;
use infra::event_store::sqlite::{self, BackupProgress};

use super::Failure;
use crate::{
    config::{EventStoreUrl, Settings},
    progress::ProgressDisplay,
};

#[derive(Debug, Args)]
pub struct BackupOptions {
    /// File to write. Must not exist.
    file: PathBuf,
}

pub fn run(settings: &Settings, options: &BackupOptions) -> Result<(), Failure> {
    let source = match settings.event_store() {
        EventStoreUrl::Sqlite(path) => path,
        EventStoreUrl::EventStoreDb(_) => {
            return Err(Failure::new(
                "ORDERLY_EVENT_STORE is an EventStoreDB server: this command copies embedded event stores only; use \
                 the server's own backup of its data directory",
            ));
        }
    };
    let mut progress = ProgressDisplay::start("pages copied", 0);
    let mut is_checking = false;
    sqlite::backup(&source, &options.file, |step| match step {
        BackupProgress::PagesCopied { done, total } => progress.set(done, total),
        BackupProgress::EventsChecked { done, total } => {
            if !std::mem::replace(&mut is_checking, true) {
                progress = ProgressDisplay::start("events checked", total);
            }
            progress.set(done, total);
        }
    })?;
    drop(progress);
    println!("backed up {} to {}", source.display(), options.file.display());
    Ok(())
}

//! `orderly backup`: a consistent copy of the event store, also while it is written to.
//!
//! Events are all there is to save: read models and snapshots are made from them.

use std::path::PathBuf;

use clap::Args;
use infra::event_store::sqlite;

use super::Failure;
use crate::{
    config::{EventStoreUrl, Settings},
    progress::Progress,
};

#[derive(Debug, Args)]
pub struct BackupOptions {
    /// The file to write. Must not exist.
    file: PathBuf,
}

pub fn run(settings: &Settings, options: &BackupOptions) -> Result<(), Failure> {
    let EventStoreUrl::Sqlite(source) = settings.event_store() else {
        return Err(Failure::new(
            "ORDERLY_EVENT_STORE is an EventStoreDB server: this command copies the embedded event store only; take the \
             server's own backup of its data directory instead",
        ));
    };
    let progress = Progress::start("pages copied", 0);
    sqlite::backup(&source, &options.file, |pages| progress.set(pages.pages_done, pages.pages_total))?;
    drop(progress);
    println!("backed up {} to {}", source.display(), options.file.display());
    Ok(())
}

//! `orderly restore`: makes a data directory from a backup, and proves that it is intact.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use backups::{BackedUpLog, Manifest, Part, Place, Storage, Which};
use clap::Args;
use indicatif::HumanCount;
use infra::event_store::{
    EventLog,
    sqlite::{self, SqliteEventLog},
};
use tokio::task::block_in_place;

use super::{Failure, audit, projections};
use crate::{
    config::{EventStoreUrl, ReadModelsUrl, Settings},
    stores,
};

#[derive(Debug, Args)]
pub struct RestoreOptions {
    /// Where the backups are: a directory, or `s3://BUCKET/FOLDER` with the credentials of the variables `AWS_…`.
    #[arg(env = "ORDERLY_BACKUP_URL", value_name = "URL")]
    url: Place,

    /// The backup: `latest`, or the name of one.
    #[arg(long, value_name = "NAME", default_value = "latest")]
    at: Which,
}

/// Needs a data directory that is empty or does not exist.
pub async fn run(settings: &Settings, options: &RestoreOptions) -> Result<(), Failure> {
    refuse_existing(settings)?;
    let storage = Storage::open(&options.url)?;
    let manifest = storage.find(&options.at).await?;
    refuse_other_stores(settings, &manifest)?;
    stores::make_data_dir(&settings.data_dir)?;
    let staging = tempfile::Builder::new().prefix(".unfinished-restore-").tempdir_in(&settings.data_dir)?;
    println!("restoring {} of {} to {}", manifest.name, options.url, settings.data_dir.display());
    storage.fetch(&manifest, staging.path()).await?;
    if let Some(log) = &manifest.log {
        check_log(&staging.path().join(Part::Events.file_name()), log).await?;
    }
    for file in &manifest.files {
        let from = staging.path().join(file.part.file_name());
        put(&from, &target(settings, file.part))?;
    }
    staging.close()?;
    if manifest.log.is_some() {
        projections::rebuild(settings).await?;
        audit::verify(settings).await?;
    }
    println!("{} is restored", manifest.name);
    for other in &manifest.elsewhere {
        println!("Not in the backup: {other}");
    }
    if manifest.log.is_none() {
        println!(
            "Restore the event store, then run `orderly repair log` and `orderly projections rebuild` before `orderly serve`"
        );
    }
    Ok(())
}

/// A restore replaces nothing: what is there may be the only copy.
fn refuse_existing(settings: &Settings) -> Result<(), Failure> {
    let data_dir = &settings.data_dir;
    let entries = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(|source| stores::data_dir_error(data_dir, source))?,
    };
    for entry in entries {
        let name = entry?.file_name();
        // The root of a file system has this directory.
        if name != "lost+found" {
            return Err(Failure::new(format!(
                "the data directory {} is not empty: it has {}. Restore to an empty one (--data-dir), or move its files \
                 away",
                data_dir.display(),
                name.display()
            )));
        }
    }
    Ok(())
}

/// Refuses a backup that does not belong to these stores, and to replace a file outside the data directory.
fn refuse_other_stores(settings: &Settings, manifest: &Manifest) -> Result<(), Failure> {
    let has = |part| manifest.files.iter().any(|file| file.part == part);
    let refuse = |text: &str| Err(Failure::new(format!("backup {}: {text}", manifest.name)));
    match settings.event_store() {
        EventStoreUrl::Sqlite(path) if path.exists() => {
            return Err(Failure::new(format!(
                "{} exists (ORDERLY_EVENT_STORE): move it away",
                path.display()
            )));
        }
        EventStoreUrl::Sqlite(_) if !has(Part::Events) => {
            return refuse("it has no events: set ORDERLY_EVENT_STORE to the server that has them");
        }
        EventStoreUrl::EventStoreDb(_) if has(Part::Events) => {
            return refuse("it has the events of an embedded store, but ORDERLY_EVENT_STORE is a server");
        }
        EventStoreUrl::Sqlite(_) | EventStoreUrl::EventStoreDb(_) => {}
    }
    match settings.read_models() {
        ReadModelsUrl::Sqlite(path) if path.exists() => {
            Err(Failure::new(format!("{} exists (ORDERLY_READ_MODELS): move it away", path.display())))
        }
        ReadModelsUrl::Postgres(_) if has(Part::Operations) => refuse(
            "it has operations.db, but ORDERLY_READ_MODELS is a Postgres database, which would not be used",
        ),
        ReadModelsUrl::Sqlite(_) | ReadModelsUrl::Postgres(_) => Ok(()),
    }
}

/// Checks every event and page, and that the log is the one of the manifest.
async fn check_log(path: &Path, expected: &BackedUpLog) -> Result<(), Failure> {
    let report = block_in_place(|| sqlite::check(path, |_, _| {}))?;
    if report.findings_total > 0 {
        return Err(Failure::new(format!(
            "the log of the backup is damaged: {}",
            report.findings.join("; ")
        )));
    }
    let log = SqliteEventLog::open_read_only(path)?;
    let last = log.last_event().await?;
    if log.store_id() != expected.id || last.as_ref().map(Into::into) != expected.last_event {
        return Err(Failure::new(
            "the log of the backup is not the one of its manifest; choose another backup",
        ));
    }
    println!("{} events are intact", HumanCount(report.events));
    Ok(())
}

fn target(settings: &Settings, part: Part) -> PathBuf {
    match (part, settings.event_store()) {
        (Part::Events, EventStoreUrl::Sqlite(path)) => path,
        (part, _) => settings.data_dir.join(part.file_name()),
    }
}

/// Moves a file, also to another file system, and flushes the move.
fn put(from: &Path, to: &Path) -> Result<(), Failure> {
    let describe = |error: io::Error| Failure::new(format!("{}: {error}", to.display()));
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            fs::copy(from, to).and_then(|_| fs::File::open(to)?.sync_all()).map_err(describe)?;
        }
        moved => moved.map_err(describe)?,
    }
    let above = to.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(above).and_then(|directory| directory.sync_all()).map_err(describe)
}

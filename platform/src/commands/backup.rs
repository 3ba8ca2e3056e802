//! `orderly backup`: copies everything that cannot be rebuilt, also while a server runs.

use std::sync::{Arc, Mutex, PoisonError};

use backups::{Place, Progress, Report, Storage};
use clap::Args;
use indicatif::{HumanBytes, HumanCount};
use infra::event_store::sqlite::BackupProgress;

use super::Failure;
use crate::{config::Settings, progress::ProgressDisplay, serve, stores};

#[derive(Debug, Args)]
pub struct BackupOptions {
    /// Where the backup is stored, in a folder of its own: a directory, or `s3://BUCKET/FOLDER` with the credentials of
    /// the variables `AWS_…`.
    #[arg(env = "ORDERLY_BACKUP_URL", value_name = "URL")]
    url: Place,
}

pub async fn run(settings: &Settings, options: &BackupOptions) -> Result<(), Failure> {
    let sources =
        stores::backup_sources(&settings.event_store(), &settings.read_models(), &settings.data_dir);
    if sources.is_empty() {
        return Err(Failure::new(format!(
            "there is nothing to back up here: {}",
            sources.elsewhere.join("; ")
        )));
    }
    let storage = Storage::open_or_make(&options.url)?;
    let made = backups::take(&sources, &storage, &serve::made_by(), &report()).await?;
    let bytes = HumanBytes(made.files.iter().map(|file| file.bytes).sum());
    let names: Vec<_> = made.files.iter().map(|file| file.part.file_name()).collect();
    println!("{} in {} has {bytes}: {}", made.name, options.url, names.join(", "));
    if let Some(log) = &made.log {
        let position = log.last_event.as_ref().map_or(0, |mark| mark.position);
        println!("{} events, up to position {position}", HumanCount(log.events));
    }
    for other in &made.elsewhere {
        println!("Not in it: {other}");
    }
    Ok(())
}

/// Shows the progress on standard error.
fn report() -> Report {
    let shown = Mutex::new((ProgressDisplay::start("pages copied", 0), false));
    Arc::new(move |progress| {
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (display, is_checking) = &mut *shown;
        match progress {
            Progress::Log(BackupProgress::PagesCopied { done, total }) => display.set(done, total),
            Progress::Log(BackupProgress::EventsChecked { done, total }) => {
                if !std::mem::replace(is_checking, true) {
                    *display = ProgressDisplay::start("events checked", total);
                }
                display.set(done, total);
            }
            Progress::Storing => display.step("storing the backup"),
        }
    })
}

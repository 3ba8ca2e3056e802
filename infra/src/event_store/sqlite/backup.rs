//! Copies the store while a server uses it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};
use uuid::Uuid;

use super::{check::check, errors::SqliteOpenError, open};

/// Pages between two reports of progress: 16 MiB.
const STEP_PAGES: i32 = 4_096;

/// Progress of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupProgress {
    PagesCopied { done: u64, total: u64 },
    EventsChecked { done: u64, total: u64 },
}

/// Why a backup failed. A file that exists at the destination stays unchanged.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("{} exists; choose another name, because a backup does not overwrite files", path.display())]
    Exists { path: PathBuf },
    #[error(transparent)]
    Source(SqliteOpenError),
    #[error("cannot write the backup {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot copy the event store: {0}")]
    Sqlite(#[from] rusqlite::Error),
    #[error("the copy cannot be checked: {0}")]
    Check(SqliteOpenError),
    /// Nothing was written: a backup that is known to be damaged must not replace an intact one.
    #[error(
        "the event store is damaged, so no backup was written. Keep the latest intact backup, and run `orderly audit \
         verify` for a list. It begins: {0}"
    )]
    Damaged(String),
}

/// Copies the current state of the store at `source` to the new file `destination`, checks the copy and makes
/// it durable. Returns the id of the copy. The copy gets a new id because a restored log diverges from the
/// original: consumers that store positions of the original must refuse it.
///
/// SQLite's online backup makes the copy within one read transaction: the copy is consistent, does not
/// restart when the server writes, and does not block the server. It copies pages unchanged, at the speed of
/// the disk. (`VACUUM INTO` would rebuild every B-tree and reports no progress.)
pub fn backup(
    source: &Path,
    destination: &Path,
    mut progress: impl FnMut(BackupProgress),
) -> Result<Uuid, BackupError> {
    let io_error = |source| BackupError::Io { path: destination.to_owned(), source };
    if destination.try_exists().map_err(io_error)? {
        return Err(BackupError::Exists { path: destination.to_owned() });
    }
    let (_, original) = open::read_only(source).map_err(BackupError::Source)?;

    let directory = open::directory_of(destination);
    let unfinished = tempfile::Builder::new()
        .prefix(".unfinished-backup-")
        .tempfile_in(directory)
        .map_err(io_error)?
        .into_temp_path();
    let store_id = copy(&original, &unfinished, &mut progress)?;
    let report = check(&unfinished, |done, total| progress(BackupProgress::EventsChecked { done, total }));
    let report = report.map_err(BackupError::Check)?;
    if report.findings_total > 0 {
        return Err(BackupError::Damaged(report.findings.join("; ")));
    }

    File::open(&unfinished).and_then(|file| file.sync_all()).map_err(io_error)?;
    unfinished.persist_noclobber(destination).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists { path: destination.to_owned() },
        _ => io_error(error.error),
    })?;
    open::sync_directory(directory).map_err(io_error)?;
    Ok(store_id)
}

fn copy(
    original: &Connection,
    destination: &Path,
    progress: &mut impl FnMut(BackupProgress),
) -> rusqlite::Result<Uuid> {
    let snapshot = original.unchecked_transaction()?;
    snapshot.query_row("SELECT store_id FROM meta", [], |_| Ok(()))?;
    let mut copy = Connection::open(destination)?;
    // The copy is flushed once, at the end.
    copy.pragma_update(None, "synchronous", "OFF")?;
    {
        let backup = Backup::new(&snapshot, &mut copy)?;
        loop {
            let step = backup.step(STEP_PAGES)?;
            let pages = backup.progress();
            progress(BackupProgress::PagesCopied {
                done: u64::from((pages.pagecount - pages.remaining).unsigned_abs()),
                total: u64::from(pages.pagecount.unsigned_abs()),
            });
            match step {
                StepResult::Done => break,
                StepResult::More => {}
                // Another process holds a lock on the original for a moment, for example while it closes the
                // file.
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }
    // Leaves one file without a write-ahead log. The server that opens the copy turns the log on again.
    copy.pragma_update(None, "journal_mode", "DELETE")?;
    let store_id = open::rename_store(&copy)?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(store_id)
}

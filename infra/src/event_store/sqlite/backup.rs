//! Copies the store while a server uses it.

use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
};

use domain::{EventId, StreamName};
use rusqlite::{Connection, OptionalExtension, Row, types::Type};
use uuid::Uuid;

use super::{check::check, errors::SqliteOpenError, open};
use crate::{event_store::EventMark, sqlite::copy_pages};

const SELECT_LAST: &str = "SELECT position, name, revision, id FROM events JOIN streams USING (stream_no)
     ORDER BY position DESC LIMIT 1";

/// Progress of a backup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BackupProgress {
    PagesCopied { done: u64, total: u64 },
    EventsChecked { done: u64, total: u64 },
}

/// A copy of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopiedLog {
    /// The id of the log that was copied.
    pub original_id: Uuid,
    /// The id of the copy.
    pub store_id: Uuid,
    pub events: u64,
    /// `None` if the log is empty.
    pub last_event: Option<EventMark>,
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
/// it durable. The copy gets a new id because a restored log diverges from the original: consumers that store
/// positions of the original must refuse it.
///
/// The copy is of one moment, and blocks no server.
pub fn backup(
    source: &Path,
    destination: &Path,
    mut progress: impl FnMut(BackupProgress),
) -> Result<CopiedLog, BackupError> {
    let io_error = |source| BackupError::Io { path: destination.to_owned(), source };
    if destination.try_exists().map_err(io_error)? {
        return Err(BackupError::Exists { path: destination.to_owned() });
    }
    let (identity, original) = open::read_only(source).map_err(BackupError::Source)?;

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
    let last_event = open::open_reader(&unfinished)?.query_row(SELECT_LAST, [], mark).optional()?;

    File::open(&unfinished).and_then(|file| file.sync_all()).map_err(io_error)?;
    unfinished.persist_noclobber(destination).map_err(|error| match error.error.kind() {
        io::ErrorKind::AlreadyExists => BackupError::Exists { path: destination.to_owned() },
        _ => io_error(error.error),
    })?;
    open::sync_directory(directory).map_err(io_error)?;
    Ok(CopiedLog { original_id: identity.store_id, store_id, events: report.events, last_event })
}

fn copy(
    original: &Connection,
    destination: &Path,
    progress: &mut impl FnMut(BackupProgress),
) -> rusqlite::Result<Uuid> {
    let snapshot = original.unchecked_transaction()?;
    snapshot.query_row("SELECT store_id FROM meta", [], |_| Ok(()))?;
    let mut copy = Connection::open(destination)?;
    copy_pages(&snapshot, &mut copy, |done, total| progress(BackupProgress::PagesCopied { done, total }))?;
    let store_id = open::rename_store(&copy)?;
    copy.close().map_err(|(_, error)| error)?;
    Ok(store_id)
}

fn mark(row: &Row<'_>) -> rusqlite::Result<EventMark> {
    let name: String = row.get(1)?;
    let stream = name
        .parse::<StreamName>()
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error)))?;
    Ok(EventMark {
        position: row.get::<_, i64>(0)?.cast_unsigned(),
        stream,
        revision: row.get::<_, i64>(2)?.cast_unsigned(),
        id: EventId(row.get(3)?),
    })
}

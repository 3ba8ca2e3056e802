//! Maps the errors of SQLite, by code. No other module inspects them.

use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
};

use rusqlite::ErrorCode;

use crate::{
    event_store::{AppendError, ReadError},
    sqlite::ReaderError,
};

/// Why a store cannot be opened. The text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum SqliteOpenError {
    #[error(
        "another process owns this event store (it holds the lock {}); stop it first, or choose another data directory",
        lock.display()
    )]
    InUse { lock: PathBuf },
    #[error("there is no event store at {}; check the path, or start a server there first", path.display())]
    Missing { path: PathBuf },
    #[error("{} is not an Orderly event store; check the path. The file was not changed", path.display())]
    Foreign { path: PathBuf },
    #[error(
        "the event store {} has schema version {found}, but this program needs {supported}; run the version of Orderly \
         that wrote it",
        path.display()
    )]
    OtherSchema { path: PathBuf, found: i32, supported: i32 },
    #[error(
        "the event store {} is damaged: {what}. Nothing was changed. Keep a copy of the file and of the files {}-wal \
         and -shm, then restore the latest backup made with `orderly backup`",
        path.display(), path.display()
    )]
    Damaged { path: PathBuf, what: String },
    #[error("cannot read the event store {}: {why}", path.display())]
    Unreadable { path: PathBuf, why: String },
    #[error("cannot open the event store {}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("cannot open the event store {}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
}

impl SqliteOpenError {
    pub(super) fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::NotADatabase) => Self::Foreign { path },
            Some(ErrorCode::DatabaseCorrupt) => {
                let what = truncation(&path).unwrap_or_else(|| source.to_string());
                Self::Damaged { path, what }
            }
            _ => Self::Sqlite { path, source },
        }
    }
}

/// Why a whole group failed.
#[derive(Debug)]
pub(super) enum GroupFailure {
    BeforeCommit(rusqlite::Error),
    AtCommit(rusqlite::Error),
}

impl GroupFailure {
    pub(super) fn source(&self) -> &rusqlite::Error {
        match self {
            Self::BeforeCommit(source) | Self::AtCommit(source) => source,
        }
    }
}

impl From<GroupFailure> for AppendError {
    /// The outcome is unknown after an I/O error at commit: the write-ahead log may be complete and only its
    /// flush failed, so a crash now could bring the events back. In all other cases nothing was written.
    fn from(failure: GroupFailure) -> Self {
        match failure {
            GroupFailure::AtCommit(source)
                if source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure) =>
            {
                Self::OutcomeUnknown(source.to_string().into())
            }
            GroupFailure::BeforeCommit(source) | GroupFailure::AtCommit(source) => {
                Self::Unavailable(source.to_string().into())
            }
        }
    }
}

impl From<ReaderError> for ReadError {
    fn from(error: ReaderError) -> Self {
        Self::Unavailable(error.to_string().into())
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        let damaged =
            matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase));
        let text = error.to_string().into();
        if damaged { Self::Corrupt(text) } else { Self::Unavailable(text) }
    }
}

/// Describes the missing part if the file is shorter than its header states.
///
/// Call it only for a file that SQLite has just refused. While SQLite uses a file, this process must not open
/// and close it by other means: closing any handle drops the POSIX locks that SQLite holds on it.
fn truncation(path: &Path) -> Option<String> {
    let mut header = [0; 100];
    File::open(path).ok()?.read_exact(&mut header).ok()?;
    let page_bytes = match u16::from_be_bytes([header[16], header[17]]) {
        1 => 65_536,
        bytes => u64::from(bytes),
    };
    let pages = u32::from_be_bytes([header[28], header[29], header[30], header[31]]);
    shortfall(path, u64::from(pages) * page_bytes)
}

/// Describes the missing part if the file is shorter than `stated_bytes`.
pub(super) fn shortfall(path: &Path, stated_bytes: u64) -> Option<String> {
    let actual_bytes = fs::metadata(path).ok()?.len();
    (actual_bytes < stated_bytes)
        .then(|| format!("it is truncated to {actual_bytes} of {stated_bytes} bytes"))
}

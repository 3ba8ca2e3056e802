//! Why a backup cannot be made, found or fetched.

use std::{io, path::PathBuf};

use infra::{
    event_store::sqlite::{self, SqliteOpenError},
    sqlite::CopyError,
};

#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error(transparent)]
    Log(#[from] sqlite::BackupError),
    #[error(transparent)]
    LogFile(#[from] SqliteOpenError),
    #[error(transparent)]
    Database(#[from] CopyError),
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("the data directory {} does not exist (ORDERLY_DATA_DIR)", path.display())]
    NoDataDir { path: PathBuf },
    #[error("another backup of the data directory is under way: it holds {}", lock.display())]
    UnderWay { lock: PathBuf },
    #[error("{place}: {source}")]
    Storage { place: String, source: object_store::Error },
    #[error("{place}: there is no backup")]
    NoBackup { place: String },
    #[error("{place}: there is no backup {name}; there are {names}")]
    NoSuchBackup { place: String, name: String, names: String },
    #[error(
        "{place}: the manifest of backup {name} cannot be read ({reason}): it is damaged, or a newer version of Orderly \
         made the backup"
    )]
    Manifest { place: String, name: String, reason: String },
    #[error(
        "{file} of backup {name} is damaged: its checksum differs from the manifest. Choose another backup"
    )]
    Damaged { file: &'static str, name: String },
    #[error("a task of the backup has failed: {0}")]
    Task(String),
}

impl BackupError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }
}

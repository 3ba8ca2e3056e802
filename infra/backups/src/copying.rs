//! Copies the files of a running or stopped platform.

use std::{
    fs::{self, File, TryLockError},
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::Arc,
};

use infra::{
    event_store::sqlite::{self, BackupProgress, CopiedLog},
    sqlite::copy,
};
use jiff::Timestamp;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;
use uuid::Uuid;

use crate::{BackedUpLog, BackupError, FileEntry, MadeBy, Manifest, Part, Storage, storage};

/// Held by the one backup of a data directory that is under way.
const LOCK: &str = "backup.lock";

/// What an installation keeps in files of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sources {
    /// The embedded event store, if it is one.
    pub log: Option<PathBuf>,
    /// Where `operations.db` is. `None` if the operational state is in a database server.
    pub operations: Option<PathBuf>,
    /// Where the files of the sandbox are, if this installation has any.
    pub data_dir: PathBuf,
    /// What else belongs to the installation, and is backed up by other means.
    pub elsewhere: Vec<String>,
}

impl Sources {
    /// True if every store is a server.
    pub fn is_empty(&self) -> bool {
        self.log.is_none() && self.operations.is_none()
    }
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    Log(BackupProgress),
    Storing,
}

/// Gets the progress of a backup.
pub type Report = Arc<dyn Fn(Progress) + Send + Sync>;

/// Makes a backup of a running or stopped platform, and stores it at a place.
///
/// The files are copied one after another, in an order that makes them fit together. `operations.db` is first: what it
/// says about the log is then in the copy of the log, which is younger. The other way round, positions and deliveries
/// could name events that the copy lacks. The sandbox is last, as an outside provider would be ahead of a restored log:
/// it knows every charge that the log has.
pub async fn take(
    sources: &Sources,
    storage: &Storage,
    made_by: &MadeBy,
    report: &Report,
) -> Result<Manifest, BackupError> {
    let made_at = Timestamp::now();
    let lock = lock(&sources.data_dir)?;
    let staging = Staging::make(storage.directory.as_deref(), &sources.data_dir)?;
    let copied = copy_on_a_thread(sources.clone(), staging.0.clone(), Arc::clone(report)).await?;
    report(Progress::Storing);
    let id = copied.log.as_ref().map_or_else(Uuid::now_v7, |log| log.store_id);
    let manifest = Manifest {
        name: Manifest::name(made_at, id),
        made_at,
        made_by: made_by.clone(),
        log: copied.log.map(|CopiedLog { original_id, store_id, events, last_event }| BackedUpLog {
            original_id,
            id: store_id,
            events,
            last_event,
        }),
        files: copied.files,
        elsewhere: sources.elsewhere.clone(),
    };
    storage.publish(&staging.0, &manifest).await?;
    drop(lock);
    Ok(manifest)
}

/// The kernel releases the lock with the file, also after `kill -9`.
fn lock(data_dir: &Path) -> Result<File, BackupError> {
    if !data_dir.exists() {
        return Err(BackupError::NoDataDir { path: data_dir.to_owned() });
    }
    let path = data_dir.join(LOCK);
    let file = File::options().create(true).truncate(false).write(true).open(&path);
    let file = file.map_err(BackupError::io(&path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BackupError::UnderWay { lock: path }),
        Err(TryLockError::Error(error)) => Err(BackupError::io(&path)(error)),
    }
}

/// The directory of the copies. Removed when dropped, and by the next backup if this process is killed.
struct Staging(PathBuf);

impl Staging {
    /// Beside the other backups, or in the data directory if they are in a bucket. Installations that share a place
    /// have staging directories of their own.
    fn make(place: Option<&Path>, data_dir: &Path) -> Result<Self, BackupError> {
        let owner = fs::canonicalize(data_dir).map_err(BackupError::io(data_dir))?;
        let digits = hex::encode(Sha256::digest(owner.as_os_str().as_encoded_bytes()));
        let path = place.unwrap_or(data_dir).join(format!(".unfinished-backup-{}", &digits[..8]));
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(BackupError::io(&path)(error)),
            Ok(()) | Err(_) => {}
        }
        fs::create_dir(&path).map_err(BackupError::io(&path))?;
        Ok(Self(path))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // A backup in a directory has been renamed.
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "Cannot remove an unfinished backup; remove it by hand");
        }
    }
}

struct Copied {
    log: Option<CopiedLog>,
    files: Vec<FileEntry>,
}

/// Uses a thread of its own: the end of the process waits for tasks that block, and a copy of a large log takes long.
async fn copy_on_a_thread(sources: Sources, staging: PathBuf, report: Report) -> Result<Copied, BackupError> {
    let (done, copied) = oneshot::channel();
    let copying = move || {
        // The process may have stopped waiting.
        let _ = done.send(copy_all(&sources, &staging, &report));
    };
    let thread = std::thread::Builder::new().name("backup".to_owned()).spawn(copying);
    thread.map_err(|error| BackupError::Task(error.to_string()))?;
    copied.await.unwrap_or_else(|error| Err(BackupError::Task(error.to_string())))
}

fn copy_all(sources: &Sources, staging: &Path, report: &Report) -> Result<Copied, BackupError> {
    let mut parts = Vec::new();
    if let Some(operations) = sources.operations.as_deref().filter(|path| path.exists()) {
        copy(operations, &staging.join(Part::Operations.file_name()))?;
        parts.push(Part::Operations);
    }
    let log = match &sources.log {
        Some(path) => {
            let target = staging.join(Part::Events.file_name());
            parts.push(Part::Events);
            Some(sqlite::backup(path, &target, |step| report(Progress::Log(step)))?)
        }
        None => None,
    };
    let sandbox = sources.data_dir.join(Part::Sandbox.file_name());
    if sandbox.exists() {
        copy(&sandbox, &staging.join(Part::Sandbox.file_name()))?;
        parts.push(Part::Sandbox);
    }
    let secret = sources.data_dir.join(Part::SandboxSecret.file_name());
    if secret.exists() {
        fs::copy(&secret, staging.join(Part::SandboxSecret.file_name())).map_err(BackupError::io(&secret))?;
        parts.push(Part::SandboxSecret);
    }
    let files = parts.into_iter().map(|part| storage::entry(part, staging)).collect::<Result<_, _>>()?;
    Ok(Copied { log, files })
}

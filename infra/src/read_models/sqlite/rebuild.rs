//! Rebuilds: rows are written in order into a new file, indexed last, and copied over the file in use. Memory
//! holds the page cache and a part of the rows of `order_skus`, however many rows there are.

use std::{
    fs::{self, File, TryLockError},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rusqlite::{
    Connection,
    backup::{Backup, StepResult},
};

use super::{
    audit,
    connections::{ReadModelsOpenError, create_indexes, create_tables, expect_read_models, open_writer},
    copy_rows, orders, projections, stock,
};
use crate::{
    external_sort::Sorter,
    read_models::{
        ReadModelError,
        audit::{Audit, Rebuild, RebuiltFrom, Staged, Staging, Stored},
        encoded::EncodedRows,
    },
    sqlite::keep_plans,
};

const PAGE_CACHE_KIB: i32 = 96 * 1024;
/// Bytes of `order_skus` that are sorted in memory.
const SKUS_MEMORY_MAX: usize = 16 << 20;
/// Time limit for publishing, which waits for a commit, or a checkpoint of the write-ahead log, of another
/// process.
const PUBLISH_TIMEOUT: Duration = Duration::from_mins(1);
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// Replaces a file of read models, even one that cannot be opened.
#[derive(Debug)]
pub struct SqliteRebuild {
    path: PathBuf,
}

impl SqliteRebuild {
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_owned() }
    }
}

#[async_trait]
impl Rebuild for SqliteRebuild {
    async fn begin(&self) -> Result<Box<dyn Staging>, ReadModelError> {
        let path = self.path.clone();
        let open = move || {
            let staged = StagedFile::reserve(&path)?;
            let connection = create_file(&staged.file)?;
            let skus = Sorter::new(directory_of(&path), SKUS_MEMORY_MAX);
            Ok(OpenFile { connection, skus, staged })
        };
        Ok(Box::new(InUse(Some(blocking(open).await?))))
    }
}

/// A file that is being filled, between two uses of its connection by a blocking thread.
struct InUse(Option<OpenFile>);

struct OpenFile {
    connection: Connection,
    /// The rows of `order_skus`, which a table in the order of its key takes fastest when they are sorted.
    skus: Sorter,
    staged: StagedFile,
}

#[async_trait]
impl Staging for InUse {
    async fn write(&mut self, rows: EncodedRows) -> Result<(), ReadModelError> {
        let mut file = self.0.take().ok_or_else(failed_before)?;
        let write = move || {
            copy_rows(&file.connection, &mut file.skus, &rows)?;
            Ok(file)
        };
        self.0 = Some(blocking(write).await?);
        Ok(())
    }

    async fn finish(mut self: Box<Self>, progress: RebuiltFrom) -> Result<Box<dyn Staged>, ReadModelError> {
        let OpenFile { connection, skus, staged } = self.0.take().ok_or_else(failed_before)?;
        let finish = move || {
            orders::copy_skus(&connection, skus.finish()?)?;
            projections::copy(&connection, &progress)?;
            create_indexes(&connection)?;
            stock::mark_ended_orders(&connection)?;
            connection.execute_batch("COMMIT")?;
            connection.close().map_err(|(_, error)| error)?;
            Ok(Box::new(staged) as Box<dyn Staged>)
        };
        blocking(finish).await
    }
}

fn failed_before() -> ReadModelError {
    ReadModelError::Unavailable("an earlier step of the rebuild has failed".into())
}

/// A finished file beside the one in use.
#[derive(Debug)]
struct StagedFile {
    target: PathBuf,
    file: PathBuf,
    /// Excludes a second rebuild. Closing the handle releases it, and so does `kill -9`.
    _lock: File,
}

impl StagedFile {
    fn reserve(target: &Path) -> Result<Self, ReadModelError> {
        let lock_path = beside(target, ".rebuild.lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(ReadModelError::Unavailable(
                    "another rebuild of these read models is running; wait until it ends".into(),
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        let file = beside(target, ".rebuild");
        // A killed rebuild leaves its file behind.
        remove_if_there(&file)?;
        Ok(Self { target: target.to_owned(), file, _lock: lock })
    }

    fn publish(&self) -> Result<(), ReadModelError> {
        if !fs::exists(&self.target)? {
            return self.rename();
        }
        let mut target = Connection::open(&self.target)?;
        match expect_read_models(&target, &self.target) {
            Ok(()) => {}
            // No process can read a damaged file, so none has it in use.
            Err(ReadModelsOpenError::Damaged { .. }) => return self.rename(),
            Err(error) => return Err(ReadModelError::Unavailable(error.to_string().into())),
        }
        match self.restore(&mut target) {
            Err(ReadModelError::Corrupt(_)) => self.rename(),
            outcome => outcome,
        }
    }

    /// Copies the pages over the old ones in one SQLite transaction. After a rename, processes with the file
    /// open would keep the deleted file, and its write-ahead log would lie beside a file that it does not
    /// belong to.
    fn restore(&self, target: &mut Connection) -> Result<(), ReadModelError> {
        let staged = Connection::open(&self.file)?;
        target.busy_timeout(PUBLISH_TIMEOUT)?;
        let give_up = Instant::now() + PUBLISH_TIMEOUT;
        let copy = Backup::new(&staged, target)?;
        loop {
            match copy.step(-1)? {
                StepResult::Done => break,
                StepResult::More => {}
                _ if Instant::now() < give_up => thread::sleep(BUSY_PAUSE),
                _ => {
                    return Err(ReadModelError::Unavailable(
                        "another process keeps the read models locked; try again".into(),
                    ));
                }
            }
        }
        drop(copy);
        // The write-ahead log is as large as the file now. Readers may prevent truncating; a later commit
        // then does it.
        let _ = target.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        Ok(())
    }

    /// Moves the staged file into place. Keeps a damaged file under the name `….damaged`.
    fn rename(&self) -> Result<(), ReadModelError> {
        if fs::exists(&self.target)? {
            fs::rename(&self.target, beside(&self.target, ".damaged"))?;
        }
        for suffix in ["-wal", "-shm", "-journal"] {
            remove_if_there(&beside(&self.target, suffix))?;
        }
        File::open(&self.file).and_then(|file| file.sync_all())?;
        fs::rename(&self.file, &self.target)?;
        Ok(open_writer(&self.target).map(drop)?)
    }
}

impl Drop for StagedFile {
    fn drop(&mut self) {
        if let Err(error) = remove_if_there(&self.file) {
            tracing::warn!(%error, file = %self.file.display(), "Cannot delete a staged file of read models; the next rebuild deletes it");
        }
    }
}

#[async_trait]
impl Audit for StagedFile {
    async fn stored(&self) -> Result<Stored, ReadModelError> {
        audit::stored(&self.file).await
    }
}

#[async_trait]
impl Staged for StagedFile {
    async fn publish(self: Box<Self>) -> Result<(), ReadModelError> {
        blocking(move || StagedFile::publish(&self)).await
    }
}

/// Creates empty tables without indexes, in a transaction that stays open.
fn create_file(file: &Path) -> Result<Connection, ReadModelError> {
    let connection = Connection::open(file)?;
    keep_plans(&connection)?;
    // No journal: an incomplete file is deleted, not repaired.
    connection.pragma_update(None, "journal_mode", "OFF")?;
    connection.pragma_update(None, "synchronous", "OFF")?;
    connection.pragma_update(None, "cache_size", -PAGE_CACHE_KIB)?;
    connection.pragma_update(None, "threads", 2)?;
    connection.execute_batch("BEGIN")?;
    create_tables(&connection)?;
    Ok(connection)
}

fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ReadModelError> + Send + 'static,
) -> Result<T, ReadModelError> {
    let running = tokio::task::spawn_blocking(work);
    running.await.unwrap_or_else(|error| Err(ReadModelError::Unavailable(error.to_string().into())))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn remove_if_there(file: &Path) -> Result<(), ReadModelError> {
    match fs::remove_file(file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

impl From<io::Error> for ReadModelError {
    fn from(error: io::Error) -> Self {
        Self::Unavailable(error.to_string().into())
    }
}

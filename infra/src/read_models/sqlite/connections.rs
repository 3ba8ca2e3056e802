//! Connections: one writes, on its own thread, and a few read. None of them blocks an async worker.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::sync::oneshot;

use super::{SCHEMA_VERSION, SCHEMAS};
use crate::{
    log_limit::LogLimit,
    private_files,
    read_models::{ReadModelError, ddl},
    sqlite::{self, LogRestarts, ReaderError, keep_plans},
};

/// "Ordv" (view): `PRAGMA application_id` of every file of read models.
const APPLICATION_ID: i32 = 0x4f72_6476;

const WRITER_CACHE_KIB: i32 = 48 * 1024;
const READER_CACHE_KIB: i32 = 8 * 1024;
/// Longest wait of a commit for another writing process. That process is a rebuild that publishes its rows,
/// or a second server, whose commit the checkpoint then refuses.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often pages move from the write-ahead log into the file. A longer time moves a page that was written
/// repeatedly only once. A shorter time delays the event store's flushes less.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// Above this size the writer moves pages during a commit, which delays that commit.
const WAL_PAGES_MAX: i32 = 65_536;
/// Size at which the writer restarts the write-ahead log: 64 MiB, which its file keeps.
const WAL_PAGES_KEPT: u64 = 16_384;
const WAL_BYTES_KEPT: i64 = 64 << 20;
const STATEMENTS_KEPT: usize = 64;

/// Why read models cannot be opened. The text names the file and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelsOpenError {
    #[error("no read models at {}: check the path, or start a server there first", path.display())]
    Missing { path: PathBuf },
    #[error("{} does not hold Orderly read models: check the path; the file was not changed", path.display())]
    Foreign { path: PathBuf },
    /// The program does not convert rows of another schema, because a rebuild folds them from the log. It
    /// does not start that rebuild either: it takes minutes on a large log, and an older program may be
    /// started by mistake.
    #[error(
        "the read models {} have schema version {found}, and this program needs {supported}: \
         run `orderly projections rebuild`",
        path.display()
    )]
    OtherSchema { path: PathBuf, found: i32, supported: i32 },
    #[error("the read models {} are damaged ({source}): run `orderly projections rebuild`", path.display())]
    Damaged { path: PathBuf, source: rusqlite::Error },
    #[error("cannot open the read models {}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("cannot start the thread of the read models {}: {source}", path.display())]
    Thread { path: PathBuf, source: std::io::Error },
}

impl ReadModelsOpenError {
    fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, source },
            _ => Self::Sqlite { path, source },
        }
    }
}

/// Opens a writing connection. Creates the file if it is missing.
pub(super) fn open_writer(path: &Path) -> Result<Connection, ReadModelsOpenError> {
    private_files::restrict_database(path);
    let open = || {
        let mut connection = Connection::open(path)?;
        keep_plans(&connection)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // FULL flushes each commit, so that each flush is small. Safety does not need it: rows and checkpoint
        // are in one file, so a power cut loses both together. With NORMAL, moving pages out of the
        // write-ahead log flushes all pages of 250 ms at once, and the event store's flush waits for it.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        if is_empty(&connection)? {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            // Checked again under the lock: a second process may have created the tables meanwhile.
            if is_empty(&transaction)? {
                create_tables(&transaction)?;
                create_indexes(&transaction)?;
            }
            transaction.commit()?;
        }
        Ok(connection)
    };
    let connection = open().map_err(|error| ReadModelsOpenError::from_sqlite(path, error))?;
    identify(&connection, path)?;
    Ok(connection)
}

/// Opens a read-only connection to an existing file.
pub(super) fn open_reader(path: &Path) -> Result<Connection, ReadModelsOpenError> {
    if !fs::exists(path).unwrap_or(true) {
        return Err(ReadModelsOpenError::Missing { path: path.to_owned() });
    }
    let open = || {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        keep_plans(&connection)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        Ok(connection)
    };
    let connection = open().map_err(|error| ReadModelsOpenError::from_sqlite(path, error))?;
    identify(&connection, path)?;
    Ok(connection)
}

pub(super) fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    SCHEMAS.iter().try_for_each(|sql| connection.execute_batch(ddl::tables(sql)))
}

pub(super) fn create_indexes(connection: &Connection) -> rusqlite::Result<()> {
    SCHEMAS.iter().try_for_each(|sql| connection.execute_batch(ddl::indexes(sql)))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// Refuses a file of another application. Accepts every schema version.
pub(super) fn expect_read_models(connection: &Connection, path: &Path) -> Result<(), ReadModelsOpenError> {
    match pragma(connection, path, "application_id")? {
        APPLICATION_ID => Ok(()),
        _ => Err(ReadModelsOpenError::Foreign { path: path.to_owned() }),
    }
}

fn pragma(connection: &Connection, path: &Path, name: &str) -> Result<i32, ReadModelsOpenError> {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(|error| ReadModelsOpenError::from_sqlite(path, error))
}

fn identify(connection: &Connection, path: &Path) -> Result<(), ReadModelsOpenError> {
    expect_read_models(connection, path)?;
    match pragma(connection, path, "user_version")? {
        SCHEMA_VERSION => Ok(()),
        found => {
            Err(ReadModelsOpenError::OtherSchema { path: path.to_owned(), found, supported: SCHEMA_VERSION })
        }
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// Two threads: one writes, and one moves pages from the write-ahead log into the file.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    writing: Option<JoinHandle<()>>,
    /// Dropping it ends the thread that moves pages.
    moving_ends: Option<mpsc::Sender<()>>,
    moving: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(path: &Path) -> Result<Self, ReadModelsOpenError> {
        let mut connection = open_writer(path)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || {
            for job in queue {
                job(&mut connection);
            }
            // Leaves one file behind. SQLite does this only if the last connection to close is a writer.
            report(sqlite::checkpoint(&connection, "TRUNCATE"));
        };
        let mut writer = Self { jobs: None, writing: None, moving_ends: None, moving: None };
        writer.writing = Some(spawn("read-models-writer", path, run)?);
        let (moving_ends, ended) = mpsc::channel();
        let moved_by = open_writer(path)?;
        let of_writer = jobs.clone();
        let move_pages = move || move_pages(&moved_by, &of_writer, &ended);
        writer.moving = Some(spawn("read-models-checkpoint", path, move_pages)?);
        writer.moving_ends = Some(moving_ends);
        writer.jobs = Some(jobs);
        Ok(writer)
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, ReadModelError> + Send + 'static,
    ) -> Result<T, ReadModelError> {
        let ended = || ReadModelError::Unavailable("the writer thread of the read models has ended".into());
        let (sender, receiver) = oneshot::channel();
        // The work runs to its end even if the caller stops waiting.
        let job: Job = Box::new(move |connection| drop(sender.send(work(connection))));
        self.jobs.as_ref().ok_or_else(ended)?.send(job).map_err(|_| ended())?;
        receiver.await.unwrap_or_else(|_| Err(ended()))
    }
}

impl Drop for Writer {
    /// Waits until the file is closed.
    fn drop(&mut self) {
        self.moving_ends = None;
        join(self.moving.take());
        self.jobs = None;
        join(self.writing.take());
    }
}

fn spawn(
    name: &str,
    path: &Path,
    run: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, ReadModelsOpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| ReadModelsOpenError::Thread { path: path.to_owned(), source })
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(_)) = thread.map(JoinHandle::join) {
        tracing::error!("A thread of the read models has panicked");
    }
}

/// Moves most pages while the writer works, then lets the writer move the last few: SQLite restarts the log
/// only if a commit finds no page left in it.
fn move_pages(connection: &Connection, writer: &mpsc::Sender<Job>, ended: &mpsc::Receiver<()>) {
    let (mut version, restarts) = (None, Arc::new(Mutex::new(LogRestarts::new())));
    while ended.recv_timeout(CHECKPOINT_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
        let now = connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)).ok();
        if now == version {
            continue;
        }
        version = now;
        report(sqlite::checkpoint(connection, "PASSIVE"));
        let restarts = Arc::clone(&restarts);
        let rest: Job = Box::new(move |connection| report(move_rest(connection, &restarts)));
        if writer.send(rest).is_err() {
            return;
        }
    }
}

/// Moves the last pages. The log then restarts with the next commit, if no read uses it; a large log restarts in any case.
fn move_rest(writer: &Connection, restarts: &Mutex<LogRestarts>) -> rusqlite::Result<()> {
    let log = sqlite::checkpoint(writer, "PASSIVE")?;
    if log.total < WAL_PAGES_KEPT {
        return Ok(());
    }
    restarts.lock().unwrap_or_else(PoisonError::into_inner).restart(writer)
}

/// Logs that pages were not moved. The next call moves them.
fn report<T>(moved: rusqlite::Result<T>) {
    // On a full disk each one fails.
    static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(1));
    if let Err(error) = moved
        && let Some(omitted) = FAILURES.pass()
    {
        tracing::warn!(
            %error,
            lines.omitted = omitted,
            "Cannot move pages of the read models out of the write-ahead log; retrying later"
        );
    }
}

/// The connections of queries.
pub(super) type Readers = sqlite::Readers<ReadModelError>;

pub(super) fn open_readers(path: &Path) -> Result<Readers, ReadModelsOpenError> {
    let first = open_reader(path)?;
    Ok(sqlite::Readers::new(path, first, |path| Ok(open_reader(path)?)))
}

impl From<ReaderError> for ReadModelError {
    fn from(error: ReaderError) -> Self {
        Self::Unavailable(error.to_string().into())
    }
}

impl From<ReadModelsOpenError> for ReadModelError {
    fn from(error: ReadModelsOpenError) -> Self {
        let text = error.to_string().into();
        match error {
            ReadModelsOpenError::Damaged { .. }
            | ReadModelsOpenError::OtherSchema { .. }
            | ReadModelsOpenError::Foreign { .. } => Self::Corrupt(text),
            ReadModelsOpenError::Missing { .. }
            | ReadModelsOpenError::Sqlite { .. }
            | ReadModelsOpenError::Thread { .. } => Self::Unavailable(text),
        }
    }
}

#[cfg(test)]
mod tests;

//! One connection that writes, on a thread of its own, and a few that read. Nothing blocks an async worker.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::{Connection, ErrorCode, OpenFlags};
use tokio::{sync::oneshot, task::JoinError};

use crate::{
    read_models::ReadModelError,
    sqlite::{self, keep_plans},
};

const SCHEMA: &str = include_str!("../../sql/sqlite/read_models.sql");
const INDEXES: &str = include_str!("../../sql/sqlite/read_models_indexes.sql");
/// "Ordv" (view): `PRAGMA application_id` of every file of read models.
const APPLICATION_ID: i32 = 0x4f72_6476;
/// `PRAGMA user_version`; raised by one with each change of the schema, or of what a column holds.
const SCHEMA_VERSION: i32 = 4;

const WRITER_CACHE_KIB: i32 = 128 * 1024;
const READER_CACHE_KIB: i32 = 16 * 1024;
/// How long a commit waits for another process that is writing. Another writer is rare: a rebuild that publishes
/// its rows, or a second server, which the checkpoint then turns away.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How often pages are moved from the write-ahead log into the file. The longer, the more often a page of random keys
/// has been written again meanwhile and is moved once; the shorter, the less the event store's flushes are held up.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(250);
/// The writer moves pages itself only from here on: it would keep everybody waiting.
const WAL_PAGES_MAX: i32 = 65_536;
const WAL_BYTES_KEPT: i32 = 64 << 20;
const STATEMENTS_KEPT: usize = 64;

/// Why read models cannot be opened. The text names the file and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("there are no read models at {}: check the path, or start a server there first", path.display())]
    Missing { path: PathBuf },
    #[error("{} holds no Orderly read models: check the path; the file was left as it is", path.display())]
    Foreign { path: PathBuf },
    /// Rows of another schema are not converted: they can be folded from the log at any time. Nor are they folded
    /// anew by themselves, because that takes minutes on a large log and would also happen when an older program
    /// is started by mistake.
    #[error(
        "the read models {} have schema version {found}, and this program has {supported}: \
         run `orderly projections rebuild`",
        path.display()
    )]
    OtherSchema { path: PathBuf, found: i32, supported: i32 },
    #[error("the read models {} are damaged ({source}): run `orderly projections rebuild`", path.display())]
    Damaged { path: PathBuf, source: rusqlite::Error },
    #[error("the read models {} cannot be opened: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("the thread of the read models {} cannot be started: {source}", path.display())]
    Thread { path: PathBuf, source: std::io::Error },
}

impl OpenError {
    fn from_sqlite(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match source.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged { path, source },
            _ => Self::Sqlite { path, source },
        }
    }
}

/// The connection that writes; makes the file where there is none.
pub(super) fn open_writer(path: &Path) -> Result<Connection, OpenError> {
    let open = || {
        let mut connection = Connection::open(path)?;
        keep_plans(&connection)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        // Each commit is flushed. Not for safety (rows and checkpoint stand in one file, and a power cut may take the
        // last of both back together), but to write little at a time: left to the checkpoint, a second's worth of
        // pages goes to the disk at once, and whoever waits for the log to be flushed waits for that too.
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
        connection.pragma_update(None, "journal_size_limit", WAL_BYTES_KEPT)?;
        connection.pragma_update(None, "cache_size", -WRITER_CACHE_KIB)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS_KEPT);
        if is_empty(&connection)? {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            // Asked again under the lock: a second process may have been faster.
            if is_empty(&transaction)? {
                create_tables(&transaction)?;
                create_indexes(&transaction)?;
            }
            transaction.commit()?;
        }
        Ok(connection)
    };
    let connection = open().map_err(|error| OpenError::from_sqlite(path, error))?;
    identify(&connection, path)?;
    Ok(connection)
}

/// A connection that only reads, of a file that exists.
pub(super) fn open_reader(path: &Path) -> Result<Connection, OpenError> {
    if !fs::exists(path).unwrap_or(true) {
        return Err(OpenError::Missing { path: path.to_owned() });
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
    let connection = open().map_err(|error| OpenError::from_sqlite(path, error))?;
    identify(&connection, path)?;
    Ok(connection)
}

pub(super) fn create_tables(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "application_id", APPLICATION_ID)?;
    connection.pragma_update(None, "user_version", SCHEMA_VERSION)?;
    connection.execute_batch(SCHEMA)
}

pub(super) fn create_indexes(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(INDEXES)
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| row.get(0))
}

/// Refuses a file that is something else, whatever the version of the schema.
pub(super) fn expect_read_models(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    match pragma(connection, path, "application_id")? {
        APPLICATION_ID => Ok(()),
        _ => Err(OpenError::Foreign { path: path.to_owned() }),
    }
}

fn pragma(connection: &Connection, path: &Path, name: &str) -> Result<i32, OpenError> {
    connection
        .pragma_query_value(None, name, |row| row.get(0))
        .map_err(|error| OpenError::from_sqlite(path, error))
}

fn identify(connection: &Connection, path: &Path) -> Result<(), OpenError> {
    expect_read_models(connection, path)?;
    match pragma(connection, path, "user_version")? {
        SCHEMA_VERSION => Ok(()),
        found => Err(OpenError::OtherSchema { path: path.to_owned(), found, supported: SCHEMA_VERSION }),
    }
}

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// The thread that writes, and one that moves pages from the write-ahead log into the file meanwhile.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    writing: Option<JoinHandle<()>>,
    /// Ends the moving of pages.
    moving_ends: Option<mpsc::Sender<()>>,
    moving: Option<JoinHandle<()>>,
}

impl Writer {
    pub(super) fn start(path: &Path) -> Result<Self, OpenError> {
        let mut connection = open_writer(path)?;
        let (jobs, queue) = mpsc::channel::<Job>();
        let run = move || {
            for job in queue {
                job(&mut connection);
            }
            // Leaves one file behind. SQLite would do it by itself, were a reader not the last to close.
            checkpoint(&connection, "TRUNCATE");
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
        let ended = || ReadModelError::Unavailable("the thread that writes read models has ended".into());
        let (sender, receiver) = oneshot::channel();
        // Whoever asked may have stopped waiting; the work is done all the same.
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

fn spawn(name: &str, path: &Path, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(run)
        .map_err(|source| OpenError::Thread { path: path.to_owned(), source })
}

fn join(thread: Option<JoinHandle<()>>) {
    if let Some(Err(_)) = thread.map(JoinHandle::join) {
        tracing::error!("A thread of the read models had panicked");
    }
}

/// Moves most pages beside the writer. It has the writer move the last few, since the log is only begun anew when
/// a commit finds none left.
fn move_pages(connection: &Connection, writer: &mpsc::Sender<Job>, ended: &mpsc::Receiver<()>) {
    let mut version = None;
    while ended.recv_timeout(CHECKPOINT_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
        let now = connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)).ok();
        if now == version {
            continue;
        }
        version = now;
        checkpoint(connection, "PASSIVE");
        let rest: Job = Box::new(|connection| checkpoint(connection, "PASSIVE"));
        if writer.send(rest).is_err() {
            return;
        }
    }
}

/// As far as readers allow; the rest is for the next time.
fn checkpoint(connection: &Connection, mode: &str) {
    if let Err(error) = connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], |_| Ok(())) {
        tracing::warn!(%error, "Pages of the read models cannot be moved out of the write-ahead log now");
    }
}

/// The connections that query.
pub(super) type Readers = sqlite::Readers<ReadModelError>;

pub(super) fn open_readers(path: &Path) -> Result<Readers, OpenError> {
    let first = open_reader(path)?;
    Ok(sqlite::Readers::new(path, first, |path| Ok(open_reader(path)?)))
}

impl From<JoinError> for ReadModelError {
    fn from(error: JoinError) -> Self {
        Self::Unavailable(error.to_string().into())
    }
}

impl From<OpenError> for ReadModelError {
    fn from(error: OpenError) -> Self {
        let text = error.to_string().into();
        match error {
            OpenError::Damaged { .. } | OpenError::OtherSchema { .. } | OpenError::Foreign { .. } => {
                Self::Corrupt(text)
            }
            OpenError::Missing { .. } | OpenError::Sqlite { .. } | OpenError::Thread { .. } => {
                Self::Unavailable(text)
            }
        }
    }
}

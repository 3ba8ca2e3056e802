//! Shared by the SQLite adapters: a connection setting, threads with connections, and copies.

mod copy;
#[cfg(test)]
pub(crate) mod overlapping_reads;
#[cfg(test)]
mod tests;
mod wal;

use std::{
    fmt, io,
    panic::{self, AssertUnwindSafe},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, config::DbConfig};
use tokio::sync::{Semaphore, oneshot};

pub use self::copy::{CopyError, copy};
pub(crate) use self::{
    copy::copy_pages,
    wal::{LogRestarts, checkpoint},
};

/// Concurrent reads of one file, and so connections and threads.
const READERS_MAX: usize = 4;

/// Stops SQLite from compiling a prepared statement again. The bundled SQLite is built with STAT4, which
/// recompiles when a bound parameter might favour another plan; on the hot path that costs more than the
/// query. Our plans do not depend on values (<https://www.sqlite.org/queryplanner-ng.html#qpstab>).
pub(crate) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A connection on a thread of its own, which works off one job after another.
///
/// tokio's blocking threads would do, but it starts one more whenever a job comes before the thread of the last job rests.
/// On a busy processor there were a hundred, and each kept some megabytes of the allocator.
#[derive(Debug)]
pub(crate) struct Worker<C> {
    jobs: Option<mpsc::Sender<Job<C>>>,
    thread: Option<JoinHandle<()>>,
}

type Job<C> = Box<dyn FnOnce(&mut C) + Send>;

impl<C: Send + 'static> Worker<C> {
    pub(crate) fn start(name: &str, mut connection: C) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel::<Job<C>>();
        let work = move || {
            for job in waiting {
                // The caller of a job that panics gets no answer. The message is in the log.
                drop(panic::catch_unwind(AssertUnwindSafe(|| job(&mut connection))));
            }
        };
        let thread = thread::Builder::new().name(name.to_owned()).spawn(work)?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    /// The job runs to its end even if the caller stops waiting. `None` if it has panicked.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut C) -> T + Send + 'static,
    ) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        let job: Job<C> = Box::new(move |connection| drop(reply.send(job(connection))));
        drop(self.jobs.as_ref().map(|jobs| jobs.send(job)));
        answer.await.ok()
    }
}

/// Waits until the connection is closed.
impl<C> Drop for Worker<C> {
    fn drop(&mut self) {
        self.jobs = None;
        // Its last job may be what drops it. The thread then ends by itself.
        let other = self.thread.take().filter(|thread| thread.thread().id() != thread::current().id());
        drop(other.map(JoinHandle::join));
    }
}

/// A pool of read-only connections to one file.
pub(crate) struct Readers<E> {
    path: PathBuf,
    open: fn(&Path) -> Result<Connection, E>,
    /// The connection of the first worker.
    first: Mutex<Option<Connection>>,
    /// The last one is used first.
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

/// `None` until the next read opens a connection.
type Reader = Arc<Worker<Option<Connection>>>;

/// A read that no thread has finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReaderError {
    #[error("the thread of a read cannot be started: {0}")]
    NotStarted(#[from] io::Error),
    #[error("the thread of a read has panicked")]
    Panicked,
}

impl<E> fmt::Debug for Readers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<E: From<ReaderError> + Send + 'static> Readers<E> {
    /// Starts with the connection `first`, and opens more by `open` on demand.
    pub(crate) fn new(path: &Path, first: Connection, open: fn(&Path) -> Result<Connection, E>) -> Self {
        let permits = Arc::new(Semaphore::new(READERS_MAX));
        Self { path: path.to_owned(), open, first: Mutex::new(Some(first)), idle: Mutex::default(), permits }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a read.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let (reader, readers) = (self.idle_or_started()?, Arc::clone(self));
        let rests = Arc::clone(&reader);
        let reading = move |connection: &mut Option<Connection>| {
            let outcome = readers.read(connection, read);
            lock(&readers.idle).push(rests);
            // The read holds the permit, because it continues when the caller stops waiting.
            drop(permit);
            outcome
        };
        reader.run(reading).await.unwrap_or_else(|| Err(ReaderError::Panicked.into()))
    }

    fn idle_or_started(&self) -> Result<Reader, ReaderError> {
        let idle = lock(&self.idle).pop();
        idle.map_or_else(|| Ok(Arc::new(Worker::start("sqlite-reader", lock(&self.first).take())?)), Ok)
    }

    /// Drops the connection after a failure, so that no later read uses it.
    fn read<T>(
        &self,
        connection: &mut Option<Connection>,
        read: impl FnOnce(&Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let opened = match connection.take() {
            Some(opened) => opened,
            None => (self.open)(&self.path)?,
        };
        let result = read(&opened)?;
        *connection = Some(opened);
        Ok(result)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

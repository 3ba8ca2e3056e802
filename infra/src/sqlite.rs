//! Shared by the SQLite adapters: a connection setting, a pool of read-only connections, and copies.

mod copy;
#[cfg(test)]
mod tests;

use std::{
    fmt, io, mem,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::{self, JoinHandle},
};

use rusqlite::{Connection, config::DbConfig};
use tokio::sync::{Semaphore, oneshot};

pub(crate) use self::copy::copy_pages;
pub use self::copy::{CopyError, copy};

/// Concurrent reads of one file, and so connections and threads.
const READERS_MAX: usize = 4;

/// Stops SQLite from compiling a prepared statement again. The bundled SQLite is built with STAT4, which
/// recompiles when a bound parameter might favour another plan; on the hot path that costs more than the
/// query. Our plans do not depend on values (<https://www.sqlite.org/queryplanner-ng.html#qpstab>).
pub(crate) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A pool of read-only connections to one file, each on a thread of its own.
///
/// tokio's blocking threads would do, but it starts one more whenever a read comes before the thread of the read before
/// it rests. On a busy processor there were a hundred, and each kept some megabytes of the allocator.
pub(crate) struct Readers<E> {
    path: PathBuf,
    open: fn(&Path) -> Result<Connection, E>,
    /// The connection of the first thread.
    first: Mutex<Option<Connection>>,
    /// The last one is used first.
    idle: Mutex<Vec<Reader>>,
    permits: Arc<Semaphore>,
}

/// A thread, and with it a connection.
struct Reader {
    reads: mpsc::Sender<Read>,
    thread: JoinHandle<()>,
}

type Read = Box<dyn FnOnce(&mut Option<Connection>) + Send>;

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

    /// Runs a read on one of the threads.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let (reply, answer) = oneshot::channel();
        let (reader, readers) = (self.idle_or_started()?, Arc::clone(self));
        let reads = reader.reads.clone();
        let reading = move |connection: &mut Option<Connection>| {
            let outcome = readers.read(connection, read);
            lock(&readers.idle).push(reader);
            // The read holds the permit, because it continues when the caller stops waiting.
            drop(permit);
            drop(reply.send(outcome));
        };
        drop(reads.send(Box::new(reading)));
        answer.await.unwrap_or_else(|_| Err(ReaderError::Panicked.into()))
    }

    fn idle_or_started(&self) -> Result<Reader, ReaderError> {
        let idle = lock(&self.idle).pop();
        idle.map_or_else(|| Ok(Reader::start(lock(&self.first).take())?), Ok)
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

impl Reader {
    fn start(mut connection: Option<Connection>) -> io::Result<Self> {
        let (reads, waiting) = mpsc::channel::<Read>();
        let work = move || waiting.into_iter().for_each(|read| read(&mut connection));
        Ok(Self { reads, thread: thread::Builder::new().name("sqlite-reader".into()).spawn(work)? })
    }
}

/// Closes the connections.
impl<E> Drop for Readers<E> {
    fn drop(&mut self) {
        for Reader { reads, thread } in mem::take(&mut *lock(&self.idle)) {
            drop(reads);
            // The last read may be what held the pool. Its thread then ends by itself.
            if thread.thread().id() != thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

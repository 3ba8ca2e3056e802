//! Shared by the SQLite adapters: a connection setting, a pool of read-only connections, and copies.

mod copy;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rusqlite::{Connection, config::DbConfig};
use tokio::{sync::Semaphore, task::JoinError};

pub(crate) use self::copy::copy_pages;
pub use self::copy::{CopyError, copy};

/// Concurrent reads of one file, and so connections.
const READERS_MAX: usize = 4;

/// Stops SQLite from compiling a prepared statement again. The bundled SQLite is built with STAT4, which
/// recompiles when a bound parameter might favour another plan; on the hot path that costs more than the
/// query. Our plans do not depend on values (<https://www.sqlite.org/queryplanner-ng.html#qpstab>).
pub(crate) fn keep_plans(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// A pool of read-only connections to one file. They run on blocking threads, never on an async worker.
pub(crate) struct Readers<E> {
    path: PathBuf,
    open: fn(&Path) -> Result<Connection, E>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl<E> fmt::Debug for Readers<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readers").field("path", &self.path).finish_non_exhaustive()
    }
}

impl<E: From<JoinError> + Send + 'static> Readers<E> {
    /// Starts with the connection `first`, and opens more by `open` on demand.
    pub(crate) fn new(path: &Path, first: Connection, open: fn(&Path) -> Result<Connection, E>) -> Self {
        let (idle, permits) = (Mutex::new(vec![first]), Arc::new(Semaphore::new(READERS_MAX)));
        Self { path: path.to_owned(), open, idle, permits }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Runs a read on a blocking thread.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T, E> + Send + 'static,
    ) -> Result<T, E> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        let readers = Arc::clone(self);
        let blocking = move || {
            // The read holds the permit, because it continues when the caller stops waiting.
            let _permit = permit;
            readers.with_connection(read)
        };
        tokio::task::spawn_blocking(blocking).await.unwrap_or_else(|error| Err(error.into()))
    }

    /// Drops the connection after a failure, so that no later read uses it.
    fn with_connection<T>(&self, read: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let connection = match idle {
            Some(connection) => connection,
            None => (self.open)(&self.path)?,
        };
        let result = read(&connection)?;
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        Ok(result)
    }
}

//! Read models in one SQLite file: one connection writes, a few read.
//!
//! Several processes may open the file. The checkpoint decides which process writes rows. A rebuild copies
//! its pages over the file through SQLite, so no process keeps a replaced file open.

mod audit;
mod connections;
mod orders;
mod payments;
mod projections;
mod rebuild;
mod sales;
mod stock;
#[cfg(test)]
mod tests;
mod values;
mod waits;

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use domain::{Position, StreamName};
use rusqlite::{Connection, Transaction, TransactionBehavior};
use tokio::sync::watch;
use uuid::Uuid;

use self::{
    audit::{Sink, Stop},
    connections::{Readers, Writer, open_reader, open_readers},
};
pub use self::{connections::ReadModelsOpenError, rebuild::SqliteRebuild};
use super::{
    BindError, Changes, Generation, ParkedStream, Queries, ReadModelError, ReadModels, RowKeys, Rows,
    audit::{Audit, Stored},
};
use crate::event_source::Partition;

/// Stored as `PRAGMA user_version`. Raise it by one with each change of a table, or of what a column holds
/// (JSON included): programs then refuse older files and ask for a rebuild.
pub(super) const SCHEMA_VERSION: i32 = 4;

/// The SQL files of the subjects.
const SCHEMAS: [&str; 5] =
    [projections::SCHEMA, stock::SCHEMA, orders::SCHEMA, payments::SCHEMA, sales::SCHEMA];

fn load_rows(connection: &Connection, keys: &RowKeys) -> Result<Rows, ReadModelError> {
    // One read transaction takes one lock, not one per statement.
    let view = connection.unchecked_transaction()?;
    let mut rows = Rows::default();
    stock::load(&view, keys, &mut rows)?;
    orders::load(&view, keys, &mut rows)?;
    payments::load(&view, keys, &mut rows)?;
    Ok(rows)
}

fn write_rows(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), ReadModelError> {
    orders::write(transaction, rows)?;
    stock::write(transaction, rows)?;
    payments::write(transaction, rows)?;
    sales::write(transaction, rows)
}

/// Writes the rows of a whole log into empty tables without indexes.
fn copy_rows(transaction: &Transaction<'_>, rows: &Rows) -> Result<(), ReadModelError> {
    stock::copy(transaction, rows)?;
    orders::copy(transaction, rows)?;
    payments::copy(transaction, rows)?;
    sales::write(transaction, rows)
}

/// Sends every row to `sink`, and the faults of its search columns and index tables.
fn scan_rows(connection: &Connection, sink: &mut Sink) -> Result<(), Stop> {
    stock::scan(connection, sink)?;
    orders::scan(connection, sink)?;
    payments::scan(connection, sink)?;
    sales::scan(connection, sink)
}

fn commit(connection: &mut Connection, changes: &Changes) -> Result<(), ReadModelError> {
    // Immediate: a transaction that began as a read fails if another process has written meanwhile.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    projections::write(&transaction, changes)?;
    write_rows(&transaction, &changes.rows)?;
    Ok(transaction.commit()?)
}

/// The write side, for projectors. Dropping it waits until the file is closed.
#[derive(Debug)]
pub struct SqliteReadModels {
    writer: Writer,
    queries: SqliteQueries,
    changed: watch::Sender<u64>,
}

impl SqliteReadModels {
    /// Opens the read models at `path`, or creates empty ones.
    pub fn open(path: &Path) -> Result<Self, ReadModelsOpenError> {
        let writer = Writer::start(path)?;
        let readers = Arc::new(open_readers(path)?);
        let (changed, receiver) = watch::channel(0);
        let queries = SqliteQueries { readers, changed: receiver, _watching: None };
        Ok(Self { writer, queries, changed })
    }

    /// The read side. It sees each commit of this process at once.
    pub fn queries(&self) -> SqliteQueries {
        self.queries.clone()
    }
}

#[async_trait]
impl ReadModels for SqliteReadModels {
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError> {
        self.writer.run(move |connection| Ok(projections::bind(connection, store_id))).await?
    }

    async fn generation(&self) -> Result<Generation, ReadModelError> {
        self.writer.run(|connection| projections::generation(connection)).await
    }

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Position>, ReadModelError> {
        let partition = partition.clone();
        self.writer.run(move |connection| projections::checkpoint(connection, &partition)).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        self.writer.run(move |connection| load_rows(connection, &keys)).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        self.writer.run(move |connection| commit(connection, &changes)).await?;
        self.changed.send_modify(|commits| *commits += 1);
        Ok(())
    }

    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.writer.run(|connection| projections::parked(connection)).await
    }

    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        let stream = stream.clone();
        self.writer.run(move |connection| projections::request_retry(connection, &stream)).await
    }

    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.writer.run(|connection| projections::retry_requests(connection)).await
    }
}

/// The read side. Clones share their connections.
#[derive(Debug, Clone)]
pub struct SqliteQueries {
    readers: Arc<Readers>,
    changed: watch::Receiver<u64>,
    /// Dropping it ends the thread that polls for commits of other processes.
    _watching: Option<Arc<mpsc::Sender<()>>>,
}

impl SqliteQueries {
    /// Opens read models that another process writes. It polls for commits every 20 ms.
    pub fn open_read_only(path: &Path) -> Result<Self, ReadModelsOpenError> {
        let readers = Arc::new(open_readers(path)?);
        let (changed, watching) = watch_file(path)?;
        Ok(Self { readers, changed, _watching: Some(Arc::new(watching)) })
    }

    async fn run<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection) -> Result<T, ReadModelError> + Send + 'static,
    ) -> Result<T, ReadModelError> {
        self.readers.run(query).await
    }
}

/// How often a process that does not write polls for commits.
const CHANGES_POLLED_EVERY: Duration = Duration::from_millis(20);

/// Polls for commits of another process until the sender is dropped.
fn watch_file(path: &Path) -> Result<(watch::Receiver<u64>, mpsc::Sender<()>), ReadModelsOpenError> {
    let connection = open_reader(path)?;
    let (changed, receiver) = watch::channel(0);
    let (watching, ended) = mpsc::channel::<()>();
    let poll = move || {
        let mut seen = None;
        while ended.recv_timeout(CHANGES_POLLED_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            let version =
                connection.pragma_query_value(None, "data_version", |row| row.get::<_, i64>(0)).ok();
            if version != seen {
                seen = version;
                changed.send_modify(|commits| *commits += 1);
            }
        }
    };
    std::thread::Builder::new()
        .name("read-models-watch".to_owned())
        .spawn(poll)
        .map_err(|source| ReadModelsOpenError::Thread { path: path.to_owned(), source })?;
    Ok((receiver, watching))
}

impl Queries for SqliteQueries {
    fn changed(&self) -> watch::Receiver<u64> {
        self.changed.clone()
    }
}

#[async_trait]
impl Audit for SqliteQueries {
    async fn stored(&self) -> Result<Stored, ReadModelError> {
        audit::stored(self.readers.path()).await
    }
}

//! Read models in one SQLite file: one connection writes, a few read.
//!
//! Several processes may open the file. The checkpoint decides which process writes rows. A rebuild copies
//! its pages over the file through SQLite, so no process keeps a replaced file open.

mod audit;
mod connections;
mod counts;
mod money;
mod order_lists;
mod orders;
mod payments;
mod projections;
mod rebuild;
mod sales;
mod stock;
mod sums;
#[cfg(test)]
mod tests;
mod values;
mod waits;
mod walks;

use std::{
    collections::HashMap,
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use domain::StreamName;
use rusqlite::{Connection, ToSql, Transaction, TransactionBehavior, params};
use uuid::Uuid;

use self::{
    audit::{Sink, Stop},
    connections::{Readers, Writer, open_reader, open_readers},
};
pub use self::{connections::ReadModelsOpenError, rebuild::SqliteRebuild};
use super::{
    BindError, Changes, Generation, ParkedStream, Queries, ReadModelError, ReadModels, RowKeys, Rows,
    StoredRow, StreamChanges, Waiters,
    audit::{Audit, Stored},
    encoded::{EncodedRow, EncodedRows},
};
use crate::{
    event_source::{Partition, Reached},
    external_sort::Sorter,
};

/// Stored as `PRAGMA user_version`. Raise it by one with each change of a table, or of what a column holds
/// (JSON included): programs then refuse older files and ask for a rebuild.
pub(super) const SCHEMA_VERSION: i32 = 11;

/// The SQL files of the subjects.
const SCHEMAS: [&str; 7] = [
    projections::SCHEMA,
    stock::SCHEMA,
    orders::SCHEMA,
    payments::SCHEMA,
    sales::SCHEMA,
    money::SCHEMA,
    counts::SCHEMA,
];

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
    sales::write(transaction, &rows.sales)?;
    money::write(transaction, &rows.money)?;
    counts::write(transaction, &rows.counts)
}

/// Adds rows of a rebuild to tables without indexes. Adds the rows of `order_skus` to `skus` instead.
fn copy_rows(connection: &Connection, skus: &mut Sorter, rows: &EncodedRows) -> Result<(), ReadModelError> {
    stock::copy(connection, rows)?;
    orders::copy(connection, skus, rows)?;
    payments::copy(connection, &rows.payments)?;
    sales::write(connection, &rows.sales)?;
    money::write(connection, &rows.money)?;
    counts::write(connection, &rows.counts)
}

/// Sends every row to `sink`, and the faults of its search columns and index tables.
fn scan_rows(connection: &Connection, sink: &mut Sink<StoredRow>) -> Result<(), Stop> {
    stock::scan(connection, sink)?;
    orders::scan(connection, sink)?;
    payments::scan(connection, sink)?;
    sales::scan(connection, sink)?;
    money::scan(connection, sink)?;
    counts::scan(connection, sink)
}

/// Sends every row to `sink` as it is stored.
fn scan_encoded_rows(connection: &Connection, sink: &mut Sink<EncodedRow>) -> Result<(), Stop> {
    stock::scan(connection, sink)?;
    orders::scan_encoded(connection, sink)?;
    payments::scan_encoded(connection, sink)?;
    sales::scan(connection, sink)?;
    money::scan(connection, sink)?;
    counts::scan(connection, sink)
}

/// Writes a batch in a transaction, which the caller ends.
fn write<'c>(connection: &'c mut Connection, changes: &Changes) -> Result<Transaction<'c>, ReadModelError> {
    // Immediate: a transaction that began as a read fails if another process has written meanwhile.
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    projections::write(&transaction, changes)?;
    write_rows(&transaction, &changes.rows)?;
    Ok(transaction)
}

/// The write side, for projectors. Dropping it waits until the file is closed.
#[derive(Debug)]
pub struct SqliteReadModels {
    writer: Writer,
    queries: SqliteQueries,
}

impl SqliteReadModels {
    /// Opens the read models at `path`, or creates empty ones.
    pub fn open(path: &Path) -> Result<Self, ReadModelsOpenError> {
        let writer = Writer::start(path)?;
        let readers = Arc::new(open_readers(path)?);
        let queries = SqliteQueries { readers, waiters: Waiters::default(), _watching: None };
        Ok(Self { writer, queries })
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

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Reached>, ReadModelError> {
        let partition = partition.clone();
        self.writer.run(move |connection| projections::checkpoint(connection, &partition)).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        self.writer.run(move |connection| load_rows(connection, &keys)).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        let commit = move |connection: &mut Connection| {
            write(connection, &changes)?.commit()?;
            Ok(changes)
        };
        let committed = self.writer.run(commit).await?;
        if !self.queries.waiters.is_empty() {
            self.queries.waiters.wake(&committed.streams().collect::<Vec<_>>());
        }
        Ok(())
    }

    async fn rehearse(&self, changes: Changes) -> Result<(), ReadModelError> {
        self.writer.run(move |connection| Ok(write(connection, &changes)?.rollback()?)).await
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
    waiters: Waiters,
    /// Dropping it ends the thread that polls for commits of other processes.
    _watching: Option<Arc<mpsc::Sender<()>>>,
}

impl SqliteQueries {
    /// Opens read models that another process writes. It polls for commits every 20 ms.
    pub fn open_read_only(path: &Path) -> Result<Self, ReadModelsOpenError> {
        let readers = Arc::new(open_readers(path)?);
        let waiters = Waiters::default();
        let watching = watch_file(path, waiters.clone())?;
        Ok(Self { readers, waiters, _watching: Some(Arc::new(watching)) })
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

/// Polls for commits of another process until the sender is dropped. A commit does not say which rows it
/// changes, so the thread reads the rows that callers wait for, and wakes the callers of those that differ.
fn watch_file(path: &Path, waiters: Waiters) -> Result<mpsc::Sender<()>, ReadModelsOpenError> {
    let connection = open_reader(path)?;
    let (watching, ended) = mpsc::channel::<()>();
    let poll = move || {
        let mut known: HashMap<StreamName, RowState> = HashMap::new();
        while ended.recv_timeout(CHANGES_POLLED_EVERY) == Err(mpsc::RecvTimeoutError::Timeout) {
            let streams = waiters.streams();
            known.retain(|stream, _| streams.contains(stream));
            for stream in &streams {
                // If a row cannot be read now, its caller reads it and reports the failure.
                let state = row_state(&connection, stream).ok();
                if known.get(stream).copied() != state {
                    waiters.wake([stream]);
                }
                known.extend(state.map(|state| (stream.clone(), state)));
            }
        }
    };
    std::thread::Builder::new()
        .name("read-models-watch".to_owned())
        .spawn(poll)
        .map_err(|source| ReadModelsOpenError::Thread { path: path.to_owned(), source })?;
    Ok(watching)
}

/// The revision of a stream's row, and whether the stream is parked.
type RowState = (Option<i64>, bool);

fn row_state(connection: &Connection, stream: &StreamName) -> rusqlite::Result<RowState> {
    const IS_PARKED: &str = "EXISTS (SELECT 1 FROM parked WHERE stream = ?2)";
    let (row, key): (_, &dyn ToSql) = match stream {
        StreamName::Stock(sku) => ("revision FROM stock WHERE sku = ?1", &sku.as_str()),
        StreamName::Order(id) => ("revision FROM orders WHERE order_id = ?1", &id.0),
        StreamName::Payment(id) => ("revision FROM payments WHERE payment_id = ?1", &id.0),
        StreamName::Receipt(_) | StreamName::Exchange(_) => return Ok((None, false)),
    };
    let sql = format!("SELECT (SELECT {row}), {IS_PARKED}");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row(params![key, stream.to_string()], |row| Ok((row.get(0)?, row.get(1)?)))
}

impl Queries for SqliteQueries {
    fn changes_of(&self, stream: &StreamName) -> StreamChanges {
        self.waiters.of(stream)
    }
}

#[async_trait]
impl Audit for SqliteQueries {
    async fn stored(&self) -> Result<Stored, ReadModelError> {
        audit::stored(self.readers.path()).await
    }
}

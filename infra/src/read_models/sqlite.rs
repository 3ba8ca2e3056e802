//! Read models in one SQLite file: a connection that writes, and a few that read.
//!
//! Any number of processes may open the file: the checkpoint decides whose rows are written, and a rebuild puts
//! its rows in place through SQLite itself, so that nobody is left with a file that has been swapped away.

mod audit;
mod columns;
mod connections;
mod queries;
mod rebuild;
mod sales;
mod write;

use std::{
    path::Path,
    sync::{Arc, mpsc},
    time::Duration,
};

use async_trait::async_trait;
use domain::{OrderId, PaymentId, Position, Sku, StreamName, Timestamp};
use rusqlite::Connection;
use tokio::sync::watch;
use uuid::Uuid;

use self::connections::{Readers, Writer, open_reader, open_readers};
pub use self::{connections::OpenError, rebuild::SqliteRebuild};
use super::{
    BindError, Changes, CheckpointRow, Generation, OrderFilter, OrderRow, OrderStockEvent, Page,
    ParkedStream, PaymentFilter, PaymentRow, Queries, ReadModelError, ReadModels, ReservationRow, RowKeys,
    Rows, Sales, SalesQuery, StockFilter, StockRow, Wait, WaitFilter,
    audit::{Audit, Stored},
};
use crate::event_source::Partition;

/// How soon a process that does not write itself finds out that rows have changed.
const CHANGES_POLLED_EVERY: Duration = Duration::from_millis(20);

/// The write side, for projectors. Dropping it closes the file and waits for that.
#[derive(Debug)]
pub struct SqliteReadModels {
    writer: Writer,
    queries: SqliteQueries,
    changed: watch::Sender<u64>,
}

impl SqliteReadModels {
    /// Opens the read models at `path`, or makes empty ones.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let writer = Writer::start(path)?;
        let readers = Arc::new(open_readers(path)?);
        let (changed, receiver) = watch::channel(0);
        let queries = SqliteQueries { readers, changed: receiver, _watching: None };
        Ok(Self { writer, queries, changed })
    }

    /// The read side; it learns of each commit at once.
    pub fn queries(&self) -> SqliteQueries {
        self.queries.clone()
    }
}

#[async_trait]
impl ReadModels for SqliteReadModels {
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError> {
        self.writer.run(move |connection| Ok(write::bind(connection, store_id))).await?
    }

    async fn generation(&self) -> Result<Generation, ReadModelError> {
        self.writer.run(|connection| write::generation(connection)).await
    }

    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Position>, ReadModelError> {
        let partition = partition.clone();
        self.writer.run(move |connection| write::checkpoint(connection, &partition)).await
    }

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError> {
        self.writer.run(move |connection| write::load(connection, &keys)).await
    }

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError> {
        self.writer.run(move |connection| write::commit(connection, &changes)).await?;
        self.changed.send_modify(|commits| *commits += 1);
        Ok(())
    }

    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.writer.run(|connection| write::parked(connection, "true")).await
    }

    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        let stream = stream.clone();
        self.writer.run(move |connection| write::request_retry(connection, &stream)).await
    }

    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.writer.run(|connection| write::parked(connection, "retry_requested = 1")).await
    }
}

/// The read side. A handle: clones share their connections.
#[derive(Debug, Clone)]
pub struct SqliteQueries {
    readers: Arc<Readers>,
    changed: watch::Receiver<u64>,
    /// Ends the thread that looks for changes, where there is one.
    _watching: Option<Arc<mpsc::Sender<()>>>,
}

impl SqliteQueries {
    /// Opens the read models that another process keeps. It learns of commits by looking 50 times a second.
    pub fn open_read_only(path: &Path) -> Result<Self, OpenError> {
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

/// Looks whether another process has committed, until the sender is dropped.
fn watch_file(path: &Path) -> Result<(watch::Receiver<u64>, mpsc::Sender<()>), OpenError> {
    let connection = open_reader(path)?;
    let (changed, receiver) = watch::channel(0);
    let (watching, ended) = mpsc::channel::<()>();
    let look = move || {
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
        .spawn(look)
        .map_err(|source| OpenError::Thread { path: path.to_owned(), source })?;
    Ok((receiver, watching))
}

#[async_trait]
impl Queries for SqliteQueries {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError> {
        self.run(move |connection| queries::order(connection, id)).await
    }

    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<Page<OrderRow>, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| queries::orders(connection, &filter, limit)).await
    }

    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError> {
        let sku = sku.clone();
        self.run(move |connection| queries::stock(connection, &sku)).await
    }

    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<Page<StockRow>, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| queries::stock_list(connection, &filter, limit)).await
    }

    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Page<ReservationRow>, ReadModelError> {
        let sku = sku.clone();
        self.run(move |connection| queries::reservations(connection, &sku, after, limit)).await
    }

    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<OrderStockEvent>, ReadModelError> {
        self.run(move |connection| queries::order_stock_events(connection, id, after, limit)).await
    }

    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError> {
        self.run(move |connection| queries::payment(connection, id)).await
    }

    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<Page<PaymentRow>, ReadModelError> {
        let filter = filter.clone();
        self.run(move |connection| queries::payments(connection, &filter, limit)).await
    }

    async fn sales(&self, query: &SalesQuery) -> Result<Sales, ReadModelError> {
        let query = query.clone();
        self.run(move |connection| sales::sales(connection, &query)).await
    }

    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError> {
        self.run(queries::checkpoints).await
    }

    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        self.run(|connection| write::parked(connection, "true")).await
    }

    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError> {
        let stream = stream.clone();
        self.run(move |connection| queries::is_parked(connection, &stream)).await
    }

    async fn ended_orders_with_reservations(&self, limit: usize) -> Result<Vec<OrderId>, ReadModelError> {
        self.run(move |connection| queries::ended_orders_with_reservations(connection, limit)).await
    }

    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError> {
        self.run(move |connection| queries::placed_orders_recorded_before(connection, before, limit)).await
    }

    async fn orders_due_before(&self, now: Timestamp, limit: usize) -> Result<Vec<OrderId>, ReadModelError> {
        self.run(move |connection| queries::orders_due_before(connection, now, limit)).await
    }

    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError> {
        let query = move |connection: &Connection| {
            queries::payments_awaiting_provider(connection, updated_before, after, limit)
        };
        self.run(query).await
    }

    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<Page<Wait>, ReadModelError> {
        let filter = *filter;
        self.run(move |connection| queries::waits(connection, &filter, limit)).await
    }

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

//! The read-model port: rows that projections fold from events, and the queries over them.
//!
//! Every adapter keeps the same rows. A projector loads the rows that a batch of events touches
//! ([`ReadModels::load`]), folds, and writes them with its new checkpoint in one transaction
//! ([`ReadModels::commit`]). The checkpoint moves by compare-and-set, so a second owner is refused before it
//! writes a row. Each row carries the revision of the stream that it reflects; projectors skip events up to
//! that revision.
//!
//! Files are cut by subject: stock, orders, payments, sales, money and counts hold rows; waits and projections are views
//! of them.
//!
//! To add a subject:
//! 1. its row types and queries go to a file here, its fields to [`RowKeys`], [`Rows`] and [`StoredRow`]
//!    below;
//! 2. its tables and SQL go to one file each in `sqlite/` and `postgres/`, one line each to the lists of
//!    subjects in `sqlite.rs` and `postgres.rs`, and `SCHEMA_VERSION` there goes up by one;
//! 3. its fold goes to `projectors/src/fold/`, one line each to the lists in `fold.rs`, `digest.rs` and
//!    `rebuild.rs`.

pub mod audit;
mod codes;
mod counts;
mod ddl;
pub mod encoded;
mod list_sql;
mod money;
mod order_lists;
mod order_sql;
mod orders;
mod paging;
mod payment_sql;
mod payments;
pub mod postgres;
mod projections;
mod sales;
pub mod sqlite;
mod stock;
mod sums;
#[cfg(test)]
mod tests;
mod times;
mod waiters;
mod waits;

use std::{collections::BTreeSet, sync::Arc};

use async_trait::async_trait;
use domain::{OrderId, PaymentId, Position, Sku, StreamName};
use uuid::Uuid;

pub use self::{
    counts::{
        ChargeQuery, ChargeTotals, Charges, CountKey, CountQueries, Counted, FAILURES_MAX, PartitionCounts,
        day_of,
    },
    money::{Money, MoneyKey, MoneyQueries, MoneyQuery, MoneyTotals, PartitionMoney},
    order_lists::{
        COUNTED_MAX, Count, Direction, OrderFilter, OrderPage, OrderPlace, OrderSort, OrderWork, SCANNED_MAX,
    },
    orders::{OrderPayment, OrderQueries, OrderRow, OrderSummary, OrderSummaryRow},
    paging::{RowPage, ScannedPage},
    payments::{PaymentFilter, PaymentPage, PaymentQueries, PaymentRow, PaymentSummary, PaymentSummaryRow},
    projections::{CheckpointRow, Generation, ParkedStream, Projection, ProjectionQueries},
    sales::{
        PartitionSales, Sales, SalesDimension, SalesGroup, SalesKey, SalesQueries, SalesQuery, SalesTotals,
        spans::group_key,
    },
    stock::{OrderStockEvent, ReservationRow, StockFilter, StockPage, StockPlace, StockQueries, StockRow},
    sums::{PartitionSums, QUARTER_SECONDS, TimeGroup, TimeRange, Totals, quarter_of, starts_quarter},
    times::{OrderTimes, RefundTimes},
    waiters::{StreamChanges, Waiters},
    waits::{OrderAt, OverdueQueries, PaymentAt, Wait, WaitFilter, WaitKind, WaitQueries},
};
use crate::{
    event_source::{Partition, Reached},
    event_store::EventMark,
};

/// Keys of the rows that a batch of events touches.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct RowKeys {
    pub stock: BTreeSet<Sku>,
    pub reservations: BTreeSet<(Sku, OrderId)>,
    pub orders: BTreeSet<OrderId>,
    pub payments: BTreeSet<PaymentId>,
}

/// Rows of every subject: those loaded for a batch, those that a batch writes, or those of a whole log.
/// One entry per key. Loaded rows leave the fields empty that a fold only adds to.
#[derive(Debug, Default)]
pub struct Rows {
    pub stock: Vec<StockRow>,
    pub reservations: Vec<ReservationRow>,
    /// Keys of reservations to delete. Only in the changes of a batch.
    pub reservations_closed: Vec<(Sku, OrderId)>,
    /// Events to add. Each is written once and never changes.
    pub order_stock_events: Vec<OrderStockEvent>,
    /// Shared with the projector's cache, as payments are: a row may be large.
    pub orders: Vec<Arc<OrderRow>>,
    pub payments: Vec<Arc<PaymentRow>>,
    /// Sums to add to the rows of each partition.
    pub sales: Vec<PartitionSales>,
    /// As for sales.
    pub money: Vec<PartitionMoney>,
    /// As for sales.
    pub counts: Vec<PartitionCounts>,
}

impl Rows {
    /// The streams that the rows reflect.
    pub fn streams(&self) -> impl Iterator<Item = StreamName> + '_ {
        let stock = self.stock.iter().map(|row| row.sku.clone().into());
        let orders = self.orders.iter().map(|row| row.order_id.into());
        let payments = self.payments.iter().map(|row| row.payment_id.into());
        stock.chain(orders).chain(payments)
    }
}

/// One row as it is stored, for comparison with the log.
#[derive(Debug, PartialEq)]
pub enum StoredRow {
    Stock(StockRow),
    Reservation(ReservationRow),
    OrderStockEvent(OrderStockEvent),
    Order(Box<OrderRow>),
    Payment(Box<PaymentRow>),
    /// Summed over source partitions.
    Sales(SalesKey, SalesTotals),
    /// Summed over source partitions.
    Money(MoneyKey, MoneyTotals),
    /// Summed over source partitions.
    Count(CountKey, i64),
    /// The row cannot be read, or contradicts its search columns, index tables or coarser sums.
    Broken {
        projection: Projection,
        key: String,
        fault: String,
    },
}

impl StoredRow {
    fn broken(projection: Projection, key: impl Into<String>, fault: impl Into<String>) -> Self {
        Self::Broken { projection, key: key.into(), fault: fault.into() }
    }
}

/// The move of the checkpoints of a partition, by positions of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub partition: Partition,
    pub from: Option<Position>,
    pub to: Option<Position>,
    /// The last new event; `None` without one. Checkpoints keep the one with the highest position, because rebuilt
    /// rows may reflect events that the source delivers later.
    pub last_event: Option<EventMark>,
}

impl Progress {
    /// The projections whose checkpoints move.
    pub fn projections(&self) -> &'static [Projection] {
        Projection::fed_by(&self.partition)
    }
}

/// What batches of some partitions change; written in one transaction. Vectors are sorted by key.
///
/// Refused with [`ReadModelError::CheckpointMoved`], and nothing is written, if the rows are of another
/// generation, the checkpoint of a projection is not where its [`Progress`] begins, a stream of `skipped` is not
/// parked, or a stream of `retried` is not parked as it was read. So two processes cannot un-park one stream, and
/// no owner skips events of a stream that was un-parked.
#[derive(Debug)]
pub struct Changes {
    /// Of each partition, sorted by partition: so two owners lock checkpoints in one order.
    pub progress: Vec<Progress>,
    /// Generation of the rows that the events were folded onto. `None`: folded onto no rows, not compared.
    pub generation: Option<Generation>,
    pub rows: Rows,
    pub parked: Vec<ParkedStream>,
    /// Parked streams with events in these batches, which were skipped.
    pub skipped: Vec<(Projection, StreamName)>,
    /// Parked streams, as they were read, whose requested retry is in these changes. The commit un-parks
    /// them, unless `parked` contains them again.
    pub retried: Vec<ParkedStream>,
}

impl Changes {
    /// Moves one checkpoint and changes no row.
    pub fn none(partition: Partition, from: Option<Position>, to: Option<Position>) -> Self {
        Self::of(vec![Progress { partition, from, to, last_event: None }])
    }

    /// Moves checkpoints and changes no row.
    pub fn of(progress: Vec<Progress>) -> Self {
        Self {
            progress,
            generation: None,
            rows: Rows::default(),
            parked: Vec::new(),
            skipped: Vec::new(),
            retried: Vec::new(),
        }
    }

    /// The streams whose rows change, or that are parked or resumed. A stream may come twice.
    pub fn streams(&self) -> impl Iterator<Item = StreamName> + '_ {
        let parked = self.parked.iter().chain(&self.retried).map(|row| row.stream.clone());
        self.rows.streams().chain(parked)
    }
}

/// Why the read models cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadModelError {
    #[error("cannot reach the read models: {0}")]
    Unavailable(Arc<str>),
    #[error("the read models are damaged; run `orderly projections rebuild`: {0}")]
    Corrupt(Arc<str>),
    /// One row is at fault. Other rows can be read and written.
    #[error("the read models cannot store or read a row: {0}")]
    Row(Arc<str>),
    /// Another owner has moved the checkpoint or un-parked a stream. Drop cached rows and read both again.
    #[error("another projector has moved the checkpoint")]
    CheckpointMoved,
}

impl ReadModelError {
    /// True if the failure comes from one row, so that other rows can still be read and written.
    pub fn is_of_one_row(&self) -> bool {
        match self {
            Self::Row(_) => true,
            Self::Unavailable(_) | Self::Corrupt(_) | Self::CheckpointMoved => false,
        }
    }
}

/// Why read models cannot be used with an event log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BindError {
    #[error(
        "the read models were built from the event log {bound}, and this event log is {given}; \
         run `orderly projections rebuild`"
    )]
    OtherLog { bound: Uuid, given: Uuid },
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
}

/// The write side, for projectors.
#[async_trait]
pub trait ReadModels: Send + Sync + 'static {
    /// Records which log the rows come from. Later calls refuse any other log.
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError>;

    /// Changes with each rebuild. A caller that caches rows reads this first and then the checkpoint.
    async fn generation(&self) -> Result<Generation, ReadModelError>;

    /// How far the projections have read a partition of the source; `None` at its beginning.
    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Reached>, ReadModelError>;

    /// The rows of `keys` that exist.
    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError>;

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError>;

    /// Does what [`ReadModels::commit`] does, and rolls back. Fails if that commit would fail, and writes nothing.
    async fn rehearse(&self, changes: Changes) -> Result<(), ReadModelError>;

    /// Every parked stream.
    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError>;

    /// Asks the owner to apply a parked stream's events again; false if the stream is not parked.
    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError>;

    /// The parked streams with a retry that was requested and not made yet.
    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError>;
}

/// The read side for the query API: the queries of every subject. The process manager reads
/// [`OverdueQueries`], and operators' commands read [`ProjectionQueries`] alone.
pub trait Queries:
    StockQueries
    + OrderQueries
    + PaymentQueries
    + SalesQueries
    + MoneyQueries
    + CountQueries
    + WaitQueries
    + ProjectionQueries
{
    /// The changes of one stream's row from now on. Callers that wait for a revision wait on this.
    fn changes_of(&self, stream: &StreamName) -> StreamChanges;
}

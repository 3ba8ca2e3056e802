//! The read-model port: rows that projections fold from events, and the queries over them.
//!
//! Rows are the same whatever database keeps them. A projection loads the rows that a batch of events touches
//! ([`ReadModels::load`]), folds, and writes them back with its new checkpoint in one transaction
//! ([`ReadModels::commit`]); the checkpoint moves by compare-and-set, so a second owner is found out before it
//! writes anything. Each row carries the revision of the stream it reflects: that is the deduplication.

pub mod audit;
pub mod postgres;
mod spans;
pub mod sqlite;

use std::{collections::BTreeSet, fmt, sync::Arc};

use async_trait::async_trait;
use domain::{
    Currency, EventId, OrderId, PaymentId, Position, Revision, Sku, StreamName, Timestamp,
    order::{Order, OrderStatus},
    payment::{Payment, PaymentState},
};
use tokio::sync::watch;
use uuid::Uuid;

use crate::event_source::Partition;

/// The read models, each a projection of its own name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    Stock,
    Orders,
    Payments,
    /// Folded from the order stream together with the orders.
    Sales,
}

impl Projection {
    pub const ALL: [Self; 4] = [Self::Stock, Self::Orders, Self::Payments, Self::Sales];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Sales => "sales",
        }
    }

    /// The projections that events of a partition change: those of its topic, or all.
    pub fn fed_by(partition: &Partition) -> &'static [Self] {
        let topic = partition.0.rsplit_once('/').map(|(topic, _)| topic);
        match topic.and_then(|topic| topic.rsplit('.').next()) {
            Some("stock") => &[Self::Stock],
            Some("orders") => &[Self::Orders, Self::Sales],
            Some("payments") => &[Self::Payments],
            _ => &Self::ALL,
        }
    }

    /// The projection that parks, and resumes, events of this stream. Sales go with the orders: one fold makes
    /// both.
    pub fn of_stream(stream: &StreamName) -> Self {
        match stream {
            StreamName::Stock(_) => Self::Stock,
            StreamName::Order(_) => Self::Orders,
            StreamName::Payment(_) => Self::Payments,
        }
    }
}

/// Levels of one SKU.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StockRow {
    pub sku: Sku,
    pub on_hand: u32,
    pub reserved: u32,
    /// Revision of the stock stream that this row reflects.
    pub revision: Revision,
}

/// An open reservation. The row exists only while units are held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReservationRow {
    pub sku: Sku,
    pub order_id: OrderId,
    /// Units still held, at least 1.
    pub quantity: u32,
}

/// An event of a stock stream that belongs to an order. Kept, since a stock stream holds the events of every order, and
/// those of one cannot be found there otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OrderStockEvent {
    pub order_id: OrderId,
    /// In the log.
    pub position: Position,
    pub sku: Sku,
    /// In the stream of the SKU.
    pub revision: Revision,
}

/// An order. The searchable columns (status, customer, SKUs, …) are derived from `order` by the adapter.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRow {
    pub order_id: OrderId,
    pub revision: Revision,
    /// When the store recorded the order's first event, and its latest.
    pub recorded_at: Timestamp,
    pub updated_at: Timestamp,
    pub order: Order,
}

/// A payment.
#[derive(Debug, Clone, PartialEq)]
pub struct PaymentRow {
    pub payment_id: PaymentId,
    pub revision: Revision,
    pub recorded_at: Timestamp,
    pub updated_at: Timestamp,
    pub payment: Payment,
}

/// What sales are summed by, besides the hour and the currency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SalesDimension {
    /// Every order once.
    All,
    /// Each SKU of each order once.
    Sku(Sku),
    /// By the order's country as the shop wrote it; empty for orders without one.
    Country(String),
}

/// A row of sales.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SalesKey {
    pub dimension: SalesDimension,
    pub currency: Currency,
    /// The hour of `placed_at` in UTC, in whole hours since 1970-01-01T00:00Z.
    pub hour: i64,
}

/// Sums over orders ever allocated, by `placed_at`. `gross` is quantity x unit price of the lines, adjustments
/// apart, and is never reduced: what was cancelled and refunded stands in columns of its own. Minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SalesTotals {
    pub orders: i64,
    pub lines: i64,
    pub units: i64,
    pub gross: i64,
    pub cancelled: i64,
    pub refunded: i64,
}

impl SalesTotals {
    pub fn add(&mut self, other: &Self) {
        self.orders += other.orders;
        self.lines += other.lines;
        self.units += other.units;
        self.gross += other.gross;
        self.cancelled += other.cancelled;
        self.refunded += other.refunded;
    }
}

/// A stream whose events a projection could not apply. It waits; the others go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStream {
    pub projection: Projection,
    pub stream: StreamName,
    pub partition: Partition,
    /// The event that could not be applied.
    pub event_id: EventId,
    pub revision: Revision,
    pub position: Position,
    /// What was wrong, for the operator.
    pub reason: String,
    pub parked_at: Timestamp,
}

/// Tells rows that were rebuilt from the ones before, which may have stood at the same position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub i64);

/// The rows a batch touches.
#[derive(Debug, Default)]
pub struct RowKeys {
    pub stock: BTreeSet<Sku>,
    pub reservations: BTreeSet<(Sku, OrderId)>,
    pub orders: BTreeSet<OrderId>,
    pub payments: BTreeSet<PaymentId>,
}

impl RowKeys {
    pub fn is_empty(&self) -> bool {
        self.stock.is_empty()
            && self.reservations.is_empty()
            && self.orders.is_empty()
            && self.payments.is_empty()
    }
}

/// The rows that exist of those asked for.
#[derive(Debug, Default)]
pub struct Rows {
    pub stock: Vec<StockRow>,
    pub reservations: Vec<ReservationRow>,
    pub orders: Vec<OrderRow>,
    pub payments: Vec<PaymentRow>,
}

/// What one batch changes; written in one transaction. Vectors are sorted by key, one entry per key.
///
/// Nothing is written, and the answer is [`ReadModelError::CheckpointMoved`], unless the rows are still those of
/// `generation`, every projection stands at `from`, every stream of `skipped` is parked, and every stream of `retried` is parked as it says: whoever
/// un-parks a stream must not meet an owner that still passes its events over, nor another who does the same.
#[derive(Debug)]
pub struct Changes {
    pub partition: Partition,
    /// That of the rows these changes were folded onto; none where they were folded onto no rows.
    pub generation: Option<Generation>,
    /// All of them move from `from` to `to`: positions of the source.
    pub projections: Vec<Projection>,
    pub from: Option<Position>,
    pub to: Option<Position>,
    /// Position in the log of the last event taken in with these changes; none where they come with no new event. The
    /// checkpoints keep the highest: rows that were rebuilt may reflect events that are still to be delivered.
    pub log_position: Option<Position>,
    pub stock: Vec<StockRow>,
    pub reservations: Vec<ReservationRow>,
    pub reservations_closed: Vec<(Sku, OrderId)>,
    /// Those of the events that `stock` takes in; each is written once, and never again.
    pub order_stock_events: Vec<OrderStockEvent>,
    /// Shared with the projector's cache, as payments are: a row may be large.
    pub orders: Vec<Arc<OrderRow>>,
    pub payments: Vec<Arc<PaymentRow>>,
    /// Added to the rows of this partition.
    pub sales: Vec<(SalesKey, SalesTotals)>,
    pub parked: Vec<ParkedStream>,
    /// Parked streams whose events of this batch were passed over.
    pub skipped: Vec<(Projection, StreamName)>,
    /// Streams that were parked like this, with a retry asked for, and were taken up again: parked no more,
    /// unless `parked` names them again.
    pub retried: Vec<ParkedStream>,
}

impl Changes {
    /// Moves the checkpoint and nothing else.
    pub fn none(partition: Partition, from: Option<Position>, to: Option<Position>) -> Self {
        Self {
            generation: None,
            projections: Projection::fed_by(&partition).to_vec(),
            partition,
            from,
            to,
            log_position: None,
            stock: Vec::new(),
            reservations: Vec::new(),
            reservations_closed: Vec::new(),
            order_stock_events: Vec::new(),
            orders: Vec::new(),
            payments: Vec::new(),
            sales: Vec::new(),
            parked: Vec::new(),
            skipped: Vec::new(),
            retried: Vec::new(),
        }
    }
}

/// Why read models cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadModelError {
    #[error("the read models are not reachable: {0}")]
    Unavailable(Arc<str>),
    #[error("the read models are damaged; `orderly projections rebuild` makes them anew: {0}")]
    Corrupt(Arc<str>),
    /// Another owner has moved the checkpoint, or un-parked a stream: drop cached rows and read both again.
    #[error("the checkpoint is not where this projector left it")]
    CheckpointMoved,
}

/// Why read models do not go with an event log.
#[derive(Debug, Clone, thiserror::Error)]
pub enum BindError {
    #[error(
        "the read models were made from the event log {bound}, and this one is {given}; \
         `orderly projections rebuild` makes them anew"
    )]
    OtherLog { bound: Uuid, given: Uuid },
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
}

/// The write side, for projectors.
#[async_trait]
pub trait ReadModels: Send + Sync + 'static {
    /// Notes which log the rows come from, and refuses any other from then on.
    async fn bind(&self, store_id: Uuid) -> Result<(), BindError>;

    /// Changes with each rebuild. Whoever keeps rows in memory reads this first, and then the checkpoint.
    async fn generation(&self) -> Result<Generation, ReadModelError>;

    /// Where the projections stand in a partition, as a position of the source; `None`: at its beginning.
    async fn checkpoint(&self, partition: &Partition) -> Result<Option<Position>, ReadModelError>;

    async fn load(&self, keys: RowKeys) -> Result<Rows, ReadModelError>;

    async fn commit(&self, changes: Changes) -> Result<(), ReadModelError>;

    /// Every parked stream.
    async fn parked(&self) -> Result<Vec<ParkedStream>, ReadModelError>;

    /// Asks the owner to apply a parked stream's events again; false where the stream is not parked.
    async fn request_retry(&self, stream: &StreamName) -> Result<bool, ReadModelError>;

    /// The parked streams that a retry was asked for and not yet made.
    async fn retry_requests(&self) -> Result<Vec<ParkedStream>, ReadModelError>;
}

/// A page of rows, newest first or by key, and whether more follow.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub has_more: bool,
}

/// Which orders to list: newest `placed_at` first, then by descending id. All filters together.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    pub status: Option<OrderStatus>,
    pub customer_id: Option<String>,
    pub sku: Option<Sku>,
    /// Inclusive.
    pub placed_from: Option<Timestamp>,
    /// Exclusive.
    pub placed_to: Option<Timestamp>,
    /// Continue after this order.
    pub after: Option<(Timestamp, OrderId)>,
}

/// Which payments to list: in order of arrival.
#[derive(Debug, Clone, Default)]
pub struct PaymentFilter {
    pub order_id: Option<OrderId>,
    pub state: Option<PaymentState>,
    pub after: Option<PaymentId>,
}

/// Which stock to list: by ascending SKU.
#[derive(Debug, Clone, Default)]
pub struct StockFilter {
    /// Only SKUs with fewer than this many units available.
    pub available_below: Option<u32>,
    pub after: Option<Sku>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesGroup {
    Hour,
    Day,
    Month,
    Sku,
    Country,
}

/// What an order waits for that should come by itself, and soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitKind {
    /// Placed: for its stock to be reserved.
    Allocation,
    /// Allocated and not paid when that was due: for its end.
    Expiry,
    /// Ended: for stock that it still holds to be released.
    Release,
    /// For the provider of its payment to be asked something.
    Provider,
}

impl WaitKind {
    pub const ALL: [Self; 4] = [Self::Allocation, Self::Expiry, Self::Release, Self::Provider];

    /// Orders waits that began at the same instant.
    pub fn code(self) -> u8 {
        match self {
            Self::Allocation => 0,
            Self::Expiry => 1,
            Self::Release => 2,
            Self::Provider => 3,
        }
    }
}

/// An order that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    pub since: Timestamp,
    /// Of the order; of the payment where it waits for the provider.
    pub id: Uuid,
    pub kind: WaitKind,
}

/// Which waits to list: the longest first.
#[derive(Debug, Clone, Copy)]
pub struct WaitFilter {
    /// Exclusive.
    pub since_before: Timestamp,
    /// Continue after the wait with this beginning, id and [`WaitKind::code`].
    pub after: Option<(Timestamp, Uuid, u8)>,
}

/// Which sales to sum.
#[derive(Debug, Clone)]
pub struct SalesQuery {
    pub currency: Currency,
    /// Whole hours since the epoch, inclusive.
    pub from_hour: Option<i64>,
    /// Exclusive.
    pub to_hour: Option<i64>,
    /// None: the total alone.
    pub group: Option<SalesGroup>,
}

/// Sums, in all and by group. Keys: `2010-12-01T08:00:00Z`, `2010-12-01`, `2010-12`, a SKU, a country.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sales {
    pub total: SalesTotals,
    /// In ascending order of keys.
    pub groups: Vec<(String, SalesTotals)>,
}

/// Where a projection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    pub projection: String,
    pub partition: Partition,
    /// Of the source: of the log, or an offset of Kafka.
    pub position: Option<Position>,
    /// Of the last event taken in, in the log.
    pub log_position: Option<Position>,
    pub updated_at: Option<Timestamp>,
}

impl CheckpointRow {
    /// How many events are not taken in yet of a partition that ends at `end`. Positions of the log count from 1,
    /// offsets of Kafka from 0; some offsets are ends of transactions, and EventStoreDB counts bytes.
    pub fn behind(&self, end: Option<Position>) -> u64 {
        let first = u64::from(self.partition == Partition::whole_log());
        let up_to = |position: Option<Position>| position.map_or(0, |at| (at + 1).saturating_sub(first));
        up_to(end).saturating_sub(up_to(self.position))
    }
}

/// The read side, for the query API and for the process manager's sweep.
#[async_trait]
pub trait Queries: Send + Sync + 'static {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError>;
    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<Page<OrderRow>, ReadModelError>;
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError>;
    async fn stock_list(&self, filter: &StockFilter, limit: usize) -> Result<Page<StockRow>, ReadModelError>;
    /// Open reservations of a SKU, by ascending order id, after `after`.
    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Page<ReservationRow>, ReadModelError>;
    /// Events of stock streams that belong to an order, in the order of the log, after position `after`.
    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page<OrderStockEvent>, ReadModelError>;
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError>;
    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<Page<PaymentRow>, ReadModelError>;
    async fn sales(&self, query: &SalesQuery) -> Result<Sales, ReadModelError>;
    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError>;
    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError>;
    /// Whether a projection of this stream is parked, so that waiting for a revision is no use.
    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError>;

    /// Orders that hold an open reservation although they have ended: candidates for the sweep.
    async fn ended_orders_with_reservations(&self, limit: usize) -> Result<Vec<OrderId>, ReadModelError>;
    /// Orders still `placed` that were recorded before `before`: candidates for the sweep.
    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError>;
    /// Orders that still wait for their payment although it was due by `now`, soonest due first.
    async fn orders_due_before(&self, now: Timestamp, limit: usize) -> Result<Vec<OrderId>, ReadModelError>;
    /// Payments for which the provider is still to be asked something, and that have not changed since
    /// `updated_before`: by ascending id, after `after`, so that who works through them meets each once, whatever
    /// changes meanwhile.
    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError>;
    /// Orders that wait for what should come by itself. Its cost grows with those that wait now (for releases in Postgres,
    /// with the open reservations), not with the orders there are.
    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<Page<Wait>, ReadModelError>;

    /// Changes whenever rows may have changed; what a wait for a revision waits on.
    fn changed(&self) -> watch::Receiver<u64>;
}

/// The distinct SKUs of an order.
fn skus_of(order: &Order) -> BTreeSet<&Sku> {
    order.lines().iter().map(|line| &line.sku).collect()
}

/// When the payment is due that an order still waits for; none for one that waits for none.
fn awaited_payment_due_at(order: &Order) -> Option<Timestamp> {
    let waits = match order.status() {
        OrderStatus::Placed | OrderStatus::Allocated => !order.is_paid(),
        OrderStatus::New | OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => false,
    };
    order.payment_due_at().filter(|_| waits)
}

/// Since when a payment has waited for somebody to ask its provider something; none where nothing is to be asked.
fn awaits_provider_since(row: &PaymentRow) -> Option<Timestamp> {
    awaits_provider(&row.payment).then_some(row.updated_at)
}

fn awaits_provider(payment: &Payment) -> bool {
    !payment.provider_work().is_empty()
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

//! All rows at once: to compare them with the log, and to replace them by rows folded anew.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    OrderRow, OrderStockEvent, ParkedStream, PaymentRow, Projection, ReadModelError, ReservationRow,
    SalesKey, SalesTotals, StockRow,
};
use crate::event_source::Partition;

/// Every row that a log folds to. Each vector is in the order in which rows are best loaded: stock,
/// reservations, stock events of orders and sales by key, orders and payments as they were recorded.
#[derive(Debug, Default)]
pub struct AllRows {
    /// The log the rows were folded from.
    pub store_id: Uuid,
    /// The position folded up to; `None` where the log is empty.
    pub position: Option<Position>,
    pub stock: Vec<StockRow>,
    pub reservations: Vec<ReservationRow>,
    pub order_stock_events: Vec<OrderStockEvent>,
    pub orders: Vec<Arc<OrderRow>>,
    pub payments: Vec<Arc<PaymentRow>>,
    /// The sums of each partition by themselves.
    pub sales: Vec<(Partition, Vec<(SalesKey, SalesTotals)>)>,
    pub parked: Vec<ParkedStream>,
}

/// One row as it is stored.
#[derive(Debug)]
pub enum StoredRow {
    Stock(StockRow),
    Reservation(ReservationRow),
    OrderStockEvent(OrderStockEvent),
    Order(Box<OrderRow>),
    Payment(PaymentRow),
    /// Summed over source partitions.
    Sales(SalesKey, SalesTotals),
    /// What an adapter keeps beside the row (search columns, index tables, coarser sums) does not go with it, or
    /// the row cannot be read.
    Broken {
        projection: Projection,
        key: String,
        fault: String,
    },
}

/// Every row, as one transaction sees them.
#[derive(Debug)]
pub struct Stored {
    /// The position in the log up to which events of each partition are in the rows.
    pub log_positions: Vec<(Partition, Option<Position>)>,
    /// Rows in chunks. They come as they are read; reading stops when this is dropped.
    pub rows: mpsc::Receiver<Result<Vec<StoredRow>, ReadModelError>>,
}

/// Read models that can show every row they hold.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    async fn stored(&self) -> Result<Stored, ReadModelError>;
}

/// Read models that can be replaced as a whole.
#[async_trait]
pub trait Rebuild: Send + Sync + 'static {
    /// Writes the rows beside the ones in use. `positions`: where each partition of the source goes on. Events that
    /// come from there and are in the rows already are passed over by their revision.
    async fn stage(
        &self,
        positions: &[(Partition, Option<Position>)],
        rows: Arc<AllRows>,
    ) -> Result<Box<dyn Staged>, ReadModelError>;
}

/// Rows that wait to take the place of the ones in use; dropped, they are gone.
#[async_trait]
pub trait Staged: Audit {
    /// Puts these rows in the place of the others: whoever reads sees all of the old or all of the new. An owner
    /// at work meets [`ReadModelError::CheckpointMoved`] and goes on from the position of these rows.
    async fn publish(self: Box<Self>) -> Result<(), ReadModelError>;
}

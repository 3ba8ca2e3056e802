//! Stock levels, open reservations, and the stock events of an order.

use async_trait::async_trait;
use domain::{OrderId, Position, Revision, Sku};
use serde::{Deserialize, Serialize};

use super::{ReadModelError, RowPage};

/// Levels of one SKU, in units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockRow {
    pub sku: Sku,
    pub on_hand: u32,
    pub reserved: u32,
    /// Revision of the stock stream that this row reflects.
    pub revision: Revision,
}

/// An open reservation. The row is deleted when no units are held any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReservationRow {
    pub sku: Sku,
    pub order_id: OrderId,
    /// Units still held, at least 1.
    pub quantity: u32,
}

/// An event of a stock stream that belongs to an order. A stock stream holds the events of every order, so
/// without this row those of one order could be found only by reading all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OrderStockEvent {
    pub order_id: OrderId,
    /// Position in the event log.
    pub position: Position,
    pub sku: Sku,
    /// Revision in the stream of the SKU.
    pub revision: Revision,
}

/// Selects stock levels, in ascending order of SKU.
#[derive(Debug, Clone, Default)]
pub struct StockFilter {
    /// Only SKUs with fewer than this many units available.
    pub available_below: Option<u32>,
    /// Continue after this SKU.
    pub after: Option<Sku>,
}

#[async_trait]
pub trait StockQueries: Send + Sync + 'static {
    async fn stock(&self, sku: &Sku) -> Result<Option<StockRow>, ReadModelError>;

    async fn stock_list(
        &self,
        filter: &StockFilter,
        limit: usize,
    ) -> Result<RowPage<StockRow>, ReadModelError>;

    /// Open reservations of a SKU, in ascending order of order id, after `after`.
    async fn reservations(
        &self,
        sku: &Sku,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<RowPage<ReservationRow>, ReadModelError>;

    /// Stock events of an order, in the order of the log, after position `after`.
    async fn order_stock_events(
        &self,
        id: OrderId,
        after: Option<Position>,
        limit: usize,
    ) -> Result<RowPage<OrderStockEvent>, ReadModelError>;
}

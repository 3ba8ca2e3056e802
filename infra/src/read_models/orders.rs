//! Orders, and their lists by status, customer, SKU and time.

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::{
    OrderId, Revision, Sku, Timestamp,
    order::{Order, OrderStatus},
};

use super::{ReadModelError, RowPage};

/// An order. The adapters derive its search columns (status, customer, SKUs, times) from `order`.
///
/// `order` is stored as JSON. A new field of [`Order`] or of a type inside it needs either a serde default
/// that is right for every stored order, or a higher `SCHEMA_VERSION` in both adapters, which makes operators
/// rebuild. `read_models/tests.rs` checks this.
#[derive(Debug, Clone, PartialEq)]
pub struct OrderRow {
    pub order_id: OrderId,
    pub revision: Revision,
    /// When the store recorded the order's first event.
    pub recorded_at: Timestamp,
    /// When the store recorded the order's latest event.
    pub updated_at: Timestamp,
    pub order: Order,
}

/// Selects orders that pass every filter. Newest `placed_at` first, then by descending id.
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

#[async_trait]
pub trait OrderQueries: Send + Sync + 'static {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError>;

    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<RowPage<OrderRow>, ReadModelError>;
}

/// The index that a list of orders walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderList {
    /// All orders, or those of one status.
    Time,
    Customer,
    Sku,
    /// The customer's orders, each looked up in the index of the SKU: at most as many look-ups as the
    /// customer has orders.
    CustomerAndSku,
}

impl OrderList {
    pub(super) fn of(filter: &OrderFilter) -> Self {
        match (&filter.customer_id, &filter.sku) {
            (None, None) => Self::Time,
            (Some(_), None) => Self::Customer,
            (None, Some(_)) => Self::Sku,
            (Some(_), Some(_)) => Self::CustomerAndSku,
        }
    }
}

/// The distinct SKUs of an order.
pub(super) fn skus_of(order: &Order) -> BTreeSet<&Sku> {
    order.lines().iter().map(|line| &line.sku).collect()
}

/// The due time of an order that still waits for its payment. `None` if it is paid, ended or never due.
pub(super) fn awaited_payment_due_at(order: &Order) -> Option<Timestamp> {
    let waits = match order.status() {
        OrderStatus::Placed | OrderStatus::Allocated => !order.is_paid(),
        OrderStatus::New | OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => false,
    };
    order.payment_due_at().filter(|_| waits)
}

/// The error for an order without an OrderPlaced event, which has no search columns.
pub(super) fn never_placed(id: OrderId) -> ReadModelError {
    ReadModelError::Corrupt(format!("order {id} was never placed, so its row cannot be stored").into())
}

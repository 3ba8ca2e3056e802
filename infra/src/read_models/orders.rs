//! Orders, and what their lists show of them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::{
    Amount, Currency, OrderId, PaymentId, Revision, Sku, Timestamp,
    order::{FulfilmentStatus, Order, OrderStatus, PaymentStatus, PaymentTerms, Tender, TenderStatus},
};
use serde::{Deserialize, Serialize};

use super::{Count, OrderFilter, OrderPage, OrderTimes, OrderWork, ReadModelError};

/// An order. The adapters derive its search columns (status, customer, SKUs, times) from `order`.
///
/// `order` is stored as JSON. A new field of [`Order`] or of a type inside it needs either a serde default
/// that is right for every stored order, or a higher `SCHEMA_VERSION` in both adapters, which makes operators
/// rebuild. `read_models/tests.rs` checks this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderRow {
    pub order_id: OrderId,
    pub revision: Revision,
    /// When the store recorded the order's first event.
    pub recorded_at: Timestamp,
    /// When the store recorded the order's latest event.
    pub updated_at: Timestamp,
    pub times: OrderTimes,
    pub order: Order,
}

/// What lists show of an order. It is stored beside the order, so that a list never reads whole orders, which
/// may have thousands of lines. Before you change it, see [`OrderRow`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderSummary {
    pub status: OrderStatus,
    pub payment_status: PaymentStatus,
    pub fulfilment_status: FulfilmentStatus,
    pub customer_id: Option<String>,
    pub country: Option<String>,
    pub reference: Option<String>,
    pub currency: Option<Currency>,
    pub total: Amount,
    pub owed: Amount,
    pub amount_due: Amount,
    pub overpaid: Amount,
    pub refund_due: Amount,
    pub captured: Amount,
    pub refunded: Amount,
    pub payment_id: Option<PaymentId>,
    pub payments: Vec<OrderPayment>,
    pub line_count: usize,
    /// Units of all lines, as placed.
    pub units: u64,
    /// `None` for an order that was never placed, which has no row.
    pub placed_at: Option<Timestamp>,
    pub payment_due_at: Option<Timestamp>,
    pub terms: PaymentTerms,
    pub authorized: Amount,
    pub authorized_until: Option<Timestamp>,
    pub due_for_shipped: Amount,
    pub overdue_from: Option<Timestamp>,
}

/// A payment of an order, as the order knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPayment {
    pub payment_id: PaymentId,
    pub amount: Amount,
    pub status: TenderStatus,
    pub captured: Amount,
    pub refunded: Amount,
    pub disputed: Amount,
}

impl OrderPayment {
    fn of(tender: &Tender) -> Self {
        Self {
            payment_id: tender.payment_id,
            amount: tender.amount,
            status: tender.status(),
            captured: tender.recorded.captured,
            refunded: tender.recorded.refunded,
            disputed: tender.recorded.disputed,
        }
    }
}

impl OrderSummary {
    pub fn of(order: &Order) -> Self {
        Self {
            status: order.status(),
            payment_status: order.payment_status(),
            fulfilment_status: order.fulfilment_status(),
            customer_id: order.customer_id().map(str::to_owned),
            country: order.country().map(str::to_owned),
            reference: order.reference().map(str::to_owned),
            currency: order.currency(),
            total: order.total(),
            owed: order.owed(),
            amount_due: order.amount_due(),
            overpaid: order.overpaid(),
            refund_due: order.refund_due(),
            captured: order.captured(),
            refunded: order.refunded(),
            payment_id: order.payment_id(),
            payments: order.tenders().iter().map(OrderPayment::of).collect(),
            line_count: order.lines().len(),
            units: order.lines().iter().map(|line| u64::from(line.quantity)).sum(),
            placed_at: order.placed_at(),
            payment_due_at: order.payment_due_at(),
            terms: order.terms(),
            authorized: order.authorized(),
            authorized_until: order.authorized_until(),
            due_for_shipped: order.due_for_shipped(),
            overdue_from: order.overdue_from(),
        }
    }
}

/// An [`OrderRow`] with a summary in place of the order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderSummaryRow {
    pub order_id: OrderId,
    pub revision: Revision,
    pub recorded_at: Timestamp,
    pub updated_at: Timestamp,
    pub summary: OrderSummary,
}

impl From<&OrderRow> for OrderSummaryRow {
    fn from(row: &OrderRow) -> Self {
        let OrderRow { order_id, revision, recorded_at, updated_at, times: _, ref order } = *row;
        Self { order_id, revision, recorded_at, updated_at, summary: OrderSummary::of(order) }
    }
}

#[async_trait]
pub trait OrderQueries: Send + Sync + 'static {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError>;

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError>;

    /// A page of at most `limit` orders.
    async fn orders(&self, filter: &OrderFilter, limit: usize) -> Result<OrderPage, ReadModelError>;

    /// How many orders pass the filters. The place where the page begins does not count.
    async fn order_count(&self, filter: &OrderFilter) -> Result<Count, ReadModelError>;

    /// How many orders each kind of work has.
    async fn work_counts(&self, now: Timestamp) -> Result<Vec<(OrderWork, Count)>, ReadModelError>;
}

/// The distinct SKUs of an order.
pub(super) fn skus_of(order: &Order) -> BTreeSet<&Sku> {
    order.lines().iter().map(|line| &line.sku).collect()
}

/// The due time of an order that still waits for its payment. `None` if it is paid, ended or never due.
pub(super) fn awaited_payment_due_at(order: &Order) -> Option<Timestamp> {
    order.payment_due_at().filter(|_| order.awaits_payment())
}

/// The error for an order without an OrderPlaced event, which has no search columns.
pub(super) fn never_placed(id: OrderId) -> ReadModelError {
    ReadModelError::Row(format!("order {id} was never placed").into())
}

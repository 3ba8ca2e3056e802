//! Orders, and their lists by status, customer, SKU and time.

use std::collections::BTreeSet;

use async_trait::async_trait;
use domain::{
    Amount, Currency, OrderId, PaymentId, Revision, Sku, Timestamp,
    order::{FulfilmentStatus, Order, OrderStatus, PaymentStatus, PaymentTerms, Tender, TenderStatus},
};
use serde::{Deserialize, Serialize};

use super::{ReadModelError, RowPage};

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
        let OrderRow { order_id, revision, recorded_at, updated_at, ref order } = *row;
        Self { order_id, revision, recorded_at, updated_at, summary: OrderSummary::of(order) }
    }
}

/// Selects orders that pass every filter. Newest `placed_at` first, then by descending id. Overdue orders come in another
/// order: the longest overdue first, then by ascending id.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    pub status: Option<OrderStatus>,
    pub customer_id: Option<String>,
    pub sku: Option<Sku>,
    pub balance: Option<OrderBalance>,
    /// Inclusive.
    pub placed_from: Option<Timestamp>,
    /// Exclusive.
    pub placed_to: Option<Timestamp>,
    /// Not together with `sku`.
    pub terms: Option<PaymentTerms>,
    /// Orders whose money is overdue at this time. Not together with `sku`.
    pub overdue_at: Option<Timestamp>,
    /// Continue after the order with this time (of placing, or from which it is overdue) and id.
    pub after: Option<(Timestamp, OrderId)>,
}

/// Money that is to go back to the customer. An order can be in both states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderBalance {
    /// More is paid than is owed, and no refund is requested for it.
    Overpaid,
    /// A refund is requested and not paid out.
    RefundDue,
}

impl OrderBalance {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Overpaid => "overpaid",
            Self::RefundDue => "refund_due",
        }
    }

    pub fn is_of(self, order: &Order) -> bool {
        match self {
            Self::Overpaid => order.overpaid().is_positive(),
            Self::RefundDue => order.refund_due().is_positive(),
        }
    }
}

#[async_trait]
pub trait OrderQueries: Send + Sync + 'static {
    async fn order(&self, id: OrderId) -> Result<Option<OrderRow>, ReadModelError>;

    async fn order_summary(&self, id: OrderId) -> Result<Option<OrderSummaryRow>, ReadModelError>;

    async fn orders(
        &self,
        filter: &OrderFilter,
        limit: usize,
    ) -> Result<RowPage<OrderSummaryRow>, ReadModelError>;
}

/// The index that a list of orders walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OrderList {
    /// All orders, or those of one status.
    Time,
    /// Orders of rare terms: all but prepaid ones.
    Terms,
    Customer,
    Sku,
    /// The customer's orders, each looked up in the index of the SKU: at most as many look-ups as the
    /// customer has orders.
    CustomerAndSku,
    /// The few orders with such a balance, each checked against the other filters.
    Balance(OrderBalance),
}

impl OrderList {
    pub(super) fn of(filter: &OrderFilter) -> Self {
        if let Some(balance) = filter.balance {
            return Self::Balance(balance);
        }
        let is_rare = filter.terms.is_some_and(|terms| !terms.is_prepaid());
        match (&filter.customer_id, &filter.sku) {
            (None, None) if is_rare => Self::Terms,
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
    order.payment_due_at().filter(|_| order.awaits_payment())
}

/// The error for an order without an OrderPlaced event, which has no search columns.
pub(super) fn never_placed(id: OrderId) -> ReadModelError {
    ReadModelError::Row(format!("order {id} was never placed").into())
}

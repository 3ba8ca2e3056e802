//! Payments, and their list by arrival.

use async_trait::async_trait;
use domain::{
    Amount, Currency, OrderId, PaymentId, Revision, Timestamp,
    payment::{Operation, Payment, PaymentState},
};
use serde::{Deserialize, Serialize};

use super::{OrderSummaryRow, ReadModelError, RowPage};

/// A payment. `payment` is stored as JSON: see [`super::OrderRow`] before you add a field to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PaymentRow {
    pub payment_id: PaymentId,
    pub revision: Revision,
    /// When the store recorded the payment's first event.
    pub recorded_at: Timestamp,
    /// When the store recorded the payment's latest event.
    pub updated_at: Timestamp,
    /// The time since which the payment waits for its provider, over all attempts. `None` if the provider has nothing
    /// to do.
    pub awaits_provider_since: Option<Timestamp>,
    pub payment: Payment,
}

/// What lists show of a payment, stored beside it as for orders: see [`super::OrderSummary`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentSummary {
    pub order_id: Option<OrderId>,
    pub state: PaymentState,
    pub currency: Option<Currency>,
    pub amount: Amount,
    pub authorized: Amount,
    pub captured: Amount,
    pub refunded: Amount,
    #[serde(default)]
    pub disputed: Amount,
    pub capturable: Amount,
    pub refundable: Amount,
    pub retryable: bool,
    pub unknown_operation: Option<Operation>,
    pub void_requested: bool,
    pub closed: bool,
    pub reference: Option<String>,
    #[serde(default)]
    pub authorized_until: Option<Timestamp>,
}

impl PaymentSummary {
    pub fn of(payment: &Payment) -> Self {
        Self {
            order_id: payment.order_id(),
            state: payment.state(),
            currency: payment.currency(),
            amount: payment.amount(),
            authorized: payment.authorized(),
            captured: payment.captured(),
            refunded: payment.refunded(),
            disputed: payment.disputed(),
            capturable: payment.capturable(),
            refundable: payment.refundable(),
            retryable: payment.is_retryable(),
            unknown_operation: payment.unknown_operation(),
            void_requested: payment.void_requested(),
            closed: payment.is_closed(),
            reference: payment.reference().map(str::to_owned),
            authorized_until: payment.authorized_until(),
        }
    }
}

/// A [`PaymentRow`] with a summary in place of the payment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentSummaryRow {
    pub payment_id: PaymentId,
    pub revision: Revision,
    pub recorded_at: Timestamp,
    pub updated_at: Timestamp,
    pub summary: PaymentSummary,
}

impl From<&PaymentRow> for PaymentSummaryRow {
    fn from(row: &PaymentRow) -> Self {
        let PaymentRow { payment_id, revision, recorded_at, updated_at, ref payment, .. } = *row;
        Self { payment_id, revision, recorded_at, updated_at, summary: PaymentSummary::of(payment) }
    }
}

/// Selects payments that pass every filter, in order of arrival.
#[derive(Debug, Clone, Default)]
pub struct PaymentFilter {
    pub order_id: Option<OrderId>,
    pub state: Option<PaymentState>,
    /// Continue after this payment; from the beginning if there is no such payment.
    pub after: Option<PaymentId>,
}

impl PaymentFilter {
    /// The page of the payments of an order, in its order. The order names them, so adapters look up `rows` by
    /// [`ids_of_order`] instead of walking a list.
    pub(super) fn page_of_order(
        &self,
        order_id: OrderId,
        rows: Vec<PaymentSummaryRow>,
        limit: usize,
    ) -> RowPage<PaymentSummaryRow> {
        let after = rows.iter().position(|row| Some(row.payment_id) == self.after);
        let rows = rows.into_iter().skip(after.map_or(0, |place| place + 1)).filter(|row| {
            row.summary.order_id == Some(order_id)
                && self.state.is_none_or(|state| state == row.summary.state)
        });
        RowPage::cut(rows.take(limit.saturating_add(1)).collect(), limit)
    }
}

/// The payments that an order may have. The id of the first follows from that of the order, so it is found before the
/// order is.
pub(super) fn ids_of_order(order_id: OrderId, order: Option<&OrderSummaryRow>) -> Vec<PaymentId> {
    let first = PaymentId::of_order(order_id);
    let named = order.into_iter().flat_map(|row| &row.summary.payments).map(|payment| payment.payment_id);
    [first].into_iter().chain(named.filter(|id| *id != first)).collect()
}

#[async_trait]
pub trait PaymentQueries: Send + Sync + 'static {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError>;

    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<RowPage<PaymentSummaryRow>, ReadModelError>;
}

//! Payments, and their list by arrival.

use async_trait::async_trait;
use domain::{
    Amount, Currency, OrderId, PaymentId, Revision, Timestamp,
    payment::{Operation, Payment, PaymentState},
};
use serde::{Deserialize, Serialize};

use super::{Count, Direction, OrderSummaryRow, ReadModelError, RefundTimes, paging::ScannedPage};

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
    pub refund_times: RefundTimes,
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
    /// The code of the failure of a failed payment.
    #[serde(default)]
    pub failure: Option<String>,
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
            failure: payment.failure().map(|failure| failure.code.clone()),
        }
    }

    /// True if the payment has failed and can be tried again.
    pub fn is_declined(&self) -> bool {
        self.state == PaymentState::Failed && self.retryable && !self.closed
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
    /// Any of these; every state if it is empty.
    pub state: Vec<PaymentState>,
    /// The provider's reference.
    pub reference: Option<String>,
    /// The code of the failure.
    pub failure: Option<String>,
    /// Only payments that have failed and can be tried again.
    pub is_declined: bool,
    /// `Desc`: the newest first.
    pub direction: Direction,
    /// Continue after this payment; from the beginning if there is no such payment.
    pub after: Option<PaymentId>,
}

/// A page of payments.
pub type PaymentPage = ScannedPage<PaymentSummaryRow, PaymentId>;

impl PaymentFilter {
    /// The page of the payments of an order, in its order. The order names them, so adapters look up `rows` by
    /// [`ids_of_order`] instead of walking a list.
    pub(super) fn page_of_order(
        &self,
        order_id: OrderId,
        mut rows: Vec<PaymentSummaryRow>,
        limit: usize,
    ) -> PaymentPage {
        if self.direction == Direction::Desc {
            rows.reverse();
        }
        let after = rows.iter().position(|row| Some(row.payment_id) == self.after);
        let rows = rows
            .into_iter()
            .skip(after.map_or(0, |place| place + 1))
            .filter(|row| row.summary.order_id == Some(order_id) && self.is_met_by(&row.summary));
        ScannedPage::cut(rows.take(limit.saturating_add(1)).collect(), limit, |row| row.payment_id, None)
    }

    /// True for a payment that passes all filters but that of the order.
    pub fn is_met_by(&self, payment: &PaymentSummary) -> bool {
        (self.state.is_empty() || self.state.contains(&payment.state))
            && (self.reference.is_none() || self.reference == payment.reference)
            && (self.failure.is_none() || self.failure == payment.failure)
            && (!self.is_declined || payment.is_declined())
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

    async fn payments(&self, filter: &PaymentFilter, limit: usize) -> Result<PaymentPage, ReadModelError>;

    /// How many payments pass the filters but that of the order. The place where the page begins does not count.
    async fn payment_count(&self, filter: &PaymentFilter) -> Result<Count, ReadModelError>;
}

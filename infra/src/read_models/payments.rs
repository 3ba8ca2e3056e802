//! Payments, and their list by arrival.

use async_trait::async_trait;
use domain::{
    OrderId, PaymentId, Revision, Timestamp,
    payment::{Payment, PaymentState},
};

use super::{ReadModelError, RowPage};

/// A payment. `payment` is stored as JSON: see [`super::OrderRow`] before you add a field to it.
#[derive(Debug, Clone, PartialEq)]
pub struct PaymentRow {
    pub payment_id: PaymentId,
    pub revision: Revision,
    /// When the store recorded the payment's first event.
    pub recorded_at: Timestamp,
    /// When the store recorded the payment's latest event.
    pub updated_at: Timestamp,
    pub payment: Payment,
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
    /// The page of the one payment that an order has. Its id follows from the order's, so adapters look up
    /// `row` by id instead of walking a list.
    pub(super) fn page_of_order(
        &self,
        order_id: OrderId,
        row: Option<PaymentRow>,
        limit: usize,
    ) -> RowPage<PaymentRow> {
        let wanted = row.filter(|row| {
            row.payment.order_id() == Some(order_id)
                && self.state.is_none_or(|state| state == row.payment.state())
                && self.after.is_none_or(|after| after != row.payment_id)
        });
        RowPage { items: wanted.into_iter().take(limit).collect(), has_more: false }
    }
}

#[async_trait]
pub trait PaymentQueries: Send + Sync + 'static {
    async fn payment(&self, id: PaymentId) -> Result<Option<PaymentRow>, ReadModelError>;

    async fn payments(
        &self,
        filter: &PaymentFilter,
        limit: usize,
    ) -> Result<RowPage<PaymentRow>, ReadModelError>;
}

/// The time since which a payment waits for its provider. `None` if the provider has nothing to do.
pub(super) fn awaits_provider_since(row: &PaymentRow) -> Option<Timestamp> {
    (!row.payment.provider_work().is_empty()).then_some(row.updated_at)
}

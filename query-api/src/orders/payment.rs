//! The payments of an order, as the order knows them.

use domain::{Amount, PaymentId, order::TenderStatus};
use infra::read_models;
use serde::Serialize;
use utoipa::ToSchema;

use infra::http::vocabulary::TenderStatusWord;

/// A payment of an order. The payment itself has its whole state.
#[derive(Debug, Serialize, ToSchema)]
pub struct OrderPayment {
    #[schema(value_type = String, format = "uuid")]
    payment_id: PaymentId,
    /// What it was requested for.
    #[schema(value_type = i64)]
    amount: Amount,
    #[schema(value_type = TenderStatusWord)]
    status: TenderStatus,
    #[schema(value_type = i64)]
    captured: Amount,
    #[schema(value_type = i64)]
    refunded: Amount,
    /// Taken from `captured` by disputes that are open or lost.
    #[schema(value_type = i64)]
    disputed: Amount,
}

impl OrderPayment {
    pub(super) fn of(payment: &read_models::OrderPayment) -> Self {
        let read_models::OrderPayment { payment_id, amount, status, captured, refunded, disputed } = *payment;
        Self { payment_id, amount, status, captured, refunded, disputed }
    }
}

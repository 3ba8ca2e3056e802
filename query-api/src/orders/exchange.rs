//! The exchanges of an order.

use domain::{Amount, ExchangeId, OrderId, ReturnId, credit::CreditSource, order::CreditRecord};
use serde::Serialize;
use utoipa::ToSchema;

/// The exchange that a new order belongs to.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExchangeFrom {
    #[schema(value_type = String, format = "uuid")]
    exchange_id: ExchangeId,
    /// The first order, whose units came back.
    #[schema(value_type = String, format = "uuid")]
    order_id: OrderId,
}

impl ExchangeFrom {
    pub(super) fn of(source: CreditSource) -> Self {
        let CreditSource { exchange_id, order_id } = source;
        Self { exchange_id, order_id }
    }
}

/// An exchange of units of an order for a new order.
#[derive(Debug, Serialize, ToSchema)]
pub struct ExchangeInto {
    #[schema(value_type = String, format = "uuid")]
    exchange_id: ExchangeId,
    #[schema(value_type = String, format = "uuid")]
    return_id: ReturnId,
    /// The new order.
    #[schema(value_type = String, format = "uuid")]
    order_id: OrderId,
    /// What this order pays for the new one.
    #[schema(value_type = i64)]
    credit: Amount,
    /// What the new order gave back of it.
    #[schema(value_type = i64)]
    taken_back: Amount,
}

impl ExchangeInto {
    pub(super) fn of(record: &CreditRecord) -> Self {
        let CreditRecord { exchange_id, return_id, order_id, amount, taken_back, .. } = *record;
        Self { exchange_id, return_id, order_id, credit: amount, taken_back }
    }
}

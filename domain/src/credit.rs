//! The credit of an exchange: money of one order that pays another. Orders and payments both store it, so it has a
//! module of its own.
//!
//! No money moves for a credit. The first order has the money and counts it as given; a payment of the new order counts
//! it as captured. What the new order refunds of it is taken back by the first order, which refunds it to where the
//! money is.

use serde::{Deserialize, Serialize};

use crate::{Amount, ExchangeId, OrderId};

/// Where the money of a credit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditSource {
    pub exchange_id: ExchangeId,
    /// The first order, whose units came back.
    pub order_id: OrderId,
}

/// What an order pays for another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditGiven {
    pub exchange_id: ExchangeId,
    /// The new order.
    pub order_id: OrderId,
    /// Minor units, more than 0.
    pub amount: Amount,
}

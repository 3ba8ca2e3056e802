use serde::{Deserialize, Serialize};

use crate::{
    Amount, OrderId, ReturnId, Revision,
    credit::{CreditGiven, CreditSource},
    decider::stored_events,
    order::{NewReturn, OrderPlaced, OrderRefusal, ReturnLine},
};

stored_events! {
    /// What happened to an exchange.
    pub enum ExchangeEvent of ExchangeEventKind {
        /// The intent. The return and the new order follow it.
        Requested(ExchangeRequested) = "exchange.requested.v1",
        Settled(ExchangeSettled) = "exchange.settled.v1",
        /// Nothing came back. The new order was rejected or is cancelled.
        Refused(ExchangeRefused) = "exchange.refused.v1",
    }
}

/// All that an exchange needs after the request has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExchangeRequested {
    /// The first order.
    pub order_id: OrderId,
    pub return_id: ReturnId,
    /// The units that come back.
    pub lines: Vec<ReturnLine>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What the first order pays for the new one: minor units, more than 0.
    pub credit: CreditGiven,
    /// The event that places the new order. Its first payment is the credit; a second one is the rest of the total.
    pub order: Box<OrderPlaced>,
}

impl ExchangeRequested {
    /// The return as the first order decides it.
    pub fn new_return(&self) -> NewReturn {
        NewReturn {
            return_id: self.return_id,
            lines: self.lines.clone(),
            refund_amount: None,
            reason: self.reason.clone(),
        }
    }

    pub fn source(&self) -> CreditSource {
        CreditSource { exchange_id: self.credit.exchange_id, order_id: self.order_id }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeSettled {
    /// What the first order refunds beyond the credit, in minor units.
    pub refund_amount: Amount,
    /// The revision of the first order with the return.
    pub return_revision: Revision,
    /// A revision of the new order at which it is allocated.
    pub order_revision: Revision,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeRefused {
    pub because: RefusedBecause,
}

/// Why an exchange did not take place after its request was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBecause {
    /// The new order was rejected.
    InsufficientStock,
    /// The new order was cancelled, or expired, before the units came back.
    OrderEnded,
    /// Units came back otherwise meanwhile.
    NotReturnable,
    /// Money of the first order was refunded or disputed meanwhile, so it cannot give the credit.
    CreditTooLarge,
}

impl RefusedBecause {
    /// The reason of a return that the first order refuses now, although it was acceptable when the exchange was
    /// requested.
    pub fn of_return(refusal: &OrderRefusal) -> Self {
        if matches!(refusal, OrderRefusal::RefundTooLarge { .. }) {
            Self::CreditTooLarge
        } else {
            Self::NotReturnable
        }
    }
}

use serde::{Deserialize, Serialize};

use super::{ExchangeEvent, ExchangeSettled, RefusedBecause};
use crate::{Amount, OrderId, PaymentId, ReturnId};

/// An exchange. The content of the new order is in its first event only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    parts: Option<ExchangeParts>,
    outcome: Option<ExchangeOutcome>,
}

/// What an exchange connects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExchangeParts {
    /// The first order.
    pub order_id: OrderId,
    pub return_id: ReturnId,
    pub new_order_id: OrderId,
    /// Minor units.
    pub credit: Amount,
    /// The payment that asks for what the credit leaves of the total. None: the credit pays it all.
    pub payment_id: Option<PaymentId>,
}

/// How an exchange ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExchangeOutcome {
    Settled(ExchangeSettled),
    Refused(RefusedBecause),
}

impl Exchange {
    /// None before it was requested.
    pub fn parts(&self) -> Option<&ExchangeParts> {
        self.parts.as_ref()
    }

    /// None while it is under way.
    pub fn outcome(&self) -> Option<ExchangeOutcome> {
        self.outcome
    }
}

pub(super) fn evolve(exchange: &mut Exchange, event: &ExchangeEvent) {
    match event {
        ExchangeEvent::Requested(requested) => {
            let new_order_id = requested.order.order_id;
            let has_rest = requested.order.payments.len() > 1;
            exchange.parts = Some(ExchangeParts {
                order_id: requested.order_id,
                return_id: requested.return_id,
                new_order_id,
                credit: requested.credit.amount,
                payment_id: has_rest.then(|| PaymentId::of_tender(new_order_id, 2)),
            });
        }
        ExchangeEvent::Settled(settled) => exchange.outcome = Some(ExchangeOutcome::Settled(*settled)),
        ExchangeEvent::Refused(refused) => exchange.outcome = Some(ExchangeOutcome::Refused(refused.because)),
    }
}

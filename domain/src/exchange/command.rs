use super::{ExchangeRequested, ExchangeSettled, RefusedBecause};

/// Commands to an exchange.
#[derive(Debug, Clone, PartialEq)]
pub enum ExchangeCommand {
    /// Records the intent that [`plan`](fn@super::plan) has checked.
    Request(Box<ExchangeRequested>),
    /// The units are back and their credit pays the new order.
    Settle(ExchangeSettled),
    /// The exchange did not take place.
    Refuse(RefusedBecause),
}

impl ExchangeCommand {
    /// Stored in metadata, and part of the ids of reactions, so it never changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Request(_) => "exchange.request",
            Self::Settle(_) => "exchange.settle",
            Self::Refuse(_) => "exchange.refuse",
        }
    }
}

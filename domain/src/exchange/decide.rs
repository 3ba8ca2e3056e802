use super::{Exchange, ExchangeCommand, ExchangeEvent, ExchangeRefused};
use crate::{
    Currency,
    order::{EVENT_BYTES_MAX, OrderRefusal},
};

/// Why an exchange is refused before anything is recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExchangeRefusal {
    #[error("the exchange does not exist")]
    NotFound,
    /// The first order does not take the units back.
    #[error(transparent)]
    Return(OrderRefusal),
    /// The new order cannot be placed.
    #[error(transparent)]
    Order(OrderRefusal),
    #[error("the new order has the currency of the first one, which is {0}")]
    OtherCurrency(Currency),
    #[error("the new order of an exchange is prepaid")]
    NotPrepaid,
    #[error(
        "the returned units are worth nothing that was paid, or the new order costs nothing; record a return and place an order"
    )]
    NothingToCredit,
    #[error(
        "its first event has {bytes} bytes, and an event has at most {EVENT_BYTES_MAX}; divide the order"
    )]
    TooLarge { bytes: usize },
}

pub(super) fn decide(
    exchange: &Exchange,
    command: ExchangeCommand,
) -> Result<Vec<ExchangeEvent>, ExchangeRefusal> {
    let is_requested = exchange.parts().is_some();
    match command {
        ExchangeCommand::Request(_) if is_requested => Ok(Vec::new()),
        ExchangeCommand::Request(requested) => Ok(vec![(*requested).into()]),
        ExchangeCommand::Settle(_) | ExchangeCommand::Refuse(_) if !is_requested => {
            Err(ExchangeRefusal::NotFound)
        }
        // Two processes may run one exchange. The first outcome stays.
        ExchangeCommand::Settle(_) | ExchangeCommand::Refuse(_) if exchange.outcome().is_some() => {
            Ok(Vec::new())
        }
        ExchangeCommand::Settle(settled) => Ok(vec![settled.into()]),
        ExchangeCommand::Refuse(because) => Ok(vec![ExchangeRefused { because }.into()]),
    }
}

//! An exchange: units of one order come back, and their value pays a new order. Both happen or neither.
//!
//! Stream `exchange-{command id}`, so the key of the request finds it again. Its first event is the intent: it is
//! durable before anything else changes, and has all that is needed to finish without the caller. Then, in this order:
//!
//! 1. The new order is placed and its stock reserved. One of its payments is the credit.
//! 2. The first order records the return. It gives the credit, and refunds what the credit leaves of their value.
//! 3. The credit is captured on its payment, and the exchange is settled.
//!
//! If the new order is rejected, or the units cannot come back any more, the exchange is refused: the new order is
//! cancelled, and the first order is as before. The new order cannot ship before step 3, because it is prepaid and a
//! credit is more than 0.

mod command;
mod decide;
mod event;
mod plan;
mod state;

pub use command::ExchangeCommand;
pub use decide::ExchangeRefusal;
pub use event::{
    ExchangeEvent, ExchangeEventKind, ExchangeRefused, ExchangeRequested, ExchangeSettled, RefusedBecause,
};
pub use plan::plan;
pub use state::{Exchange, ExchangeOutcome, ExchangeParts};

use crate::{Decider, ExchangeId};

/// The exchange aggregate.
#[derive(Debug)]
pub struct ExchangeDecider;

impl Decider for ExchangeDecider {
    const NAME: &'static str = "exchange";

    type Id = ExchangeId;
    type State = Exchange;
    type Command = ExchangeCommand;
    type Event = ExchangeEvent;
    type Refusal = ExchangeRefusal;
    type Summary = Exchange;

    fn evolve(state: &mut Exchange, event: &ExchangeEvent) {
        state::evolve(state, event);
    }

    fn decide(state: &Exchange, command: ExchangeCommand) -> Result<Vec<ExchangeEvent>, ExchangeRefusal> {
        decide::decide(state, command)
    }

    fn summary(state: &Exchange) -> Exchange {
        *state
    }

    fn command_name(command: &ExchangeCommand) -> &'static str {
        command.name()
    }

    fn deduplicated_by_command_id(_command_name: &str) -> bool {
        true
    }

    fn heap_bytes(_state: &Exchange) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;

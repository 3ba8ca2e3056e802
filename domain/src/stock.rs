//! Stock of one SKU: what is on hand, and what of it is reserved for orders.
//!
//! Stream `stock-{sku}`. `available = on_hand - reserved`, and `reserved` never exceeds `on_hand`. An order
//! holds at most one reservation per SKU; shipping and releasing draw it down, and at zero it closes.
//! A retry finds its work done: a second reserve finds the reservation open or lately closed, a second ship
//! its shipment, a second release the reservation released or closed. Receipts, adjustments and returns leave
//! no such trace; their command ids are remembered instead.

mod command;
mod decide;
mod event;
mod state;

pub use command::StockCommand;
pub use decide::StockRefusal;
pub use event::{
    StockAdjusted, StockEvent, StockEventKind, StockReceived, StockReleased, StockReserved, StockReturned,
    StockShipped,
};
pub use state::{Reservation, Stock, StockLevels};

use crate::{Decider, Sku};

/// The most units that receipts and adjustments may bring a SKU to, and the most one command may move.
pub const UNITS_MAX: u32 = 1_000_000_000;

/// The stock aggregate.
#[derive(Debug)]
pub struct StockDecider;

impl Decider for StockDecider {
    type Id = Sku;
    type State = Stock;
    type Command = StockCommand;
    type Event = StockEvent;
    type Refusal = StockRefusal;
    type Summary = StockLevels;

    fn evolve(state: &mut Stock, event: &StockEvent) {
        state::evolve(state, event);
    }

    fn decide(state: &Stock, command: StockCommand) -> Result<Vec<StockEvent>, StockRefusal> {
        decide::decide(state, command)
    }

    fn summary(state: &Stock) -> StockLevels {
        state.levels()
    }

    fn command_name(command: &StockCommand) -> &'static str {
        command.name()
    }

    fn deduplicated_by_command_id(command_name: &str) -> bool {
        matches!(command_name, "stock.receive" | "stock.adjust" | "stock.return")
    }

    const REMEMBERED_COMMANDS_MAX: usize = 10_000;

    fn weight(state: &Stock) -> usize {
        1 + state.open_reservations().len() / 4 + state.closed_remembered() / 16
    }
}

#[cfg(test)]
mod tests;

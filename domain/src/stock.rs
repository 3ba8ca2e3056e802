//! Stock of one SKU: the units on hand, and the units reserved for orders.
//!
//! Stream `stock-{sku}`. `available = on_hand - reserved`, and `reserved` never exceeds `on_hand`. An order
//! has at most one reservation per SKU. Shipping and releasing reduce it, and at 0 it closes.
//!
//! The state recognises a repeated reserve (by the reservation, open or closed recently), ship (by the
//! shipment) and release (by the reservation). Receipts, adjustments and returns leave no such trace, so the
//! stream remembers their command ids.

mod command;
mod decide;
mod event;
mod state;

pub use command::StockCommand;
pub use decide::{StockRefusal, check_receipt};
pub use event::{
    StockAdjusted, StockEvent, StockEventKind, StockReceived, StockReleased, StockReserved, StockReturned,
    StockShipped, StockUnshipped,
};
pub use state::{Reservation, Stock, StockLevels};

use crate::{Decider, Sku};

/// The most units on hand after a receipt or an adjustment, and the most units of one command.
pub const UNITS_MAX: u32 = 1_000_000_000;

/// The stock aggregate.
#[derive(Debug)]
pub struct StockDecider;

impl Decider for StockDecider {
    const NAME: &'static str = "stock";

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

    fn complete(event: &mut StockEvent, after: &Stock) {
        event.set_levels(after.levels());
    }

    fn recorded_summary(event: &StockEvent) -> Option<StockLevels> {
        event.levels()
    }

    fn command_name(command: &StockCommand) -> &'static str {
        command.name()
    }

    fn deduplicated_by_command_id(command_name: &str) -> bool {
        matches!(
            command_name,
            "stock.receive"
                | "stock.receive_accepted"
                | "stock.adjust"
                | "stock.return"
                | "stock.release_part"
                | "stock.unship"
        )
    }

    fn heap_bytes(state: &Stock) -> usize {
        state.heap_bytes()
    }
}

#[cfg(test)]
mod tests;

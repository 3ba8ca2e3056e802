//! Goods of several SKUs that are received together: all of them or none.
//!
//! Stream `receipt-{command id}`, so the key of the request finds it again. Its one event is the intent: it is
//! durable before the stock of any SKU changes, and each SKU's stock follows it
//! ([`checkout::react_to_receipt`](crate::checkout::react_to_receipt)). The limits of the stock streams are
//! checked before the intent is recorded. Afterwards the units are received even if a SKU has filled up
//! meanwhile.

mod command;
mod decide;
mod event;
mod state;

pub use command::ReceiptCommand;
pub use decide::{ItemRefusal, ReceiptRefusal, ReceiptRefusals, check};
pub use event::{ReceiptAccepted, ReceiptEvent, ReceiptEventKind, ReceiptItem};
pub use state::Receipt;

use crate::{Decider, ReceiptId};

/// The most SKUs of one receipt.
pub const ITEMS_MAX: usize = 1_000;
/// The most bytes of all references of one receipt. With it, the event stays below the 1 MiB that an
/// EventStoreDB server accepts, also where JSON doubles a character.
pub const REFERENCES_BYTES_MAX: usize = 256 * 1024;

/// The receipt aggregate.
#[derive(Debug)]
pub struct ReceiptDecider;

impl Decider for ReceiptDecider {
    const NAME: &'static str = "receipt";

    type Id = ReceiptId;
    type State = Receipt;
    type Command = ReceiptCommand;
    type Event = ReceiptEvent;
    type Refusal = ReceiptRefusals;
    type Summary = ();

    fn evolve(state: &mut Receipt, event: &ReceiptEvent) {
        state::evolve(state, event);
    }

    fn decide(state: &Receipt, command: ReceiptCommand) -> Result<Vec<ReceiptEvent>, ReceiptRefusals> {
        decide::decide(state, command)
    }

    fn summary(_state: &Receipt) {}

    fn command_name(command: &ReceiptCommand) -> &'static str {
        command.name()
    }

    fn deduplicated_by_command_id(command_name: &str) -> bool {
        command_name == "receipt.accept"
    }

    fn heap_bytes(_state: &Receipt) -> usize {
        0
    }
}

#[cfg(test)]
mod tests;

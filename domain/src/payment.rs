//! The payment of one order: requested, authorized, captured in parts, refunded in parts.
//!
//! The money comes by hand (an operator records what was authorized and captured elsewhere) or by charges, which a
//! provider is asked for: first it is recorded that it is to be asked, then it is asked, then what it says is recorded.
//! It is asked again until it answers ([`Payment::provider_work`] says what for), and it does each thing once. There is
//! never a second charge before the first has ended without money.
//!
//! Stream `payment-{uuid}`. `captured <= authorized <= amount` and `refunded <= captured`. When its order
//! ends, the payment is closed: it takes no new authorisation or capture, but what the provider reports is
//! always recorded, and the same decision that records it also asks for the void or the refund that gives the
//! money back. So a closed payment never keeps more than its order owes without a refund under way: one that
//! fails is asked for again. A provider whose answer was lost leaves the payment in *outcome unknown*, a state
//! of its own; an operator may then record, also on a closed payment, what is found to have happened.

mod charge;
mod command;
mod decide;
mod event;
mod report;
mod state;

pub use charge::{Charge, ChargeEnding, ChargeState, ProviderReport, ProviderWork};
pub use command::PaymentCommand;
pub use decide::PaymentRefusal;
pub use event::{
    Operation, PaymentAuthorized, PaymentCaptureRequested, PaymentCaptured, PaymentChargePending,
    PaymentChargeRequested, PaymentClosed, PaymentEvent, PaymentEventKind, PaymentFailed,
    PaymentOutcomeUnknown, PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
    PaymentVoidRequested, PaymentVoided, RefundReason,
};
pub use state::{Payment, PaymentState, PaymentSummary, Refund, RefundState};

pub use crate::new_charge::{CaptureMode, InvalidToken, NewCharge, TOKEN_CHARS_MAX};
use crate::{Decider, PaymentId};

/// The most charges that may be asked for of one payment: a customer tries that many cards.
pub const CHARGES_MAX: u32 = 50;

/// The payment aggregate.
#[derive(Debug)]
pub struct PaymentDecider;

impl Decider for PaymentDecider {
    type Id = PaymentId;
    type State = Payment;
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Refusal = PaymentRefusal;
    type Summary = PaymentSummary;

    fn evolve(state: &mut Payment, event: &PaymentEvent) {
        state::evolve(state, event);
    }

    fn decide(state: &Payment, command: PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        decide::decide(state, command)
    }

    fn summary(state: &Payment) -> PaymentSummary {
        state.summary()
    }

    fn command_name(command: &PaymentCommand) -> &'static str {
        command.name()
    }

    fn deduplicated_by_command_id(_command_name: &str) -> bool {
        true
    }

    const REMEMBERED_COMMANDS_MAX: usize = usize::MAX;
}

#[cfg(test)]
mod tests;

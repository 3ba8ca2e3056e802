//! The payment of one order: requested, authorized, captured in parts, refunded in parts.
//!
//! Money comes in two ways. An operator records what was authorized and captured elsewhere, or a provider
//! takes it by charges. For a charge, an event first records the request, then the provider is called, then
//! an event records its answer. The call is repeated until the provider answers ([`Payment::provider_work`]
//! lists the calls to make), and the provider does each operation once. A second charge starts only after the
//! first ended without money.
//!
//! Stream `payment-{uuid}`. `captured <= authorized` and `refunded <= captured`; an operator authorizes at
//! most the requested amount. When its order ends, the payment is closed and refuses new authorisations and
//! captures. It still records every report of the provider, and the same decision requests the void or the
//! refund that gives the money back. A failed refund of a closed payment is requested again, so the payment
//! never keeps more than its order owes without a refund under way.
//!
//! A lost answer puts the payment into the state *outcome unknown*. An operator may then record what
//! happened, on a closed payment too.

mod charge;
mod command;
mod decide;
mod event;
mod refusal;
mod report;
mod state;

pub use charge::{Charge, ChargeEnding, ChargeState, ProviderReport, ProviderWork};
pub use command::PaymentCommand;
pub use event::{
    Operation, PaymentAuthorized, PaymentCaptureRequested, PaymentCaptured, PaymentChargePending,
    PaymentChargeRequested, PaymentClosed, PaymentEvent, PaymentEventKind, PaymentFailed,
    PaymentOutcomeUnknown, PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
    PaymentVoidRequested, PaymentVoided, RefundReason,
};
pub use refusal::PaymentRefusal;
pub use state::{Payment, PaymentState, PaymentStateSummary, Refund, RefundState};

pub use crate::new_charge::{CaptureMode, InvalidToken, NewCharge, TOKEN_CHARS_MAX};
use crate::{Decider, PaymentId, order};

/// The most charges of one payment: a customer may try this many cards.
pub const CHARGES_MAX: u32 = 50;

/// The most refunds that may be requested of one payment. More than its order can request by returns and by
/// hand, so this bound never refuses a reaction.
const REFUNDS_MAX: usize = 4 * order::PARTS_MAX;

/// The payment aggregate.
#[derive(Debug)]
pub struct PaymentDecider;

impl Decider for PaymentDecider {
    type Id = PaymentId;
    type State = Payment;
    type Command = PaymentCommand;
    type Event = PaymentEvent;
    type Refusal = PaymentRefusal;
    type Summary = PaymentStateSummary;

    fn evolve(state: &mut Payment, event: &PaymentEvent) {
        state::evolve(state, event);
    }

    fn decide(state: &Payment, command: PaymentCommand) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
        decide::decide(state, command)
    }

    fn summary(state: &Payment) -> PaymentStateSummary {
        state.summary()
    }

    fn command_name(command: &PaymentCommand) -> &'static str {
        command.name()
    }

    fn deduplicated_by_command_id(_command_name: &str) -> bool {
        true
    }

    fn heap_bytes(state: &Payment) -> usize {
        state.heap_bytes()
    }
}

#[cfg(test)]
mod tests;

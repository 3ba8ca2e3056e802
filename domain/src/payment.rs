//! The payment of one order: requested, authorized, captured in parts, refunded in parts.
//!
//! Money comes in two ways. An operator records what was authorized and captured elsewhere, or a provider
//! takes it by charges. For a charge, an event first records the request, then the provider is called, then
//! an event records its answer. The call is repeated until the provider answers ([`Payment::provider_work`]
//! lists the calls to make), and the provider does each operation once. A second charge starts only after the
//! first ended without money.
//!
//! Stream `payment-{uuid}`. `captured <= authorized`; an operator authorizes at most the requested amount. What
//! the provider reports is always recorded, also refunds and disputes that began there. When its order ends, the
//! payment is closed and refuses new authorisations and
//! captures. It still records every report of the provider, and the same decision requests the void or the
//! refund that gives the money back. A failed refund of a closed payment is requested again, up to a limit; then an
//! operator decides. A refund goes to the charges and the money recorded by hand that hold its amount.
//!
//! A lost answer puts the payment into the state *outcome unknown*. An operator may then record what
//! happened, on a closed payment too.

mod charge;
mod command;
mod credit;
mod decide;
mod dispute;
mod event;
mod failure;
mod refund;
mod refusal;
mod report;
mod sources;
mod state;
mod terms;

pub use charge::{Charge, ChargeEnding, ChargeState, ProviderReport, ProviderWork};
pub use command::PaymentCommand;
pub use dispute::{Dispute, DisputeReport, DisputeState};
pub use event::{
    Operation, PaymentAdjusted, PaymentAuthorized, PaymentCaptureRequested, PaymentCaptured,
    PaymentChargePending, PaymentChargeRequested, PaymentClosed, PaymentDisputeLost, PaymentDisputeWon,
    PaymentDisputed, PaymentEvent, PaymentEventKind, PaymentFailed, PaymentOutcomeUnknown,
    PaymentRefundFailed, PaymentRefundFound, PaymentRefundOutcomeUnknown, PaymentRefundPending,
    PaymentRefundRequested, PaymentRefunded, PaymentRequested, PaymentVoidRequested, PaymentVoided,
    RefundReason, RefundSource,
};
pub use failure::PaymentFailure;
pub use refund::{Refund, RefundOutcome, RefundReport, RefundState};
pub use refusal::PaymentRefusal;
pub use sources::PaymentKind;
pub use state::{Payment, PaymentState, PaymentStateSummary};

pub use crate::new_charge::{CaptureMode, InvalidToken, NewCharge, TOKEN_CHARS_MAX};
pub use crate::payment_terms::PaymentTerms;
use crate::{Decider, PaymentId};

/// The most charges of one payment: a customer may try this many cards.
pub const CHARGES_MAX: u32 = 50;

/// Automatic refunds of one source that may fail. Then an operator decides: see
/// [`PaymentCommand::RetryRefund`]. The pauses between the attempts grow, so this takes about an hour.
const CLOSING_ATTEMPTS_MAX: usize = 20;

/// The payment aggregate.
#[derive(Debug)]
pub struct PaymentDecider;

impl Decider for PaymentDecider {
    const NAME: &'static str = "payment";

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

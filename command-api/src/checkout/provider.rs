//! Sends the open work of a payment to the payment provider, and records the answers.
//!
//! The open work follows from the payment's events alone. So any task may call this, at any time and after
//! any crash: each call sends all open work. A lost answer is recorded as an unknown outcome and looked up
//! later; it never counts as a failure.

mod calls;
mod payment;

use std::sync::Arc;

use domain::{
    CommandContext, PaymentId,
    checkout::{Reaction, react_to_payment},
    payment::{PaymentCommand, ProviderWork},
};
use serde_json::Value;
use uuid::Uuid;

use self::{calls::Calls, payment::PaymentWithEvents};
use super::{Checkout, LOCK_WAIT_MAX};
use crate::executor::{ExecuteError, Outcome};

/// Payments of one process with a request to the provider under way.
pub const PROVIDER_CALLS_MAX: usize = 64;
/// Rounds of requests for one payment in one call. An answer may open further work.
const ROUNDS_MAX: usize = 8;

/// The state of a payment's open work after a call.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ProviderStatus {
    /// True if work is still open, so the caller must ask again later.
    pub is_open: bool,
    /// The step that the customer must take before the charge continues.
    pub next_action: Option<Value>,
}

/// Why the provider is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trigger {
    /// The payment has just recorded a request.
    NewRequest,
    /// A timer found open work. Only then is a refund that failed requested again.
    Retry,
}

impl Checkout {
    /// Asks the provider for all open work of this payment. Does nothing without a provider.
    pub async fn ask_provider(
        &self,
        id: PaymentId,
        trigger: Trigger,
    ) -> Result<ProviderStatus, ExecuteError> {
        let Some(provider) = self.provider().cloned() else { return Ok(ProviderStatus::default()) };
        let _guard = self.payment_locks.lock(id, LOCK_WAIT_MAX).await?;
        let mut next_action = None;
        for _ in 0..ROUNDS_MAX {
            let payment = PaymentWithEvents::read(&*self.store().log(), id).await?;
            let work = payment.state.provider_work();
            if work.is_empty() {
                self.react_to_last(&payment).await?;
                return Ok(ProviderStatus { is_open: false, next_action: None });
            }
            let calls = Calls { provider: &*provider, payment: &payment, clock: &self.clock };
            let mut has_changed = false;
            for item in work {
                let waits = trigger == Trigger::NewRequest && payment.repeats_a_failed_refund(item);
                if waits || !payment.is_known_to(&*provider, item) {
                    continue;
                }
                let Some(answer) = calls.ask(item).await else { continue };
                next_action = answer.next_action.clone().or(next_action);
                // A closed payment requests a failed refund again. The next round must not send it at once.
                let may_open_work = !matches!(answer.command, PaymentCommand::RecordRefundFailed { .. });
                has_changed |= self.record(&payment, item, answer.command).await? && may_open_work;
            }
            if !has_changed {
                break;
            }
        }
        Ok(ProviderStatus { is_open: true, next_action })
    }

    /// Takes one of [`PROVIDER_CALLS_MAX`] places for [`Checkout::ask_provider`]. `None` if all are taken.
    pub fn try_ask_provider(
        &self,
        id: PaymentId,
        trigger: Trigger,
    ) -> Option<impl Future<Output = Result<ProviderStatus, ExecuteError>> + Send + 'static> {
        let place = Arc::clone(&self.provider_places).try_acquire_owned().ok()?;
        let checkout = self.clone();
        Some(async move {
            let status = checkout.ask_provider(id, trigger).await;
            drop(place);
            status
        })
    }

    /// Runs the last reaction of a payment again: the handler that recorded the event, for example of a
    /// webhook, may not have run it yet.
    async fn react_to_last(&self, payment: &PaymentWithEvents) -> Result<(), ExecuteError> {
        let last = payment
            .events
            .iter()
            .rev()
            .find(|(_, event)| !matches!(react_to_payment(event, &payment.state), Reaction::None));
        let Some((recorded, event)) = last else { return Ok(()) };
        let correlation_id =
            recorded.decode_metadata().map_or(Uuid::nil(), |metadata| metadata.correlation_id);
        self.react_to_payment(payment.id, event, recorded.id, correlation_id).await
    }

    /// Records an answer of the provider; true if it changed the payment.
    async fn record(
        &self,
        payment: &PaymentWithEvents,
        work: ProviderWork,
        command: PaymentCommand,
    ) -> Result<bool, ExecuteError> {
        let Some(cause) = payment.cause(work) else { return Ok(false) };
        let correlation_id = cause.decode_metadata().map_or(Uuid::nil(), |metadata| metadata.correlation_id);
        let (stream, revision) = (payment.id.into(), payment.events.last().map(|(last, _)| last.revision));
        let context = CommandContext::answer(cause.id, correlation_id, &stream, command.name(), revision);
        let executed = self.payments.execute_reaction(&payment.id, command, &context).await?;
        match executed.outcome {
            Outcome::Recorded => {
                if let Some(last) = executed.revision {
                    self.react_to_command(payment.id, &context, last).await?;
                }
                Ok(true)
            }
            Outcome::Refused(refusal) => {
                tracing::warn!(payment.id = %payment.id, %refusal,
                    "The payment refused an answer of the provider; it is not recorded");
                Ok(false)
            }
            Outcome::Unchanged
            | Outcome::Duplicate { .. }
            | Outcome::KeyReused
            | Outcome::PreconditionFailed => Ok(false),
        }
    }
}

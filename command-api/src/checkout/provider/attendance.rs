//! One task that attends one payment: it sends the open work and records the answers, until nothing changes.

use std::collections::HashSet;

use domain::{
    CommandContext, PaymentId, Revision,
    checkout::{Reaction, react_to_payment},
    payment::{PaymentCommand, ProviderWork, RefundOutcome},
};
use infra::traces;
use serde_json::Value;
use uuid::Uuid;

use super::{
    AttendedProvider, ProviderStatus, Trigger,
    calls::Calls,
    desk::Seat,
    payment::{PaymentWithEvents, charge_of},
};
use crate::{
    checkout::Checkout,
    executor::{ExecuteError, Outcome},
};

/// Rounds of requests for one payment. An answer may open further work.
const ROUNDS_MAX: usize = 8;

pub(super) struct Attendance {
    checkout: Checkout,
    attended: AttendedProvider,
    id: PaymentId,
    trigger: Trigger,
    /// The revision of the payment whose open work was sent last.
    asked_at: Option<Revision>,
    /// Charges whose state the provider has reported to this task. A look-up would report it again.
    reported: HashSet<u32>,
    /// True if the last change of the payment was recorded here, so its reaction has run.
    has_reacted: bool,
    next_action: Option<Value>,
}

/// What the answers of one round did.
enum Progress {
    /// No work is open.
    Settled,
    Changed,
    Unchanged,
}

/// What became of an answer of the provider.
enum Recording {
    Recorded {
        /// The payment still has open work.
        asks_provider: bool,
    },
    /// The payment has it already, for example by a webhook of the provider.
    Known,
    NotRecorded,
}

/// True if the command records that a refund is not paid now.
fn is_unpaid_refund(command: &PaymentCommand) -> bool {
    match command {
        PaymentCommand::ReportRefund(report) => report.outcome != RefundOutcome::Refunded,
        command => matches!(command, PaymentCommand::MarkRefundOutcomeUnknown { .. }),
    }
}

impl Attendance {
    pub fn new(checkout: Checkout, attended: AttendedProvider, id: PaymentId, trigger: Trigger) -> Self {
        let (reported, next_action) = (HashSet::new(), None);
        Self { checkout, attended, id, trigger, asked_at: None, reported, has_reacted: false, next_action }
    }

    /// Runs until no request has joined since the payment was read last.
    pub async fn run(mut self, mut seat: Seat) {
        loop {
            let outcome = self.send_open_work().await;
            match seat.leave(outcome) {
                None => return,
                Some(joined) => {
                    seat = joined;
                    self.trigger = Trigger::NewRequest;
                }
            }
        }
    }

    async fn send_open_work(&mut self) -> Result<ProviderStatus, ExecuteError> {
        let settled = ProviderStatus { is_open: false, next_action: None };
        for _ in 0..ROUNDS_MAX {
            let payment = PaymentWithEvents::read(&*self.checkout.store().log(), self.id).await?;
            let work = payment.state.provider_work();
            if work.is_empty() {
                if !self.has_reacted {
                    self.react_to_last(&payment).await?;
                }
                return Ok(settled);
            }
            // The same work was sent already: only a timer repeats it.
            if payment.revision().is_some() && payment.revision() == self.asked_at {
                break;
            }
            self.asked_at = payment.revision();
            match self.send(&payment, work).await? {
                Progress::Settled => return Ok(settled),
                Progress::Changed => {}
                Progress::Unchanged => break,
            }
        }
        Ok(ProviderStatus { is_open: true, next_action: self.next_action.clone() })
    }

    async fn send(
        &mut self,
        payment: &PaymentWithEvents,
        work: Vec<ProviderWork>,
    ) -> Result<Progress, ExecuteError> {
        let AttendedProvider { provider, gate, .. } = &self.attended;
        let calls = Calls { provider: &**provider, gate, payment, clock: &self.checkout.clock };
        let mut progress = Progress::Unchanged;
        for item in work {
            let waits = self.trigger == Trigger::NewRequest && payment.repeats_a_failed_refund(item);
            let is_reported = matches!(item, ProviderWork::LookUp(charge) if self.reported.contains(&charge));
            if waits || is_reported || !payment.is_known_to(&**provider, item) {
                continue;
            }
            // The task serves every request of the payment, so each piece of work has the trace of its own cause.
            let trace = payment.cause(item).and_then(traces::of_event);
            let Some(answer) = traces::within(trace, calls.ask(item)).await else { continue };
            self.next_action = answer.next_action.clone().or(self.next_action.take());
            if matches!(answer.command, PaymentCommand::Report { .. }) {
                self.reported.insert(charge_of(item));
            }
            // A closed payment requests a failed refund again. The next round must not send it at once, nor repeat
            // a refund that is pending or whose answer was lost.
            let may_open_work = !is_unpaid_refund(&answer.command);
            let recording = traces::within(trace, self.record(payment, item, answer.command));
            match recording.await? {
                Recording::Recorded { asks_provider } => {
                    self.has_reacted = true;
                    progress = match (asks_provider, may_open_work) {
                        (false, _) => Progress::Settled,
                        (true, true) => Progress::Changed,
                        (true, false) => progress,
                    };
                }
                Recording::Known => {
                    self.has_reacted = false;
                    progress = Progress::Changed;
                }
                Recording::NotRecorded => {}
            }
        }
        Ok(progress)
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
        let reacting = self.checkout.react_to_payment(payment.id, event, recorded.id, correlation_id);
        traces::within(traces::of_event(recorded), reacting).await
    }

    /// Records an answer of the provider.
    async fn record(
        &self,
        payment: &PaymentWithEvents,
        work: ProviderWork,
        command: PaymentCommand,
    ) -> Result<Recording, ExecuteError> {
        let Some(cause) = payment.cause(work) else { return Ok(Recording::NotRecorded) };
        let correlation_id = cause.decode_metadata().map_or(Uuid::nil(), |metadata| metadata.correlation_id);
        let (stream, revision) = (payment.id.into(), payment.revision());
        let context = CommandContext::answer(cause.id, correlation_id, &stream, command.name(), revision);
        let is_failed_refund = matches!(&command, PaymentCommand::ReportRefund(report)
            if matches!(report.outcome, RefundOutcome::Failed { .. }));
        let payments = &self.checkout.payments;
        let executed = payments.execute_reaction(&payment.id, command, &context).await?;
        match executed.outcome {
            Outcome::Recorded => {
                let summary = &executed.summary;
                if is_failed_refund && summary.closed && !summary.asks_provider {
                    tracing::error!(payment.id = %payment.id,
                        "A refund of an ended order failed and is not repeated; an operator must request it again");
                }
                if let Some(last) = executed.revision {
                    self.checkout.react_to_command(payment.id, &context, last, true).await?;
                }
                Ok(Recording::Recorded { asks_provider: executed.summary.asks_provider })
            }
            Outcome::Refused(refusal) => {
                tracing::warn!(payment.id = %payment.id, %refusal,
                    "The payment refused an answer of the provider; it is not recorded");
                Ok(Recording::NotRecorded)
            }
            Outcome::Unchanged | Outcome::Duplicate { .. } => Ok(Recording::Known),
            Outcome::KeyReused | Outcome::PreconditionFailed => Ok(Recording::NotRecorded),
        }
    }
}

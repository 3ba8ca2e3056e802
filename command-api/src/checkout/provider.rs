//! Asks the payment provider for what a payment wants of it, and records what it says.
//!
//! What is wanted follows from the payment alone, so it does not matter who finds out, how often, or after which crash:
//! whoever attends to a payment asks for everything that is open. A lost answer is recorded as such, and asked after
//! later; it is never taken for a failure.

use std::{sync::Arc, time::Duration};

use domain::{
    CommandContext, Event, PaymentId, RecordedEvent, Revision, StreamName,
    checkout::{Reaction, react_to_payment},
    decider::Decider,
    payment::{
        Charge, ChargeEnding, Operation, Payment, PaymentCommand, PaymentDecider, PaymentEvent,
        ProviderReport, ProviderWork, Refund, RefundReason, RefundState,
    },
};
use infra::payment_provider::{
    ChargeAnswer, ChargeRequest, PaymentProvider, ProviderError, RefundAnswer, RefundRequest,
};
use serde_json::Value;
use tokio::time::timeout;
use uuid::Uuid;

use super::Checkout;
use crate::executor::{ExecuteError, Mode, Outcome};

/// Payments that the provider is asked for at once, by one process.
pub const PROVIDER_CALLS_MAX: usize = 64;
/// A provider that answers no sooner is taken for one whose answer was lost.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// A charge is first asked for at once. One that is older may have been asked for before, by somebody who could not
/// record the answer: it is looked up first.
const FRESH: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);
/// Questions asked one after another about one payment, since an answer may lead to the next one.
const ROUNDS_MAX: usize = 8;
const PAGE_EVENTS: usize = 1_000;

/// How a payment stands with the provider after it was attended to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Attention {
    /// Something is still open: it is to be asked for again later.
    pub is_open: bool,
    /// What the customer has to do before it goes on.
    pub next_action: Option<Value>,
}

/// Why a payment is attended to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// It has just asked for something.
    Now,
    /// It has been waiting. A refund that the provider turned down is only asked for again on this occasion.
    Again,
}

/// A payment with the events that ask for something.
struct Case {
    payment: Payment,
    events: Vec<(RecordedEvent, PaymentEvent)>,
    id: PaymentId,
}

/// What an answer adds to the payment.
struct Answer {
    command: PaymentCommand,
    next_action: Option<Value>,
}

impl Checkout {
    /// Asks the provider for everything that this payment wants of it. Nothing where there is no provider.
    pub async fn attend_to_payment(
        &self,
        id: PaymentId,
        occasion: Occasion,
    ) -> Result<Attention, ExecuteError> {
        let Some(provider) = self.provider().cloned() else { return Ok(Attention::default()) };
        let _guard = self.payment_locks.lock(id).await;
        let mut next_action = None;
        for _ in 0..ROUNDS_MAX {
            let case = self.case(id).await?;
            let work = case.payment.provider_work();
            if work.is_empty() {
                self.react_to_last(&case).await?;
                return Ok(Attention { is_open: false, next_action: None });
            }
            let mut has_changed = false;
            for item in work {
                let waits = occasion == Occasion::Now && case.repeats_a_failed_refund(item);
                if waits || !case.is_known_to(&*provider, item) {
                    continue;
                }
                let Some(answer) = self.ask(&*provider, &case, item).await else { continue };
                next_action = answer.next_action.clone().or(next_action);
                // What a closed payment asks for when a refund fails is that refund again: not at once.
                let may_lead_on = !matches!(answer.command, PaymentCommand::RecordRefundFailed { .. });
                has_changed |= self.record(&case, item, answer.command).await? && may_lead_on;
            }
            if !has_changed {
                break;
            }
        }
        Ok(Attention { is_open: true, next_action })
    }

    /// Whoever recorded the last news, such as a notice of the provider, may not have told the order yet.
    async fn react_to_last(&self, case: &Case) -> Result<(), ExecuteError> {
        let last = case
            .events
            .iter()
            .rev()
            .find(|(_, event)| !matches!(react_to_payment(event, &case.payment), Reaction::None));
        let Some((recorded, event)) = last else { return Ok(()) };
        let correlation_id =
            recorded.decode_metadata().map_or(Uuid::nil(), |metadata| metadata.correlation_id);
        self.react_to_payment(case.id, event, recorded.id, correlation_id).await
    }

    /// [`Checkout::attend_to_payment`] in one of the places there are for that; none where all are taken.
    pub fn try_attend(
        &self,
        id: PaymentId,
        occasion: Occasion,
    ) -> Option<impl Future<Output = Result<Attention, ExecuteError>> + Send + 'static> {
        let place = Arc::clone(&self.provider_places).try_acquire_owned().ok()?;
        let checkout = self.clone();
        Some(async move {
            let attention = checkout.attend_to_payment(id, occasion).await;
            drop(place);
            attention
        })
    }

    async fn case(&self, id: PaymentId) -> Result<Case, ExecuteError> {
        let stream: StreamName = id.into();
        let mut events = Vec::new();
        loop {
            let page = self.store().read_stream(&stream, events.len() as Revision, PAGE_EVENTS).await;
            let page = page.map_err(|error| ExecuteError::Unavailable(error.to_string().into()))?;
            let is_last = page.len() < PAGE_EVENTS;
            for recorded in page {
                match recorded.decode() {
                    Ok(Event::Payment(event)) => events.push((recorded, event)),
                    Ok(Event::Stock(_) | Event::Order(_)) => {}
                    Err(error) => return Err(ExecuteError::Unreadable(error.to_string().into())),
                }
            }
            if is_last {
                break;
            }
        }
        let payment = PaymentDecider::fold(events.iter().map(|(_, event)| event));
        Ok(Case { payment, events, id })
    }

    /// None: there is no answer to record; it is asked again later.
    async fn ask(&self, provider: &dyn PaymentProvider, case: &Case, work: ProviderWork) -> Option<Answer> {
        let request = case.charge_request(work)?;
        let asked = match work {
            ProviderWork::Charge(_) => {
                let age = self.clock.now().duration_since(request.requested_at);
                let is_fresh = age.abs() < FRESH;
                if is_fresh {
                    self.charge(provider, &request).await
                } else {
                    self.look_up(provider, case, &request).await
                }
            }
            ProviderWork::LookUp(_) => self.look_up(provider, case, &request).await,
            ProviderWork::Capture { amount, total, .. } => {
                let captured = within_time(provider.capture(&request, amount, total)).await;
                self.report_or_look(provider, case, &request, captured, Operation::Capture).await
            }
            ProviderWork::Void(_) => self.void(provider, case, &request).await,
            ProviderWork::Refund { refund_id, amount, .. } => {
                let requested_at = case.cause(work)?.recorded_at;
                let refund = RefundRequest { charge: request, refund_id, amount, requested_at };
                return match within_time(provider.refund(&refund)).await {
                    Ok(RefundAnswer::Pending) => None,
                    Ok(RefundAnswer::Refunded { reference }) => Some(
                        PaymentCommand::RecordRefunded { refund_id, reference: short(&reference) }.into(),
                    ),
                    Ok(RefundAnswer::Failed { reason }) | Err(ProviderError::Refused(reason)) => {
                        Some(PaymentCommand::RecordRefundFailed { refund_id, reason: short(&reason) }.into())
                    }
                    Err(error) => {
                        report(case.id, work, &error);
                        None
                    }
                };
            }
        };
        match asked {
            Ok(answer) => Some(answer),
            Err(error) => {
                report(case.id, work, &error);
                None
            }
        }
    }

    async fn charge(
        &self,
        provider: &dyn PaymentProvider,
        request: &ChargeRequest,
    ) -> Result<Answer, ProviderError> {
        match within_time(provider.charge(request)).await {
            Ok(answer) => Ok(answer.into()),
            Err(ProviderError::OutcomeUnknown(why)) => {
                tracing::warn!(payment.id = %request.payment_id, why, "the answer to a charge was lost; it is looked up later");
                Ok(PaymentCommand::MarkOutcomeUnknown { operation: Operation::Authorize }.into())
            }
            Err(ProviderError::Refused(reason)) => Ok(refused(&request.charge, &reason)),
            Err(error) => Err(error),
        }
    }

    async fn void(
        &self,
        provider: &dyn PaymentProvider,
        case: &Case,
        request: &ChargeRequest,
    ) -> Result<Answer, ProviderError> {
        let voided = within_time(provider.void(request)).await;
        self.report_or_look(provider, case, request, voided, Operation::Void).await
    }

    /// A report as it came. A refusal is explained by how the charge stands.
    async fn report_or_look(
        &self,
        provider: &dyn PaymentProvider,
        case: &Case,
        request: &ChargeRequest,
        reported: Result<ProviderReport, ProviderError>,
        operation: Operation,
    ) -> Result<Answer, ProviderError> {
        match reported {
            Ok(report) => Ok(PaymentCommand::Report { report, is_answer: true }.into()),
            Err(ProviderError::OutcomeUnknown(why)) => {
                tracing::warn!(payment.id = %case.id, why, ?operation, "an answer of the provider was lost; it is asked later");
                Ok(PaymentCommand::MarkOutcomeUnknown { operation }.into())
            }
            Err(ProviderError::Refused(why)) => {
                tracing::warn!(payment.id = %case.id, why, ?operation, "the provider refuses");
                match within_time(provider.look_up(request)).await? {
                    Some(answer) => Ok(answer.into()),
                    None => Err(ProviderError::Refused(why)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// What the provider has of this charge; where it has nothing, the request never arrived.
    async fn look_up(
        &self,
        provider: &dyn PaymentProvider,
        case: &Case,
        request: &ChargeRequest,
    ) -> Result<Answer, ProviderError> {
        match within_time(provider.look_up(request)).await? {
            Some(answer) => Ok(answer.into()),
            None if case.payment.void_requested() || case.payment.is_closed() => {
                let voided = within_time(provider.void(request)).await?;
                Ok(PaymentCommand::Report { report: voided, is_answer: true }.into())
            }
            None => self.charge(provider, request).await,
        }
    }

    /// True if it was news.
    async fn record(
        &self,
        case: &Case,
        work: ProviderWork,
        command: PaymentCommand,
    ) -> Result<bool, ExecuteError> {
        let Some(cause) = case.cause(work) else { return Ok(false) };
        let correlation_id = cause.decode_metadata().map_or(Uuid::nil(), |metadata| metadata.correlation_id);
        let (stream, revision) = (case.id.into(), case.events.last().map(|(last, _)| last.revision));
        let context = CommandContext::answer(cause.id, correlation_id, &stream, command.name(), revision);
        let executed = self.payments.execute(&case.id, command, &context, Mode::REACTION).await?;
        match executed.outcome {
            Outcome::Recorded => {
                if let Some(last) = executed.revision {
                    self.react_to_command(case.id, &context, last).await?;
                }
                Ok(true)
            }
            Outcome::Refused(refusal) => {
                tracing::warn!(payment.id = %case.id, %refusal, "what the provider answered was not recorded");
                Ok(false)
            }
            Outcome::Unchanged
            | Outcome::Duplicate { .. }
            | Outcome::KeyReused
            | Outcome::PreconditionFailed => Ok(false),
        }
    }
}

impl Case {
    /// The latest event that asks for this.
    fn cause(&self, work: ProviderWork) -> Option<&RecordedEvent> {
        let asks = |event: &PaymentEvent| match (work, event) {
            (
                ProviderWork::Charge(number) | ProviderWork::LookUp(number),
                PaymentEvent::ChargeRequested(asked),
            ) => asked.charge == number,
            (ProviderWork::Capture { .. }, PaymentEvent::CaptureRequested(_))
            | (ProviderWork::Void(_), PaymentEvent::VoidRequested(_)) => true,
            (ProviderWork::Refund { refund_id, .. }, PaymentEvent::RefundRequested(asked)) => {
                asked.refund_id == refund_id
            }
            _ => false,
        };
        let asking = self.events.iter().rev().find(|(_, event)| asks(event));
        // A charge that only the provider knew of was asked for by nobody here.
        asking.or(self.events.last()).map(|(recorded, _)| recorded)
    }

    fn charge_request(&self, work: ProviderWork) -> Option<ChargeRequest> {
        let number = charge_of(work);
        let charge = self.payment.charges().iter().find(|charge| charge.number == number)?.clone();
        Some(ChargeRequest {
            payment_id: self.id,
            order_id: self.payment.order_id()?,
            currency: self.payment.currency()?,
            charge,
            requested_at: self.cause(ProviderWork::Charge(number))?.recorded_at,
        })
    }

    fn repeats_a_failed_refund(&self, work: ProviderWork) -> bool {
        let is_for_closing = |refund: &&Refund| refund.reason == RefundReason::OrderClosed;
        let mut of_closing = self.payment.refunds().iter().filter(is_for_closing);
        let ProviderWork::Refund { refund_id, .. } = work else { return false };
        of_closing.clone().any(|refund| refund.refund_id == refund_id)
            && of_closing.any(|refund| refund.state == RefundState::Failed)
    }

    /// Another provider's charges are not this one's to settle.
    fn is_known_to(&self, provider: &dyn PaymentProvider, work: ProviderWork) -> bool {
        let number = charge_of(work);
        let charge = self.payment.charges().iter().find(|charge| charge.number == number);
        let is_its_own =
            charge.is_some_and(|charge| charge.provider.is_empty() || charge.provider == provider.name());
        if !is_its_own {
            tracing::error!(payment.id = %self.id, charge = number, provider = provider.name(),
                "a charge of another payment provider is open; set ORDERLY_PAYMENT_PROVIDER to that one");
        }
        is_its_own
    }
}

fn charge_of(work: ProviderWork) -> u32 {
    match work {
        ProviderWork::Charge(charge)
        | ProviderWork::LookUp(charge)
        | ProviderWork::Void(charge)
        | ProviderWork::Capture { charge, .. }
        | ProviderWork::Refund { charge, .. } => charge,
    }
}

impl From<PaymentCommand> for Answer {
    fn from(command: PaymentCommand) -> Self {
        Self { command, next_action: None }
    }
}

impl From<ChargeAnswer> for Answer {
    fn from(ChargeAnswer { report, next_action }: ChargeAnswer) -> Self {
        Self { command: PaymentCommand::Report { report, is_answer: true }, next_action }
    }
}

/// The customer may try with something else.
fn refused(charge: &Charge, reason: &str) -> Answer {
    let ending = Some(ChargeEnding::Failed { reason: short(reason), retryable: true });
    let reference = charge.reference.clone().unwrap_or_default();
    let (authorized, captured) = (domain::Amount::ZERO, domain::Amount::ZERO);
    let report = ProviderReport { charge: charge.number, reference, authorized, captured, ending };
    PaymentCommand::Report { report, is_answer: true }.into()
}

/// A text of the provider as it may be kept.
pub(crate) fn short(text: &str) -> Option<String> {
    let text: String =
        text.chars().filter(|char| !char.is_control()).take(domain::text::TEXT_CHARS_MAX).collect();
    (!text.is_empty()).then_some(text)
}

async fn within_time<T>(call: impl Future<Output = Result<T, ProviderError>>) -> Result<T, ProviderError> {
    let lost = || ProviderError::OutcomeUnknown(format!("none within {} s", CALL_TIMEOUT.as_secs()));
    timeout(CALL_TIMEOUT, call).await.unwrap_or_else(|_| Err(lost()))
}

fn report(payment: PaymentId, work: ProviderWork, error: &ProviderError) {
    match error {
        ProviderError::Credentials(_) => {
            tracing::error!(payment.id = %payment, ?work, %error, "the payment provider could not be asked; it is asked again");
        }
        ProviderError::Unreachable(_) | ProviderError::OutcomeUnknown(_) | ProviderError::Refused(_) => {
            tracing::warn!(payment.id = %payment, ?work, %error, "the payment provider could not be asked; it is asked again");
        }
    }
}

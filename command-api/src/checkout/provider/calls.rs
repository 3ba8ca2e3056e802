//! The calls of the provider, and the commands that record its answers.

use domain::{
    Amount, RefundId,
    payment::{
        Charge, ChargeEnding, Operation, PaymentCommand, ProviderReport, ProviderWork, RefundOutcome,
        RefundReport,
    },
    text::truncated,
};
use infra::{
    clock::Clock,
    payment_provider::{
        ChargeAnswer, ChargeRequest, PaymentProvider, ProviderError, RefundAnswer, RefundRequest,
    },
};
use serde_json::Value;

use super::{gate::Gate, measured::CallKind, payment::PaymentWithEvents};

/// A charge that was requested longer ago is looked up before it is sent: an earlier call may have reached
/// the provider without its answer being recorded.
const FRESH: jiff::SignedDuration = jiff::SignedDuration::from_secs(60);

/// Calls the provider for one payment.
pub(super) struct Calls<'a> {
    pub provider: &'a dyn PaymentProvider,
    pub gate: &'a Gate,
    pub payment: &'a PaymentWithEvents,
    pub clock: &'a Clock,
}

/// An answer of the provider.
pub(super) struct Answer {
    /// Records the answer on the payment.
    pub command: PaymentCommand,
    pub next_action: Option<Value>,
}

impl Calls<'_> {
    /// Does one piece of work. None if there is no answer to record; a timer asks again later.
    pub async fn ask(&self, work: ProviderWork) -> Option<Answer> {
        let request = self.payment.charge_request(work)?;
        let answer = match work {
            ProviderWork::Charge(_) => {
                let age = self.clock.now().duration_since(request.requested_at);
                let is_fresh = age.abs() < FRESH;
                if is_fresh { self.charge(&request).await } else { self.look_up(&request).await }
            }
            ProviderWork::LookUp(_) => self.look_up(&request).await,
            ProviderWork::Capture { amount, total, .. } => {
                let captured =
                    self.call(CallKind::Capture, self.provider.capture(&request, amount, total)).await;
                self.report_or_look_up(&request, captured, Operation::Capture).await
            }
            ProviderWork::Void(_) => {
                let voided = self.call(CallKind::Void, self.provider.void(&request)).await;
                self.report_or_look_up(&request, voided, Operation::Void).await
            }
            ProviderWork::Refund { refund_id, amount, .. } => {
                let requested_at = self.payment.cause(work)?.recorded_at;
                let refund = RefundRequest { charge: request, refund_id, amount, requested_at };
                self.refund(&refund, refund_id).await
            }
        };
        match answer {
            Ok(answer) => Some(answer),
            Err(error) => {
                self.log_failure(work, &error);
                None
            }
        }
    }

    async fn charge(&self, request: &ChargeRequest) -> Result<Answer, ProviderError> {
        match self.call(CallKind::Charge, self.provider.charge(request)).await {
            Ok(answer) => Ok(answer.into()),
            Err(ProviderError::OutcomeUnknown(why)) => {
                tracing::warn!(payment.id = %request.payment_id, why,
                    "The answer to a charge was lost; the charge is looked up later");
                Ok(PaymentCommand::MarkOutcomeUnknown { operation: Operation::Authorize }.into())
            }
            Err(ProviderError::Refused(reason)) => Ok(refused(&request.charge, &reason)),
            Err(error) => Err(error),
        }
    }

    async fn refund(&self, refund: &RefundRequest, refund_id: RefundId) -> Result<Answer, ProviderError> {
        let (reference, outcome) = match self.call(CallKind::Refund, self.provider.refund(refund)).await {
            Ok(RefundAnswer::Pending) => (String::new(), RefundOutcome::Pending),
            Ok(RefundAnswer::Refunded { reference }) => (reference, RefundOutcome::Refunded),
            Ok(RefundAnswer::Failed { reason }) | Err(ProviderError::Refused(reason)) => {
                (String::new(), RefundOutcome::Failed { reason: Some(reason) })
            }
            Err(ProviderError::OutcomeUnknown(why)) => {
                tracing::warn!(payment.id = %self.payment.id, refund.id = %refund_id, why,
                    "The answer to a refund was lost; the refund is requested again later");
                return Ok(PaymentCommand::MarkRefundOutcomeUnknown { refund_id }.into());
            }
            Err(error) => return Err(error),
        };
        let (charge, amount) = (Some(refund.charge.charge.number), refund.amount);
        let report = RefundReport { refund_id, charge, amount, reference, outcome };
        Ok(PaymentCommand::ReportRefund(report).into())
    }

    /// Turns a report into an answer. After a refusal, looks up the charge and answers with its state.
    async fn report_or_look_up(
        &self,
        request: &ChargeRequest,
        reported: Result<ProviderReport, ProviderError>,
        operation: Operation,
    ) -> Result<Answer, ProviderError> {
        match reported {
            Ok(report) => Ok(PaymentCommand::Report { report, is_answer: true }.into()),
            Err(ProviderError::OutcomeUnknown(why)) => {
                tracing::warn!(payment.id = %self.payment.id, why, ?operation,
                    "An answer of the payment provider was lost; the charge is looked up later");
                Ok(PaymentCommand::MarkOutcomeUnknown { operation }.into())
            }
            Err(ProviderError::Refused(why)) => {
                tracing::warn!(payment.id = %self.payment.id, why, ?operation,
                    "The payment provider refused an operation; looking up the charge");
                match self.call(CallKind::LookUp, self.provider.look_up(request)).await? {
                    Some(answer) => Ok(answer.into()),
                    None => Err(ProviderError::Refused(why)),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the charge at the provider. If it is unknown there, the request never arrived: it is sent again,
    /// or voided if the payment is closed or its void is requested.
    async fn look_up(&self, request: &ChargeRequest) -> Result<Answer, ProviderError> {
        let payment = &self.payment.state;
        match self.call(CallKind::LookUp, self.provider.look_up(request)).await? {
            Some(answer) => Ok(answer.into()),
            None if payment.void_requested() || payment.is_closed() => {
                let report = self.call(CallKind::Void, self.provider.void(request)).await?;
                Ok(PaymentCommand::Report { report, is_answer: true }.into())
            }
            None => self.charge(request).await,
        }
    }

    async fn call<T>(
        &self,
        kind: CallKind,
        call: impl Future<Output = Result<T, ProviderError>>,
    ) -> Result<T, ProviderError> {
        self.gate.call(self.payment.id, kind, call).await
    }

    fn log_failure(&self, work: ProviderWork, error: &ProviderError) {
        let payment = self.payment.id;
        match error {
            // The gate has logged why it stopped the calls.
            _ if self.gate.is_stopped() => {
                tracing::debug!(payment.id = %payment, ?work, %error, "Not asked; asking later");
            }
            ProviderError::Credentials(_) => {
                tracing::error!(payment.id = %payment, ?work, %error,
                    "The payment provider rejects the credentials; asking again later");
            }
            ProviderError::Unreachable(_) | ProviderError::OutcomeUnknown(_) | ProviderError::Refused(_) => {
                tracing::warn!(payment.id = %payment, ?work, %error,
                    "A call of the payment provider failed; asking again later");
            }
        }
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

/// Records a refused charge. It is retryable: the customer may pay with another method.
fn refused(charge: &Charge, reason: &str) -> Answer {
    let ending = Some(ChargeEnding::Failed { reason: truncated(reason), retryable: true });
    let reference = charge.reference.clone().unwrap_or_default();
    let nothing = ProviderReport::of_amounts(charge.number, reference, Amount::ZERO, Amount::ZERO);
    let report = ProviderReport { ending, ..nothing };
    PaymentCommand::Report { report, is_answer: true }.into()
}

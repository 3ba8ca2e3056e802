//! Commands on payments.

mod look_up;

use std::{collections::BTreeMap, time::Duration};

use axum::extract::State;
use domain::{
    Amount, CommandContext, Currency, Decider, Event, EventId, OrderId, PaymentId, RecordedEvent, RefundId,
    Revision, StreamName, Timestamp,
    payment::{
        CaptureMode, NewCharge, PaymentCommand, PaymentDecider, PaymentFailure, PaymentState,
        PaymentStateSummary,
    },
};
use http::StatusCode;
use infra::http::{Code, Failure, Problem};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

pub(super) use self::look_up::*;
use super::{
    CommandApi,
    answer::Answer,
    command::{Command, CommandHeaders, command_problems},
    run::{Accepted, accepted, state_at},
};
use crate::{
    checkout::{ProviderStatus, RunOut},
    executor::ExecuteError,
    pages::Pages,
};

/// A charge by the payment provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChargeRequest {
    /// The provider's token for a card or another means of payment.
    #[schema(example = "ok", min_length = 1, max_length = 255)]
    method: String,
    /// `automatic`: authorized and captured in one step. `manual`: only authorized.
    #[schema(value_type = String, example = "automatic", pattern = "^(automatic|manual)$")]
    #[serde(default)]
    capture: CaptureMode,
}

impl ChargeRequest {
    pub fn new(method: String, capture: CaptureMode) -> Self {
        Self { method, capture }
    }

    pub fn into_charge(self, api: &CommandApi, member: &str) -> Result<NewCharge, Problem> {
        let none = || {
            let why = "this platform has no payment provider (ORDERLY_PAYMENT_PROVIDER=none)";
            Problem::invalid_request(member, why)
        };
        let provider = api.checkout.provider().ok_or_else(none)?.name().to_owned();
        Ok(NewCharge { provider, method: self.method, capture: self.capture })
    }
}

/// An amount, added to those authorized or captured before.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoneyRequest {
    /// Minor units: this authorisation or this capture alone. If omitted: all that is left. After a lost answer, an
    /// authorisation names all that the charge authorized.
    #[schema(value_type = Option<i64>)]
    #[serde(default)]
    amount: Option<Amount>,
    /// The provider's id.
    #[serde(default)]
    reference: Option<String>,
}

/// The failure of a payment.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FailRequest {
    #[serde(default)]
    reason: Option<String>,
    /// True: the customer may try again. False: the order is cancelled.
    #[serde(default)]
    retryable: bool,
}

/// The reason of an outcome.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonRequest {
    #[serde(default)]
    reason: Option<String>,
}

/// The provider's id of a refund.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceRequest {
    #[serde(default)]
    reference: Option<String>,
}

/// A payment right after a command. Amounts are cumulative, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaymentAnswer {
    #[schema(value_type = Uuid)]
    payment_id: PaymentId,
    #[schema(value_type = Option<Uuid>)]
    order_id: Option<OrderId>,
    #[schema(value_type = String, example = "captured")]
    status: PaymentState,
    #[schema(value_type = String, example = "GBP")]
    currency: Option<Currency>,
    #[schema(value_type = i64)]
    amount: Amount,
    #[schema(value_type = i64)]
    authorized: Amount,
    /// When the authorisation runs out, if the provider says so.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(skip_serializing_if = "Option::is_none")]
    authorized_until: Option<Timestamp>,
    #[schema(value_type = i64)]
    captured: Amount,
    #[schema(value_type = i64)]
    refunded: Amount,
    /// Taken by disputes that are open or lost.
    #[schema(value_type = i64)]
    disputed: Amount,
    /// Revision of the payment's stream right after this command.
    revision: Revision,
    /// Revisions by stream, of every stream that the command is known to have changed.
    revisions: BTreeMap<String, Revision>,
    /// Why the payment failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureAnswer>,
    /// The action that the customer must take before the charge can continue, in the provider's format.
    #[serde(skip_serializing_if = "Option::is_none")]
    next_action: Option<serde_json::Value>,
}

impl PaymentAnswer {
    fn new(payment_id: PaymentId, payment: &PaymentStateSummary, revision: Revision) -> Self {
        Self {
            payment_id,
            order_id: payment.order_id,
            status: payment.state,
            currency: payment.currency,
            amount: payment.amount,
            authorized: payment.authorized,
            authorized_until: payment.authorized_until,
            captured: payment.captured,
            refunded: payment.refunded,
            disputed: payment.disputed,
            revision,
            revisions: BTreeMap::from([(format!("payment-{payment_id}"), revision)]),
            failure: payment.failure.clone().map(|PaymentFailure { code, message }| FailureAnswer {
                code,
                message,
                retryable: payment.retryable,
            }),
            next_action: None,
        }
    }
}

/// Why a payment failed.
#[derive(Debug, Serialize, ToSchema)]
struct FailureAnswer {
    /// A word for programs: what the provider calls its reason, or `failed`.
    #[schema(example = "card_declined")]
    code: String,
    message: Option<String>,
    /// True: the customer may try again.
    retryable: bool,
}

/// A payment after the provider's answer, for an order that carried its charge. Waits at most `patience`.
pub(super) async fn payment_after_charge(
    api: &CommandApi,
    payment_id: PaymentId,
    patience: Duration,
) -> Result<PaymentAnswer, Problem> {
    let asking = api.checkout.ask_provider(payment_id);
    Ok(await_provider(api, payment_id, asking, patience).await?.0)
}

command_problems! {
    ChargeProblems = PaymentState PaymentClosed ChargeUnderWay TooManyParts Unavailable;
    AuthorizeProblems = PaymentState PaymentClosed PaymentOfProvider ChargeUnderWay AmountTooLarge;
    RetryProblems = RefundSettled;
    CaptureProblems = PaymentState PaymentClosed PaymentOfProvider ChargeUnderWay AmountTooLarge;
    FailProblems = PaymentState ChargeUnderWay;
    VoidProblems = PaymentState;
    RefundOutcomeProblems = RefundSettled RefundUnderWay;
}

/// Let the provider charge the customer
///
/// Answers with the payment after the provider has answered: `captured`, `authorized`, `failed` (retry with
/// another key and `method`, unless the failure is final), or `requested` with `next_action` if the customer
/// must act first. 202: the provider has not answered yet, or its answer was lost (`outcome_unknown`). The
/// platform then looks the outcome up and never charges twice. While a charge waits for the customer, any request
/// with the same `method` gets its `next_action` again, fetched from the provider. If an authorisation has run out, it is
/// looked up first, and a new charge asks for what it no longer holds. A charge for an order with the terms `on_shipment` only authorizes.
#[utoipa::path(post, path = "/v1/payments/{id}/charge", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = ChargeRequest,
    responses(
        (status = 200, description = "The provider has answered.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        ChargeProblems,
    ))]
pub(super) async fn charge(
    State(api): State<CommandApi>,
    Command { id, body, context }: Command<PaymentId, ChargeRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<ChargeProblems>> {
    let charge = body.into_charge(&api, "method")?;
    if api.checkout.settle_run_out(id).await? == RunOut::Unanswered {
        let why = "the authorisation has run out, and the payment provider cannot be asked about it now";
        return Err(Problem::new(Code::Unavailable).detail(why).into());
    }
    Ok(run_on_payment(&api, id, PaymentCommand::Charge(charge), &context).await?)
}

/// Record an authorisation
///
/// For money authorized outside the platform. It adds to what is authorized already. While the provider works on a
/// charge, only for a charge whose answer was lost.
#[utoipa::path(post, path = "/v1/payments/{id}/authorize", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Authorized.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        AuthorizeProblems,
    ))]
pub(super) async fn authorize(
    State(api): State<CommandApi>,
    Command { id, body, context }: Command<PaymentId, MoneyRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<AuthorizeProblems>> {
    let (amount, reference) = (body.amount, body.reference);
    Ok(run_on_payment(&api, id, PaymentCommand::Authorize { amount, reference }, &context).await?)
}

/// Capture all authorized money or a part
///
/// Asks the provider if it holds the charge; otherwise records a capture made by hand. After the answer the
/// order includes the capture and can be shipped. 202: the provider has not answered yet. Money that arrived after the
/// order ended is recorded with its `amount` and without an authorisation; the order shows it as overpaid until a
/// refund.
#[utoipa::path(post, path = "/v1/payments/{id}/capture", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Captured.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        CaptureProblems,
    ))]
pub(super) async fn capture(
    State(api): State<CommandApi>,
    Command { id, body, context }: Command<PaymentId, MoneyRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<CaptureProblems>> {
    let (amount, reference) = (body.amount, body.reference);
    Ok(run_on_payment(&api, id, PaymentCommand::Capture { amount, reference }, &context).await?)
}

/// Record that a payment failed
#[utoipa::path(post, path = "/v1/payments/{id}/fail", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = FailRequest,
    responses(
        (status = 200, description = "Failed. A final failure cancels the order.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        FailProblems,
    ))]
pub(super) async fn fail(
    State(api): State<CommandApi>,
    Command { id, body, context }: Command<PaymentId, FailRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<FailProblems>> {
    let (reason, retryable) = (body.reason, body.retryable);
    Ok(run_on_payment(&api, id, PaymentCommand::Fail { reason, retryable }, &context).await?)
}

/// Void an authorisation, or the rest of it
///
/// Asks the provider if it holds the charge; otherwise records a void made by hand.
#[utoipa::path(post, path = "/v1/payments/{id}/void", tag = "payments",
    params(("id" = Uuid, Path), CommandHeaders),
    request_body = ReasonRequest,
    responses(
        (status = 200, description = "Voided. If nothing was captured, a net order goes on, and any other is cancelled.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        VoidProblems,
    ))]
pub(super) async fn void(
    State(api): State<CommandApi>,
    Command { id, body, context }: Command<PaymentId, ReasonRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<VoidProblems>> {
    Ok(run_on_payment(&api, id, PaymentCommand::Void { reason: body.reason }, &context).await?)
}

/// Record that a refund was paid out
///
/// For money that no provider refunds. A refund of the provider is settled by hand only after a lost answer; a later
/// report of the provider is recorded all the same.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/succeed", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), CommandHeaders),
    request_body = ReferenceRequest,
    responses(
        (status = 200, description = "Refunded.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        RefundOutcomeProblems,
    ))]
pub(super) async fn refund_succeeded(
    State(api): State<CommandApi>,
    Command { id: (id, refund_id), body, context }: Command<(PaymentId, RefundId), ReferenceRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<RefundOutcomeProblems>> {
    let command = PaymentCommand::RecordRefunded { refund_id, reference: body.reference };
    Ok(run_on_payment(&api, id, command, &context).await?)
}

/// Record that a refund was refused
///
/// For money that no provider refunds, or after a lost answer of the provider.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/fail", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), CommandHeaders),
    request_body = ReasonRequest,
    responses(
        (status = 200, description = "Failed. The money is still captured and can be refunded again.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        RefundOutcomeProblems,
    ))]
pub(super) async fn refund_failed(
    State(api): State<CommandApi>,
    Command { id: (id, refund_id), body, context }: Command<(PaymentId, RefundId), ReasonRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<RefundOutcomeProblems>> {
    let command = PaymentCommand::RecordRefundFailed { refund_id, reason: body.reason };
    Ok(run_on_payment(&api, id, command, &context).await?)
}

/// How to request a failed refund again.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RetryRequest {
    /// True: an operator pays the money out another way, and records it. False: the provider refunds it.
    #[serde(default)]
    by_hand: bool,
}

/// Request an automatic refund again
///
/// A payment whose order has ended repeats a failed refund by itself, 20 times at most. This requests it once more.
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/retry", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), CommandHeaders),
    request_body = RetryRequest,
    responses(
        (status = 200, description = "Requested.", body = PaymentAnswer),
        (status = 202, description = "The provider has not answered yet.", body = PaymentAnswer),
        RetryProblems,
    ))]
pub(super) async fn retry_refund(
    State(api): State<CommandApi>,
    Command { id: (id, refund_id), body, context }: Command<(PaymentId, RefundId), RetryRequest>,
) -> Result<Answer<PaymentAnswer>, Failure<RetryProblems>> {
    let command = PaymentCommand::RetryRefund { refund_id, by_hand: body.by_hand };
    Ok(run_on_payment(&api, id, command, &context).await?)
}

/// Runs a command on a payment and the reaction of its order, and lets the provider do its part.
///
/// If the client disconnects before the end, the process manager does the rest.
async fn run_on_payment(
    api: &CommandApi,
    payment_id: PaymentId,
    command: PaymentCommand,
    context: &CommandContext,
) -> Result<Answer<PaymentAnswer>, Problem> {
    let checkout = &api.checkout;
    let executed = checkout.payments.execute(&payment_id, command, context).await?;
    let mut asks_provider = executed.summary.asks_provider && checkout.provider().is_some();
    let accepted = accepted(executed)?;
    let first_answer = match &accepted {
        Accepted::Recorded { .. } | Accepted::Unchanged { .. } => None,
        Accepted::Repeated { revision } => Some(state_when_answered(api, payment_id, *revision).await?),
    };
    // Later work of the payment, such as a refund, is not a part of the first answer.
    asks_provider &= first_answer.as_ref().is_none_or(|(then, _)| then.asks_provider);
    // Before any wait: if the client disconnects, the provider is still asked.
    let asking = if asks_provider { checkout.ask_provider(payment_id) } else { None };
    let replayed = first_answer.is_some();
    let (shown, at) = match accepted {
        Accepted::Recorded { summary, revision } => {
            checkout.react_to_command(payment_id, context, revision, asking.is_some()).await?;
            (summary, revision)
        }
        Accepted::Unchanged { summary, revision } => (summary, revision),
        Accepted::Repeated { revision } => {
            // A crash may have prevented the reaction to the first request.
            checkout.react_to_command(payment_id, context, revision, asking.is_some()).await?;
            match first_answer {
                Some(first_answer) => first_answer,
                None => state_when_answered(api, payment_id, revision).await?,
            }
        }
    };
    let mut body = PaymentAnswer::new(payment_id, &shown, at);
    let mut status = StatusCode::OK;
    if asks_provider {
        (body, status) = await_provider(api, payment_id, asking, api.options.provider_patience).await?;
    } else if let Some(order_id) = body.order_id
        && let Some(revision) = order_revision_caused(api, order_id, context).await?
    {
        body.revisions.insert(format!("order-{order_id}"), revision);
    }
    Ok(Answer { status, revision: Some(body.revision), location: None, replayed, body })
}

/// The payment as the first answer to the command at `revision` showed it: at once, or after the provider's
/// answer.
async fn state_when_answered(
    api: &CommandApi,
    payment_id: PaymentId,
    mut revision: Revision,
) -> Result<(PaymentStateSummary, Revision), Problem> {
    let stream: StreamName = payment_id.into();
    let mut state = state_at::<PaymentDecider>(api, &stream, revision).await?;
    while api.checkout.provider().is_some() && state.summary().asks_provider {
        let next = api.checkout.store().log().read_stream(&stream, revision + 1, 1).await?;
        let Some(Ok(Event::Payment(event))) = next.first().map(RecordedEvent::decode) else { break };
        PaymentDecider::evolve(&mut state, &event);
        revision += 1;
    }
    Ok((state.summary(), revision))
}

/// Waits for the answer of the provider, at most `patience`. The status is 202 if the provider still has
/// work to do.
async fn await_provider(
    api: &CommandApi,
    payment_id: PaymentId,
    asking: Option<impl Future<Output = Result<ProviderStatus, ExecuteError>>>,
    patience: Duration,
) -> Result<(PaymentAnswer, StatusCode), Problem> {
    let checkout = &api.checkout;
    let mut next_action = None;
    if let Some(asking) = asking
        && let Ok(status) = timeout(patience, asking).await
    {
        next_action = status?.next_action;
    }
    let read = |payment: &_, revision| (PaymentDecider::summary(payment), revision);
    let (summary, revision) = checkout.payments.read(&payment_id, read).await?;
    let mut answer = PaymentAnswer::new(payment_id, &summary, revision.unwrap_or_default());
    answer.next_action = next_action;
    if let Some(order_id) = summary.order_id {
        let revision = checkout.orders.read(&order_id, |_, revision| revision).await?;
        answer.revisions.extend(revision.map(|revision| (format!("order-{order_id}"), revision)));
    }
    let status = if summary.asks_provider { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((answer, status))
}

/// The revision of the order's event that this command's first event caused.
async fn order_revision_caused(
    api: &CommandApi,
    order_id: OrderId,
    context: &CommandContext,
) -> Result<Option<Revision>, Problem> {
    let cause = Some(EventId::of_command(context.id, 0));
    let is_caused =
        |event: &&RecordedEvent| event.decode_metadata().is_ok_and(|metadata| metadata.causation_id == cause);
    let (log, stream) = (api.checkout.store().log(), order_id.into());
    let mut pages = Pages::of(&*log, &stream, 0..=Revision::MAX);
    let mut last = None;
    while let Some(page) = pages.next().await? {
        last = page.iter().filter(is_caused).map(|event| event.revision).max().or(last);
    }
    Ok(last)
}

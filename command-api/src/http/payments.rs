//! Payments: charged through a provider, or recorded by hand.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    Amount, CommandContext, Currency, Decider, Event, EventId, OrderId, PaymentId, RecordedEvent, RefundId,
    Revision, StreamName,
    payment::{CaptureMode, NewCharge, PaymentCommand, PaymentDecider, PaymentState, PaymentStateSummary},
};
use http::{HeaderMap, StatusCode, header};
use infra::http::{Code, Problem, problem::ProblemBody};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;
use utoipa::ToSchema;

use super::{
    CommandApi,
    extract::{JsonBody, Segments, context, etag, id},
    stock::mark_replayed,
};
use crate::{
    checkout::Trigger,
    error::{failed_read, failure, payment_refused},
    executor::{Executed, Mode, Outcome},
};

/// How the provider is to get the money.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChargeRequest {
    /// The provider's token of a card or another means of payment.
    #[schema(example = "ok")]
    method: String,
    /// `automatic`: captured in the same step. `manual`: held until it is captured.
    #[schema(value_type = String, example = "automatic")]
    #[serde(default)]
    capture: CaptureMode,
}

impl ChargeRequest {
    /// For the provider that this platform has.
    pub fn into_charge(self, api: &CommandApi, member: &str) -> Result<NewCharge, Problem> {
        let none = || {
            let why = "this platform has no payment provider (ORDERLY_PAYMENT_PROVIDER=none)";
            Problem::new(Code::InvalidRequest).error(member, why)
        };
        let provider = api.checkout.provider().ok_or_else(none)?.name().to_owned();
        Ok(NewCharge { provider, method: self.method, capture: self.capture })
    }
}

/// Money that was authorized or captured.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MoneyRequest {
    /// Minor units. Left out: all that can be.
    #[schema(value_type = Option<i64>)]
    #[serde(default)]
    amount: Option<Amount>,
    /// The provider's own id.
    #[serde(default)]
    reference: Option<String>,
}

/// Why a payment failed.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FailRequest {
    #[serde(default)]
    reason: Option<String>,
    /// Whether the customer may try again. If not, the order is cancelled.
    #[serde(default)]
    retryable: bool,
}

/// Why something ended.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReasonRequest {
    #[serde(default)]
    reason: Option<String>,
}

/// The provider's own id of what succeeded.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReferenceRequest {
    #[serde(default)]
    reference: Option<String>,
}

/// A payment as it stands after a command; amounts are cumulative, in minor units.
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
    #[schema(value_type = i64)]
    captured: Amount,
    #[schema(value_type = i64)]
    refunded: Amount,
    /// Of the payment's stream, right after this command.
    revision: Revision,
    /// The revisions of all streams the command is known to have reached, by stream.
    revisions: BTreeMap<String, Revision>,
    /// What the customer has to do before the charge goes on, in the provider's own terms.
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
            captured: payment.captured,
            refunded: payment.refunded,
            revision,
            revisions: BTreeMap::from([(format!("payment-{payment_id}"), revision)]),
            next_action: None,
        }
    }
}

/// Have the provider charge the customer
///
/// Answers with how the payment stands once the provider has said so: `captured`, `authorized`, `failed` (with another
/// key and `method` it may be tried again, unless it failed for good), or `requested` with `next_action` where the
/// customer has to do something first. 202: the provider has not answered yet, or its answer was lost
/// (`outcome_unknown`); the platform finds out, and there is never a second charge.
#[utoipa::path(post, path = "/v1/payments/{id}/charge", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = ChargeRequest,
    responses(
        (status = 200, description = "The provider has answered", body = PaymentAnswer),
        (status = 202, description = "The provider's answer is still to come", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state, payment_closed, charge_under_way, too_many_parts", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request, idempotency_key_reused", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn charge(
    State(api): State<CommandApi>,
    Segments(payment): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ChargeRequest>,
) -> Result<Response, Problem> {
    let payment_id: PaymentId = id(&payment)?;
    let context = context(&headers, &format!("/v1/payments/{payment_id}/charge"), &body)?;
    let charge = body.into_charge(&api, "method")?;
    run(api, payment_id, PaymentCommand::Charge(charge), context).await
}

/// Record an authorisation
///
/// Of money that was got elsewhere; where the provider has a charge under way, only of one whose answer was lost.
#[utoipa::path(post, path = "/v1/payments/{id}/authorize", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Authorized", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state, payment_closed, charge_under_way, amount_too_large", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn authorize(
    State(api): State<CommandApi>,
    Segments(payment): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<MoneyRequest>,
) -> Result<Response, Problem> {
    let payment_id: PaymentId = id(&payment)?;
    let context = context(&headers, &format!("/v1/payments/{payment_id}/authorize"), &body)?;
    let (amount, reference) = (body.amount, body.reference);
    run(api, payment_id, PaymentCommand::Authorize { amount, reference }, context).await
}

/// Capture all that is authorized, or a part
///
/// The provider is asked for it where it has the charge; otherwise it is recorded as done by hand. When the answer comes,
/// the order knows of it: it can be shipped. 202: the provider's answer is still to come.
#[utoipa::path(post, path = "/v1/payments/{id}/capture", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Captured", body = PaymentAnswer),
        (status = 202, description = "The provider's answer is still to come", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state, payment_closed, charge_under_way, amount_too_large", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn capture(
    State(api): State<CommandApi>,
    Segments(payment): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<MoneyRequest>,
) -> Result<Response, Problem> {
    let payment_id: PaymentId = id(&payment)?;
    let context = context(&headers, &format!("/v1/payments/{payment_id}/capture"), &body)?;
    let (amount, reference) = (body.amount, body.reference);
    run(api, payment_id, PaymentCommand::Capture { amount, reference }, context).await
}

/// Record that a payment failed
#[utoipa::path(post, path = "/v1/payments/{id}/fail", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = FailRequest,
    responses(
        (status = 200, description = "Failed; for good: the order is cancelled", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state, charge_under_way", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn fail(
    State(api): State<CommandApi>,
    Segments(payment): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<FailRequest>,
) -> Result<Response, Problem> {
    let payment_id: PaymentId = id(&payment)?;
    let context = context(&headers, &format!("/v1/payments/{payment_id}/fail"), &body)?;
    let (reason, retryable) = (body.reason, body.retryable);
    run(api, payment_id, PaymentCommand::Fail { reason, retryable }, context).await
}

/// Give back an authorisation, or what is left of it
///
/// The provider is asked for it where it has the charge; otherwise it is recorded as done by hand.
#[utoipa::path(post, path = "/v1/payments/{id}/void", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = ReasonRequest,
    responses(
        (status = 200, description = "Voided; nothing captured: the order is cancelled", body = PaymentAnswer),
        (status = 202, description = "The provider's answer is still to come", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state, charge_under_way", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn void(
    State(api): State<CommandApi>,
    Segments(payment): Segments<String>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    let payment_id: PaymentId = id(&payment)?;
    let context = context(&headers, &format!("/v1/payments/{payment_id}/void"), &body)?;
    run(api, payment_id, PaymentCommand::Void { reason: body.reason }, context).await
}

/// Record that a refund was paid out
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/succeed", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = ReferenceRequest,
    responses(
        (status = 200, description = "Refunded", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "refund_settled", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn refund_succeeded(
    State(api): State<CommandApi>,
    Segments((payment, refund)): Segments<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ReferenceRequest>,
) -> Result<Response, Problem> {
    let (payment_id, refund_id): (PaymentId, RefundId) = (id(&payment)?, id(&refund)?);
    let path = format!("/v1/payments/{payment_id}/refunds/{refund_id}/succeed");
    let context = context(&headers, &path, &body)?;
    run(api, payment_id, PaymentCommand::RecordRefunded { refund_id, reference: body.reference }, context)
        .await
}

/// Record that a refund was turned down
#[utoipa::path(post, path = "/v1/payments/{id}/refunds/{refund_id}/fail", tag = "payments",
    params(("id" = Uuid, Path), ("refund_id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    request_body = ReasonRequest,
    responses(
        (status = 200, description = "Failed: the money is still captured and may be refunded again", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "refund_settled", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn refund_failed(
    State(api): State<CommandApi>,
    Segments((payment, refund)): Segments<(String, String)>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<ReasonRequest>,
) -> Result<Response, Problem> {
    let (payment_id, refund_id): (PaymentId, RefundId) = (id(&payment)?, id(&refund)?);
    let path = format!("/v1/payments/{payment_id}/refunds/{refund_id}/fail");
    let context = context(&headers, &path, &body)?;
    run(api, payment_id, PaymentCommand::RecordRefundFailed { refund_id, reason: body.reason }, context).await
}

/// Runs a payment command and tells the order; where the provider is to do something, has it asked. If the client goes
/// away on the way, the process manager sees to the rest.
async fn run(
    api: CommandApi,
    payment_id: PaymentId,
    command: PaymentCommand,
    context: CommandContext,
) -> Result<Response, Problem> {
    let (checkout, context) = (&api.checkout, &context);
    let executed = checkout.payments.execute(&payment_id, command, context, Mode::EXTERNAL).await;
    let Executed { outcome, revision, summary } = executed.map_err(|error| failure(&error))?;
    let asks_provider = summary.asks_provider && checkout.provider().is_some();
    let (mut answer, replayed) = match outcome {
        Outcome::Recorded => {
            let revision = revision.unwrap_or_default();
            let told = checkout.react_to_command(payment_id, context, revision).await;
            told.map_err(|error| failure(&error))?;
            (PaymentAnswer::new(payment_id, &summary, revision), false)
        }
        Outcome::Unchanged => (PaymentAnswer::new(payment_id, &summary, revision.unwrap_or_default()), false),
        Outcome::Duplicate { revision } => {
            // The first request may have been cut off before this.
            let told = checkout.react_to_command(payment_id, context, revision).await;
            told.map_err(|error| failure(&error))?;
            let (then, revision) = state_when_answered(&api, payment_id, revision).await?;
            (PaymentAnswer::new(payment_id, &then, revision), true)
        }
        Outcome::KeyReused => return Err(Problem::new(Code::IdempotencyKeyReused)),
        Outcome::PreconditionFailed => return Err(super::precondition_failed(revision)),
        Outcome::Refused(refusal) => return Err(payment_refused(&refusal)),
    };
    let mut status = StatusCode::OK;
    if asks_provider {
        (answer, status) = ask_provider(&api, payment_id).await?;
    } else if let Some(order_id) = answer.order_id
        && let Some(revision) = order_revision_caused(&api, order_id, context).await?
    {
        answer.revisions.insert(format!("order-{order_id}"), revision);
    }
    let etag = etag(answer.revision);
    let mut response = (status, Json(answer)).into_response();
    response.headers_mut().insert(header::ETAG, etag);
    mark_replayed(&mut response, replayed);
    Ok(response)
}

/// The payment as it stood when the command of this revision was answered: at once, or when the provider had said what
/// became of what it was asked for.
async fn state_when_answered(
    api: &CommandApi,
    payment_id: PaymentId,
    mut revision: Revision,
) -> Result<(PaymentStateSummary, Revision), Problem> {
    let stream: StreamName = payment_id.into();
    let mut state = super::state_at::<PaymentDecider>(api, &stream, revision).await?;
    while api.checkout.provider().is_some() && state.summary().asks_provider {
        let next = api.checkout.store().log().read_stream(&stream, revision + 1, 1).await;
        let next = next.map_err(|error| failed_read(&error))?;
        let Some(Ok(Event::Payment(event))) = next.first().map(RecordedEvent::decode) else { break };
        PaymentDecider::evolve(&mut state, &event);
        revision += 1;
    }
    Ok((state.summary(), revision))
}

/// Has the provider asked, and waits a while for what it says: 202 where that is still to come.
async fn ask_provider(
    api: &CommandApi,
    payment_id: PaymentId,
) -> Result<(PaymentAnswer, StatusCode), Problem> {
    let checkout = &api.checkout;
    let mut next_action = None;
    if let Some(asking) = checkout.try_ask_provider(payment_id, Trigger::NewRequest) {
        // A task of its own: the answer is recorded also when nobody waits for it any more.
        match timeout(api.options.provider_patience, tokio::spawn(asking)).await {
            Ok(Ok(Ok(status))) => next_action = status.next_action,
            Ok(Ok(Err(error))) => return Err(failure(&error)),
            Ok(Err(panic)) => {
                tracing::error!(error = %panic, "asking the payment provider ended unexpectedly");
            }
            Err(_) => {}
        }
    }
    let now = checkout.payments.read(&payment_id, |payment, revision| (payment.summary(), revision)).await;
    let (summary, revision) = now.map_err(|error| failure(&error))?;
    let mut answer = PaymentAnswer::new(payment_id, &summary, revision.unwrap_or_default());
    answer.next_action = next_action;
    if let Some(order_id) = summary.order_id {
        let order = checkout.order(order_id).await.map_err(|error| failure(&error))?;
        answer.revisions.extend(order.revision.map(|revision| (format!("order-{order_id}"), revision)));
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
    let events = api.checkout.store().log().read_stream(&order_id.into(), 0, 10_000).await;
    let events = events.map_err(|error| failed_read(&error))?;
    let caused = events
        .iter()
        .filter(|event| event.decode_metadata().is_ok_and(|metadata| metadata.causation_id == cause));
    Ok(caused.map(|event| event.revision).max())
}

//! Outcomes of payments, recorded by hand.

use std::collections::BTreeMap;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{
    Amount, CommandContext, Currency, Decider, Event, EventId, OrderId, PaymentId, RefundId, Revision,
    StreamName,
    payment::{PaymentCommand, PaymentDecider, PaymentState, PaymentSummary},
};
use http::{HeaderMap, StatusCode, header};
use infra::http::{Code, Problem, problem::ProblemBody};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    CommandApi,
    extract::{JsonBody, Segments, context, etag, id},
    stock::mark_replayed,
};
use crate::{
    error::{failed_read, failure, payment_refused},
    executor::{Executed, Mode, Outcome},
};

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
}

impl PaymentAnswer {
    fn new(payment_id: PaymentId, payment: &PaymentSummary, revision: Revision) -> Self {
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
        }
    }
}

/// Record an authorisation
#[utoipa::path(post, path = "/v1/payments/{id}/authorize", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Authorized", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state, payment_closed, amount_too_large", body = ProblemBody, content_type = "application/problem+json"),
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

/// Record a capture, of all that is authorized or of a part
///
/// When the answer comes, the order knows of it: it can be shipped.
#[utoipa::path(post, path = "/v1/payments/{id}/capture", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = MoneyRequest,
    responses(
        (status = 200, description = "Captured", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state, payment_closed, amount_too_large", body = ProblemBody, content_type = "application/problem+json"),
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
        (status = 409, description = "payment_state", body = ProblemBody, content_type = "application/problem+json"),
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

/// Record that an authorisation, or what is left of it, was given back
#[utoipa::path(post, path = "/v1/payments/{id}/void", tag = "payments",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header), ("If-Match" = Option<String>, Header)),
    request_body = ReasonRequest,
    responses(
        (status = 200, description = "Voided; nothing captured: the order is cancelled", body = PaymentAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "payment_state", body = ProblemBody, content_type = "application/problem+json"),
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

/// Runs a payment command and tells the order. If the client goes away on the way, the process manager tells it.
async fn run(
    api: CommandApi,
    payment_id: PaymentId,
    command: PaymentCommand,
    context: CommandContext,
) -> Result<Response, Problem> {
    let (api, context) = (&api, &context);
    let executed = api.checkout.payments.execute(&payment_id, command, context, Mode::EXTERNAL).await;
    let Executed { outcome, revision, summary } = executed.map_err(|error| failure(&error))?;
    let (mut answer, replayed) = match outcome {
        Outcome::Recorded => {
            let revision = revision.unwrap_or_default();
            tell_order(api, payment_id, context, revision).await?;
            api.checkout.handled_inline().insert(EventId::of_command(context.id, 0));
            (PaymentAnswer::new(payment_id, &summary, revision), false)
        }
        Outcome::Unchanged => (PaymentAnswer::new(payment_id, &summary, revision.unwrap_or_default()), false),
        Outcome::Duplicate { revision } => {
            // The first request may have been cut off before this.
            tell_order(api, payment_id, context, revision).await?;
            let then = super::state_at::<PaymentDecider>(api, &payment_id.into(), revision).await?;
            (PaymentAnswer::new(payment_id, &PaymentDecider::summary(&then), revision), true)
        }
        Outcome::KeyReused => return Err(Problem::new(Code::IdempotencyKeyReused)),
        Outcome::PreconditionFailed => return Err(super::precondition_failed(revision)),
        Outcome::Refused(refusal) => return Err(payment_refused(&refusal)),
    };
    if let Some(order_id) = answer.order_id
        && let Some(revision) = order_revision_caused(api, order_id, context).await?
    {
        answer.revisions.insert(format!("order-{order_id}"), revision);
    }
    let etag = etag(answer.revision);
    let mut response = (StatusCode::OK, Json(answer)).into_response();
    response.headers_mut().insert(header::ETAG, etag);
    mark_replayed(&mut response, replayed);
    Ok(response)
}

/// Tells the order what was recorded, so that it knows when the answer comes. If this fails the command is
/// recorded all the same: the process manager, or a retry, tells the order.
async fn tell_order(
    api: &CommandApi,
    payment_id: PaymentId,
    context: &CommandContext,
    last: Revision,
) -> Result<(), Problem> {
    let stream: StreamName = payment_id.into();
    let cause = EventId::of_command(context.id, 0);
    // A command records at most three events of a payment.
    let recorded = api.checkout.store().read_stream(&stream, last.saturating_sub(2), 3).await;
    let recorded = recorded.map_err(|error| failed_read(&error))?.into_iter().find(|event| event.id == cause);
    let Some(Ok(Event::Payment(event))) = recorded.map(|event| event.decode()) else {
        tracing::error!(payment.id = %payment_id, "the event that the order is to be told of cannot be read");
        return Err(Problem::new(Code::Internal));
    };
    let told = api.checkout.react_to_payment(payment_id, &event, cause, context.correlation_id).await;
    told.map_err(|error| failure(&error))
}

/// The revision of the order's event that this command's first event caused.
async fn order_revision_caused(
    api: &CommandApi,
    order_id: OrderId,
    context: &CommandContext,
) -> Result<Option<Revision>, Problem> {
    let cause = Some(EventId::of_command(context.id, 0));
    let events = api.checkout.store().read_stream(&order_id.into(), 0, 10_000).await;
    let events = events.map_err(|error| failed_read(&error))?;
    let caused = events
        .iter()
        .filter(|event| event.decode_metadata().is_ok_and(|metadata| metadata.causation_id == cause));
    Ok(caused.map(|event| event.revision).max())
}

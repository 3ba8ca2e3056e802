//! Webhooks of the payment provider.

use axum::{
    Json,
    extract::{Request, State},
};
use domain::{
    CommandContext, PaymentId,
    payment::{PaymentCommand, PaymentRefusal},
    text::truncated,
};
use infra::{
    http::{Code, Problem, problem::ProblemBody},
    payment_provider::{NoticeContent, NoticeError, RefundAnswer},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    CommandApi,
    extract::{Segments, read_body},
};
use crate::{
    error::{failure, payment_refused},
    executor::{Mode, Outcome},
};

/// What became of a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Received {
    #[schema(value_type = String, example = "recorded")]
    outcome: Taken,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Taken {
    /// It was news, and is on disk.
    Recorded,
    /// It was known: it came before, or was overtaken by a later one.
    Known,
    /// It concerns no payment of this platform.
    Ignored,
}

/// Take in a webhook of the payment provider
///
/// Signed by the provider over the bytes of the body. Answered once what it says is durable. Webhooks may come late,
/// twice and in any order.
#[utoipa::path(post, path = "/v1/webhooks/{provider}", tag = "payments",
    params(("provider" = String, Path, example = "sandbox")),
    request_body(content = Vec<u8>, content_type = "application/json", description = "As the provider sends it"),
    responses(
        (status = 200, description = "Taken in", body = Received),
        (status = 400, description = "malformed_json", body = ProblemBody, content_type = "application/problem+json"),
        (status = 401, description = "webhook_signature", body = ProblemBody, content_type = "application/problem+json"),
        (status = 404, description = "not_found: another provider, or none, is set up", body = ProblemBody, content_type = "application/problem+json"),
        (status = 503, description = "overloaded, unavailable, outcome_unknown", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn receive(
    State(api): State<CommandApi>,
    Segments(name): Segments<String>,
    request: Request,
) -> Result<Json<Received>, Problem> {
    let provider = api.checkout.provider().filter(|provider| provider.name() == name);
    let provider = provider.ok_or_else(|| Problem::new(Code::NotFound))?;
    let (parts, body) = request.into_parts();
    let body = read_body(&parts, body, &api).await?;
    let notice = provider.read_notice(&parts.headers, &body, api.checkout.clock.now());
    let notice = notice.map_err(|error| match error {
        NoticeError::NoSignature | NoticeError::WrongSignature | NoticeError::Stale => {
            tracing::warn!(provider = name, %error, "a webhook was refused");
            Problem::new(Code::WebhookSignature).detail(error.to_string())
        }
        NoticeError::Unreadable => {
            tracing::error!(provider = name, "a webhook that is rightly signed cannot be read");
            Problem::new(Code::MalformedJson).detail(error.to_string())
        }
    })?;
    let context = CommandContext::notice(provider.name(), &notice.id);
    let (payment_id, command) = match notice.content {
        NoticeContent::Charge { payment_id, report } => {
            (payment_id, PaymentCommand::Report { report, is_answer: false })
        }
        NoticeContent::Refund { payment_id, refund_id, answer } => {
            let command = match answer {
                RefundAnswer::Pending => return Ok(outcome(Taken::Known)),
                RefundAnswer::Refunded { reference } => {
                    PaymentCommand::RecordRefunded { refund_id, reference: truncated(&reference) }
                }
                RefundAnswer::Failed { reason } => {
                    PaymentCommand::RecordRefundFailed { refund_id, reason: truncated(&reason) }
                }
            };
            (payment_id, command)
        }
        NoticeContent::Other => return Ok(outcome(Taken::Ignored)),
    };
    record(&api, payment_id, command, &context).await.map(outcome)
}

fn outcome(outcome: Taken) -> Json<Received> {
    Json(Received { outcome })
}

async fn record(
    api: &CommandApi,
    payment_id: PaymentId,
    command: PaymentCommand,
    context: &CommandContext,
) -> Result<Taken, Problem> {
    let executed = api.checkout.payments.execute(&payment_id, command, context, Mode::EXTERNAL).await;
    let executed = executed.map_err(|error| failure(&error))?;
    let (last, taken) = match executed.outcome {
        Outcome::Recorded => (executed.revision, Taken::Recorded),
        Outcome::Duplicate { revision } => (Some(revision), Taken::Known),
        Outcome::Unchanged | Outcome::KeyReused | Outcome::PreconditionFailed => (None, Taken::Known),
        // To be sent again is no use: an operator has to look at it.
        Outcome::Refused(refusal @ (PaymentRefusal::NotFound | PaymentRefusal::UnknownRefund(_))) => {
            tracing::warn!(payment.id = %payment_id, %refusal, "a webhook tells of what this platform does not know");
            (None, Taken::Ignored)
        }
        Outcome::Refused(refusal @ PaymentRefusal::RefundSettled) => {
            tracing::error!(payment.id = %payment_id, %refusal, "a webhook contradicts what is recorded of a refund");
            (None, Taken::Ignored)
        }
        Outcome::Refused(refusal) => return Err(payment_refused(&refusal)),
    };
    if let Some(last) = last {
        let told = api.checkout.react_to_command(payment_id, context, last).await;
        told.map_err(|error| failure(&error))?;
    }
    Ok(taken)
}

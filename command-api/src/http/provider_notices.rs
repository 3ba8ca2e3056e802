//! Notices of the payment provider: it sends each as a webhook.

use std::time::Duration;

use axum::{
    Json,
    extract::{Request, State},
};
use domain::{
    CommandContext, PaymentId,
    payment::{PaymentCommand, PaymentRefusal, ProviderReport},
};
use infra::{
    http::{
        Code, Failure, Problem, body as read_body,
        path::{self, Id, NoSuch},
    },
    log_limit::LogLimit,
    payment_provider::{NoticeContent, NoticeError},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{CommandApi, SharedApi};
use crate::{
    error::{EXECUTION_FAILURES, PAYMENT_REFUSALS, Refusal},
    executor::Outcome,
};

/// The outcome of a webhook of the payment provider.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NoticeAnswer {
    outcome: NoticeOutcome,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum NoticeOutcome {
    /// The content was new and is durable.
    Recorded,
    /// The content was already recorded, or a later webhook arrived first.
    Known,
    /// The webhook concerns no payment that this platform can update.
    Ignored,
}

infra::problems! {
    /// The codes of refusals are listed too: [`record`] returns those that it does not ignore.
    pub(in crate::http) NoticeProblems = [path::REJECTIONS, read_body::REJECTIONS, EXECUTION_FAILURES, PAYMENT_REFUSALS]
        WebhookSignature Internal;
}

/// Receive a webhook of the payment provider
///
/// The provider signs the bytes of the body. The answer comes after the content is durable. Webhooks may
/// arrive late, twice and in any order.
#[utoipa::path(post, path = "/v1/webhooks/{provider}", operation_id = "receiveProviderWebhook", tag = "payments",
    params(("provider" = String, Path, example = "sandbox")),
    request_body(content = BTreeMap<String, serde_json::Value>, content_type = "application/json", description = "As the provider sends it."),
    responses((status = 200, description = "Received.", body = NoticeAnswer), NoticeProblems))]
pub(super) async fn receive(
    State(api): State<SharedApi>,
    Id(name): Id<String>,
    request: Request,
) -> Result<Json<NoticeAnswer>, Failure<NoticeProblems>> {
    let provider = api.checkout.provider().filter(|provider| provider.name() == name);
    let provider = provider.ok_or(NoSuch("payment provider"))?;
    let (parts, body) = request.into_parts();
    let refused = |error| refused(&name, error);
    // Before the body is read: anyone on the Internet can send one.
    provider.check_notice_headers(&parts.headers, api.checkout.clock.now()).map_err(refused)?;
    let body = api.bodies.read(body).await?;
    let notice = provider.read_notice(&parts.headers, &body, api.checkout.clock.now()).map_err(refused)?;
    let context = CommandContext::notice(provider.name(), &notice.id);
    let (payment_id, command) = match notice.content {
        NoticeContent::Charge { payment_id, report } => {
            (payment_id, PaymentCommand::Report { report, is_answer: false })
        }
        NoticeContent::Refund { payment_id, report } => (payment_id, PaymentCommand::ReportRefund(report)),
        NoticeContent::Dispute { payment_id, report } => (payment_id, PaymentCommand::ReportDispute(report)),
        NoticeContent::Moved { reference } => match looked_up(&api, &reference).await? {
            Some((payment_id, report)) => (payment_id, PaymentCommand::Report { report, is_answer: false }),
            None => return Ok(Json(NoticeAnswer { outcome: NoticeOutcome::Ignored })),
        },
        NoticeContent::Other => return Ok(Json(NoticeAnswer { outcome: NoticeOutcome::Ignored })),
    };
    let outcome = record(&api, payment_id, command, &context).await?;
    Ok(Json(NoticeAnswer { outcome }))
}

/// The charge with this id at the provider. While the provider does not answer, the request is refused; the provider
/// sends a notice again.
pub(super) async fn looked_up(
    api: &CommandApi,
    reference: &str,
) -> Result<Option<(PaymentId, ProviderReport)>, Problem> {
    api.checkout.look_up_reference(reference).await.map_err(|error| {
        tracing::warn!(charge.reference = reference, %error,
            "Cannot look up a charge; its webhook or its request is refused");
        Problem::new(Code::Unavailable).detail("the charge cannot be looked up now")
    })
}

fn refused(provider: &str, error: NoticeError) -> Problem {
    match error {
        NoticeError::NoSignature | NoticeError::WrongSignature | NoticeError::Stale => {
            static REFUSALS: LogLimit = LogLimit::new(Duration::from_secs(10));
            if let Some(omitted) = REFUSALS.pass() {
                tracing::warn!(
                    provider,
                    %error,
                    lines.omitted = omitted,
                    "A webhook has no valid signature; it is refused"
                );
            }
            Problem::new(Code::WebhookSignature).detail(error.to_string())
        }
        NoticeError::Unreadable => {
            tracing::error!(provider, "Cannot read a webhook with a valid signature; it is refused");
            Problem::new(Code::MalformedJson).detail(error.to_string())
        }
    }
}

async fn record(
    api: &CommandApi,
    payment_id: PaymentId,
    command: PaymentCommand,
    context: &CommandContext,
) -> Result<NoticeOutcome, Problem> {
    let executed = api.checkout.payments.execute(&payment_id, command, context).await?;
    let (last, outcome) = match executed.outcome {
        Outcome::Recorded => (executed.revision, NoticeOutcome::Recorded),
        Outcome::Duplicate { revision } => (Some(revision), NoticeOutcome::Known),
        Outcome::Unchanged | Outcome::KeyReused | Outcome::PreconditionFailed => (None, NoticeOutcome::Known),
        // A retry would be refused again. So the answer is 200, which stops the retries of the provider, and
        // an operator must check the log.
        Outcome::Refused(refusal @ PaymentRefusal::NotFound) => {
            tracing::warn!(payment.id = %payment_id, %refusal, "A webhook concerns an unknown payment; it is ignored");
            (None, NoticeOutcome::Ignored)
        }
        Outcome::Refused(refusal) => return Err(refusal.problem()),
    };
    if let Some(last) = last {
        api.checkout.react_to_command(payment_id, context, last, false).await?;
    }
    Ok(outcome)
}

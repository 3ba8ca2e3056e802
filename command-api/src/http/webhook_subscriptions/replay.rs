//! Sends events of the past.

use axum::{Json, extract::State};
use domain::{OrderId, Timestamp};
use http::StatusCode;
use infra::{
    http::{Code, Problem, problem::ProblemBody},
    operations::webhooks::{ReplayError, ReplayScope, SubscriptionStatus},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{admin, failed, find, now};
use crate::http::{
    CommandApi,
    extract::{JsonBody, Segments},
};

/// Which events to send: those of an order, or those recorded in a span of time.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ReplayRequest {
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    order_id: Option<OrderId>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// Left out: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

/// What is on its way.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ReplayAnswer {
    deliveries: usize,
}

/// Send events of the past
///
/// Those that the subscription asks for, with the same `webhook-id` as before.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{id}/replay", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = ReplayRequest,
    responses(
        (status = 202, description = "They are due", body = ReplayAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "subscription_disabled", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request, replay_too_large", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::http) async fn replay(
    State(api): State<CommandApi>,
    Segments(segment): Segments<String>,
    JsonBody(body): JsonBody<ReplayRequest>,
) -> Result<(StatusCode, Json<ReplayAnswer>), Problem> {
    let webhooks = admin(&api)?;
    let now = now(&api);
    let scope = scope(&body, now)?;
    let subscription = find(webhooks, &segment).await?;
    if subscription.status != SubscriptionStatus::Enabled {
        return Err(Problem::new(Code::SubscriptionDisabled));
    }
    let replayed = webhooks.service.replay(&subscription, scope, now).await;
    let deliveries = replayed.map_err(|error| match error {
        ReplayError::TooLarge => Problem::new(Code::ReplayTooLarge).detail(error.to_string()),
        ReplayError::Read(error) => crate::error::failed_read(&error),
        ReplayError::Store(error) => failed(&error),
    })?;
    webhooks.service.wake();
    Ok((StatusCode::ACCEPTED, Json(ReplayAnswer { deliveries })))
}

fn scope(body: &ReplayRequest, now: Timestamp) -> Result<ReplayScope, Problem> {
    let invalid = |message: &str| Err(Problem::new(Code::InvalidRequest).error("body", message.to_owned()));
    match (body.order_id, body.from, body.to) {
        (Some(order), None, None) => Ok(ReplayScope::Order(order)),
        (None, Some(from), to) => {
            let to = to.unwrap_or(now);
            if from > to { invalid("`from` is after `to`") } else { Ok(ReplayScope::Recorded(from, to)) }
        }
        _ => invalid("expected either `order_id`, or `from` and perhaps `to`"),
    }
}

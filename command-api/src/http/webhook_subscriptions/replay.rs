//! Replays: sends earlier events to a subscription.

use axum::{Json, extract::State};
use domain::{OrderId, Timestamp};
use http::StatusCode;
use infra::{
    http::{
        Code, Failure, Problem,
        path::{self, Id},
        stores,
    },
    operations::webhooks::{ReplayError, ReplayScope, SubscriptionId, SubscriptionStatus},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{WebhooksOf, find, now};
use crate::http::{
    SharedApi,
    body::{self, JsonBody},
};

/// The events to send: those of an order, or those recorded in a time span.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct ReplayRequest {
    #[serde(default)]
    #[schema(value_type = Option<Uuid>)]
    order_id: Option<OrderId>,
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<Timestamp>,
    /// If omitted: now.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<Timestamp>,
}

/// The number of queued deliveries.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct ReplayAnswer {
    deliveries: usize,
}

infra::problems! {
    pub(in crate::http) ReplayProblems =
        [path::REJECTIONS, body::REJECTIONS, stores::FAILURES] SubscriptionDisabled ReplayTooLarge WebhookQueueFull;
}

/// Send earlier events
///
/// Sends the events that match the subscription, with the same `webhook-id` as before.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{id}/replay", operation_id = "replayEvents", tag = "webhooks",
    params(("id" = Uuid, Path)),
    request_body = ReplayRequest,
    responses((status = 202, description = "The deliveries are due.", body = ReplayAnswer), ReplayProblems))]
pub(in crate::http) async fn replay(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    Id(id): Id<SubscriptionId>,
    JsonBody(body): JsonBody<ReplayRequest>,
) -> Result<(StatusCode, Json<ReplayAnswer>), Failure<ReplayProblems>> {
    let now = now(&api);
    let scope = scope(&body, now)?;
    let subscription = find(&webhooks, id).await?;
    if subscription.status != SubscriptionStatus::Enabled {
        return Err(Problem::new(Code::SubscriptionDisabled).into());
    }
    let deliveries = match webhooks.service.replay(&subscription, scope, now).await {
        Ok(deliveries) => deliveries,
        Err(error @ (ReplayError::TooLarge | ReplayError::TooLong)) => {
            return Err(Problem::new(Code::ReplayTooLarge).detail(error.to_string()).into());
        }
        Err(error @ ReplayError::QueueFull) => {
            return Err(Problem::new(Code::WebhookQueueFull).detail(error.to_string()).into());
        }
        Err(ReplayError::Read(error)) => return Err(error.into()),
        Err(ReplayError::Store(error)) => return Err(error.into()),
    };
    webhooks.service.wake();
    Ok((StatusCode::ACCEPTED, Json(ReplayAnswer { deliveries })))
}

fn scope(body: &ReplayRequest, now: Timestamp) -> Result<ReplayScope, Problem> {
    match (body.order_id, body.from, body.to) {
        (Some(order), None, None) => Ok(ReplayScope::Order(order)),
        (None, Some(from), to) if from > to.unwrap_or(now) => {
            Err(Problem::invalid_request("body", "`from` is after `to`"))
        }
        (None, Some(from), to) => Ok(ReplayScope::Recorded(from, to.unwrap_or(now))),
        _ => Err(Problem::invalid_request(
            "body",
            "expected either `order_id`, or `from` with an optional `to`",
        )),
    }
}

//! The log of deliveries.

use axum::{Json, extract::State};
use domain::Timestamp;
use http::StatusCode;
use infra::{
    http::{Code, Problem, problem::ProblemBody},
    operations::webhooks::{DeliveryId, DeliveryStatus, SubscriptionStatus, WebhookDelivery},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{admin, failed, find, now};
use crate::http::{
    CommandApi,
    extract::{Segments, id},
    paging::{self, Listing, Parameters},
};

/// An event on its way to a receiver, or what has become of it.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DeliveryAnswer {
    /// The `webhook-id` that the receiver gets it under.
    #[schema(example = "msg_0d3c6f1e-5d0a-5c2b-9f7e-0123456789ab")]
    delivery_id: String,
    event_id: Uuid,
    #[schema(example = "order.placed.v1")]
    event_type: String,
    order_id: Uuid,
    /// Of the event among all events of its order: 1, 2, 3, …
    sequence: u64,
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
    /// `pending`, `delivered` or `failed`.
    status: &'static str,
    /// Since it was queued.
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    queued_at: Timestamp,
    /// Not before that time; null when no attempt follows.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// The HTTP status that the last attempt was answered with, if it was.
    last_status: Option<u16>,
    last_error: Option<String>,
    /// When it was delivered, or failed.
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
}

impl DeliveryAnswer {
    fn new(delivery: &WebhookDelivery) -> Self {
        let content = &delivery.content;
        Self {
            delivery_id: content.id().to_string(),
            event_id: content.event.0,
            event_type: content.event_type.clone(),
            order_id: content.order.0,
            sequence: content.sequence.number,
            recorded_at: content.recorded_at,
            status: delivery.status.as_str(),
            attempts: delivery.attempts,
            queued_at: delivery.queued_at,
            next_attempt_at: delivery.next_attempt_at,
            last_attempt_at: delivery.last_attempt_at,
            last_status: delivery.last_status,
            last_error: delivery.last_error.clone(),
            finished_at: delivery.finished_at,
        }
    }
}

/// Which deliveries are wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeliveryQuery {
    /// `pending`, `delivered` or `failed`. Left out: all.
    status: Option<String>,
    /// The most items to answer with.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before, with the same status. Left out: the first page.
    cursor: Option<String>,
}

/// List the deliveries of a subscription
#[utoipa::path(get, path = "/v1/webhook-subscriptions/{id}/deliveries", tag = "webhooks",
    params(("id" = Uuid, Path), DeliveryQuery),
    responses(
        (status = 200, description = "Newest first", body = Listing<DeliveryAnswer>),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::http) async fn list_deliveries(
    State(api): State<CommandApi>,
    Segments(segment): Segments<String>,
    Parameters(query): Parameters<DeliveryQuery>,
) -> Result<Json<Listing<DeliveryAnswer>>, Problem> {
    let webhooks = admin(&api)?;
    let status = query.status.as_deref().map(parse_status).transpose()?;
    let subscription = find(webhooks, &segment).await?.id;
    let list = format!("{subscription}/{}", status.map_or("all", DeliveryStatus::as_str));
    let (limit, before) = (paging::limit(query.limit)?, paging::after(&list, query.cursor.as_deref())?);
    let rows = webhooks
        .store
        .deliveries(subscription, status, before, limit + 1)
        .await
        .map_err(|error| failed(&error))?;
    Ok(Json(paging::listing(&list, rows, limit, |row| row.number, DeliveryAnswer::new)))
}

/// Send a delivery again
///
/// At once, whatever has become of it before, with the same `webhook-id`.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{id}/deliveries/{delivery}/retry", tag = "webhooks",
    params(("id" = Uuid, Path), ("delivery" = String, Path)),
    responses(
        (status = 202, description = "It is due", body = DeliveryAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 409, description = "subscription_disabled", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(in crate::http) async fn retry_delivery(
    State(api): State<CommandApi>,
    Segments((segment, delivery)): Segments<(String, String)>,
) -> Result<(StatusCode, Json<DeliveryAnswer>), Problem> {
    let webhooks = admin(&api)?;
    let delivery: DeliveryId = id(&delivery)?;
    let subscription = find(webhooks, &segment).await?;
    if subscription.status != SubscriptionStatus::Enabled {
        return Err(Problem::new(Code::SubscriptionDisabled));
    }
    let due =
        webhooks.store.retry(subscription.id, delivery, now(&api)).await.map_err(|error| failed(&error))?;
    let due = due.ok_or_else(|| Problem::new(Code::NotFound))?;
    webhooks.service.wake();
    Ok((StatusCode::ACCEPTED, Json(DeliveryAnswer::new(&due))))
}

fn parse_status(text: &str) -> Result<DeliveryStatus, Problem> {
    let status = DeliveryStatus::ALL.into_iter().find(|status| status.as_str() == text);
    let expected = || "expected pending, delivered or failed".to_owned();
    status.ok_or_else(|| Problem::new(Code::InvalidParameter).error("status", expected()))
}

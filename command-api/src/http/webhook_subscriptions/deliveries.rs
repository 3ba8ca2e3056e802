//! The log of deliveries.

use axum::{Json, extract::State};
use domain::Timestamp;
use http::StatusCode;
use infra::{
    http::{
        Code, Failure, Problem,
        paging::{self, Listing, Paging},
        parameters::{self, FromParameters, Parameters, Params, one_of},
        path::{self, Id, NoSuch, PathId},
        stores,
        vocabulary::DeliveryStatusWord,
    },
    operations::webhooks::{
        DeliveryId, DeliveryStatus, Subscription, SubscriptionId, SubscriptionStatus, WebhookDelivery,
    },
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::{WebhooksOf, find, now};
use crate::http::SharedApi;

/// The delivery of an event to a receiver.
#[derive(Debug, Serialize, ToSchema)]
pub(in crate::http) struct DeliveryAnswer {
    /// The `webhook-id` that the receiver gets.
    #[schema(example = "msg_0d3c6f1e-5d0a-5c2b-9f7e-0123456789ab")]
    delivery_id: String,
    event_id: Uuid,
    #[schema(example = "order.placed.v2")]
    event_type: String,
    /// Null while a stream of the order cannot be read.
    order_id: Option<Uuid>,
    /// Number of the event among all events of its order: 1, 2, 3, … Null while a stream of the order cannot be
    /// read.
    sequence: Option<u64>,
    #[schema(value_type = String, format = DateTime)]
    recorded_at: Timestamp,
    /// Who caused the event: a caller, or the part of Orderly that acts by itself. Null if an earlier build recorded
    /// or queued it.
    #[schema(example = "shop")]
    actor: Option<String>,
    /// The person behind the actor, as `Orderly-Actor` named it.
    person: Option<String>,
    #[schema(value_type = DeliveryStatusWord)]
    status: &'static str,
    /// Attempts since it was queued.
    attempts: u32,
    #[schema(value_type = String, format = DateTime)]
    queued_at: Timestamp,
    /// Earliest time of the next attempt. Null if no attempt follows.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_attempt_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<Timestamp>,
    /// The HTTP status of the answer to the last attempt. Null without an answer.
    #[schema(minimum = 100, maximum = 999)]
    last_status: Option<u16>,
    last_error: Option<String>,
    /// When it was delivered or failed for good.
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
            order_id: content.place.map(|place| place.order.0),
            sequence: content.place.map(|place| place.sequence.number),
            recorded_at: content.recorded_at,
            actor: content.actor.as_ref().map(|actor| actor.principal.to_string()),
            person: content.actor.as_ref().and_then(|actor| actor.person.clone()),
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

/// The deliveries to list.
#[derive(Debug, IntoParams)]
#[into_params(parameter_in = Query)]
pub(in crate::http) struct DeliveryFilter {
    /// If omitted: all.
    #[param(value_type = Option<DeliveryStatusWord>)]
    status: Option<DeliveryStatus>,
    #[param(ignore)]
    paging: Paging,
}

impl FromParameters for DeliveryFilter {
    fn read(parameters: &mut Parameters) -> Option<Self> {
        let status = |text: &str| one_of(text, &DeliveryStatus::ALL, DeliveryStatus::as_str);
        Some(Self { status: parameters.optional("status", status), paging: Paging::read(parameters)? })
    }
}

infra::problems! {
    pub(in crate::http) DeliveryListProblems =
        [path::REJECTIONS, parameters::REJECTIONS, paging::REJECTIONS, stores::FAILURES];
    pub(in crate::http) RetryDeliveryProblems = [path::REJECTIONS, stores::FAILURES] SubscriptionDisabled;
}

/// List the deliveries of a subscription
#[utoipa::path(get, path = "/v1/webhook-subscriptions/{id}/deliveries", operation_id = "listDeliveries", tag = "webhooks",
    params(("id" = Uuid, Path), DeliveryFilter, Paging),
    responses(
        (status = 200, description = "The newest first.", body = Listing<DeliveryAnswer>),
        DeliveryListProblems,
    ))]
pub(in crate::http) async fn list_deliveries(
    WebhooksOf(webhooks): WebhooksOf,
    Id(id): Id<SubscriptionId>,
    Params(filter): Params<DeliveryFilter>,
) -> Result<Json<Listing<DeliveryAnswer>>, Failure<DeliveryListProblems>> {
    let DeliveryFilter { status, paging } = filter;
    let subscription = find(&webhooks, id).await?.id;
    let rows = webhooks.store.deliveries(subscription, status, paging.after()?, paging.limit + 1).await?;
    Ok(Json(paging.listing_of_one_more(&rows, DeliveryAnswer::new, |row| row.number)))
}

/// Send a delivery again
///
/// Sends it at once with the same `webhook-id`, even if it was already delivered. Enables a subscription that
/// was disabled because its receiver failed.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{id}/deliveries/{delivery}/retry", operation_id = "retryDelivery", tag = "webhooks",
    params(("id" = Uuid, Path), ("delivery" = String, Path)),
    responses((status = 202, description = "The delivery is due.", body = DeliveryAnswer), RetryDeliveryProblems))]
pub(in crate::http) async fn retry_delivery(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    Id((id, delivery)): Id<(SubscriptionId, DeliveryId)>,
) -> Result<(StatusCode, Json<DeliveryAnswer>), Failure<RetryDeliveryProblems>> {
    let (subscription, now) = (find(&webhooks, id).await?, now(&api));
    match subscription.status {
        SubscriptionStatus::Enabled | SubscriptionStatus::Failing => {}
        SubscriptionStatus::Disabled | SubscriptionStatus::Gone => {
            return Err(Problem::new(Code::SubscriptionDisabled).into());
        }
    }
    let due = webhooks.store.retry(id, delivery, now).await?.ok_or(NoSuch(DeliveryId::RESOURCE))?;
    if subscription.failing_since.is_some() {
        let enable = Box::new(move |current: &mut Subscription| {
            if matches!(current.status, SubscriptionStatus::Enabled | SubscriptionStatus::Failing) {
                current.enable();
                current.updated_at = now;
            }
        });
        webhooks.store.change(id, enable).await?;
    }
    webhooks.service.wake();
    Ok((StatusCode::ACCEPTED, Json(DeliveryAnswer::new(&due))))
}

//! Who is told of events: subscriptions, their secrets, and the log of their deliveries.

mod deliveries;
mod replay;

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::Timestamp;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use infra::{
    http::{Code, Problem, problem::ProblemBody},
    operations::{
        OperationsError,
        webhooks::{
            EventTypes, NewSubscription, RefusedUrl, SUBSCRIPTIONS_MAX, SubscribeOutcome, Subscription,
            SubscriptionId, SubscriptionStatus, WebhookService, WebhookStore,
        },
    },
    signature::SigningSecret,
};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

pub(super) use self::{deliveries::*, replay::*};
use super::{
    CommandApi,
    extract::{JsonBody, Segments, context, id},
    paging::{self, Listing, Parameters},
    stock::mark_replayed,
};

const PATH: &str = "/v1/webhook-subscriptions";
/// How long the secret before the last signs too.
const PREVIOUS_SECRET_HOURS: i64 = 24;

/// What the handlers of webhook subscriptions work with.
#[derive(Clone)]
pub struct WebhookAdmin {
    pub store: Arc<dyn WebhookStore>,
    pub service: Arc<dyn WebhookService>,
}

impl std::fmt::Debug for WebhookAdmin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookAdmin").finish_non_exhaustive()
    }
}

/// Where to send which events.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionRequest {
    /// https, on the public Internet, without user name and password.
    #[schema(example = "https://shop.example/hooks/orderly")]
    url: String,
    /// Types (`order.placed.v1`) or patterns (`order.*`, `*`); left out: all of orders and payments.
    #[serde(default)]
    #[schema(example = json!(["order.*", "payment.captured.v1"]))]
    event_types: Option<Vec<String>>,
    #[serde(default)]
    description: Option<String>,
}

/// What is to be different; what is left out stays as it is.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionChanges {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    event_types: Option<Vec<String>>,
    /// Null: none.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>)]
    #[allow(clippy::option_option, reason = "left out is not the same as null")]
    description: Option<Option<String>>,
    /// Events recorded while it is false are not sent later, unless they are replayed.
    #[serde(default)]
    enabled: Option<bool>,
}

/// Tells a member that is null from one that is left out.
#[allow(clippy::option_option, reason = "left out is not the same as null")]
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// A subscription.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SubscriptionAnswer {
    #[schema(value_type = Uuid)]
    subscription_id: Uuid,
    url: String,
    event_types: Vec<String>,
    description: Option<String>,
    enabled: bool,
    /// `requested`, or `gone` when the receiver has answered 410.
    disabled_reason: Option<&'static str>,
    /// Until then the secret before the last signs too.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// What signatures are verified with. Only in the answer to the request that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")]
    secret: Option<String>,
}

impl SubscriptionAnswer {
    fn new(subscription: &Subscription, now: Timestamp) -> Self {
        let (enabled, disabled_reason) = match subscription.status {
            SubscriptionStatus::Enabled => (true, None),
            SubscriptionStatus::Disabled => (false, Some("requested")),
            SubscriptionStatus::Gone => (false, Some("gone")),
        };
        let previous = subscription.previous_secret.as_ref().map(|(_, until)| *until);
        Self {
            subscription_id: subscription.id.0,
            url: subscription.url.clone(),
            event_types: subscription.event_types.patterns().to_owned(),
            description: subscription.description.clone(),
            enabled,
            disabled_reason,
            previous_secret_until: previous.filter(|until| *until > now),
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
            secret: None,
        }
    }

    fn with_secret(subscription: &Subscription, now: Timestamp) -> Self {
        Self { secret: Some(subscription.secret.reveal()), ..Self::new(subscription, now) }
    }
}

/// Which page of a list is wanted.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageQuery {
    /// The most items to answer with.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 200, default = 50)]
    limit: Option<usize>,
    /// `next_cursor` of the page before. Left out: the first page.
    cursor: Option<String>,
}

/// Subscribe to events
///
/// What is recorded from then on is sent; a replay brings what was before.
#[utoipa::path(post, path = "/v1/webhook-subscriptions", tag = "webhooks",
    params(("Idempotency-Key" = String, Header)),
    request_body = SubscriptionRequest,
    responses(
        (status = 201, description = "Subscribed; the answer has the secret", body = SubscriptionAnswer),
        (status = 409, description = "too_many_subscriptions, subscription_deleted", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request, webhook_url_refused, idempotency_key_reused", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn subscribe(
    State(api): State<CommandApi>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<SubscriptionRequest>,
) -> Result<Response, Problem> {
    let webhooks = admin(&api)?;
    let context = context(&headers, PATH, &body)?;
    let event_types = body.event_types.map_or_else(|| Ok(EventTypes::all()), event_types)?;
    let description = description(body.description)?;
    let id = SubscriptionId(context.id.0);
    // What was accepted once is not refused when it is repeated.
    if webhooks.store.subscription(id).await.map_err(|error| failed(&error))?.is_none() {
        check_url(webhooks, &body.url).await?;
    }
    let idempotency = context.idempotency.ok_or_else(|| Problem::new(Code::Internal))?;
    let after = api.checkout.store().log().last_position().await;
    let new = NewSubscription {
        id,
        key: idempotency.key,
        fingerprint: idempotency.fingerprint,
        url: body.url,
        event_types,
        description,
        secret: new_secret()?,
        after: after.map_err(|error| crate::error::failed_read(&error))?,
        now: now(&api),
    };
    let subscribed =
        webhooks.store.subscribe(new, SUBSCRIPTIONS_MAX).await.map_err(|error| failed(&error))?;
    let (subscription, replayed) = match subscribed {
        SubscribeOutcome::Created(subscription) => (subscription, false),
        SubscribeOutcome::Repeated(subscription) => (subscription, true),
        SubscribeOutcome::KeyReused => return Err(Problem::new(Code::IdempotencyKeyReused)),
        SubscribeOutcome::Deleted => return Err(Problem::new(Code::SubscriptionDeleted)),
        SubscribeOutcome::TooMany => {
            let detail = format!("there are {SUBSCRIPTIONS_MAX}, and no more are possible");
            return Err(Problem::new(Code::TooManySubscriptions).detail(detail));
        }
    };
    let mut response = (StatusCode::CREATED, Json(SubscriptionAnswer::with_secret(&subscription, now(&api))))
        .into_response();
    if let Ok(location) = HeaderValue::try_from(format!("{PATH}/{}", subscription.id)) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    mark_replayed(&mut response, replayed);
    Ok(response)
}

/// List subscriptions
#[utoipa::path(get, path = "/v1/webhook-subscriptions", tag = "webhooks", params(PageQuery),
    responses((status = 200, description = "In the order they were made in", body = Listing<SubscriptionAnswer>)))]
pub(super) async fn list(
    State(api): State<CommandApi>,
    Parameters(query): Parameters<PageQuery>,
) -> Result<Json<Listing<SubscriptionAnswer>>, Problem> {
    const LIST: &str = "webhook-subscriptions";
    let (limit, after) = (paging::limit(query.limit)?, paging::after(LIST, query.cursor.as_deref())?);
    let rows = admin(&api)?.store.subscriptions(after, limit + 1).await.map_err(|error| failed(&error))?;
    let now = now(&api);
    let item = |row: &Subscription| SubscriptionAnswer::new(row, now);
    Ok(Json(paging::listing(LIST, rows, limit, |row| row.number, item)))
}

/// Read a subscription
#[utoipa::path(get, path = "/v1/webhook-subscriptions/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The subscription, without its secret", body = SubscriptionAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn read(
    State(api): State<CommandApi>,
    Segments(segment): Segments<String>,
) -> Result<Json<SubscriptionAnswer>, Problem> {
    find(admin(&api)?, &segment).await.map(|found| Json(SubscriptionAnswer::new(&found, now(&api))))
}

/// Change a subscription
#[utoipa::path(patch, path = "/v1/webhook-subscriptions/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = SubscriptionChanges,
    responses(
        (status = 200, description = "Changed", body = SubscriptionAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
        (status = 422, description = "invalid_request, webhook_url_refused", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn change(
    State(api): State<CommandApi>,
    Segments(segment): Segments<String>,
    JsonBody(body): JsonBody<SubscriptionChanges>,
) -> Result<Json<SubscriptionAnswer>, Problem> {
    let webhooks = admin(&api)?;
    let found = find(webhooks, &segment).await?;
    let event_types = body.event_types.map(event_types).transpose()?;
    let description = body.description.map(description).transpose()?;
    if let Some(url) = &body.url {
        check_url(webhooks, url).await?;
    }
    let now = now(&api);
    let apply = Box::new(move |subscription: &mut Subscription| {
        subscription.url = body.url.unwrap_or_else(|| subscription.url.clone());
        subscription.event_types = event_types.unwrap_or_else(|| subscription.event_types.clone());
        subscription.description = description.unwrap_or_else(|| subscription.description.clone());
        subscription.status = match (body.enabled, subscription.status) {
            (None, status) => status,
            (Some(true), _) => SubscriptionStatus::Enabled,
            (Some(false), SubscriptionStatus::Gone) => SubscriptionStatus::Gone,
            (Some(false), _) => SubscriptionStatus::Disabled,
        };
        subscription.updated_at = now;
    });
    let changed = webhooks.store.change(found.id, apply).await.map_err(|error| failed(&error))?;
    let changed = changed.ok_or_else(|| Problem::new(Code::NotFound))?;
    webhooks.service.wake();
    Ok(Json(SubscriptionAnswer::new(&changed, now)))
}

/// Unsubscribe
///
/// What is on its way may still arrive; nothing else is sent any more, and the log of deliveries goes.
#[utoipa::path(delete, path = "/v1/webhook-subscriptions/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    responses(
        (status = 204, description = "Unsubscribed"),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn unsubscribe(
    State(api): State<CommandApi>,
    Segments(segment): Segments<String>,
) -> Result<StatusCode, Problem> {
    let ended =
        admin(&api)?.store.unsubscribe(id(&segment)?, now(&api)).await.map_err(|error| failed(&error))?;
    if ended { Ok(StatusCode::NO_CONTENT) } else { Err(Problem::new(Code::NotFound)) }
}

/// Make a new secret
///
/// The one before goes on signing too for 24 hours: `webhook-signature` then has two signatures.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{id}/rotate-secret", tag = "webhooks",
    params(("id" = Uuid, Path), ("Idempotency-Key" = String, Header)),
    responses(
        (status = 200, description = "The answer has the new secret", body = SubscriptionAnswer),
        (status = 404, description = "not_found", body = ProblemBody, content_type = "application/problem+json"),
    ))]
pub(super) async fn rotate_secret(
    State(api): State<CommandApi>,
    Segments(segment): Segments<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let webhooks = admin(&api)?;
    let found = find(webhooks, &segment).await?;
    let command = context(&headers, &format!("{PATH}/{}/rotate-secret", found.id), &())?.id.0;
    let (secret, now) = (new_secret()?, now(&api));
    let made = secret.clone();
    let apply = Box::new(move |subscription: &mut Subscription| {
        // A retry would push out the secret that receivers still know.
        if subscription.rotated_by == Some(command) {
            return;
        }
        let until = now + jiff::SignedDuration::from_hours(PREVIOUS_SECRET_HOURS);
        subscription.previous_secret = Some((std::mem::replace(&mut subscription.secret, secret), until));
        subscription.rotated_by = Some(command);
        subscription.updated_at = now;
    });
    let changed = webhooks.store.change(found.id, apply).await.map_err(|error| failed(&error))?;
    let changed = changed.ok_or_else(|| Problem::new(Code::NotFound))?;
    let mut response = Json(SubscriptionAnswer::with_secret(&changed, now)).into_response();
    mark_replayed(&mut response, changed.secret != made);
    Ok(response)
}

/// The present, as precise as it is kept.
fn now(api: &CommandApi) -> Timestamp {
    let now = api.checkout.clock.now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// Where nobody delivers, nobody subscribes.
fn admin(api: &CommandApi) -> Result<&WebhookAdmin, Problem> {
    let absent = || Problem::new(Code::NotFound).detail("webhooks are not among the roles of this process");
    api.webhooks.as_deref().ok_or_else(absent)
}

async fn find(webhooks: &WebhookAdmin, segment: &str) -> Result<Subscription, Problem> {
    let found = webhooks.store.subscription(id(segment)?).await.map_err(|error| failed(&error))?;
    found.ok_or_else(|| Problem::new(Code::NotFound))
}

async fn check_url(webhooks: &WebhookAdmin, url: &str) -> Result<(), Problem> {
    let checked = webhooks.service.check_url(url).await;
    checked.map_err(|refused: RefusedUrl| {
        Problem::new(Code::WebhookUrlRefused).error("url", refused.to_string())
    })
}

fn event_types(patterns: Vec<String>) -> Result<EventTypes, Problem> {
    EventTypes::new(patterns)
        .map_err(|error| Problem::new(Code::InvalidRequest).error("event_types", error.to_string()))
}

fn description(text: Option<String>) -> Result<Option<String>, Problem> {
    let fits = |text: &String| {
        (1..=domain::text::TEXT_CHARS_MAX).contains(&text.chars().count())
            && !text.chars().any(char::is_control)
    };
    match text {
        Some(text) if !fits(&text) => Err(Problem::new(Code::InvalidRequest)
            .error("description", "1 to 500 characters, none of them a control character")),
        text => Ok(text),
    }
}

fn new_secret() -> Result<SigningSecret, Problem> {
    SigningSecret::generate().map_err(|error| {
        tracing::error!(%error, "A secret for webhooks cannot be made");
        Problem::new(Code::Internal)
    })
}

fn failed(error: &OperationsError) -> Problem {
    tracing::error!(%error, "Subscriptions to webhooks cannot be read or written");
    Problem::new(Code::Unavailable)
}

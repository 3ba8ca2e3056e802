//! Subscriptions to webhooks, their secrets and the log of their deliveries.

mod deliveries;
mod replay;

use std::{mem, sync::Arc};

use axum::{
    Json,
    extract::{FromRequestParts, MatchedPath, State},
};
use domain::{Position, Timestamp};
use http::{StatusCode, request::Parts};
use infra::{
    http::{
        Code, Failure, Problem, ProblemSource, body as read_body,
        paging::{self, Listing, Paging},
        parameters::{self, Params},
        path::{self, Id, NoSuch, PathId},
        stores,
        vocabulary::TextValue,
    },
    operations::webhooks::{
        EventTypes, NewSubscription, RefusedUrl, SUBSCRIPTIONS_MAX, SubscribeOutcome, Subscription,
        SubscriptionId, SubscriptionStatus, WebhookService, WebhookStore,
    },
    signature::SigningSecret,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

pub(super) use self::{deliveries::*, replay::*};
use super::{
    SharedApi,
    answer::Answer,
    body::{self, JsonBody, OptionalField, optional_field},
    command::{Command, IdempotencyKey, NoContent},
    now, text,
};

const NO_SUCH_SUBSCRIPTION: NoSuch = NoSuch(SubscriptionId::RESOURCE);
/// After a rotation, the previous secret also signs for this time.
const PREVIOUS_SECRET_HOURS: i64 = 24;

/// The parts that the handlers of webhook subscriptions need.
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

/// A new subscription.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionRequest {
    /// https, on the public Internet, without user name and password.
    #[schema(
        example = "https://shop.example/hooks/orderly",
        format = "uri",
        min_length = 1,
        max_length = 2_048
    )]
    url: String,
    /// Types (`order.placed.v2`) or patterns (`order.*`, `*`). If omitted: all events of orders and payments.
    #[serde(default)]
    #[schema(example = json!(["order.*", "payment.captured.v1"]), min_items = 1, max_items = 50)]
    event_types: Option<Vec<String>>,
    #[schema(value_type = Option<TextValue>)]
    #[serde(default)]
    description: Option<String>,
}

/// Changes of a subscription. Omitted members stay unchanged.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubscriptionChanges {
    #[schema(format = "uri", min_length = 1, max_length = 2_048)]
    #[serde(default)]
    url: Option<String>,
    #[schema(min_items = 1, max_items = 50)]
    #[serde(default)]
    event_types: Option<Vec<String>>,
    /// Null removes it.
    #[serde(default, deserialize_with = "optional_field")]
    #[schema(value_type = Option<TextValue>)]
    description: OptionalField<String>,
    /// Events recorded while it is false are sent later only by a replay.
    #[serde(default)]
    enabled: Option<bool>,
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
    /// `requested`; `gone` after the receiver answered 410; `failing` after three days in which it accepted
    /// nothing.
    disabled_reason: Option<DisabledReason>,
    /// Every attempt has failed since then, and one request at a time tests the receiver. Null while it accepts
    /// events.
    #[schema(value_type = Option<String>, format = DateTime)]
    failing_since: Option<Timestamp>,
    /// Events after this position of the log wait until there is room in the queue. Null while none waits.
    #[schema(value_type = Option<u64>)]
    behind_after: Option<Position>,
    /// False if the stored secret is damaged, or sealed under a key that the platform does not have. Nothing is sent
    /// until the key is there, or the secret is rotated.
    secret_readable: bool,
    /// Until then the previous secret signs too.
    #[schema(value_type = Option<String>, format = DateTime)]
    previous_secret_until: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The key to verify signatures. Only in the answer to the request that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", nullable = false)]
    secret: Option<String>,
}

impl SubscriptionAnswer {
    fn new(subscription: &Subscription, now: Timestamp) -> Self {
        let (enabled, disabled_reason) = match subscription.status {
            SubscriptionStatus::Enabled => (true, None),
            SubscriptionStatus::Disabled => (false, Some(DisabledReason::Requested)),
            SubscriptionStatus::Gone => (false, Some(DisabledReason::Gone)),
            SubscriptionStatus::Failing => (false, Some(DisabledReason::Failing)),
        };
        let previous = subscription.previous_secret.as_ref().map(|(_, until)| *until);
        Self {
            subscription_id: subscription.id.0,
            url: subscription.url.clone(),
            event_types: subscription.event_types.patterns().to_owned(),
            description: subscription.description.clone(),
            enabled,
            disabled_reason,
            failing_since: subscription.failing_since,
            behind_after: subscription.behind.map(|behind| behind.after),
            secret_readable: subscription.secret.is_ok(),
            previous_secret_until: previous.filter(|until| *until > now),
            created_at: subscription.created_at,
            updated_at: subscription.updated_at,
            secret: None,
        }
    }

    fn with_secret(subscription: &Subscription, now: Timestamp) -> Self {
        let secret = subscription.secret.as_ref().ok().map(SigningSecret::reveal);
        Self { secret, ..Self::new(subscription, now) }
    }
}

/// Why a subscription is disabled.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum DisabledReason {
    Requested,
    Gone,
    Failing,
}

/// Extracts the store and service of webhooks. A process that does not deliver webhooks answers 404.
#[derive(Debug)]
pub(super) struct WebhooksOf(Arc<WebhookAdmin>);

impl FromRequestParts<SharedApi> for WebhooksOf {
    type Rejection = Problem;

    async fn from_request_parts(_: &mut Parts, api: &SharedApi) -> Result<Self, Problem> {
        let absent = || Problem::new(Code::NotFound).detail("this process does not deliver webhooks");
        api.webhooks.clone().map(Self).ok_or_else(absent)
    }
}

infra::problems! {
    pub(in crate::http) SubscribeProblems =
        [path::REJECTIONS, body::REJECTIONS, read_body::REJECTIONS, crate::idempotency::REJECTIONS, stores::FAILURES]
        IdempotencyKeyReused WebhookUrlRefused TooManySubscriptions SubscriptionDeleted;
    pub(in crate::http) SubscriptionListProblems =
        [path::REJECTIONS, parameters::REJECTIONS, paging::REJECTIONS, stores::FAILURES];
    pub(in crate::http) SubscriptionProblems = [path::REJECTIONS, stores::FAILURES];
    pub(in crate::http) ChangeProblems =
        [path::REJECTIONS, body::REJECTIONS, read_body::REJECTIONS, stores::FAILURES] WebhookUrlRefused;
    pub(in crate::http) RotateSecretProblems =
        [path::REJECTIONS, read_body::REJECTIONS, crate::idempotency::REJECTIONS, stores::FAILURES];
}

/// Subscribe to events
///
/// Sends events recorded from now on. A replay sends earlier ones.
#[utoipa::path(post, path = "/v1/webhook-subscriptions", operation_id = "createSubscription", tag = "webhooks", params(IdempotencyKey),
    request_body = SubscriptionRequest,
    responses(
        (status = 201, description = "Subscribed. The answer has the secret.", body = SubscriptionAnswer,
            headers(("Location" = String))),
        SubscribeProblems,
    ))]
pub(super) async fn subscribe(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    path: MatchedPath,
    Command { id: (), body, context }: Command<(), SubscriptionRequest>,
) -> Result<Answer<SubscriptionAnswer>, Failure<SubscribeProblems>> {
    let event_types = body.event_types.map_or_else(|| Ok(EventTypes::all()), event_types)?;
    let description = text("description", body.description)?;
    let id = SubscriptionId(context.id.0);
    // A retry of an accepted request is not refused, even if the URL no longer passes the check.
    if webhooks.store.subscription(id).await?.is_none() {
        check_url(&webhooks, &body.url).await?;
    }
    let idempotency = context.idempotency.ok_or_else(|| Problem::new(Code::Internal))?;
    let new = NewSubscription {
        id,
        key: idempotency.key,
        fingerprint: idempotency.fingerprint,
        url: body.url,
        event_types,
        description,
        secret: new_secret()?,
        after: api.checkout.store().log().last_position().await?,
        now: now(&api),
    };
    let (subscription, replayed) = match webhooks.store.subscribe(new, SUBSCRIPTIONS_MAX).await? {
        SubscribeOutcome::Created(subscription) => (subscription, false),
        SubscribeOutcome::Repeated(subscription) => (subscription, true),
        SubscribeOutcome::KeyReused => return Err(Problem::new(Code::IdempotencyKeyReused).into()),
        SubscribeOutcome::Deleted => return Err(Problem::new(Code::SubscriptionDeleted).into()),
        SubscribeOutcome::TooMany => {
            let detail = format!("the limit is {SUBSCRIPTIONS_MAX} subscriptions");
            return Err(Problem::new(Code::TooManySubscriptions).detail(detail).into());
        }
    };
    let location = Some(format!("{}/{}", path.as_str(), subscription.id));
    let body = SubscriptionAnswer::with_secret(&subscription, now(&api));
    Ok(Answer { status: StatusCode::CREATED, revision: None, location, replayed, body })
}

/// List subscriptions
#[utoipa::path(get, path = "/v1/webhook-subscriptions", operation_id = "listSubscriptions", tag = "webhooks", params(Paging),
    responses(
        (status = 200, description = "The oldest first.", body = Listing<SubscriptionAnswer>),
        SubscriptionListProblems,
    ))]
pub(super) async fn list(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    Params(paging): Params<Paging>,
) -> Result<Json<Listing<SubscriptionAnswer>>, Failure<SubscriptionListProblems>> {
    let rows = webhooks.store.subscriptions(paging.after()?, paging.limit + 1).await?;
    let now = now(&api);
    let item = |row: &Subscription| SubscriptionAnswer::new(row, now);
    Ok(Json(paging.listing_of_one_more(&rows, item, |row| row.number)))
}

/// Read a subscription
#[utoipa::path(get, path = "/v1/webhook-subscriptions/{id}", operation_id = "getSubscription", tag = "webhooks", params(("id" = Uuid, Path)),
    responses(
        (status = 200, description = "The subscription, without its secret.", body = SubscriptionAnswer),
        SubscriptionProblems,
    ))]
pub(super) async fn read(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    Id(id): Id<SubscriptionId>,
) -> Result<Json<SubscriptionAnswer>, Failure<SubscriptionProblems>> {
    Ok(Json(SubscriptionAnswer::new(&find(&webhooks, id).await?, now(&api))))
}

/// Change a subscription
#[utoipa::path(patch, path = "/v1/webhook-subscriptions/{id}", operation_id = "changeSubscription", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = SubscriptionChanges,
    responses((status = 200, description = "Changed.", body = SubscriptionAnswer), ChangeProblems))]
pub(super) async fn change(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    Id(id): Id<SubscriptionId>,
    JsonBody(body): JsonBody<SubscriptionChanges>,
) -> Result<Json<SubscriptionAnswer>, Failure<ChangeProblems>> {
    find(&webhooks, id).await?;
    let event_types = body.event_types.map(event_types).transpose()?;
    let description = body.description.map(|description| text("description", description)).transpose()?;
    if let Some(url) = &body.url {
        check_url(&webhooks, url).await?;
    }
    let now = now(&api);
    let apply = Box::new(move |subscription: &mut Subscription| {
        subscription.url = body.url.unwrap_or_else(|| subscription.url.clone());
        subscription.event_types = event_types.unwrap_or_else(|| subscription.event_types.clone());
        subscription.description = description.unwrap_or_else(|| subscription.description.clone());
        match (body.enabled, subscription.status) {
            (Some(true), _) => subscription.enable(),
            (Some(false), SubscriptionStatus::Enabled | SubscriptionStatus::Failing) => {
                subscription.status = SubscriptionStatus::Disabled;
            }
            (Some(false), SubscriptionStatus::Disabled | SubscriptionStatus::Gone) | (None, _) => {}
        }
        subscription.updated_at = now;
    });
    let changed = webhooks.store.change(id, apply).await?.ok_or(NO_SUCH_SUBSCRIPTION)?;
    webhooks.service.wake();
    Ok(Json(SubscriptionAnswer::new(&changed, now)))
}

/// Unsubscribe
///
/// Requests in progress may still arrive. No further webhook is sent, and the delivery log is deleted.
#[utoipa::path(delete, path = "/v1/webhook-subscriptions/{id}", operation_id = "deleteSubscription", tag = "webhooks", params(("id" = Uuid, Path)),
    responses((status = 204, description = "Unsubscribed."), SubscriptionProblems))]
pub(super) async fn unsubscribe(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    Id(id): Id<SubscriptionId>,
) -> Result<StatusCode, Failure<SubscriptionProblems>> {
    let deleted = webhooks.store.unsubscribe(id, now(&api)).await?;
    if deleted { Ok(StatusCode::NO_CONTENT) } else { Err(NO_SUCH_SUBSCRIPTION.into()) }
}

/// Make a new secret
///
/// The previous secret signs too for 24 hours: `webhook-signature` then has two signatures.
#[utoipa::path(post, path = "/v1/webhook-subscriptions/{id}/rotate-secret", operation_id = "rotateSecret", tag = "webhooks",
    params(("id" = Uuid, Path), IdempotencyKey),
    responses(
        (status = 200, description = "The answer has the new secret.", body = SubscriptionAnswer),
        RotateSecretProblems,
    ))]
pub(super) async fn rotate_secret(
    State(api): State<SharedApi>,
    WebhooksOf(webhooks): WebhooksOf,
    Command { id, body: NoContent, context }: Command<SubscriptionId, NoContent>,
) -> Result<Answer<SubscriptionAnswer>, Failure<RotateSecretProblems>> {
    let command = context.id.0;
    let (secret, now) = (new_secret()?, now(&api));
    let made = secret.clone();
    let apply = Box::new(move |subscription: &mut Subscription| {
        // A retry must not rotate again: that would drop the secret that receivers still use.
        if subscription.rotated_by == Some(command) {
            return;
        }
        let until = now + jiff::SignedDuration::from_hours(PREVIOUS_SECRET_HOURS);
        let previous = mem::replace(&mut subscription.secret, Ok(secret));
        subscription.previous_secret = previous.ok().map(|previous| (previous, until));
        subscription.rotated_by = Some(command);
        subscription.updated_at = now;
    });
    let changed = webhooks.store.change(id, apply).await?.ok_or(NO_SUCH_SUBSCRIPTION)?;
    let (replayed, body) = (changed.secret != Ok(made), SubscriptionAnswer::with_secret(&changed, now));
    Ok(Answer { status: StatusCode::OK, revision: None, location: None, replayed, body })
}

async fn find(webhooks: &WebhookAdmin, id: SubscriptionId) -> Result<Subscription, Problem> {
    webhooks.store.subscription(id).await?.ok_or_else(|| NO_SUCH_SUBSCRIPTION.problem())
}

async fn check_url(webhooks: &WebhookAdmin, url: &str) -> Result<(), Problem> {
    let refused = |reason: RefusedUrl| Problem::new(Code::WebhookUrlRefused).error("url", reason.to_string());
    webhooks.service.check_url(url).await.map_err(refused)
}

fn event_types(patterns: Vec<String>) -> Result<EventTypes, Problem> {
    EventTypes::new(patterns).map_err(|error| Problem::invalid_request("event_types", error.to_string()))
}

fn new_secret() -> Result<SigningSecret, Problem> {
    SigningSecret::generate().map_err(|error| {
        tracing::error!(%error, "Cannot generate a webhook secret; the request fails");
        Problem::new(Code::Internal)
    })
}

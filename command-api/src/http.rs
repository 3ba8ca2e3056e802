//! The command API over HTTP.

mod extract;
mod orders;
mod paging;
mod payments;
mod stock;
mod webhook_subscriptions;
mod webhooks;

use std::{sync::Arc, time::Duration};

use axum::{Json, Router, extract::State, routing::get};
use domain::{Decider, Revision, StreamName, decider::StoredEvent};
use http::{StatusCode, header};
use infra::http::{Code, Problem, problem};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::OpenApi;
use utoipa_axum::{router::OpenApiRouter, routes};
use utoipa_swagger_ui::SwaggerUi;

pub use self::webhook_subscriptions::WebhookAdmin;
use crate::checkout::Checkout;

/// Settings of the command API.
#[derive(Debug, Clone, Copy)]
pub struct CommandApiOptions {
    /// Time from the recording of an order to its payment due time, if the request sets none.
    pub payment_due_after: Duration,
    /// Bytes of a request body. An order of the most lines allowed takes about a quarter.
    pub body_bytes_max: usize,
    /// How long a body may take to arrive.
    pub body_read_timeout: Duration,
    /// How long an answer waits for the payment provider.
    pub provider_patience: Duration,
}

impl CommandApiOptions {
    /// The default of `payment_due_after` and of the setting `ORDERLY_PAYMENT_DUE_AFTER`.
    pub const PAYMENT_DUE_AFTER: Duration = Duration::from_mins(30);
}

impl Default for CommandApiOptions {
    fn default() -> Self {
        Self {
            payment_due_after: Self::PAYMENT_DUE_AFTER,
            body_bytes_max: 2 * 1024 * 1024,
            body_read_timeout: Duration::from_secs(30),
            provider_patience: Duration::from_secs(10),
        }
    }
}

/// What the handlers work with. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CommandApi {
    pub checkout: Checkout,
    pub options: Arc<CommandApiOptions>,
    /// None where nobody delivers webhooks.
    pub webhooks: Option<Arc<WebhookAdmin>>,
}

impl CommandApi {
    pub fn new(checkout: Checkout, options: CommandApiOptions) -> Self {
        Self { checkout, options: Arc::new(options), webhooks: None }
    }

    /// The same, with subscriptions to webhooks.
    pub fn with_webhooks(self, webhooks: WebhookAdmin) -> Self {
        Self { webhooks: Some(Arc::new(webhooks)), ..self }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Orderly command API",
        description = "Commands: what changes stock, orders and payments. Every command that creates something or \
            moves money or stock takes an `Idempotency-Key`; a retry with the same key and body gets the first \
            answer again, marked `Idempotent-Replayed: true`. Amounts are integers in minor units. Errors are \
            `application/problem+json` (RFC 9457) with a stable `code`; `/problems` explains each.",
    ),
    tags(
        (name = "orders", description = "Place orders and move them along"),
        (name = "stock", description = "What is on the shelves"),
        (name = "payments", description = "Charge, capture and give back, through a provider or recorded by hand"),
        (name = "webhooks", description = "Who is told of events over HTTP, and what has become of that"),
        (name = "health", description = "For whoever watches the process"),
    )
)]
struct Docs;

fn routes() -> OpenApiRouter<CommandApi> {
    OpenApiRouter::with_openapi(Docs::openapi())
        .routes(routes!(orders::place))
        .routes(routes!(orders::cancel))
        .routes(routes!(orders::ship))
        .routes(routes!(orders::deliver))
        .routes(routes!(orders::return_goods))
        .routes(routes!(orders::refund))
        .routes(routes!(stock::receive_many))
        .routes(routes!(stock::receive))
        .routes(routes!(stock::adjust))
        .routes(routes!(payments::charge))
        .routes(routes!(payments::authorize))
        .routes(routes!(payments::capture))
        .routes(routes!(payments::fail))
        .routes(routes!(payments::void))
        .routes(routes!(payments::refund_succeeded))
        .routes(routes!(payments::refund_failed))
        .routes(routes!(webhooks::receive))
        .routes(routes!(webhook_subscriptions::subscribe, webhook_subscriptions::list))
        .routes(routes!(
            webhook_subscriptions::read,
            webhook_subscriptions::change,
            webhook_subscriptions::unsubscribe
        ))
        .routes(routes!(webhook_subscriptions::rotate_secret))
        .routes(routes!(webhook_subscriptions::replay))
        .routes(routes!(webhook_subscriptions::list_deliveries))
        .routes(routes!(webhook_subscriptions::retry_delivery))
        .routes(routes!(live))
        .routes(routes!(ready))
}

/// The OpenAPI 3.1 description of this API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    routes().into_openapi()
}

/// Every route of the command API.
pub fn router(api: CommandApi) -> Router {
    let (router, description) = routes().split_for_parts();
    let described = description.clone();
    router
        .with_state(api)
        .route("/openapi.json", get(move || async move { Json(described) }))
        .merge(SwaggerUi::new("/docs").url("/docs/openapi.json", description))
        .merge(problem::pages())
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(CatchPanicLayer::custom(problem::after_panic))
}

/// The process is up.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, description = "Up")))]
async fn live() -> &'static str {
    "ok\n"
}

/// Commands can be taken: the event store answers.
#[utoipa::path(get, path = "/readyz", tag = "health", responses(
    (status = 200, description = "Ready"),
    (status = 503, description = "The event store cannot be read", body = problem::ProblemBody, content_type = "application/problem+json"),
))]
async fn ready(State(api): State<CommandApi>) -> Result<(StatusCode, &'static str), Problem> {
    let read = api.checkout.store().log().read_all(None, 1).await;
    read.map(|_| (StatusCode::OK, "ready\n")).map_err(|error| crate::error::failed_read(&error))
}

/// An aggregate as it stood at `revision`: what the answer to a repeated command is rebuilt from.
async fn state_at<A: Decider>(
    api: &CommandApi,
    stream: &StreamName,
    revision: Revision,
) -> Result<A::State, Problem> {
    let mut state = A::State::default();
    let mut next = 0;
    while next <= revision {
        let limit = usize::try_from(revision - next + 1).unwrap_or(usize::MAX).min(1_000);
        let events = api.checkout.store().log().read_stream(stream, next, limit).await;
        let events = events.map_err(|error| crate::error::failed_read(&error))?;
        let Some(last) = events.last() else { break };
        next = last.revision + 1;
        for event in &events {
            match A::Event::from_json(&event.type_name, &event.data) {
                Ok(event) => A::evolve(&mut state, &event),
                Err(error) => {
                    tracing::error!(%stream, revision = event.revision, %error, "an event cannot be read");
                    return Err(Problem::new(Code::Internal));
                }
            }
        }
    }
    Ok(state)
}

fn precondition_failed(revision: Option<Revision>) -> Problem {
    let problem = Problem::new(Code::PreconditionFailed);
    match revision {
        Some(revision) => problem.header(header::ETAG, extract::etag(revision)),
        None => problem,
    }
}

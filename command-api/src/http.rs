//! The command API over HTTP.

mod answer;
mod body;
mod command;
mod faults;
mod orders;
mod payments;
mod provider_notices;
mod reactions;
mod run;
mod stock;
mod webhook_subscriptions;

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::Method,
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use domain::Timestamp;
use infra::{
    auth::Scope,
    health::{Health, Readiness},
    http::{
        Code, Document, Failure, Gate, GuardedRoutes, Problem, Version,
        answers::ReadinessProblems,
        body::{BodyLimits, BodyReader},
        problem::ProblemSchema,
        site,
    },
    log_guard::LogGuard,
    operations::parked::ParkedReactions,
};
use utoipa::OpenApi;
use utoipa_axum::routes;

pub use self::webhook_subscriptions::WebhookAdmin;
use crate::{backlog::Backlog, checkout::Checkout};

/// Settings of the command API.
#[derive(Debug, Clone, Copy)]
pub struct CommandApiOptions {
    /// Time from the recording of an order to its payment due time, if the request sets none.
    pub payment_due_after: Duration,
    /// Limits of request bodies. The largest order takes about a quarter of the default.
    pub bodies: BodyLimits,
    /// Time limit for an answer of the payment provider. The request is then answered with 202.
    pub provider_patience: Duration,
}

impl CommandApiOptions {
    /// The default of `payment_due_after` and of the setting `ORDERLY_PAYMENT_DUE_AFTER`.
    pub const PAYMENT_DUE_AFTER: Duration = Duration::from_mins(30);
    /// The default of `bodies.read_timeout` and of the setting `ORDERLY_BODY_TIMEOUT`.
    pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);
}

impl Default for CommandApiOptions {
    fn default() -> Self {
        Self {
            payment_due_after: Self::PAYMENT_DUE_AFTER,
            bodies: BodyLimits {
                bytes_max: 2 * 1024 * 1024,
                read_timeout: Self::BODY_READ_TIMEOUT,
                shared_bytes_max: 64 * 1024 * 1024,
            },
            provider_patience: Duration::from_secs(10),
        }
    }
}

/// The store of parked reactions.
#[derive(Clone)]
pub struct Parked(Arc<dyn ParkedReactions>);

impl std::fmt::Debug for Parked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parked")
    }
}

/// The state of the handlers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct CommandApi {
    pub checkout: Checkout,
    pub parked: Parked,
    pub options: Arc<CommandApiOptions>,
    /// Reads request bodies.
    pub bodies: BodyReader,
    /// `None` in a process that does not deliver webhooks.
    pub webhooks: Option<Arc<WebhookAdmin>>,
    /// The conditions that `/readyz` answers with.
    pub health: Health,
    /// Refuses new orders while projectors fall behind.
    pub backlog: Backlog,
    /// Refuses commands once the event log went back.
    pub log_guard: Option<LogGuard>,
    /// The answer of `/version`.
    pub version: Version,
    /// Authenticates callers.
    pub gate: Gate,
}

/// The API as handlers get it. It is cloned for each request.
type SharedApi = Arc<CommandApi>;

impl CommandApi {
    pub fn new(checkout: Checkout, parked: Arc<dyn ParkedReactions>, options: CommandApiOptions) -> Self {
        let (parked, bodies) = (Parked(parked), BodyReader::new(options.bodies));
        let (options, health, backlog) = (Arc::new(options), Health::default(), Backlog::default());
        let (webhooks, log_guard, gate, version) = (None, None, Gate::open(), Version::default());
        Self { checkout, parked, options, bodies, webhooks, health, backlog, log_guard, version, gate }
    }

    /// Adds subscriptions to webhooks.
    pub fn with_webhooks(self, webhooks: WebhookAdmin) -> Self {
        Self { webhooks: Some(Arc::new(webhooks)), ..self }
    }

    /// Answers `/readyz` with the conditions of this process.
    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// Answers `/version`.
    pub fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Refuses new orders as `backlog` says.
    pub fn with_backlog(self, backlog: Backlog) -> Self {
        Self { backlog, ..self }
    }

    /// Authenticates callers.
    pub fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Refuses commands once the event log went back.
    pub fn guarded_by(self, log_guard: LogGuard) -> Self {
        Self { log_guard: Some(log_guard), ..self }
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Orderly command API",
        description = "Commands that change stock, orders and payments. Every command that creates a resource or \
            moves money or stock takes an `Idempotency-Key`. A retry with the same key and body gets the first \
            answer again, marked `Idempotent-Replayed: true`. Amounts are integers in minor units. Errors are \
            `application/problem+json` (RFC 9457) with a stable `code`; `/problems` explains each code.",
    ),
    tags(
        (name = "orders", description = "Place, ship, return, refund and cancel orders"),
        (name = "stock", description = "Receive and adjust stock"),
        (name = "payments", description = "Charge, capture, void and refund, by a provider or recorded by hand"),
        (name = "reactions", description = "Reactions that failed and wait to run again"),
        (name = "webhooks", description = "Subscriptions to events over HTTP, and their deliveries"),
        (name = "health", description = "Liveness and readiness"),
    ),
    components(schemas(ProblemSchema)),
)]
struct Description;

/// Every endpoint with the scope that its callers need: the routes and the OpenAPI document come from this list.
fn routes(gate: &Gate) -> GuardedRoutes<SharedApi> {
    GuardedRoutes::new(gate.clone(), Description::openapi())
        .with(Scope::OrdersWrite, routes!(orders::place))
        .with(Scope::OrdersWrite, routes!(orders::cancel))
        .with(Scope::OrdersWrite, routes!(orders::ship))
        .with(Scope::OrdersWrite, routes!(orders::undo_shipment))
        .with(Scope::OrdersWrite, routes!(orders::move_due))
        .with(Scope::PaymentsWrite, routes!(orders::add_payment))
        .with(Scope::OrdersWrite, routes!(orders::deliver))
        .with(Scope::OrdersWrite, routes!(orders::return_goods))
        .with(Scope::OrdersWrite, routes!(orders::exchange))
        .with(Scope::RefundsWrite, routes!(orders::refund))
        .with(Scope::StockWrite, routes!(stock::receive_many))
        .with(Scope::StockWrite, routes!(stock::receive))
        .with(Scope::StockWrite, routes!(stock::adjust))
        .with(Scope::PaymentsWrite, routes!(payments::charge))
        .with(Scope::PaymentsWrite, routes!(payments::authorize))
        .with(Scope::PaymentsWrite, routes!(payments::capture))
        .with(Scope::PaymentsWrite, routes!(payments::fail))
        .with(Scope::PaymentsWrite, routes!(payments::void))
        .with(Scope::RefundsWrite, routes!(payments::refund_succeeded))
        .with(Scope::RefundsWrite, routes!(payments::refund_failed))
        .with(Scope::RefundsWrite, routes!(payments::retry_refund))
        .with(Scope::PaymentsWrite, routes!(payments::look_up))
        .open(routes!(provider_notices::receive))
        .with(Scope::Read, routes!(reactions::list_parked))
        .with(Scope::Admin, routes!(reactions::retry))
        .with(Scope::Admin, routes!(webhook_subscriptions::subscribe, webhook_subscriptions::list))
        .with(
            Scope::Admin,
            routes!(
                webhook_subscriptions::read,
                webhook_subscriptions::change,
                webhook_subscriptions::unsubscribe
            ),
        )
        .with(Scope::Admin, routes!(webhook_subscriptions::rotate_secret))
        .with(Scope::Admin, routes!(webhook_subscriptions::replay))
        .with(Scope::Admin, routes!(webhook_subscriptions::list_deliveries))
        .with(Scope::Admin, routes!(webhook_subscriptions::retry_delivery))
        .open(routes!(live))
        .open(routes!(ready))
        .open(routes!(version))
}

/// The OpenAPI 3.1 document of the command API.
pub fn openapi() -> &'static Document {
    static DOCUMENT: LazyLock<Document> =
        LazyLock::new(|| routes(&Gate::open()).into_document(include_str!("http/examples.json")));
    &DOCUMENT
}

/// The router of the command API.
pub fn router(api: CommandApi) -> Router {
    let api = Arc::new(api);
    let routes = routes(&api.gate).into_router();
    let guarded = middleware::from_fn_with_state(Arc::clone(&api), refuse_after_loss);
    let routes = routes.layer(middleware::from_fn(faults::report_together)).layer(guarded);
    site::complete("command", routes.with_state(api), openapi())
}

/// Refuses every request that is not a read once the event log went back. Without this, a command that appends
/// nothing would be answered from the state in memory, which the log may no longer have.
async fn refuse_after_loss(State(api): State<SharedApi>, request: Request, next: Next) -> Response {
    let is_read = matches!(*request.method(), Method::GET | Method::HEAD);
    if !is_read && api.log_guard.as_ref().is_some_and(|guard| guard.refusal().is_some()) {
        return Problem::new(Code::LogWentBack).into_response();
    }
    next.run(request).await
}

/// Liveness: the process runs
#[utoipa::path(get, path = "/livez", operation_id = "checkLiveness", tag = "health",
    responses((status = 200, description = "The process runs.")))]
async fn live() -> &'static str {
    "ok\n"
}

/// Readiness: this process can do its roles
///
/// `degraded` lists the parts of the work that wait for an operator.
#[utoipa::path(get, path = "/readyz", operation_id = "checkReadiness", tag = "health",
    responses((status = 200, description = "The process is ready.", body = Readiness), ReadinessProblems))]
async fn ready(State(api): State<SharedApi>) -> Result<Json<Readiness>, Failure<ReadinessProblems>> {
    api.checkout.store().log().read_all(None, 1).await?;
    Ok(Json(api.health.readiness()?))
}

/// The version of this process
#[utoipa::path(get, path = "/version", operation_id = "getVersion", tag = "health",
    responses((status = 200, description = "The version and the commit.", body = Version)))]
async fn version(State(api): State<SharedApi>) -> Json<Version> {
    Json(api.version)
}

/// The current time in microseconds, the precision of the stores.
fn now(api: &CommandApi) -> Timestamp {
    let now = api.checkout.clock.now();
    Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now)
}

/// Checks an optional free text of a request.
fn text(member: &str, value: Option<String>) -> Result<Option<String>, Problem> {
    match value.as_deref().map(domain::text::check) {
        Some(Err(error)) => Err(Problem::invalid_request(member, error.to_string())),
        Some(Ok(())) | None => Ok(value),
    }
}

#[cfg(test)]
mod tests;

//! The query API: read models over HTTP, for dashboards and for callers that read their own writes.
//!
//! It never writes. To [`Queries`] it adds the HTTP side: strict parameters, opaque cursors, entity tags, a
//! bounded wait for a revision, and a limit on concurrent queries.

mod as_of;
mod declines;
mod error;
mod events;
mod feed;
mod freshness;
mod health;
mod log_access;
mod log_event;
mod money;
mod orders;
pub mod pages;
mod payments;
mod projections;
mod reconciliations;
mod reports;
mod sales;
mod stock;
mod stream_time;
mod stuck;
mod summary;
mod timeline;

use std::{
    fmt,
    future::Future,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{Router, middleware};
use error::QueryError;
use feed::Feed;
pub use feed::FeedOptions;
use infra::{
    auth::Scope,
    clock::Clock,
    event_source::layout::SourceLayout,
    health::Health,
    http::{
        Document, Gate, GuardedRoutes, ServerOptions, Version, conditional, problem::ProblemSchema, site,
        vocabulary,
    },
    operations::reconciliations::Reconciliations,
    read_models::Queries,
};
pub use log_access::LogAccess;
use pages::{Pages, PagesOptions};
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use utoipa::OpenApi;
use utoipa_axum::routes;

/// Every endpoint with the scope that its callers need: the routes and the OpenAPI document come from this list.
fn routes(gate: &Gate) -> GuardedRoutes<Arc<QueryApi>> {
    GuardedRoutes::new(gate.clone(), Description::openapi())
        .with_customers(Scope::Read, routes!(orders::orders))
        .with(Scope::Read, routes!(stuck::stuck_orders))
        .with_customers(Scope::Read, routes!(orders::order))
        .with(Scope::Audit, routes!(timeline::timeline))
        .with(Scope::Read, routes!(stock::stock_list))
        .with(Scope::Read, routes!(stock::stock))
        .with(Scope::Read, routes!(stock::reservations))
        .with(Scope::Read, routes!(stock::cover::cover))
        .with(Scope::Read, routes!(stock::movements::movements))
        .with_customers(Scope::Read, routes!(payments::payments))
        .with_customers(Scope::Read, routes!(payments::payment))
        .with(Scope::Read, routes!(sales::sales))
        .with(Scope::Read, routes!(sales::currencies))
        .with(Scope::Read, routes!(money::money))
        .with(Scope::Read, routes!(declines::declines))
        .with(Scope::Read, routes!(reconciliations::reconciliations))
        .with(Scope::Read, routes!(reconciliations::reconciliation))
        .with(Scope::Read, routes!(projections::projections))
        .with(Scope::Read, routes!(summary::summary))
        .with(Scope::Audit, routes!(events::events))
        .with(Scope::Read, routes!(feed::feed))
        .open(routes!(health::livez))
        .open(routes!(health::readyz))
        .open(routes!(health::version))
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Orderly query API",
        description = "Read models of orders, stock, payments and sales. They follow the event log. `min_revision` \
                       waits until the answer includes the effect of a command. Errors are RFC 9457 problems: branch \
                       on `code`; /problems explains each code.",
    ),
    tags(
        (name = "orders", description = "Orders with their lines, shipments, returns and refunds"),
        (name = "stock", description = "Levels and reservations"),
        (name = "payments", description = "Payments with their refunds and disputes, and sums of money"),
        (name = "sales", description = "Sums of sales"),
        (name = "events", description = "Events of the log, and a feed of new ones"),
        (name = "operations", description = "Stuck orders and the progress of projections"),
        (name = "health", description = "Liveness and readiness"),
    ),
    // utoipa does not add the schemas of parameters. What is not used is left out.
    components(schemas(
        ProblemSchema, log_event::LogEvent, vocabulary::OrderWorkWord, vocabulary::SkuValue, vocabulary::TextValue,
        vocabulary::CurrencyValue, vocabulary::PaymentTermsWord, vocabulary::OrderSortWord,
        vocabulary::DirectionWord,
    )),
)]
struct Description;

/// Limits of the query API.
#[derive(Debug, Clone, Copy)]
pub struct QueryApiOptions {
    /// Concurrent queries. One more is answered with 503 `overloaded`.
    pub queries_max: usize,
    /// Concurrent queries of requests that waited for a revision and look again. One more waits. They do not
    /// count as concurrent queries, so waiting requests never make another one fail.
    pub queries_again_max: usize,
    /// Longest wait of `min_revision` for the read model.
    pub revision_wait_max: Duration,
    pub feed: FeedOptions,
}

impl Default for QueryApiOptions {
    fn default() -> Self {
        let (revision_wait_max, feed) = (Duration::from_secs(2), FeedOptions::default());
        Self { queries_max: 256, queries_again_max: 32, revision_wait_max, feed }
    }
}

/// The stores that the query API reads.
pub struct QueryApi {
    queries: Arc<dyn Queries>,
    source: Option<Arc<dyn SourceLayout>>,
    log: Arc<LogAccess>,
    feed: Feed,
    clock: Clock,
    permits: Semaphore,
    permits_again: Semaphore,
    revision_wait_max: Duration,
    health: Health,
    version: Version,
    gate: Gate,
    pages: Arc<Pages>,
    /// `None`: this process has no operational state.
    reconciliations: Option<Arc<dyn Reconciliations>>,
}

impl QueryApi {
    /// `source` is the source of the projectors' events, from which the API computes their lag. `None` if
    /// this process cannot read it; answers then have no lag. `log` holds the events that the read models are
    /// made from.
    pub fn new(
        queries: Arc<dyn Queries>,
        source: Option<Arc<dyn SourceLayout>>,
        log: LogAccess,
        clock: Clock,
        options: QueryApiOptions,
    ) -> Self {
        let permits = Semaphore::new(options.queries_max);
        let permits_again = Semaphore::new(options.queries_again_max);
        let (revision_wait_max, health) = (options.revision_wait_max, Health::default());
        let (gate, version) = (Gate::open(), Version::default());
        let log = Arc::new(log);
        let feed = Feed::new(Arc::clone(&log), options.feed, CancellationToken::new());
        Self {
            queries,
            source,
            log,
            feed,
            clock,
            permits,
            permits_again,
            revision_wait_max,
            health,
            version,
            gate,
            pages: Arc::new(Pages::plain()),
            reconciliations: None,
        }
    }

    /// Ends the listeners of the feed at `stop`.
    pub fn ending_with(self, stop: CancellationToken) -> Self {
        Self { feed: Feed::new(Arc::clone(&self.log), self.feed.options(), stop), ..self }
    }

    /// Answers `/readyz` with the conditions of this process.
    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
    }

    /// Answers `/version`.
    pub fn with_version(self, version: Version) -> Self {
        Self { version, ..self }
    }

    /// Shows on the pages what the platform is made of, and lets them act.
    pub fn with_pages(self, options: PagesOptions) -> Self {
        Self { pages: Arc::new(Pages::new(options)), ..self }
    }

    /// Authenticates callers.
    pub fn behind(self, gate: Gate) -> Self {
        Self { gate, ..self }
    }

    /// Runs a query, or refuses it if `queries_max` others are running.
    async fn query<T, E>(&self, query: impl Future<Output = Result<T, E>>) -> Result<T, QueryError>
    where
        QueryError: From<E>,
    {
        let _permit = self.permits.try_acquire().map_err(|_| QueryError::Overloaded)?;
        Ok(query.await?)
    }

    /// Runs a further query of a request that waits for a revision.
    async fn query_again<T, E>(&self, query: impl Future<Output = Result<T, E>>) -> Result<T, QueryError>
    where
        QueryError: From<E>,
    {
        let _permit = self.permits_again.acquire().await.map_err(|_| QueryError::Overloaded)?;
        Ok(query.await?)
    }
}

impl fmt::Debug for QueryApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryApi").field("revision_wait_max", &self.revision_wait_max).finish_non_exhaustive()
    }
}

/// The router of the query API and its pages.
pub fn router(api: QueryApi) -> Router {
    let routes = pages::add_to(routes(&api.gate)).into_router();
    let api = Arc::new(api);
    let complete = site::complete("query", routes.with_state(Arc::clone(&api)), openapi());
    // Outside: a page takes the place of a problem before it is compressed.
    conditional::tagged(complete.layer(middleware::from_fn_with_state(api, pages::surround)))
}

/// Serves the query API until `shutdown`.
pub async fn run(listener: TcpListener, api: QueryApi, options: ServerOptions, shutdown: CancellationToken) {
    let api = api.ending_with(shutdown.clone());
    infra::http::serve(listener, router(api), options, shutdown).await;
}

/// The OpenAPI 3.1 document of the query API.
pub fn openapi() -> &'static Document {
    static DOCUMENT: LazyLock<Document> =
        LazyLock::new(|| routes(&Gate::open()).into_document(include_str!("examples.json")));
    &DOCUMENT
}

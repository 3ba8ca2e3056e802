//! The query API: read models over HTTP, for dashboards and for callers that want to read their own writes.
//!
//! It never writes and knows no rule of the shop. What it adds to [`Queries`] is the HTTP side: strict
//! parameters, opaque cursors, entity tags, a bounded wait for a revision, and a bound on what runs at once.

mod cursor;
mod docs;
mod error;
mod freshness;
mod health;
mod log_access;
mod orders;
mod parameters;
mod payments;
mod projections;
mod sales;
mod stock;
mod stuck;
mod timeline;
mod vocabulary;

use std::{fmt, future::Future, sync::Arc, time::Duration};

use axum::Router;
use error::QueryError;
use infra::{
    clock::Clock,
    event_source::layout::SourceLayout,
    http::{ServerOptions, problem},
    read_models::Queries,
};
pub use log_access::LogAccess;
use tokio::{net::TcpListener, sync::Semaphore};
use tokio_util::sync::CancellationToken;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::openapi::OpenApi;

/// Bounds of the query API.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Queries under way at once; one more is answered with 503 `overloaded`. A request that waits for a
    /// revision counts only while it reads.
    pub queries_max: usize,
    /// How long `min_revision` waits for the read model.
    pub revision_wait_max: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { queries_max: 256, revision_wait_max: Duration::from_secs(2) }
    }
}

/// What the query API answers from.
pub struct QueryApi {
    queries: Arc<dyn Queries>,
    source: Option<Arc<dyn SourceLayout>>,
    log: LogAccess,
    clock: Clock,
    permits: Semaphore,
    revision_wait_max: Duration,
}

impl QueryApi {
    /// `source` is where projectors take their events from; it says how far they are behind. None where this process
    /// cannot look there, and then no lag is told. `log`: the events that the read models are made from.
    pub fn new(
        queries: Arc<dyn Queries>,
        source: Option<Arc<dyn SourceLayout>>,
        log: LogAccess,
        clock: Clock,
        options: Options,
    ) -> Self {
        let permits = Semaphore::new(options.queries_max);
        Self { queries, source, log, clock, permits, revision_wait_max: options.revision_wait_max }
    }

    /// Runs a query, or refuses it when too many are under way.
    async fn query<T, E>(&self, query: impl Future<Output = Result<T, E>>) -> Result<T, QueryError>
    where
        QueryError: From<E>,
    {
        let _permit = self.permits.try_acquire().map_err(|_| QueryError::Overloaded)?;
        Ok(query.await?)
    }

    /// Runs a query of a request that was admitted before, when its turn comes.
    async fn query_in_turn<T, E>(&self, query: impl Future<Output = Result<T, E>>) -> Result<T, QueryError>
    where
        QueryError: From<E>,
    {
        let _permit = self.permits.acquire().await.map_err(|_| QueryError::Overloaded)?;
        Ok(query.await?)
    }
}

impl fmt::Debug for QueryApi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryApi").field("revision_wait_max", &self.revision_wait_max).finish_non_exhaustive()
    }
}

/// Every route of the query API.
pub fn router(api: QueryApi) -> Router {
    let (routes, documentation) = docs::documented_routes().split_for_parts();
    routes
        .with_state(Arc::new(api))
        .merge(problem::pages())
        .merge(docs::pages(documentation))
        .fallback(problem::no_such_path)
        .method_not_allowed_fallback(problem::no_such_method)
        .layer(CatchPanicLayer::custom(problem::after_panic))
}

/// Serves the query API until `shutdown`.
pub async fn run(listener: TcpListener, api: QueryApi, shutdown: CancellationToken) {
    infra::http::serve(listener, router(api), ServerOptions::default(), shutdown).await;
}

/// The OpenAPI 3.1 description of the query API.
pub fn openapi() -> OpenApi {
    docs::documented_routes().split_for_parts().1
}

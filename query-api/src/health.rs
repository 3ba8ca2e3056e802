//! Liveness and readiness.

use std::sync::Arc;

use axum::extract::State;
use infra::http::{Failure, answers::ReadinessProblems};

use crate::QueryApi;

/// Liveness of the process
#[utoipa::path(
    get, path = "/livez", tag = "operations",
    responses((status = 200, description = "The process runs.", body = String)),
)]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Readiness: the read models can be queried
///
/// This check does not count as a concurrent query: a busy process is ready.
#[utoipa::path(
    get, path = "/readyz", tag = "operations",
    responses((status = 200, description = "The process is ready.", body = String), ReadinessProblems),
)]
pub async fn readyz(State(api): State<Arc<QueryApi>>) -> Result<&'static str, Failure<ReadinessProblems>> {
    api.queries.checkpoints().await?;
    Ok("ok\n")
}

//! Liveness and readiness.

use std::sync::Arc;

use axum::{Json, extract::State};
use infra::{
    health::Readiness,
    http::{Failure, Version, answers::ReadinessProblems},
};

use crate::QueryApi;

/// Liveness of the process
#[utoipa::path(
    get, path = "/livez", operation_id = "checkLiveness", tag = "health",
    responses((status = 200, description = "The process runs.", body = String)),
)]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Readiness: this process can do its roles
///
/// `degraded` lists the parts of the work that wait for an operator. This check does not count as a concurrent
/// query: a busy process is ready.
#[utoipa::path(
    get, path = "/readyz", operation_id = "checkReadiness", tag = "health",
    responses((status = 200, description = "The process is ready.", body = Readiness), ReadinessProblems),
)]
pub async fn readyz(State(api): State<Arc<QueryApi>>) -> Result<Json<Readiness>, Failure<ReadinessProblems>> {
    api.queries.checkpoints().await?;
    Ok(Json(api.health.readiness()?))
}

/// The version of this process
#[utoipa::path(
    get, path = "/version", operation_id = "getVersion", tag = "health",
    responses((status = 200, description = "The version and the commit.", body = Version)),
)]
pub async fn version(State(api): State<Arc<QueryApi>>) -> Json<Version> {
    Json(api.version)
}

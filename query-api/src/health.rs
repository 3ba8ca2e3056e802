//! Whether the process runs, and whether it can answer.

use std::sync::Arc;

use axum::extract::State;

use crate::{QueryApi, docs::Unready, error::QueryError};

/// Whether the process runs
#[utoipa::path(get, path = "/livez", tag = "operations", responses((status = 200, description = "It does.", body = String)))]
pub async fn livez() -> &'static str {
    "ok\n"
}

/// Whether queries can be answered
///
/// Not counted among the queries under way: a busy process is ready.
#[utoipa::path(get, path = "/readyz", tag = "operations", responses((status = 200, description = "They can.", body = String), Unready))]
pub async fn readyz(State(api): State<Arc<QueryApi>>) -> Result<&'static str, QueryError> {
    api.queries.checkpoints().await?;
    Ok("ok\n")
}

//! `/v1/projections`: how far the read models are behind the log, and what they could not take in.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{EventId, Position, Revision, StreamName, Timestamp};
use infra::read_models::{CheckpointRow, ParkedStream};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{QueryApi, docs::QueryProblems, error::QueryError, parameters::Params};

/// Where every projection stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Projections<'a> {
    /// Position of the log's last event; null while the log is empty, and where this process does not hold it.
    #[schema(value_type = Option<u64>)]
    head: Option<Position>,
    projections: Vec<Checkpoint<'a>>,
    /// Streams with an event that a projection could not apply; the reason is in `orderly projections list`.
    parked: Vec<Parked<'a>>,
}

/// Where a projection stands in a partition of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct Checkpoint<'a> {
    projection: &'a str,
    partition: &'a str,
    /// Position of the last event taken in; null before the first.
    #[schema(value_type = Option<u64>)]
    position: Option<Position>,
    /// Events of the log that are not taken in yet; null where `head` is.
    lag_events: Option<u64>,
    #[schema(value_type = Option<String>, format = "date-time")]
    updated_at: Option<Timestamp>,
}

/// A stream that waits for an operator.
#[derive(Debug, Serialize, ToSchema)]
pub struct Parked<'a> {
    projection: &'static str,
    #[schema(value_type = String, example = "stock-85123A")]
    stream: &'a StreamName,
    /// The event that could not be applied.
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    #[schema(value_type = u64)]
    revision: Revision,
    #[schema(value_type = u64)]
    position: Position,
    #[schema(value_type = String, format = "date-time")]
    parked_at: Timestamp,
}

/// Positions, lag and parked streams
#[utoipa::path(
    get, path = "/v1/projections", tag = "operations",
    responses((status = 200, description = "Every projection.", body = Projections), QueryProblems),
)]
pub async fn projections(
    State(api): State<Arc<QueryApi>>,
    Params(()): Params<()>,
) -> Result<Response, QueryError> {
    let checkpoints = api.query(api.queries.checkpoints()).await?;
    let parked = api.query(api.queries.parked_streams()).await?;
    // Read last: a lag is then overstated by what has just happened, never understated.
    let head = api.log_head.as_ref().and_then(|head| *head.borrow());
    let projections = Projections {
        head,
        projections: checkpoints.iter().map(|checkpoint| Checkpoint::of(checkpoint, head)).collect(),
        parked: parked.iter().map(Parked::of).collect(),
    };
    Ok(Json(projections).into_response())
}

impl<'a> Checkpoint<'a> {
    fn of(row: &'a CheckpointRow, log_head: Option<Position>) -> Self {
        Self {
            projection: &row.projection,
            partition: &row.partition.0,
            position: row.position,
            lag_events: log_head.map(|head| head.saturating_sub(row.position.unwrap_or(0))),
            updated_at: row.updated_at,
        }
    }
}

impl<'a> Parked<'a> {
    fn of(row: &'a ParkedStream) -> Self {
        Self {
            projection: row.projection.as_str(),
            stream: &row.stream,
            event_id: row.event_id,
            revision: row.revision,
            position: row.position,
            parked_at: row.parked_at,
        }
    }
}

//! `/v1/projections`: how far the read models are behind the log, and what they could not take in.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{EventId, Position, Revision, StreamName, Timestamp};
use infra::{
    event_source::Partition,
    read_models::{CheckpointRow, ParkedStream},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{QueryApi, docs::QueryProblems, error::QueryError, parameters::Params};

/// How long an answer waits to learn where the partitions end.
const ENDS_PATIENCE: Duration = Duration::from_secs(2);

/// Where every projection stands.
#[derive(Debug, Serialize, ToSchema)]
pub struct Projections<'a> {
    /// Position of the log's last event; null while the log is empty, where projectors do not follow the log itself,
    /// and where this process does not know it.
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
    /// Of the last event taken in, in the partition: of the log itself, or an offset of Kafka; null before the first.
    #[schema(value_type = Option<u64>)]
    position: Option<Position>,
    /// Of the last event taken in, in the log.
    #[schema(value_type = Option<u64>)]
    log_position: Option<Position>,
    /// Events of the partition that are not taken in yet, by their positions; null where the end of the partition is
    /// not known. (Kafka gives a position to the end of a transaction as well, and EventStoreDB counts bytes.)
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
    let ends = ends(&api).await;
    let projections = Projections {
        head: ends.get(&Partition::whole_log()).copied().flatten(),
        projections: checkpoints.iter().map(|checkpoint| Checkpoint::of(checkpoint, &ends)).collect(),
        parked: parked.iter().map(Parked::of).collect(),
    };
    Ok(Json(projections).into_response())
}

/// The last position of each partition; empty where that cannot be known now.
async fn ends(api: &QueryApi) -> HashMap<Partition, Option<Position>> {
    let Some(source) = &api.source else { return HashMap::new() };
    match tokio::time::timeout(ENDS_PATIENCE, source.last_positions()).await {
        Ok(Ok(positions)) => source.partitions().into_iter().zip(positions).collect(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "How far the projections are behind cannot be told");
            HashMap::new()
        }
        Err(_) => HashMap::new(),
    }
}

impl<'a> Checkpoint<'a> {
    fn of(row: &'a CheckpointRow, ends: &HashMap<Partition, Option<Position>>) -> Self {
        Self {
            projection: &row.projection,
            partition: &row.partition.0,
            position: row.position,
            log_position: row.log_position,
            lag_events: ends.get(&row.partition).map(|end| row.behind(*end)),
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

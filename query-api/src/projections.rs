//! `/v1/projections`: the lag of the read models behind the log, and the parked streams.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use domain::{EventId, Position, Revision, StreamName, Timestamp};
use infra::{
    event_source::Partition,
    http::{Failure, answers::QueryProblems, parameters::Params},
    read_models::{CheckpointRow, ParkedStream},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{QueryApi, freshness::NotModified};

/// Time limit for reading the ends of the partitions.
const ENDS_PATIENCE: Duration = Duration::from_secs(2);

/// The progress of every projection.
#[derive(Debug, Serialize, ToSchema)]
pub struct Projections<'a> {
    /// Position of the log's last event. Null if the log is empty, if projectors follow Kafka instead of the
    /// log, or if this process does not know it.
    #[schema(value_type = Option<u64>)]
    head: Option<Position>,
    projections: Vec<Checkpoint<'a>>,
    /// Streams with an event that a projection could not apply. `orderly projections list` shows the reason.
    parked: Vec<Parked<'a>>,
}

/// The progress of a projection in one partition.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProjectionProgress)]
pub struct Checkpoint<'a> {
    projection: &'a str,
    partition: &'a str,
    /// Position of the last applied event in the partition: in the log, or a Kafka offset. Null before the
    /// first.
    #[schema(value_type = Option<u64>)]
    position: Option<Position>,
    /// Position of the last applied event in the log.
    #[schema(value_type = Option<u64>)]
    log_position: Option<Position>,
    /// Events of the partition that are not applied yet, as a difference of positions. Null if the end of the
    /// partition is unknown. (Kafka also gives a position to the end of a transaction, and EventStoreDB
    /// counts bytes.)
    lag_events: Option<u64>,
    #[schema(value_type = Option<String>, format = "date-time")]
    updated_at: Option<Timestamp>,
}

/// A parked stream, which waits for an operator.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ParkedStream)]
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
    get, path = "/v1/projections", operation_id = "listProjections", tag = "operations",
    responses((status = 200, description = "Every projection.", body = Projections), NotModified, QueryProblems),
)]
pub async fn projections(
    State(api): State<Arc<QueryApi>>,
    Params(()): Params<()>,
) -> Result<Response, Failure<QueryProblems>> {
    let checkpoints = api.query(api.queries.checkpoints()).await?;
    let parked = api.query(api.queries.parked_streams()).await?;
    // Read last: newer events can then only make the lag too large, never too small.
    let ends = ends(&api).await;
    let projections = Projections {
        head: ends.get(&Partition::whole_log()).copied().flatten(),
        projections: checkpoints.iter().map(|checkpoint| Checkpoint::of(checkpoint, &ends)).collect(),
        parked: parked.iter().map(Parked::of).collect(),
    };
    Ok(Json(projections).into_response())
}

/// The last position of each partition. Empty if the source cannot be read now.
pub(crate) async fn ends(api: &QueryApi) -> HashMap<Partition, Option<Position>> {
    let Some(source) = &api.source else { return HashMap::new() };
    match tokio::time::timeout(ENDS_PATIENCE, source.last_positions()).await {
        Ok(Ok(positions)) => source.partitions().into_iter().zip(positions).collect(),
        Ok(Err(error)) => {
            tracing::warn!(%error, "Cannot read the ends of the partitions; the answer has no lag");
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

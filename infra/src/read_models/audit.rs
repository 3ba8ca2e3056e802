//! All rows at once: to compare them with the log, and to replace them by rows of a new fold.

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{ParkedStream, ReadModelError, Rows, StoredRow};
use crate::event_source::Partition;

/// Every row that a log folds to.
///
/// Rows are in the order in which they load fastest: orders and payments as they were recorded, all others by
/// key.
#[derive(Debug, Default)]
pub struct AllRows {
    /// Id of the event store that holds the log.
    pub store_id: Uuid,
    /// Position of the last event that the rows reflect; `None` if the log is empty.
    pub position: Option<Position>,
    pub rows: Rows,
    pub parked: Vec<ParkedStream>,
}

/// For each partition, the position of the log up to which the rows reflect its events.
pub type LogPositions = Vec<(Partition, Option<Position>)>;

/// How far the rows are: what a reader learns before it reads rows.
pub(super) type Progress = (LogPositions, Vec<ParkedStream>);

/// Every row, as one transaction sees them.
#[derive(Debug)]
pub struct Stored {
    pub log_positions: LogPositions,
    pub parked: Vec<ParkedStream>,
    /// Chunks of rows, sent while the adapter reads them. Dropping this stops the reading.
    pub rows: mpsc::Receiver<Result<Vec<StoredRow>, ReadModelError>>,
}

/// Read models that can show every row.
#[async_trait]
pub trait Audit: Send + Sync + 'static {
    async fn stored(&self) -> Result<Stored, ReadModelError>;
}

/// Read models that can be replaced as a whole.
#[async_trait]
pub trait Rebuild: Send + Sync + 'static {
    /// Writes the rows beside those in use. `positions`: where each partition of the source continues.
    /// Projectors skip events from there on that the rows already reflect, by their revision.
    async fn stage(
        &self,
        positions: &[(Partition, Option<Position>)],
        rows: Arc<AllRows>,
    ) -> Result<Box<dyn Staged>, ReadModelError>;
}

/// Rows that are written but not in use yet. Dropping this deletes them.
#[async_trait]
pub trait Staged: Audit {
    /// Replaces the rows in use. Readers see all of the old rows or all of the new ones. A running projector
    /// gets [`ReadModelError::CheckpointMoved`] and continues from the position of the new rows.
    async fn publish(self: Box<Self>) -> Result<(), ReadModelError>;
}

/// Refuses rows whose projections stand at different positions in one partition: no single fold gives such
/// rows. `read` holds the distinct positions, sorted by partition.
pub(super) fn one_per_partition(read: LogPositions) -> Result<LogPositions, ReadModelError> {
    let Some(pair) = read.windows(2).find(|pair| pair[0].0 == pair[1].0) else { return Ok(read) };
    let text = format!("the projections of partition {} stand at different positions", pair[0].0.0);
    Err(ReadModelError::Corrupt(text.into()))
}

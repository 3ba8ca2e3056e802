//! The event source port: batches of events of a partition, in order, from a position that the consumer
//! chooses.
//!
//! A consumer stores its position in the transaction that stores what it derives from the events. So a source
//! first reports its partitions ([`SourceUpdate::Assigned`]). The consumer loads its position and calls
//! [`EventSource::seek`]. Only then does the source return events of that partition.

pub mod direct;
pub mod kafka;
pub mod layout;

use async_trait::async_trait;
use domain::{Position, RecordedEvent};

use crate::event_store::{EventMark, ReadError};
pub use crate::partition::Partition;

/// Consecutive events of a partition.
#[derive(Debug, Clone)]
pub struct Batch {
    pub partition: Partition,
    /// Position of the consumer before this batch. Its unit depends on the source: a direct source counts
    /// positions of the log, Kafka counts offsets. Each event also has its position in the log.
    pub after: Option<Position>,
    pub events: Vec<RecordedEvent>,
    /// Position of the consumer once the batch is applied.
    pub position: Position,
}

impl Batch {
    /// How far the consumer has read once the batch is applied.
    pub fn reached(&self) -> Reached {
        Reached { position: self.position, last_event: self.events.last().map(EventMark::from) }
    }
}

/// How far a consumer has read a partition. Consumers store it and seek it when they start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// Position in the partition.
    pub position: Position,
    /// The last event before that position. `None` if an earlier version stored the position, until the next
    /// event.
    pub last_event: Option<EventMark>,
}

impl From<Position> for Reached {
    /// A position without a mark, which is not compared with the log.
    fn from(position: Position) -> Self {
        Self { position, last_event: None }
    }
}

/// What a source returns.
#[derive(Debug)]
pub enum SourceUpdate {
    /// The consumer now owns these partitions. It must seek each one before its events arrive.
    Assigned(Vec<Partition>),
    /// Another consumer owns these partitions from now on.
    Revoked(Vec<Partition>),
    Events(Batch),
}

/// A source of events.
#[async_trait]
pub trait EventSource: Send + Sync {
    /// Waits for the next update. Cancel safe: a dropped future loses no update. After a failure to apply a
    /// batch, the consumer seeks its stored position and gets the same events again.
    async fn next(&mut self) -> Result<SourceUpdate, ReadError>;

    /// Returns an update that has already arrived, so that a consumer can apply batches of several partitions at
    /// once. A source of one partition has none.
    fn arrived(&mut self) -> Option<Result<SourceUpdate, ReadError>> {
        None
    }

    /// Reads a partition from the event after `reached` on (`None`: from its beginning). Replaces an earlier
    /// seek. A source that reads the log fails with [`ReadError::WentBack`] if the log lost the last event.
    fn seek(&mut self, partition: &Partition, reached: Option<Reached>);
}

#[async_trait]
impl EventSource for Box<dyn EventSource> {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        (**self).next().await
    }

    fn arrived(&mut self) -> Option<Result<SourceUpdate, ReadError>> {
        (**self).arrived()
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        (**self).seek(partition, reached);
    }
}

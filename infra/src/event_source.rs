//! What a consumer of events reads: batches of events of a partition, in order, from a position of its own.
//!
//! A consumer keeps its positions itself, in the same transaction as what it derives from the events. So a
//! source first says which partitions it has ([`Delivery::Assigned`]); the consumer looks its position up and
//! answers with [`EventSource::seek`]; only then do events of that partition come.

pub mod direct;
pub mod kafka;
pub mod layout;

use async_trait::async_trait;
use domain::{Position, RecordedEvent};

use crate::event_store::ReadError;

/// Names an ordered part of the log: all events of one stream are in one partition, and its events come in the order
/// of the log. `log` is the whole of it; `TOPIC/NUMBER` a partition of a topic, whose name ends in the kind of streams
/// it has: `orderly.orders/3`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub String);

impl Partition {
    /// The one partition of a source that reads the event store itself.
    pub fn whole_log() -> Self {
        Self("log".to_owned())
    }
}

/// Some consecutive events of a partition.
#[derive(Debug, Clone)]
pub struct Batch {
    pub partition: Partition,
    /// The position the consumer stood at before this batch. Positions here are those of the source: of the log where
    /// it reads the event store itself, offsets where it reads Kafka. Events have their position in the log besides.
    pub after: Option<Position>,
    pub events: Vec<RecordedEvent>,
    /// The position to resume after once the batch is applied.
    pub position: Position,
}

/// What a source has to say.
#[derive(Debug)]
pub enum Delivery {
    /// These partitions are the consumer's now; seek each before its events come.
    Assigned(Vec<Partition>),
    /// These belong to another consumer from now on.
    Revoked(Vec<Partition>),
    Events(Batch),
}

/// A source of events.
#[async_trait]
pub trait EventSource: Send + Sync {
    /// Waits for the next delivery. Cancel safe: a delivery is lost neither by dropping the future nor by
    /// failing to apply it, since the consumer's own position decides where reading goes on.
    async fn next(&mut self) -> Result<Delivery, ReadError>;

    /// Starts, or restarts, a partition after `position` (`None`: at its beginning).
    fn seek(&mut self, partition: &Partition, position: Option<Position>);
}

#[async_trait]
impl EventSource for Box<dyn EventSource> {
    async fn next(&mut self) -> Result<Delivery, ReadError> {
        (**self).next().await
    }

    fn seek(&mut self, partition: &Partition, position: Option<Position>) {
        (**self).seek(partition, position);
    }
}

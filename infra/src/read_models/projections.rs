//! Projections: their names, how far they have come, and which streams they have parked.

use std::fmt;

use async_trait::async_trait;
use domain::{EventId, Position, Revision, StreamName, Timestamp};

use super::ReadModelError;
use crate::{event_source::Partition, event_store::EventMark};

/// A group of read models with one checkpoint in each partition.
///
/// A new read model joins the projection of the stream that it is folded from. Only a new kind of stream
/// needs a new variant here, and with it a migration of the Postgres type `projection`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Projection {
    Stock,
    Orders,
    Payments,
    /// Folded from the order stream together with the orders.
    Sales,
}

impl Projection {
    pub const ALL: [Self; 4] = [Self::Stock, Self::Orders, Self::Payments, Self::Sales];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Orders => "orders",
            Self::Payments => "payments",
            Self::Sales => "sales",
        }
    }

    /// The projections that events of a partition change: those of its topic. All of them if the partition is
    /// no topic's.
    pub fn fed_by(partition: &Partition) -> &'static [Self] {
        let topic = partition.0.rsplit_once('/').map(|(topic, _)| topic);
        match topic.and_then(|topic| topic.rsplit('.').next()) {
            Some("stock") => &[Self::Stock],
            Some("orders") => &[Self::Orders, Self::Sales],
            Some("payments") => &[Self::Payments],
            _ => &Self::ALL,
        }
    }

    /// The projection that parks and resumes this stream. Sales are parked with the orders: one fold makes
    /// both. None for a receipt of several SKUs and for an exchange: no read model shows it, and the streams
    /// of stock and orders have what followed.
    pub fn of_stream(stream: &StreamName) -> Option<Self> {
        match stream {
            StreamName::Stock(_) => Some(Self::Stock),
            StreamName::Order(_) => Some(Self::Orders),
            StreamName::Payment(_) => Some(Self::Payments),
            StreamName::Receipt(_) | StreamName::Exchange(_) => None,
        }
    }
}

impl fmt::Display for Projection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Changes with each rebuild. It tells rebuilt rows from earlier rows with the same checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Generation(pub i64);

/// A stream with an event that a projection could not apply. Its later events wait; other streams continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedStream {
    pub projection: Projection,
    pub stream: StreamName,
    pub partition: Partition,
    /// The event that could not be applied.
    pub event_id: EventId,
    pub revision: Revision,
    pub position: Position,
    /// Why the event could not be applied, for the operator.
    pub reason: String,
    pub parked_at: Timestamp,
}

/// The position of a projection in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    pub projection: String,
    pub partition: Partition,
    /// Position in the source: in the event log, or a Kafka offset.
    pub position: Option<Position>,
    /// Position in the event log of the last event that the rows reflect.
    pub log_position: Option<Position>,
    /// That event.
    pub last_event: Option<EventMark>,
    pub updated_at: Option<Timestamp>,
}

impl CheckpointRow {
    /// The number of events up to `end`, the end of the partition, that the rows do not reflect. An upper
    /// bound: some Kafka
    /// offsets are transaction markers, and EventStoreDB positions count bytes. Log positions count from 1,
    /// Kafka offsets from 0.
    pub fn behind(&self, end: Option<Position>) -> u64 {
        let first = u64::from(self.partition == Partition::whole_log());
        let up_to = |position: Option<Position>| position.map_or(0, |at| (at + 1).saturating_sub(first));
        up_to(end).saturating_sub(up_to(self.position))
    }
}

/// Reads the progress of projections, for operators and for callers that wait for a revision.
#[async_trait]
pub trait ProjectionQueries: Send + Sync + 'static {
    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError>;
    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError>;
    /// True if a projection of this stream is parked. A caller that waits for a revision stops waiting then.
    async fn is_parked(&self, stream: &StreamName) -> Result<bool, ReadModelError>;
}

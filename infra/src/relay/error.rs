//! Why the relay refuses topics or a log.

use std::sync::Arc;

use domain::Position;
use uuid::Uuid;

use super::{PARKED_MAX, progress::LostEvents};
use crate::{event_store::ReadError, kafka::KafkaError, operations::OperationsError};

/// Why the relay cannot start, or stops for good.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RelayError {
    #[error(transparent)]
    Kafka(#[from] KafkaError),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(
        "the topics {prefix}.* have events of the event store {theirs}, but ORDERLY_EVENT_STORE is {ours}; correct the \
         setting, or give ORDERLY_BUS another prefix"
    )]
    OtherStore { prefix: String, theirs: Uuid, ours: Uuid },
    /// The topics have events that the log lost. Other consumers may have read them, so the topics cannot be
    /// mended.
    #[error("the topics {prefix}.* have events up to position {published} that the event log lost")]
    LogWentBack { prefix: String, published: Position },
    #[error(
        "the partition {partition} ended at offset {actual}, but the relay had written up to {written}: the topic was \
         recreated or has lost events. Give ORDERLY_BUS another prefix, so that the relay publishes all events again, and \
         run `orderly projections rebuild`"
    )]
    EventsLost { partition: String, actual: u64, written: u64 },
    #[error(
        "events were published to the topics {prefix}.*, but {prefix}.relay has no progress record of them: it was \
         recreated or has lost records. Give ORDERLY_BUS another prefix, and run `orderly projections rebuild`"
    )]
    ProgressLost { prefix: String },
    #[error(
        "the partition {partition} begins at offset {first}: its earlier events were deleted, and new consumers would \
         lack them. Give ORDERLY_BUS another prefix, so that the relay publishes all events again, and run `orderly \
         projections rebuild`"
    )]
    BeginningLost { partition: String, first: u64 },
    /// Nothing in Kafka shows that there were other topics, but a follower has read them.
    #[error(
        "{follower} has read the partition {partition} up to offset {position}, but the topics {prefix}.* are empty: they \
         were deleted and created again. Give ORDERLY_BUS another prefix, and run `orderly projections rebuild`"
    )]
    TopicsRecreated { prefix: String, follower: String, partition: String, position: Position },
    #[error("cannot compare the topics with what their followers have read: {0}")]
    Followers(#[from] OperationsError),
    #[error(
        "more than {PARKED_MAX} streams of the event store have damaged events; restore a backup, and give ORDERLY_BUS \
         another prefix"
    )]
    StoreDamaged,
    #[error("the thread of the relay has failed: {0}")]
    Thread(Arc<str>),
}

impl From<LostEvents> for RelayError {
    fn from(LostEvents { partition, actual, written }: LostEvents) -> Self {
        Self::EventsLost { partition, actual, written }
    }
}

impl RelayError {
    /// True if the log lost events that were published.
    pub fn is_of_lost_events(&self) -> bool {
        matches!(self, Self::LogWentBack { .. } | Self::Log(ReadError::WentBack(_)))
    }

    /// True if a topic was deleted, or lost events that were published.
    pub fn is_of_lost_topics(&self) -> bool {
        match self {
            Self::EventsLost { .. }
            | Self::ProgressLost { .. }
            | Self::BeginningLost { .. }
            | Self::TopicsRecreated { .. }
            | Self::Kafka(KafkaError::TopicMissing { .. }) => true,
            Self::Kafka(_)
            | Self::Log(_)
            | Self::Followers(_)
            | Self::OtherStore { .. }
            | Self::LogWentBack { .. }
            | Self::StoreDamaged
            | Self::Thread(_) => false,
        }
    }
}

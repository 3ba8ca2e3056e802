//! Appends without the platform around them: the baseline of benchmarks.

use domain::NewEvent;
use eventstore::{AppendToStreamOptions, Client, ExpectedRevision};
use uuid::Uuid;

use super::{
    EventStoreDbConfig, EventStoreDbOpenError, EventStoreDbOptions,
    appends::event_data,
    connection::{CallError, CallKind, Connection},
};

/// Has no hyphen before the id, so such a stream belongs to no aggregate and no follower takes its events.
const STREAM: &str = "orderly_bench";

/// Appends to streams that no part of the platform reads.
#[derive(Debug)]
pub struct RawAppends {
    connection: Connection,
}

/// An append of a benchmark has failed.
#[derive(Debug, thiserror::Error)]
#[error("a raw append has failed: {0}")]
pub struct RawAppendError(String);

impl From<CallError> for RawAppendError {
    fn from(error: CallError) -> Self {
        Self(error.to_string())
    }
}

impl RawAppends {
    /// Connects at the first append.
    pub fn open(
        config: EventStoreDbConfig,
        options: &EventStoreDbOptions,
    ) -> Result<Self, EventStoreDbOpenError> {
        Ok(Self { connection: Connection::new(config, options)? })
    }

    /// Appends each event to a new stream, one after another, as the steps of an order do.
    pub async fn append_each(&self, events: &[NewEvent]) -> Result<(), RawAppendError> {
        for event in events {
            let id = Uuid::new_v4();
            let stream = format!("{STREAM}-{id}");
            let data = event_data(event).map_err(|error| RawAppendError(error.to_string()))?.id(id);
            let options = AppendToStreamOptions::default()
                .expected_revision(ExpectedRevision::NoStream)
                .requires_leader(true);
            let append =
                |client: Client| async move { client.append_to_stream(stream, &options, data).await };
            self.connection.call(CallKind::Append, append).await?;
        }
        Ok(())
    }
}

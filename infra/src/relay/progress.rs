//! How far the log is published: a record in the relay's own topic, written in the transaction of the events it counts.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use domain::Position;
use rdkafka::{
    Message, Offset, TopicPartitionList,
    consumer::{BaseConsumer, Consumer},
    error::KafkaError as ClientError,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::kafka::{KafkaConfig, KafkaError, REQUEST_TIME_MAX, client, topics};

/// All records have this key, so that compaction leaves the last.
pub(super) const KEY: &str = "progress";
/// The last record is nearly always among so many offsets at the end; the rest are markers and what was aborted.
const OFFSETS_SEARCHED_FIRST: u64 = 500;
const READ_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayProgress {
    pub store_id: Uuid,
    /// Of the last event published.
    pub position: Option<Position>,
    /// Where each partition ended when this was written: a topic that ends before it is not the one written to.
    pub ends: BTreeMap<String, u64>,
}

impl RelayProgress {
    /// Nothing is published yet.
    pub fn none(store_id: Uuid) -> Self {
        Self { store_id, position: None, ends: BTreeMap::new() }
    }

    /// The first partition that ends before what was written to it, where it ends, and where it should.
    pub fn lost(&self, config: &KafkaConfig) -> Result<Option<(String, u64, u64)>, KafkaError> {
        let ends = topics::ends(config)?;
        let mut written = ends.into_iter().filter_map(|(partition, actual)| {
            let written = *self.ends.get(&partition.0)?;
            Some((partition.0, actual, written))
        });
        Ok(written.find(|(_, actual, written)| actual < written))
    }
}

/// Reads the last record that a committed transaction wrote; none where there is none yet.
pub(super) fn read(config: &KafkaConfig) -> Result<Option<RelayProgress>, KafkaError> {
    let consumer = consumer(config)?;
    let end = topics::end_offset(config, &consumer, &config.progress_topic_name(), 0)?;
    let recent = end.saturating_sub(OFFSETS_SEARCHED_FIRST);
    match read_between(config, &consumer, recent, end)? {
        None if recent > 0 => read_between(config, &consumer, 0, end),
        found => Ok(found),
    }
}

/// The last record from offset `from` on and before `end`.
fn read_between(
    config: &KafkaConfig,
    consumer: &BaseConsumer,
    from: u64,
    end: u64,
) -> Result<Option<RelayProgress>, KafkaError> {
    let topic = config.progress_topic_name();
    let unreachable =
        |reason: &dyn ToString| KafkaError::unreachable(config, &format!("{topic}: {}", reason.to_string()));
    let mut last = None;
    if from == end {
        return Ok(last);
    }
    let mut assignment = TopicPartitionList::new();
    let start = Offset::Offset(i64::try_from(from).unwrap_or(i64::MAX));
    assignment.add_partition_offset(&topic, 0, start).map_err(|error| unreachable(&error))?;
    consumer.assign(&assignment).map_err(|error| unreachable(&error))?;
    let deadline = Instant::now() + READ_TIME_MAX;
    // What a transaction leaves at the end is a marker, which moves the position and is no message.
    while position(consumer)? < end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let record = message.payload().map(serde_json::from_slice);
                last = record.transpose().map_err(|error| unreachable(&error))?.or(last);
            }
            None | Some(Err(ClientError::PartitionEOF(_))) => {}
            Some(Err(error)) => tracing::debug!(%error, "Reading the relay's progress"),
        }
        if Instant::now() > deadline {
            return Err(unreachable(&"it cannot be read to its end"));
        }
    }
    Ok(last)
}

/// The offset after the last that was taken in, markers included; 0 before the first.
fn position(consumer: &BaseConsumer) -> Result<u64, KafkaError> {
    let positions = consumer.position().map_err(|error| KafkaError::Client(error.to_string().into()))?;
    let elements = positions.elements();
    let offset = elements.first().and_then(|element| element.offset().to_raw());
    Ok(offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or_default())
}

fn consumer(config: &KafkaConfig) -> Result<BaseConsumer, KafkaError> {
    client(config, "relay-progress")
        // Never joined: the library wants one of everybody who reads.
        .set("group.id", format!("{}.relay", config.prefix()))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("socket.timeout.ms", REQUEST_TIME_MAX.as_millis().to_string())
        .create()
        .map_err(|error| KafkaError::Client(error.to_string().into()))
}

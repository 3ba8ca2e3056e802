//! The progress of the relay: a record in its own topic, written in the transaction of the events that it
//! counts.

use std::{
    collections::BTreeMap,
    ops::Range,
    time::{Duration, Instant},
};

use domain::{Position, RecordedEvent, StreamName};
use rdkafka::{Message, Offset, TopicPartitionList, consumer::Consumer, error::KafkaError as ClientError};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    event_store::EventMark,
    kafka::{KafkaConfig, KafkaError, REQUEST_TIME_MAX, Reader, client, reader, topics},
    partition::Partition,
};

/// The key of all records, so that compaction keeps only the last.
pub(super) const KEY: &str = "progress";
/// Offsets at the end of the topic that are searched first. The last record is nearly always among them.
/// Markers and aborted records take up offsets too.
const OFFSETS_SEARCHED_FIRST: u64 = 500;
/// Time limit for a search.
const READ_TIME_MAX: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RelayProgress {
    pub store_id: Uuid,
    /// Position of the last published event.
    pub position: Option<Position>,
    /// That event. `None` if an earlier version wrote the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_event: Option<EventMark>,
    /// Offset at which each partition ends, or after which it ends, once this record is readable. A partition
    /// that ends before it has lost events.
    pub ends: BTreeMap<String, u64>,
    /// A partition that has lost events. The relay that noticed it wrote this record, and no relay goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<LostEvents>,
    /// The streams with a damaged event, and the position of the first. Later events of these streams are
    /// withheld, because a reader would take the gap for the loss of a message.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub parked: BTreeMap<StreamName, Position>,
}

/// A partition that lacks events that the relay has published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LostEvents {
    /// `TOPIC/NUMBER`
    pub partition: String,
    /// Where the partition ended when it was looked at.
    pub actual: u64,
    /// Where it must end, at least.
    pub written: u64,
}

impl RelayProgress {
    /// Progress before the first event.
    pub fn none(store_id: Uuid) -> Self {
        Self {
            store_id,
            position: None,
            last_event: None,
            ends: BTreeMap::new(),
            lost: None,
            parked: BTreeMap::new(),
        }
    }

    /// False if the event must not be published, because it or an earlier event of its stream is damaged.
    pub fn admit(&mut self, event: &RecordedEvent) -> bool {
        if event.damage.is_some() {
            self.parked.entry(event.stream.clone()).or_insert(event.position);
        }
        !self.parked.contains_key(&event.stream)
    }

    /// The first partition in which a new message stands before published events.
    pub fn find_overwritten(&self, delivered: &BTreeMap<String, Range<u64>>) -> Option<LostEvents> {
        delivered.iter().find_map(|(partition, offsets)| {
            let written = *self.ends.get(partition)?;
            (offsets.start < written).then(|| LostEvents {
                partition: partition.clone(),
                actual: offsets.start,
                written,
            })
        })
    }

    /// The first partition that ends before the relay has written.
    pub fn find_lost(&self, offsets: &[(Partition, Range<u64>)]) -> Option<LostEvents> {
        offsets.iter().find_map(|(Partition(partition), offsets)| {
            let written = *self.ends.get(partition)?;
            (offsets.end < written).then(|| LostEvents {
                partition: partition.clone(),
                actual: offsets.end,
                written,
            })
        })
    }
}

/// Reads the last committed record; `None` if there is none.
pub(super) fn read(config: &KafkaConfig) -> Result<Option<RelayProgress>, KafkaError> {
    let consumer = consumer(config)?;
    let offsets = topics::offsets_of(config, &consumer, &config.progress_topic_name(), 1)?;
    let end = offsets.first().map_or(0, |offsets| offsets.end);
    let recent = end.saturating_sub(OFFSETS_SEARCHED_FIRST);
    match read_between(config, &consumer, recent, end)? {
        None if recent > 0 => read_between(config, &consumer, 0, end),
        found => Ok(found),
    }
}

/// The last record from offset `from` on, before offset `end`.
fn read_between(
    config: &KafkaConfig,
    consumer: &Reader,
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
    // A transaction ends with a marker, which moves the position but is not a message.
    while position(consumer)? < end {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let record = message.payload().map(serde_json::from_slice);
                last = record.transpose().map_err(|error| unreachable(&error))?.or(last);
            }
            None | Some(Err(ClientError::PartitionEOF(_))) => {}
            Some(Err(error)) => tracing::debug!(%error, "Cannot read the progress of the relay; retrying"),
        }
        if Instant::now() > deadline {
            return Err(unreachable(&"its end was not reached in time"));
        }
    }
    Ok(last)
}

/// The offset after the last one read, including markers; 0 before the first.
fn position(consumer: &Reader) -> Result<u64, KafkaError> {
    let positions = consumer.position()?;
    let elements = positions.elements();
    let offset = elements.first().and_then(|element| element.offset().to_raw());
    Ok(offset.and_then(|offset| u64::try_from(offset).ok()).unwrap_or_default())
}

fn consumer(config: &KafkaConfig) -> Result<Reader, KafkaError> {
    let mut settings = client(config, "relay-progress");
    settings
        // The library requires a group of every reader. This consumer never joins it.
        .set("group.id", format!("{}.relay", config.prefix()))
        .set("enable.auto.commit", "false")
        .set("isolation.level", "read_committed")
        .set("auto.offset.reset", "earliest")
        .set("socket.timeout.ms", REQUEST_TIME_MAX.as_millis().to_string());
    reader(config, &settings)
}

#[cfg(test)]
mod tests {
    use domain::{EventId, Sku, Timestamp};

    use super::*;

    fn event(position: Position, sku: &str, damage: Option<&str>) -> RecordedEvent {
        RecordedEvent {
            position,
            stream: Sku::new(sku).unwrap().into(),
            revision: position,
            id: EventId(Uuid::nil()),
            type_name: "".into(),
            data: [].into(),
            metadata: [].into(),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: damage.map(Into::into),
        }
    }

    #[test]
    fn a_record_remembers_the_streams_to_withhold_and_an_earlier_record_has_none() {
        let before = br#"{"store_id":"00000000-0000-0000-0000-000000000000","position":1,"ends":{}}"#;
        let mut progress: RelayProgress = serde_json::from_slice(before).unwrap();
        assert!(progress.admit(&event(2, "A", None)));
        assert!(!progress.admit(&event(3, "A", Some("its checksum is missing"))));
        assert!(progress.admit(&event(4, "B", None)));

        let stored = serde_json::to_vec(&progress).unwrap();
        let mut next: RelayProgress = serde_json::from_slice(&stored).unwrap();
        assert_eq!(next, progress);
        assert!(!next.admit(&event(5, "A", None)));
        assert!(next.admit(&event(6, "B", None)));
        assert_eq!(next.parked.into_values().collect::<Vec<_>>(), [3]);
    }
}

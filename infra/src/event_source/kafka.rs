//! Reads events from Kafka. The consumer group says which partitions this process has; where reading goes on in them
//! is the consumer's own business, as with every source.
//!
//! A thread polls Kafka and hands batches on. Batches fetched before the last seek of their partition are dropped here,
//! so whoever seeks gets what follows that position and nothing else. A process that was paused for longer than its
//! session may deliver batches of partitions that are another's by now: the compare-and-set of the checkpoint, which
//! [`Batch::after`] is for, is what keeps them from being applied twice.

mod follower;
mod group;
mod layout;

use std::{collections::HashMap, sync::mpsc as blocking, time::Duration};

use async_trait::async_trait;
use domain::Position;
use tokio::sync::mpsc;
use uuid::Uuid;

use self::follower::{Follower, Notice, Seek};
use super::{Batch, EventSource, Partition, SourceUpdate};
use crate::{
    event_store::ReadError,
    kafka::{KafkaConfig, KafkaError, Topic, topics},
};

/// Batches that wait for the consumer, beside the one it works on.
const BATCHES_AHEAD: usize = 2;

/// Who reads, and what.
#[derive(Debug, Clone)]
pub struct KafkaSourceOptions {
    /// Processes of one group share the partitions among them. The prefix of the bus is put before it.
    pub group: String,
    pub topics: Vec<Topic>,
    pub batch_events_max: usize,
    /// A process that was not heard of for so long loses its partitions.
    pub session_time_max: Duration,
}

impl KafkaSourceOptions {
    /// Events of all topics, at most `batch_events_max` at a time.
    pub fn new(group: &str, batch_events_max: usize) -> Self {
        Self {
            group: group.to_owned(),
            topics: Topic::ALL.to_vec(),
            batch_events_max,
            session_time_max: Duration::from_secs(10),
        }
    }
}

/// Follows topics of events as a member of a consumer group.
#[derive(Debug)]
pub struct KafkaSource {
    seeks: blocking::Sender<Seek>,
    seeks_made: u64,
    /// The last seek of each partition that is ours.
    current: HashMap<Partition, u64>,
    notices: mpsc::Receiver<Notice>,
}

impl KafkaSource {
    /// Joins the group; makes the topics where they are missing. Events of another event store than `store_id` are
    /// refused. Leaves the group when dropped: the runtime waits for that as it ends.
    pub async fn open(
        config: KafkaConfig,
        options: KafkaSourceOptions,
        store_id: Uuid,
    ) -> Result<Self, KafkaError> {
        topics::ensure(&config).await?;
        let (seeks, seeks_taken) = blocking::channel();
        let (notices_given, notices) = mpsc::channel(BATCHES_AHEAD);
        let mut follower = Follower::new(config, options, store_id, seeks_taken, notices_given)?;
        // Polling, and leaving the group, block.
        tokio::task::spawn_blocking(move || follower.run());
        Ok(Self { seeks, seeks_made: 0, current: HashMap::new(), notices })
    }
}

#[async_trait]
impl EventSource for KafkaSource {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        loop {
            let Some(notice) = self.notices.recv().await else {
                return Err(ReadError::Unavailable("the thread that reads from Kafka has ended".into()));
            };
            match notice {
                Notice::Assigned(partitions) => {
                    self.current.retain(|partition, _| !partitions.contains(partition));
                    return Ok(SourceUpdate::Assigned(partitions));
                }
                Notice::Revoked(partitions) => {
                    self.current.retain(|partition, _| !partitions.contains(partition));
                    return Ok(SourceUpdate::Revoked(partitions));
                }
                Notice::Events { batch, seek } => {
                    if self.current.get(&batch.partition) == Some(&seek) {
                        return Ok(SourceUpdate::Events(batch));
                    }
                }
                Notice::Failed(error) => return Err(error),
            }
        }
    }

    fn seek(&mut self, partition: &Partition, position: Option<Position>) {
        self.seeks_made += 1;
        self.current.insert(partition.clone(), self.seeks_made);
        let seek = Seek { partition: partition.clone(), after: position, number: self.seeks_made };
        // Without the thread there is nothing to seek, and `next` says so.
        drop(self.seeks.send(seek));
    }
}

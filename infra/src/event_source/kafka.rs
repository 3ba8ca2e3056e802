//! Reads events from Kafka. The consumer group assigns partitions to this process. The consumer's stored
//! position decides where reading continues; the offsets of the group do not.
//!
//! A thread polls Kafka and passes batches on. [`KafkaSource`] drops batches that were fetched before the
//! last seek of their partition, so that after a seek only later events arrive. A process that was paused for
//! longer than its session may still deliver batches of partitions that another process now owns. To apply no
//! such batch twice, the consumer compares its checkpoint with [`Batch::after`] in the same transaction.

mod follower;
mod group;
mod layout;

use std::{collections::HashMap, sync::mpsc as blocking, time::Duration};

use async_trait::async_trait;
use tokio::sync::mpsc;
use uuid::Uuid;

use self::follower::{Follower, FollowerMessage, Seek};
use super::{Batch, EventSource, Partition, Reached, SourceUpdate};
use crate::{
    event_store::ReadError,
    kafka::{KafkaConfig, KafkaError, Topic, topics},
};

/// Messages that the thread may queue for the consumer, in addition to the one being applied.
const BATCHES_AHEAD: usize = 2;

/// What a source reads, and as a member of which group.
#[derive(Debug, Clone)]
pub struct KafkaSourceOptions {
    /// Processes of one group share the partitions. The group's id in Kafka is `PREFIX.group`.
    pub group: String,
    pub topics: Vec<Topic>,
    pub batch_events_max: usize,
    /// A process without a heartbeat for this time loses its partitions.
    pub session_time_max: Duration,
    /// The name of this member, if it is a static one: it does not leave the group when it stops, and gets the
    /// same partitions when it is back within its session.
    pub instance: Option<String>,
}

impl KafkaSourceOptions {
    /// All topics, at most `batch_events_max` events per batch.
    pub fn new(group: &str, batch_events_max: usize) -> Self {
        Self {
            group: group.to_owned(),
            topics: Topic::ALL.to_vec(),
            batch_events_max,
            session_time_max: Duration::from_secs(10),
            instance: None,
        }
    }
}

/// Follows topics of events as a member of a consumer group.
#[derive(Debug)]
pub struct KafkaSource {
    seeks: blocking::Sender<Seek>,
    seeks_made: u64,
    /// The number of the last seek of each assigned partition.
    last_seeks: HashMap<Partition, u64>,
    messages: mpsc::Receiver<FollowerMessage>,
}

impl KafkaSource {
    /// Creates missing topics and joins the group. Refuses events of another event store than `store_id`.
    /// Leaves the group when dropped, unless it has a name; the runtime waits for that when it shuts down.
    pub async fn open(
        config: KafkaConfig,
        options: KafkaSourceOptions,
        store_id: Uuid,
    ) -> Result<Self, KafkaError> {
        topics::ensure(&config).await?;
        let (seeks, seek_receiver) = blocking::channel();
        let (message_sender, messages) = mpsc::channel(BATCHES_AHEAD);
        let mut follower = Follower::new(config, options, store_id, seek_receiver, message_sender)?;
        // A blocking thread, because polling and leaving the group block.
        tokio::task::spawn_blocking(move || follower.run());
        Ok(Self { seeks, seeks_made: 0, last_seeks: HashMap::new(), messages })
    }
}

impl KafkaSource {
    /// `None` for a batch that was fetched before the last seek of its partition.
    fn take(&mut self, message: FollowerMessage) -> Option<Result<SourceUpdate, ReadError>> {
        match message {
            FollowerMessage::Assigned(partitions) => {
                self.last_seeks.retain(|partition, _| !partitions.contains(partition));
                Some(Ok(SourceUpdate::Assigned(partitions)))
            }
            FollowerMessage::Revoked(partitions) => {
                self.last_seeks.retain(|partition, _| !partitions.contains(partition));
                Some(Ok(SourceUpdate::Revoked(partitions)))
            }
            FollowerMessage::Events { batch, seek } => {
                let is_current = self.last_seeks.get(&batch.partition) == Some(&seek);
                is_current.then_some(Ok(SourceUpdate::Events(batch)))
            }
            FollowerMessage::Failed(error) => Some(Err(error)),
        }
    }
}

#[async_trait]
impl EventSource for KafkaSource {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        loop {
            let Some(message) = self.messages.recv().await else {
                return Err(ReadError::Unavailable(
                    "the thread that reads from Kafka has stopped; see its error in the log".into(),
                ));
            };
            if let Some(update) = self.take(message) {
                return update;
            }
        }
    }

    fn arrived(&mut self) -> Option<Result<SourceUpdate, ReadError>> {
        while let Ok(message) = self.messages.try_recv() {
            if let Some(update) = self.take(message) {
                return Some(update);
            }
        }
        None
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        self.seeks_made += 1;
        self.last_seeks.insert(partition.clone(), self.seeks_made);
        let seek = Seek {
            partition: partition.clone(),
            after: reached.map(|reached| reached.position),
            number: self.seeks_made,
        };
        // Fails only if the thread has stopped; then `next` returns the error.
        drop(self.seeks.send(seek));
    }
}

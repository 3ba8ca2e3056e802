//! Receives the rebalances of the consumer group.

use std::{
    collections::HashSet,
    error::Error,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    client::OAuthToken,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaResult,
    types::RDKafkaRespErr,
};

use crate::kafka::Tokens;

/// Topic and number of a partition.
pub(super) type TopicPartition = (String, i32);

/// A change of the partitions of this process.
pub(super) enum Change {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

/// Records rebalances. Accepts an assigned partition without reading it. Reading starts with the seek of the
/// consumer, so that it never starts at an offset of the group. Gets the tokens of the consumer too.
pub(super) struct Group {
    membership: Mutex<Membership>,
    tokens: Tokens,
}

#[derive(Default)]
struct Membership {
    changes: Vec<Change>,
    /// Partitions that are read.
    reading: HashSet<TopicPartition>,
}

impl Group {
    pub fn new(tokens: Tokens) -> Self {
        Self { membership: Mutex::default(), tokens }
    }

    /// The changes since the last call, in order.
    pub fn take_changes(&self) -> Vec<Change> {
        mem::take(&mut self.lock().changes)
    }

    pub fn is_reading(&self, partition: &TopicPartition) -> bool {
        self.lock().reading.contains(partition)
    }

    pub fn set_reading(&self, partition: TopicPartition) {
        self.lock().reading.insert(partition);
    }

    fn lock(&self) -> MutexGuard<'_, Membership> {
        self.membership.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        consumer.incremental_assign(&TopicPartitionList::new())?;
        if !partitions.is_empty() {
            self.lock().changes.push(Change::Assigned(partitions));
        }
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) -> KafkaResult<()> {
        let mut read = TopicPartitionList::new();
        let mut membership = self.lock();
        for partition in &partitions {
            if membership.reading.remove(partition) {
                read.add_partition(&partition.0, partition.1);
            }
        }
        membership.changes.push(Change::Revoked(partitions));
        drop(membership);
        consumer.incremental_unassign(&read)
    }
}

impl ClientContext for Group {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.generate_oauth_token(config)
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions =
            list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
        let answered = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, partitions),
            _ => self.revoked(consumer, partitions),
        };
        if let Err(error) = answered {
            tracing::error!(%error, "Cannot answer a rebalance of the consumer group");
        }
    }
}

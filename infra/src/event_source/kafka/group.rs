//! Receives the rebalances of the consumer group.

use std::{
    collections::HashSet,
    mem,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rdkafka::{
    ClientContext, TopicPartitionList,
    consumer::{BaseConsumer, Consumer, ConsumerContext},
    error::KafkaResult,
    types::RDKafkaRespErr,
};

/// Topic and number of a partition.
pub(super) type TopicPartition = (String, i32);

/// A change of the partitions of this process.
pub(super) enum Change {
    Assigned(Vec<TopicPartition>),
    Revoked(Vec<TopicPartition>),
}

/// Records rebalances. Accepts an assigned partition without reading it. Reading starts with the seek of the
/// consumer, so that it never starts at an offset of the group.
#[derive(Default)]
pub(super) struct Group(Mutex<Membership>);

#[derive(Default)]
struct Membership {
    changes: Vec<Change>,
    /// Partitions that are read.
    reading: HashSet<TopicPartition>,
}

impl Group {
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
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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

impl ClientContext for Group {}

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

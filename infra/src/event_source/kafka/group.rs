//! What the consumer group gives and takes.

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
pub(super) type Place = (String, i32);

/// A change of what this process has.
pub(super) enum Change {
    Assigned(Vec<Place>),
    Revoked(Vec<Place>),
}

/// Takes note of rebalances. A partition that is given is accepted without being read: reading begins when its
/// position is known, so that none is ever read from where the group may have it.
#[derive(Default)]
pub(super) struct Group(Mutex<Membership>);

#[derive(Default)]
struct Membership {
    changes: Vec<Change>,
    /// Partitions that are read.
    reading: HashSet<Place>,
}

impl Group {
    /// The changes since this was last asked, in order.
    pub fn take_changes(&self) -> Vec<Change> {
        mem::take(&mut self.lock().changes)
    }

    pub fn is_reading(&self, place: &Place) -> bool {
        self.lock().reading.contains(place)
    }

    pub fn set_reading(&self, place: Place) {
        self.lock().reading.insert(place);
    }

    fn lock(&self) -> MutexGuard<'_, Membership> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn assigned(&self, consumer: &BaseConsumer<Self>, places: Vec<Place>) -> KafkaResult<()> {
        consumer.incremental_assign(&TopicPartitionList::new())?;
        if !places.is_empty() {
            self.lock().changes.push(Change::Assigned(places));
        }
        Ok(())
    }

    fn revoked(&self, consumer: &BaseConsumer<Self>, places: Vec<Place>) -> KafkaResult<()> {
        let mut read = TopicPartitionList::new();
        let mut membership = self.lock();
        for place in places.iter().filter(|place| membership.reading.remove(*place)).collect::<Vec<_>>() {
            read.add_partition(&place.0, place.1);
        }
        membership.changes.push(Change::Revoked(places));
        drop(membership);
        consumer.incremental_unassign(&read)
    }
}

impl ClientContext for Group {}

impl ConsumerContext for Group {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        event: RDKafkaRespErr,
        partitions: &mut TopicPartitionList,
    ) {
        let places =
            partitions.elements().iter().map(|one| (one.topic().to_owned(), one.partition())).collect();
        let answered = match event {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS => self.assigned(consumer, places),
            _ => self.revoked(consumer, places),
        };
        if let Err(error) = answered {
            tracing::error!(%error, "A rebalance could not be answered");
        }
    }
}

//! The production source over the store of the simulation.

use std::sync::Arc;

use async_trait::async_trait;
use domain::StreamName;
use infra::{
    event_source::{EventSource, Partition, direct::DirectSource},
    event_store::EventStore,
};
use simulation::memory::{Calm, Durable, Log, MemoryEventStore, Writers};
use uuid::Uuid;

use super::{Fixture, event_source_contract};

struct Memory(Arc<MemoryEventStore>);

#[async_trait]
impl Fixture for Memory {
    async fn fresh() -> Self {
        let log = Durable::new(Log::new(Uuid::new_v4()));
        Self(Arc::new(MemoryEventStore::open(log, Writers::One, Arc::new(Calm))))
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.0) as Arc<dyn EventStore>
    }

    async fn source(&self, batch_events_max: usize) -> Box<dyn EventSource> {
        Box::new(DirectSource::new(self.store(), batch_events_max))
    }

    fn partition_of(&self, _stream: &StreamName) -> Partition {
        Partition::whole_log()
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::whole_log()]
    }
}

event_source_contract!(Memory);

//! The stores of the simulation. They must pass the contract too: the simulation cannot find a fault that its
//! store hides.

use std::sync::Arc;

use async_trait::async_trait;
use infra::event_store::{EventLog, EventStore};
use simulation::memory::{Calm, Durable, Log, MemoryEventStore, Writers};
use uuid::Uuid;

use super::{Fixture, appending, dependent_appends, event_store_contract, marks, reading};

struct Memory<const SEVERAL_WRITERS: bool> {
    log: Durable<Log>,
    store: Arc<MemoryEventStore>,
}

fn open(log: &Durable<Log>, several_writers: bool) -> Arc<MemoryEventStore> {
    let writers = if several_writers { Writers::Several } else { Writers::One };
    Arc::new(MemoryEventStore::open(log.clone(), writers, Arc::new(Calm)))
}

#[async_trait]
impl<const SEVERAL_WRITERS: bool> Fixture for Memory<SEVERAL_WRITERS> {
    async fn fresh() -> Self {
        let log = Durable::new(Log::new(Uuid::new_v4()));
        Self { store: open(&log, SEVERAL_WRITERS), log }
    }

    async fn reopen(self) -> Self {
        Self { store: open(&self.log, SEVERAL_WRITERS), log: self.log }
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as Arc<dyn EventStore>
    }

    async fn reader(&self) -> Arc<dyn EventLog> {
        self.store.beside().log()
    }
}

mod one_writer {
    use super::*;

    event_store_contract!(Memory<false>);
}

mod several_writers {
    use super::*;

    event_store_contract!(Memory<true>);
}

//! The operational state of the simulation.

use std::sync::Arc;

use async_trait::async_trait;
use infra::operations::parked::ParkedReactions;
use simulation::memory::{Calm, Durable, MemoryOperations};

use super::{Fixture, parked_reactions_contract};

struct Memory(MemoryOperations);

#[async_trait]
impl Fixture for Memory {
    async fn fresh() -> Self {
        Self(MemoryOperations::open(Durable::default(), Arc::new(Calm)))
    }

    fn store(&self) -> Arc<dyn ParkedReactions> {
        Arc::new(self.0.clone())
    }

    async fn store_elsewhere(&self) -> Arc<dyn ParkedReactions> {
        self.store()
    }
}

parked_reactions_contract!(Memory);

//! The read models of the simulation.

use std::sync::Arc;

use async_trait::async_trait;
use infra::read_models::{OverdueQueries, Queries, ReadModels};
use simulation::memory::{Calm, Durable, MemoryReadModels};

use super::{Fixture, read_models_contract};

struct Memory(MemoryReadModels);

#[async_trait]
impl Fixture for Memory {
    async fn fresh() -> Self {
        Self(MemoryReadModels::open(Durable::default(), Arc::new(Calm)))
    }

    fn models(&self) -> Arc<dyn ReadModels> {
        Arc::new(self.0.clone())
    }

    fn queries(&self) -> Arc<dyn Queries> {
        Arc::new(self.0.clone())
    }

    fn overdue(&self) -> Arc<dyn OverdueQueries> {
        Arc::new(self.0.clone())
    }

    async fn queries_elsewhere(&self) -> Arc<dyn Queries> {
        self.queries()
    }
}

read_models_contract!(Memory);

//! Assembles the production code over in-memory adapters.

use std::sync::Arc;

use axum::Router;
use command_api::{Checkout, CommandApi, CommandApiOptions, ProcessManager};
use infra::{
    event_source::{direct::DirectSource, layout::WholeLog},
    event_store::EventStore,
    health::Health,
    log_guard::{GuardError, LogGuard},
    read_models::{OverdueQueries, ReadModels},
};
use projectors::runner::{ProjectorOptions, Runner};
use tokio_util::sync::CancellationToken;

use crate::{
    environment::Environment,
    memory::{Hazards, MemoryEventStore, MemoryOperations, MemoryReadModels},
    provider::SimulatedProvider,
    restored,
};

/// One life of the platform: all its processes, from a start to a crash. It ends with its runtime.
#[derive(Clone)]
pub struct Platform {
    /// The command API of each process.
    pub routers: Arc<[Router]>,
    /// The conditions of all processes.
    pub health: Health,
}

impl Platform {
    /// Fails if the log cannot be compared with what the platform has stored.
    pub async fn start(env: &Arc<Environment>) -> Result<Self, GuardError> {
        let hazards: Arc<dyn Hazards> = Arc::clone(env) as Arc<dyn Hazards>;
        let plan = &env.plan;
        let store = MemoryEventStore::open(env.log.clone(), plan.writers, Arc::clone(&hazards));
        let models = MemoryReadModels::open(env.tables.clone(), Arc::clone(&hazards));
        let health = Health::default();
        let guard = LogGuard::open(store.log(), None, health.clone()).await?;
        restored::compare(env, &guard).await?;
        let mut routers = Vec::new();
        for instance in 1..=plan.instances {
            let own_store = guard.store(Arc::new(store.beside()));
            // Without snapshots: they are files, written on other threads.
            let mut checkout =
                Checkout::start(&own_store, None, env.clock(), &Health::default(), plan.executor);
            if plan.provider {
                let provider = Arc::new(SimulatedProvider(Arc::clone(env)));
                checkout = checkout.with_provider(provider, Health::default());
            }
            let operations = MemoryOperations::open(env.positions.clone(), Arc::clone(&hazards));
            let parked = Arc::new(operations.clone());
            let api = CommandApi::new(checkout.clone(), parked, CommandApiOptions::default());
            routers.push(command_api::router(api.guarded_by(guard.clone())));
            if instance == plan.instances {
                let queries: Arc<dyn OverdueQueries> = Arc::new(models.clone());
                start_process_manager(env, &own_store, checkout, queries, operations);
            }
        }
        for _ in 0..plan.projectors {
            let own_store = guard.store(Arc::new(store.beside()));
            start_projector(env, &own_store, Arc::new(models.clone()));
        }
        Ok(Self { routers: routers.into(), health })
    }
}

fn start_process_manager(
    env: &Environment,
    store: &Arc<dyn EventStore>,
    checkout: Checkout,
    queries: Arc<dyn OverdueQueries>,
    operations: MemoryOperations,
) {
    let process_manager = ProcessManager {
        checkout,
        source: Box::new(DirectSource::new(Arc::clone(store), env.plan.batch_events_max)),
        layout: Arc::new(WholeLog(store.log())),
        positions: Arc::new(operations.clone()),
        parked: Arc::new(operations),
        queries,
        health: Health::default(),
        batch_every: env.plan.batch_every,
    };
    tokio::spawn(process_manager.run(CancellationToken::new()));
}

fn start_projector(env: &Arc<Environment>, store: &Arc<dyn EventStore>, models: Arc<dyn ReadModels>) {
    let plan = &env.plan;
    let source = DirectSource::new(Arc::clone(store), plan.batch_events_max);
    let options = ProjectorOptions { commit_every: plan.commit_every, ..ProjectorOptions::default() };
    let runner = Runner::new(source, store.log(), models, options);
    let env = Arc::clone(env);
    tokio::spawn(async move {
        if let Err(error) = runner.run(CancellationToken::new()).await {
            env.fail(format!("a projector has ended: {error}"));
        }
    });
}

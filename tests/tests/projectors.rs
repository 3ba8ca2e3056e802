//! Projectors over SQLite read models: each event is in the rows exactly once, also after failures.

mod delivery;
mod feed;
pub mod memory_log;
mod paced;
mod parking;
mod postgres;
mod rebuilding;
mod refusals;
mod story;
mod verification;

use std::{path::PathBuf, sync::Arc, time::Duration};

use domain::{Position, StreamName};
use infra::{
    event_source::{
        Partition,
        layout::{SourceLayout, WholeLog},
    },
    event_store::EventLog,
    health::Health,
    read_models::{
        ProjectionQueries, ReadModels,
        sqlite::{SqliteQueries, SqliteReadModels},
    },
};
use projectors::{
    replay::Workspace,
    runner::{ProjectorOptions, Runner},
    verify::{Verification, verify},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::{feed::Feed, memory_log::MemoryLog};
use crate::support::eventually;

/// Read models in their own file, and the log that they come from.
struct Bench {
    log: Arc<MemoryLog>,
    models: Arc<SqliteReadModels>,
    queries: SqliteQueries,
    path: PathBuf,
    _directory: TempDir,
}

impl Bench {
    fn new(log: MemoryLog) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("read-models.db");
        let models = Arc::new(SqliteReadModels::open(&path).unwrap());
        let queries = models.queries();
        Self { log: Arc::new(log), models, queries, path, _directory: directory }
    }

    fn layout(&self) -> Arc<dyn SourceLayout> {
        Arc::new(WholeLog(self.log.clone()))
    }

    fn run(&self) -> RunningProjector {
        RunningProjector::start(Feed::new(&self.log), &self.log, self.models.clone())
    }

    /// Waits until the whole log is projected.
    async fn caught_up(&self) {
        eventually("the checkpoint reaches the head", async || {
            (position_of(&*self.models).await == self.log.head()).then_some(())
        })
        .await;
    }

    async fn is_parked(&self, stream: impl Into<StreamName>) -> bool {
        self.queries.is_parked(&stream.into()).await.unwrap()
    }

    async fn verify(&self) -> Verification {
        self.verify_by(self.layout()).await
    }

    async fn verify_by(&self, layout: Arc<dyn SourceLayout>) -> Verification {
        verify(self.log.as_ref(), &layout, &self.queries, &workspace(), &|_| {}).await.unwrap()
    }

    async fn assert_rows_are_those_of_the_log(&self) {
        self.assert_rows_are_those_of(self.layout()).await;
    }

    async fn assert_rows_are_those_of(&self, layout: Arc<dyn SourceLayout>) {
        let found = self.verify_by(layout).await;
        assert_eq!(found.differences, 0, "{:#?}", found.described);
        assert_eq!(found.position, self.log.head());
    }
}

/// Sorts almost nothing in memory.
fn workspace() -> Workspace {
    Workspace { memory_bytes_max: 2_000, ..Workspace::new(std::env::temp_dir()) }
}

struct RunningProjector {
    health: Health,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

impl RunningProjector {
    fn start(feed: Feed, log: &Arc<MemoryLog>, models: Arc<dyn ReadModels>) -> Self {
        let shutdown = CancellationToken::new();
        let log: Arc<dyn EventLog> = log.clone();
        let runner = Runner::new(
            feed,
            log,
            models,
            ProjectorOptions { cached_bytes_max: 8_192, commit_every: Duration::ZERO },
        );
        let health = Health::default();
        let runner = runner.with_health(health.clone());
        let stop = shutdown.clone();
        let task = tokio::spawn(async move { runner.run(stop).await.unwrap() });
        Self { health, shutdown, task }
    }

    /// The names of what operators are shown.
    fn degraded(&self) -> Vec<&'static str> {
        let readiness = self.health.readiness().expect("a projector is never unable");
        readiness.degraded.iter().map(|condition| condition.name).collect()
    }

    async fn stop(self) {
        self.shutdown.cancel();
        self.task.await.unwrap();
    }
}

/// The checkpoint's position in the whole log.
async fn position_of(models: &dyn ReadModels) -> Option<Position> {
    let reached = models.checkpoint(&Partition::whole_log()).await.unwrap();
    reached.map(|reached| reached.position)
}

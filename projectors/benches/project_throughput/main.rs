//! Projects a synthetic log of N orders (default 100,000) of one line, live and by a rebuild, and prints
//! events per second. It writes to a SQLite file, or to a Postgres database that must hold nothing else. For
//! Postgres it also measures a COPY of the same rows:
//!
//! `cargo bench -p projectors --bench project_throughput -- N [postgres://…]`

mod raw_copy;
mod synthetic_log;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use infra::{
    event_source::layout::{SourceLayout, WholeLog},
    postgres::Database,
    read_models::{
        ReadModels,
        audit::{Audit, Rebuild},
        postgres::{PostgresQueries, PostgresReadModels, PostgresRebuild},
        sqlite::{SqliteQueries, SqliteReadModels, SqliteRebuild},
    },
};
use projectors::{
    rebuild::{RebuildStep, rebuild},
    replay::Workspace,
    runner::{ProjectorOptions, Runner},
    verify::verify,
};
use tokio_util::sync::CancellationToken;

use self::synthetic_log::{Feed, MemoryLog, synthetic_log};

#[tokio::main]
async fn main() {
    // Cargo adds `--bench` to the arguments.
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let orders = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let log = Arc::new(synthetic_log(orders));
    println!("{orders} orders, {} events", log.events.len());
    match arguments.next() {
        None => over_sqlite(&log, orders).await,
        Some(url) => over_postgres(&log, orders, &url).await,
    }
}

async fn over_sqlite(log: &Arc<MemoryLog>, orders: u64) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("read-models.db");
    {
        let models = SqliteReadModels::open(&path).expect("read models");
        project_live(log, orders, Arc::new(models)).await;
    }
    let reader = SqliteQueries::open_read_only(&path).expect("read models");
    check(log, orders, &reader).await;
    measure_rebuild("rebuild", log, orders, &SqliteRebuild::new(&dir.path().join("new.db"))).await;
    measure_rebuild("rebuild of existing rows", log, orders, &SqliteRebuild::new(&path)).await;
}

async fn over_postgres(log: &Arc<MemoryLog>, orders: u64, url: &str) {
    let database = Database::connect(url.parse().expect("a URL")).await.expect("a database");
    let models = PostgresReadModels::open(database.clone()).await.expect("read models");
    let queries = PostgresQueries::open(database.clone()).await.expect("read models");
    project_live(log, orders, Arc::new(models)).await;
    check(log, orders, &queries).await;
    measure_rebuild("rebuild", log, orders, &PostgresRebuild::new(database)).await;
    check(log, orders, &queries).await;
    raw_copy::run(url).await;
}

async fn project_live(log: &Arc<MemoryLog>, orders: u64, models: Arc<dyn ReadModels>) {
    let delivered = Arc::new(AtomicU64::new(0));
    let source = Feed::new(Arc::clone(log), Arc::clone(&delivered));
    let begun = Instant::now();
    let shutdown = CancellationToken::new();
    let runner = Runner::new(source, log.clone(), models, ProjectorOptions::default());
    let running = tokio::spawn(runner.run(shutdown.clone()));
    while delivered.load(Ordering::Acquire) < log.events.len() as u64 {
        // The feed reaches the end of the log after the last commit.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    print_rate("live", log.events.len(), orders, begun.elapsed());
    shutdown.cancel();
    running.await.expect("the runner does not panic").expect("the read models are bound to this log");
}

async fn check(log: &Arc<MemoryLog>, orders: u64, reader: &dyn Audit) {
    let begun = Instant::now();
    let verification =
        verify(log.as_ref(), &layout(log), reader, &workspace(), &|_| {}).await.expect("a verification");
    print_rate("verify", log.events.len(), orders, begun.elapsed());
    assert_eq!(verification.differences, 0, "{:?}", verification.described.first());
}

async fn measure_rebuild(name: &str, log: &Arc<MemoryLog>, orders: u64, target: &dyn Rebuild) {
    let begun = Instant::now();
    let step_begins = |step| {
        if !matches!(step, RebuildStep::Reading(_)) {
            println!("  {step:?} after {:?}", begun.elapsed());
        }
    };
    rebuild(log.as_ref(), &layout(log), target, &workspace(), &step_begins).await.expect("a rebuild");
    print_rate(name, log.events.len(), orders, begun.elapsed());
}

fn workspace() -> Workspace {
    Workspace::new(std::env::temp_dir())
}

fn layout(log: &Arc<MemoryLog>) -> Arc<dyn SourceLayout> {
    Arc::new(WholeLog(log.clone()))
}

fn print_rate(name: &str, events: usize, orders: u64, elapsed: Duration) {
    #[allow(clippy::cast_precision_loss, reason = "rounded for printing")]
    let (events_per_second, us_per_order) =
        (events as f64 / elapsed.as_secs_f64(), elapsed.as_secs_f64() * 1e6 / orders as f64);
    println!("{name}: {events_per_second:.0} events/s, {us_per_order:.1} µs per order, {elapsed:.2?} in all");
}

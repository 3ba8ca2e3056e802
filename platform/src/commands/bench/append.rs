//! The baseline of the store: the events of an order appended and made durable, with nothing around it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{EventId, NewEvent, OrderId};
use infra::event_store::{
    Append, EventStore, ExpectedRevision,
    sqlite::{self, SqliteEventStore},
};
use uuid::Uuid;

use super::{
    Bench,
    dataset::events_of_one_order,
    load::{Latencies, LoadSummary, run_load},
};
use crate::commands::Failure;

/// As many submitters as there are clients, each with one append of four events under way: an order placed,
/// its stock reserved, the order allocated, its payment requested. One new stream per append.
pub async fn append_raw(bench: &Bench) -> Result<LoadSummary, Failure> {
    let directory = bench.new_directory()?;
    let store = open(&directory.path().join("events.db")).await?;
    let events: Arc<[NewEvent]> = events_of_one_order().into();
    let (started, duration) = (Instant::now(), bench.duration);
    let submitters =
        (0..bench.clients).map(|_| submit(Arc::clone(&store), Arc::clone(&events), started, duration));
    let outputs = run_load("raw append, seconds", duration, submitters).await?;
    let elapsed = started.elapsed();
    let mut latencies = Latencies::new();
    for of_submitter in outputs {
        latencies.add(&of_submitter);
    }
    tokio::task::spawn_blocking(move || store.close()).await?;
    Ok(LoadSummary::new(&latencies, elapsed))
}

pub async fn open(path: &Path) -> Result<Arc<SqliteEventStore>, Failure> {
    let path = path.to_owned();
    let open = move || SqliteEventStore::open(&path, sqlite::Options::default());
    Ok(Arc::new(tokio::task::spawn_blocking(open).await??))
}

async fn submit(
    store: Arc<SqliteEventStore>,
    events: Arc<[NewEvent]>,
    started: Instant,
    duration: Duration,
) -> Result<Latencies, Failure> {
    let mut latencies = Latencies::new();
    while started.elapsed() < duration {
        let submitted = Instant::now();
        let new = |event: &NewEvent| NewEvent { id: EventId(Uuid::new_v4()), ..event.clone() };
        let append = Append {
            stream: OrderId(Uuid::new_v4()).into(),
            expected: ExpectedRevision::NoStream,
            events: events.iter().map(new).collect(),
            epoch: None,
        };
        store.append(append).await?;
        latencies.record(submitted.elapsed());
    }
    Ok(latencies)
}

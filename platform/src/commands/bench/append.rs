//! The baseline of the store: appends the events of an order and makes them durable, without a server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{EventId, NewEvent, OrderId};
use infra::event_store::{Append, EventStore, ExpectedRevision};
use uuid::Uuid;

use super::{
    dataset::events_of_one_order,
    load::{Latencies, LoadSummary, run_load},
    setup::{BenchSetup, open_event_store},
};
use crate::commands::Failure;

/// Runs one submitter for each client. Each keeps one append of four events under way: an order placed, its
/// stock reserved, the order allocated, its payment requested. Each append starts a new stream.
pub async fn append_raw(bench: &BenchSetup) -> Result<LoadSummary, Failure> {
    let directory = bench.new_directory()?;
    let opened = open_event_store(&directory).await?;
    let events: Arc<[NewEvent]> = events_of_one_order().into();
    let (started, duration) = (Instant::now(), bench.duration);
    let submitters =
        (0..bench.clients).map(|_| submit(Arc::clone(&opened.store), Arc::clone(&events), started, duration));
    let outputs = run_load("raw append, seconds", duration, submitters).await?;
    let elapsed = started.elapsed();
    let mut latencies = Latencies::new();
    for of_submitter in outputs {
        latencies.add(&of_submitter);
    }
    opened.close().await;
    Ok(LoadSummary::new(&latencies, elapsed))
}

async fn submit(
    store: Arc<dyn EventStore>,
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

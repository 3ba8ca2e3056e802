//! The baseline of the store: appends the events of an order and makes them durable, without Orderly's server.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{EventId, NewEvent, OrderId};
use infra::event_store::{
    Append, EventStore, ExpectedRevision,
    eventstoredb::{EventStoreDbOptions, RawAppends},
};
use uuid::Uuid;

use super::{
    dataset::events_of_one_order,
    load::{Latencies, LoadSummary, run_load},
    setup::{BenchSetup, open_event_store},
};
use crate::{commands::Failure, config::EventStoreUrl};

/// Runs one submitter for each client. Each keeps the four events of an order under way: an order placed, its stock
/// reserved, the order allocated, its payment requested. An embedded store gets them in one append to a new stream,
/// because it commits the steps of an order together. A server gets one append after another, as from Orderly.
pub async fn append_raw(bench: &BenchSetup) -> Result<LoadSummary, Failure> {
    let events: Arc<[NewEvent]> = events_of_one_order().into();
    match (&bench.running, &bench.event_store) {
        (Some(_), EventStoreUrl::EventStoreDb(server)) => {
            let store = Arc::new(RawAppends::open(*server.clone(), &EventStoreDbOptions::default())?);
            measure(bench, move || append_to_server(Arc::clone(&store), Arc::clone(&events))).await
        }
        (None, _) | (Some(_), EventStoreUrl::Sqlite(_)) => {
            let directory = bench.new_directory()?;
            let opened = open_event_store(&directory).await?;
            let store = Arc::clone(&opened.store);
            let append = move || append_to_file(Arc::clone(&store), Arc::clone(&events));
            let summary = measure(bench, append).await?;
            opened.close().await;
            Ok(summary)
        }
    }
}

async fn measure<F>(
    bench: &BenchSetup,
    append: impl Fn() -> F + Clone + Send + 'static,
) -> Result<LoadSummary, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send + 'static,
{
    let (started, duration) = (Instant::now(), bench.duration);
    let submitters = (0..bench.clients).map(|_| repeat(append.clone(), started, duration));
    let outputs = run_load("raw append, seconds", duration, submitters).await?;
    let elapsed = started.elapsed();
    let mut latencies = Latencies::new();
    for of_submitter in outputs {
        latencies.add(&of_submitter);
    }
    Ok(LoadSummary::new(&latencies, elapsed))
}

async fn repeat<F>(
    append: impl Fn() -> F + Send,
    started: Instant,
    duration: Duration,
) -> Result<Latencies, Failure>
where
    F: Future<Output = Result<(), Failure>> + Send,
{
    let mut latencies = Latencies::new();
    while started.elapsed() < duration {
        let submitted = Instant::now();
        append().await?;
        latencies.record(submitted.elapsed());
    }
    Ok(latencies)
}

async fn append_to_server(store: Arc<RawAppends>, events: Arc<[NewEvent]>) -> Result<(), Failure> {
    Ok(store.append_each(&events).await?)
}

async fn append_to_file(store: Arc<dyn EventStore>, events: Arc<[NewEvent]>) -> Result<(), Failure> {
    let new = |event: &NewEvent| NewEvent { id: EventId(Uuid::new_v4()), ..event.clone() };
    let append = Append {
        stream: OrderId(Uuid::new_v4()).into(),
        expected: ExpectedRevision::NoStream,
        events: events.iter().map(new).collect(),
        epoch: None,
    };
    store.append(append).await?;
    Ok(())
}

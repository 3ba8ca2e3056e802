//! Measures appends per second of the SQLite event store and their latencies:
//!
//! `cargo bench -p infra --bench append_throughput -- [new|hot] [in flight] [seconds] [streams before]`

#![allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use domain::{EventId, NewEvent, OrderId, StreamName};
use infra::event_store::{
    Append, EventStore, ExpectedRevision,
    sqlite::{SqliteEventStore, SqliteEventStoreOptions},
};
use tokio::sync::Semaphore;
use uuid::Uuid;

#[tokio::main]
async fn main() {
    // `cargo bench` adds this argument.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let number = |index: usize, default: u64| {
        arguments.get(index).map_or(default, |text| text.parse().expect("a number"))
    };
    let hot = arguments.first().is_some_and(|workload| workload == "hot");
    let in_flight = number(1, 1_024);
    let duration = Duration::from_secs(number(2, 10));
    let streams_before = number(3, 0);

    let directory = tempfile::tempdir_in(".").expect("a temporary directory");
    let path = directory.path().join("events.db");
    let store =
        Arc::new(SqliteEventStore::open(&path, SqliteEventStoreOptions::default()).expect("a new store"));
    if streams_before > 0 {
        run(&store, false, 4_096, |count, _| count < streams_before).await;
    }
    let started = Instant::now();
    let mut latencies = run(&store, hot, in_flight, |_, at| at < started + duration).await;
    let rate = latencies.len() as f64 / started.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let percentile = |p: usize| latencies[(latencies.len() - 1) * p / 1_000].as_micros();
    println!(
        "{rate:.0} appends/s; latency in us: p50 {} p99 {} p99.9 {} max {}",
        percentile(500),
        percentile(990),
        percentile(999),
        percentile(1_000)
    );
    let read_started = Instant::now();
    let (mut after, mut count) = (None, 0);
    loop {
        let events = store.log().read_all(after, 10_000).await.expect("a readable store");
        let Some(last) = events.last() else { break };
        after = Some(last.position);
        count += events.len();
    }
    println!("{:.0} events/s read", count as f64 / read_started.elapsed().as_secs_f64());
    store.close();
    println!("{} bytes per event in the file", file_bytes(&path) / count as u64);
}

/// Keeps `in_flight` appends of one event under way while `go_on(appends so far, now)` is true. Returns their
/// latencies.
async fn run(
    store: &Arc<SqliteEventStore>,
    hot: bool,
    in_flight: u64,
    go_on: impl Fn(u64, Instant) -> bool,
) -> Vec<Duration> {
    let permits = Arc::new(Semaphore::new(usize::try_from(in_flight).expect("a small number")));
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let hot_streams: Vec<StreamName> = (0..16).map(|_| OrderId(Uuid::new_v4()).into()).collect();
    let failed = Arc::new(AtomicU64::new(0));
    let (data, metadata) = (vec![b'"'; 150], Arc::from([b'"'; 150]));
    for count in 0.. {
        let submitted = Instant::now();
        if !go_on(count, submitted) {
            break;
        }
        let permit = Arc::clone(&permits).acquire_owned().await.expect("an open semaphore");
        let event = NewEvent {
            id: EventId(Uuid::new_v4()),
            type_name: "order.placed.v2",
            data: data.clone(),
            metadata: Arc::clone(&metadata),
        };
        let (stream, expected) = if hot {
            let round = (count / 16).checked_sub(1);
            (hot_streams[(count % 16) as usize].clone(), ExpectedRevision::of(round))
        } else {
            (OrderId(Uuid::new_v4()).into(), ExpectedRevision::NoStream)
        };
        let append = Append { stream, expected, events: vec![event], epoch: None };
        let (sender, failed) = (sender.clone(), Arc::clone(&failed));
        let done = move |outcome: Result<_, _>| {
            failed.fetch_add(u64::from(outcome.is_err()), Ordering::Relaxed);
            // The receiver outlives every append.
            let _ = sender.send(submitted.elapsed());
            drop(permit);
        };
        store.submit(append, Box::new(done));
    }
    drop(sender);
    let mut latencies = Vec::new();
    while let Some(latency) = receiver.recv().await {
        latencies.push(latency);
    }
    assert_eq!(failed.load(Ordering::Relaxed), 0, "appends failed");
    latencies
}

fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the store's file").len()
}

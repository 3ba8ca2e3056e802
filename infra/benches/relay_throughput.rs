//! Measures events per second through the relay and the Kafka source, beside the rate of the client library
//! alone, and the time from an append to its delivery:
//!
//! `cargo bench -p infra --bench relay_throughput -- kafka://127.0.0.1:9092 [events] [appends per second]`

#![allow(clippy::cast_precision_loss, reason = "rates are rounded anyway")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{EventId, NewEvent, OrderId, RecordedEvent};
use infra::{
    event_source::{
        EventSource, SourceUpdate,
        kafka::{KafkaSource, KafkaSourceOptions},
    },
    event_store::{
        Append, EventStore, ExpectedRevision,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    kafka::{KafkaConfig, Topic, message},
    relay::{Relay, RelayOptions},
};
use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions},
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const LATENCY_APPENDS: usize = 1_000;

#[tokio::main]
async fn main() {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    // `cargo bench` adds this argument.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let url = arguments.first().expect("the first argument is the URL of Kafka");
    let number = |index: usize, default: u64| {
        arguments.get(index).map_or(default, |text| text.parse().expect("a number"))
    };
    let (count, appends_per_second) = (number(1, 100_000), number(2, 200));
    let config: KafkaConfig = url.parse().expect("the URL is valid");
    let config = config.with_prefix(&format!("bench-{}", Uuid::new_v4().simple())).expect("a prefix");

    let directory = tempfile::tempdir_in(".").expect("a temporary directory");
    let store =
        SqliteEventStore::open(&directory.path().join("events.db"), SqliteEventStoreOptions::default());
    let store = Arc::new(store.expect("a new store"));
    for _ in 0..count / 100 {
        append(&store, 100).await;
    }

    let log = store.log();
    let relay =
        Relay::open(config.clone(), log, store.head(), RelayOptions::default()).await.expect("a relay");
    let begun = Instant::now();
    let shutdown = CancellationToken::new();
    let relay = tokio::spawn(relay.run(shutdown.clone()));
    let options = KafkaSourceOptions::new("bench", 1_000);
    let mut source =
        KafkaSource::open(config.clone(), options, store.log().store_id()).await.expect("a source");
    let mut delivered = 0;
    while delivered < count {
        delivered += next_events(&mut source).await.len() as u64;
    }
    println!("relayed and delivered: {:.0} events/s", count as f64 / begun.elapsed().as_secs_f64());
    println!("client library alone:  {:.0} messages/s", produce_rate(&config, &store, count).await);
    print_latency(&store, &mut source, appends_per_second).await;

    shutdown.cancel();
    relay.await.expect("no panic").expect("no refusal");
    store.close();
    delete_topics(&config).await;
}

async fn delete_topics(config: &KafkaConfig) {
    let admin: AdminClient<_> =
        ClientConfig::new().set("bootstrap.servers", config.brokers()).create().expect("a client");
    let raw = raw(config);
    let names = Topic::ALL.map(|topic| [config.topic_name(topic), raw.topic_name(topic)]).concat();
    let names = [names, vec![config.progress_topic_name(), raw.progress_topic_name()]].concat();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    admin.delete_topics(&names, &AdminOptions::new()).await.expect("deleted topics");
}

/// The topics that the client library writes to without the relay.
fn raw(config: &KafkaConfig) -> KafkaConfig {
    config.with_prefix(&format!("{}-raw", config.prefix())).expect("a prefix")
}

async fn append(store: &SqliteEventStore, count: usize) {
    let event = || {
        NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "order.placed.v2",
        data: format!("{{\"lines\":\"{}\"}}", "x".repeat(300)).into_bytes(),
        metadata: Arc::from(*br#"{"command_id":"0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f","command":"order.place","correlation_id":"0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f"}"#),
    }
    };
    let stream = OrderId(Uuid::new_v4()).into();
    let events = (0..count).map(|_| event()).collect();
    let append = Append { stream, expected: ExpectedRevision::NoStream, events, epoch: None };
    store.append(append).await.expect("an append");
}

async fn next_events(source: &mut KafkaSource) -> Vec<RecordedEvent> {
    loop {
        match source.next().await.expect("a delivery") {
            SourceUpdate::Assigned(partitions) => {
                for partition in &partitions {
                    source.seek(partition, None);
                }
            }
            SourceUpdate::Revoked(_) => {}
            SourceUpdate::Events(batch) => return batch.events,
        }
    }
}

/// Messages per second of an idempotent producer without transactions, to a topic of the same brokers.
async fn produce_rate(config: &KafkaConfig, store: &SqliteEventStore, count: u64) -> f64 {
    let raw = raw(config);
    infra::kafka::topics::ensure(&raw).await.expect("topics");
    let events = store.log().read_all(None, usize::MAX).await.expect("a readable store");
    let store_id = store.log().store_id();
    let producing = tokio::task::spawn_blocking(move || {
        let producer: BaseProducer = ClientConfig::new()
            .set("bootstrap.servers", raw.brokers())
            .set("enable.idempotence", "true")
            .set("compression.type", "lz4")
            .create()
            .expect("a producer");
        let topic = raw.topic_name(Topic::Orders);
        let begun = Instant::now();
        for event in &events {
            let key = event.stream.to_string();
            loop {
                let headers = message::headers(event, store_id).into_iter();
                let headers = headers.fold(OwnedHeaders::new(), |all, (key, value)| {
                    all.insert(Header { key, value: Some(&value) })
                });
                let record = BaseRecord::to(&topic).key(&key).payload(&*event.data).headers(headers);
                if producer.send(record).is_ok() {
                    break;
                }
                producer.poll(Duration::from_millis(10));
            }
        }
        while producer.in_flight_count() > 0 {
            producer.poll(Duration::from_millis(1));
        }
        count as f64 / begun.elapsed().as_secs_f64()
    });
    producing.await.expect("no panic")
}

/// Prints the time from the acknowledgement of an append to the delivery of its event.
async fn print_latency(store: &Arc<SqliteEventStore>, source: &mut KafkaSource, appends_per_second: u64) {
    let appending = tokio::spawn({
        let store = Arc::clone(store);
        async move {
            let mut tick = tokio::time::interval(
                Duration::from_secs(1) / u32::try_from(appends_per_second).unwrap_or(1),
            );
            let mut acknowledged = Vec::with_capacity(LATENCY_APPENDS);
            for _ in 0..LATENCY_APPENDS {
                tick.tick().await;
                append(&store, 1).await;
                acknowledged.push(Instant::now());
            }
            acknowledged
        }
    });
    // Each append has one event, and positions follow the order of appends: sorting pairs events with
    // appends.
    let mut arrived: Vec<(u64, Instant)> = Vec::with_capacity(LATENCY_APPENDS);
    while arrived.len() < LATENCY_APPENDS {
        let events = next_events(source).await;
        let now = Instant::now();
        arrived.extend(events.iter().map(|event| (event.position, now)));
    }
    arrived.sort_unstable_by_key(|(position, _)| *position);
    let acknowledged = appending.await.expect("no panic");
    let delays = arrived
        .iter()
        .zip(&acknowledged)
        .map(|((_, arrived), acked)| arrived.saturating_duration_since(*acked));
    let mut delays: Vec<u128> = delays.map(|delay| delay.as_millis()).collect();
    delays.sort_unstable();
    let percentile = |p: usize| delays[(delays.len() - 1) * p / 100];
    println!(
        "acknowledged to delivered at {appends_per_second} appends/s, in ms: p50 {} p99 {} max {}",
        percentile(50),
        percentile(99),
        percentile(100)
    );
}

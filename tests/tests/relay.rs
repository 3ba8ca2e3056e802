//! The relay against a real Kafka: it publishes each event once and in order, across restarts and kills.

mod damage;
mod kills;
mod lost_topics;
mod official_client;
mod publishing;
mod refusals;
mod security;

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{EventId, NewEvent, OrderId, RecordedEvent, Sku, StreamName};
use infra::{
    event_source::Partition,
    event_store::{
        Append, EventStore, ExpectedRevision,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    kafka::KafkaConfig,
    relay::{Relay, RelayError, RelayOptions},
};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::support::{KafkaTopics, eventually};

/// Short times and small transactions, so that a relay takes over within a test.
const QUICK: RelayOptions = RelayOptions {
    events_per_transaction_max: 100,
    heartbeat_every: Duration::from_millis(300),
    takeover_after: Duration::from_millis(1_500),
};

/// An event store to publish from.
struct Source {
    directory: TempDir,
    store: Arc<SqliteEventStore>,
}

impl Source {
    fn new() -> Self {
        Self::reopen(tempfile::tempdir().unwrap())
    }

    fn reopen(directory: TempDir) -> Self {
        let store =
            SqliteEventStore::open(&directory.path().join("events.db"), SqliteEventStoreOptions::default())
                .unwrap();
        Self { directory, store: Arc::new(store) }
    }

    async fn open(&self, config: KafkaConfig) -> Result<Relay, RelayError> {
        let log = self.store.log();
        Relay::open(config, log, self.store.head(), QUICK).await
    }

    /// Starts a relay.
    async fn relay(&self, topics: &KafkaTopics) -> Running {
        Self::start(self.open(topics.config()).await.unwrap())
    }

    fn start(relay: Relay) -> Running {
        let shutdown = CancellationToken::new();
        Running { task: tokio::spawn(relay.run(shutdown.clone())), shutdown: shutdown.drop_guard() }
    }

    /// Appends `count` events to a stream, one by one.
    async fn append(&self, stream: &StreamName, count: usize) {
        for _ in 0..count {
            let last =
                self.store.log().read_stream(stream, 0, usize::MAX).await.unwrap().len().checked_sub(1);
            let expected = ExpectedRevision::of(last.map(|revision| revision as u64));
            let append = Append { stream: stream.clone(), expected, events: vec![event()], epoch: None };
            self.store.append(append).await.unwrap();
        }
    }

    async fn log(&self) -> Vec<RecordedEvent> {
        self.store.log().read_all(None, usize::MAX).await.unwrap()
    }

    /// Waits until the progress record includes every event. Then checks that a reader with `read_committed`
    /// sees every event of the store once and in order.
    async fn eventually_all_in(&self, topics: &KafkaTopics) {
        eventually("all events are published", async || {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // Reads the position each time, because an aborted append may still be in progress.
            (topics.published() == self.store.log().last_position().await.unwrap()).then_some(())
        })
        .await;
        let log = self.log().await;
        let config = topics.config();
        let mut stored: HashMap<Partition, Vec<RecordedEvent>> = HashMap::new();
        for event in log {
            stored.entry(config.partition_of(&event.stream)).or_default().push(event);
        }
        for (partition, events) in topics.committed() {
            assert_same(&partition, &events, &stored.remove(&partition).unwrap_or_default());
        }
        assert!(stored.is_empty(), "events that are not in the topics: {:?}", stored.keys());
    }
}

/// Shows only the first difference, because a list of thousands of events is unreadable.
fn assert_same(partition: &Partition, events: &[RecordedEvent], expected: &[RecordedEvent]) {
    let length = events.len().max(expected.len());
    let Some(index) = (0..length).find(|index| events.get(*index) != expected.get(*index)) else { return };
    let (actual, wanted) = (events.get(index), expected.get(index));
    panic!("event {} of {length} of {partition:?} is\n{actual:?}\nbut should be\n{wanted:?}", index + 1);
}

struct Running {
    task: JoinHandle<Result<(), RelayError>>,
    shutdown: DropGuard,
}

impl Running {
    async fn stop(self) {
        drop(self.shutdown);
        self.task.await.unwrap().unwrap();
    }
}

fn event() -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "stock.adjusted.v1",
        data: br#"{ "delta":1 }"#.to_vec(),
        metadata: Arc::from(*br#"{ "command": "adjust" }"#),
    }
}

fn order() -> StreamName {
    OrderId(Uuid::new_v4()).into()
}

fn sku(name: &str) -> StreamName {
    Sku::new(name).unwrap().into()
}

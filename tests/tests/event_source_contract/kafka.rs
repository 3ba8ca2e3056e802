//! The source that reads Kafka. The relay publishes to it.

mod ledger;
mod members;
mod paused;
mod unreadable;

use std::sync::Arc;

use async_trait::async_trait;
use domain::StreamName;
use infra::{
    event_source::{
        EventSource, Partition,
        kafka::{KafkaSource, KafkaSourceOptions},
    },
    event_store::{
        EventStore,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    relay::{Relay, RelayOptions},
};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{Fixture, event_source_contract, reading, seeking};
use crate::support::KafkaTopics;

struct KafkaFixture {
    _directory: TempDir,
    store: Arc<SqliteEventStore>,
    _relay: DropGuard,
    topics: KafkaTopics,
}

#[async_trait]
impl Fixture for KafkaFixture {
    async fn fresh() -> Self {
        let topics = KafkaTopics::new();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("events.db");
        let store = Arc::new(SqliteEventStore::open(&file, SqliteEventStoreOptions::default()).unwrap());
        let log = store.log();
        let relay = Relay::open(topics.config(), log, store.head(), RelayOptions::default()).await.unwrap();
        let shutdown = CancellationToken::new();
        tokio::spawn(relay.run(shutdown.clone()));
        Self { _directory: directory, store, _relay: shutdown.drop_guard(), topics }
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as Arc<dyn EventStore>
    }

    async fn source(&self, batch_events_max: usize) -> Box<dyn EventSource> {
        let options = KafkaSourceOptions::new("projectors", batch_events_max);
        Box::new(KafkaSource::open(self.topics.config(), options, self.store.log().store_id()).await.unwrap())
    }

    fn partition_of(&self, stream: &StreamName) -> Partition {
        self.topics.config().partition_of(stream)
    }

    fn partitions(&self) -> Vec<Partition> {
        self.topics.config().all_partitions()
    }
}

mod contract {
    use super::*;

    event_source_contract!(KafkaFixture, "needs Kafka: infra/dev/services up");
}

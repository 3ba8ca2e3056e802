//! The source that follows an EventStoreDB, over the window of its process.

use std::sync::Arc;

use async_trait::async_trait;
use domain::StreamName;
use infra::{
    event_source::{EventSource, Partition, direct::DirectSource},
    event_store::{
        EventStore,
        eventstoredb::{EventStoreDb, EventStoreDbOptions},
    },
};
use tests::eventstoredb::{self, Server};

use super::{Fixture, event_source_contract, reading, seeking};
use crate::support::PATIENCE;

/// `WINDOW_BYTES` bounds the window. With 1 byte it is always empty, so each follower reads the server.
struct EventStoreDbFixture<const WINDOW_BYTES: usize> {
    _server: Server,
    store: Arc<EventStoreDb>,
}

#[async_trait]
impl<const WINDOW_BYTES: usize> Fixture for EventStoreDbFixture<WINDOW_BYTES> {
    async fn fresh() -> Self {
        let server = Server::start(eventstoredb::FixtureOptions::default()).await.unwrap();
        let options = EventStoreDbOptions {
            call_time_max: PATIENCE,
            window_bytes_max: WINDOW_BYTES,
            ..EventStoreDbOptions::default()
        };
        let store = EventStoreDb::open(server.url().parse().unwrap(), options).await.unwrap();
        Self { _server: server, store: Arc::new(store) }
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as Arc<dyn EventStore>
    }

    async fn source(&self, batch_events_max: usize) -> Box<dyn EventSource> {
        Box::new(DirectSource::new(self.store(), batch_events_max))
    }

    fn partition_of(&self, _stream: &StreamName) -> Partition {
        Partition::whole_log()
    }

    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::whole_log()]
    }
}

mod from_the_window {
    use super::*;

    event_source_contract!(EventStoreDbFixture<{ 32 << 20 }>);
}

mod from_the_server {
    use super::*;

    event_source_contract!(EventStoreDbFixture<1>);
}

//! The source that reads the event store directly.

use std::sync::Arc;

use async_trait::async_trait;
use domain::StreamName;
use infra::{
    event_source::{EventSource, Partition, SourceUpdate, direct::DirectSource},
    event_store::{
        EventStore, ReadError,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
};
use tempfile::TempDir;

use super::{Fixture, Reader, event_source_contract, given_stream, reading, seeking};

struct DirectFixture {
    _directory: TempDir,
    store: Arc<SqliteEventStore>,
}

#[async_trait]
impl Fixture for DirectFixture {
    async fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store =
            SqliteEventStore::open(&directory.path().join("events.db"), SqliteEventStoreOptions::default())
                .unwrap();
        Self { _directory: directory, store: Arc::new(store) }
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

mod contract {
    use super::*;

    event_source_contract!(DirectFixture);
}

#[tokio::test]
async fn positions_equal_those_of_the_log() {
    let fixture = DirectFixture::fresh().await;
    given_stream(&fixture, 5).await;
    let mut reader = Reader::of_all(&fixture, 2).await;
    reader.take_events(5).await;
    let spans: Vec<_> = reader.batches.iter().map(|batch| (batch.after, batch.position)).collect();
    assert_eq!(spans, [(None, 2), (Some(2), 4), (Some(4), 5)]);
}

#[tokio::test]
async fn a_source_ends_with_its_store() {
    let fixture = DirectFixture::fresh().await;
    given_stream(&fixture, 1).await;
    let mut reader = Reader::of_all(&fixture, 10).await;
    fixture.store.close();
    reader.take_events(1).await;
    reader.source.next().await.unwrap_err();
}

#[tokio::test]
async fn a_position_beyond_the_end_of_the_log_is_an_error() {
    let fixture = DirectFixture::fresh().await;
    given_stream(&fixture, 5).await;
    let mut source = fixture.source(10).await;
    source.next().await.unwrap();
    source.seek(&Partition::whole_log(), Some(6));
    let refused = source.next().await;
    assert!(matches!(refused, Err(ReadError::Corrupt(_))), "{refused:?}");
    source.seek(&Partition::whole_log(), Some(4));
    assert!(matches!(source.next().await.unwrap(), SourceUpdate::Events(batch) if batch.events.len() == 1));
}

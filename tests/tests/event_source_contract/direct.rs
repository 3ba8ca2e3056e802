//! The source that reads the event store directly.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName};
use infra::{
    event_source::{EventSource, Partition, Reached, SourceUpdate, direct::DirectSource},
    event_store::{
        Append, Done, Epoch, EventLog, EventMark, EventStore, ReadError,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
};
use tempfile::TempDir;
use tokio::sync::watch;
use uuid::Uuid;

use super::{Fixture, Reader, event_source_contract, given_stream, reading, seeking};

struct DirectFixture {
    directory: TempDir,
    store: Arc<SqliteEventStore>,
}

#[async_trait]
impl Fixture for DirectFixture {
    async fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store =
            SqliteEventStore::open(&directory.path().join("events.db"), SqliteEventStoreOptions::default())
                .unwrap();
        Self { directory, store: Arc::new(store) }
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
    source.seek(&Partition::whole_log(), Some(6.into()));
    let refused = source.next().await;
    assert!(matches!(refused, Err(ReadError::WentBack(_))), "{refused:?}");
    source.seek(&Partition::whole_log(), Some(4.into()));
    assert!(matches!(source.next().await.unwrap(), SourceUpdate::Events(batch) if batch.events.len() == 1));
}

/// An older copy of the log, to which other events were appended until it is longer than the original.
async fn restored_and_longer() -> (DirectFixture, Reached, Reached) {
    let original = DirectFixture::fresh().await;
    given_stream(&original, 5).await;
    original.store.close();
    let restored = tempfile::tempdir().unwrap();
    let file = |directory: &TempDir| directory.path().join("events.db");
    std::fs::copy(file(&original.directory), file(&restored)).unwrap();
    let reopen = |directory: TempDir| {
        let store = SqliteEventStore::open(&file(&directory), SqliteEventStoreOptions::default()).unwrap();
        DirectFixture { directory, store: Arc::new(store) }
    };
    let original = reopen(original.directory);
    given_stream(&original, 5).await;
    let log = original.store.log().read_all(None, 100).await.unwrap();
    let reached = |index: usize| Reached {
        position: log[index].position,
        last_event: Some(EventMark::from(&log[index])),
    };
    let restored = reopen(restored);
    given_stream(&restored, 20).await;
    (restored, reached(4), reached(9))
}

#[tokio::test]
async fn a_log_that_lost_the_last_event_is_an_error_although_it_grew_past_the_position() {
    let (fixture, kept, lost) = restored_and_longer().await;
    let mut source = fixture.source(100).await;
    source.next().await.unwrap();
    // A rebuild may store a mark that is later than the position.
    let rebuilt = Reached { position: 3, ..lost.clone() };
    for refused in [&lost, &rebuilt, &lost] {
        source.seek(&Partition::whole_log(), Some(refused.clone()));
        let refused = source.next().await;
        assert!(matches!(refused, Err(ReadError::WentBack(_))), "{refused:?}");
    }
    source.seek(&Partition::whole_log(), Some(kept));
    assert!(matches!(source.next().await.unwrap(), SourceUpdate::Events(batch) if batch.events.len() == 20));
}

/// A store whose head moves before a read returns the event.
struct SlowToShow {
    inner: Arc<dyn EventStore>,
    reads: AtomicUsize,
}

#[async_trait]
impl EventLog for SlowToShow {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.inner.log().read_stream(stream, from, limit).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        match self.reads.fetch_add(1, Ordering::Relaxed) {
            0..20 => Ok(Vec::new()),
            _ => self.inner.log().read_all(after, limit).await,
        }
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        self.inner.log().last_event().await
    }

    fn store_id(&self) -> Uuid {
        self.inner.log().store_id()
    }
}

struct SlowStore(Arc<SlowToShow>);

#[async_trait]
impl EventStore for SlowStore {
    fn log(&self) -> Arc<dyn EventLog> {
        self.0.clone()
    }

    fn submit(&self, append: Append, done: Done) {
        self.0.inner.submit(append, done);
    }

    fn accepts_dependent_appends(&self) -> bool {
        self.0.inner.accepts_dependent_appends()
    }

    fn epoch(&self) -> Epoch {
        self.0.inner.epoch()
    }

    fn head(&self) -> watch::Receiver<Option<Position>> {
        self.0.inner.head()
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_pauses_between_reads_that_return_nothing_although_the_head_is_ahead() {
    let fixture = DirectFixture::fresh().await;
    given_stream(&fixture, 3).await;
    let shown = Arc::new(SlowToShow { inner: fixture.store(), reads: AtomicUsize::new(0) });
    let mut source = DirectSource::new(Arc::new(SlowStore(shown)), 10);
    source.next().await.unwrap();
    source.seek(&Partition::whole_log(), None);
    let begun = tokio::time::Instant::now();
    assert!(matches!(source.next().await.unwrap(), SourceUpdate::Events(batch) if batch.events.len() == 3));
    assert!(begun.elapsed() >= std::time::Duration::from_millis(20), "the source spins");
}

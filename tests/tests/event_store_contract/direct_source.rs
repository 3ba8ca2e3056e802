//! The source of events that reads the store itself.

use std::{sync::Arc, task::Poll};

use domain::{Position, RecordedEvent};
use infra::{
    event_source::{Batch, Delivery, EventSource, Partition, direct::DirectSource},
    event_store::{EventStore, ExpectedRevision},
};

use super::{Fixture, append, events, given_stream, new_stream, sqlite::SqliteFixture};

/// A source that was assigned its partition and sought to `after`.
async fn source(
    store: &Arc<dyn EventStore>,
    batch_events_max: usize,
    after: Option<Position>,
) -> DirectSource {
    let mut source = DirectSource::new(Arc::clone(store), batch_events_max);
    let Delivery::Assigned(partitions) = source.next().await.unwrap() else { panic!("first the partitions") };
    assert_eq!(partitions, [Partition::whole_log()]);
    source.seek(&partitions[0], after);
    source
}

async fn next_batch(source: &mut DirectSource) -> Batch {
    match source.next().await.unwrap() {
        Delivery::Events(batch) => batch,
        other => panic!("expected events, got {other:?}"),
    }
}

#[tokio::test]
async fn a_source_gives_batches_that_follow_one_another() {
    let fixture = SqliteFixture::fresh().await;
    let store = fixture.store();
    given_stream(&*store, 5).await;
    let mut source = source(&store, 2, None).await;
    for (after, position, count) in [(None, 2, 2), (Some(2), 4, 2), (Some(4), 5, 1)] {
        let batch = next_batch(&mut source).await;
        assert_eq!((batch.after, batch.position, batch.events.len()), (after, position, count));
    }
}

#[tokio::test]
async fn a_source_starts_after_the_position_it_is_given_and_can_be_set_back() {
    let fixture = SqliteFixture::fresh().await;
    let store = fixture.store();
    given_stream(&*store, 5).await;
    let log = store.read_all(None, 10).await.unwrap();
    let mut source = source(&store, 10, Some(3)).await;
    assert_eq!(next_batch(&mut source).await.events, log[3..]);
    source.seek(&Partition::whole_log(), Some(1));
    assert_eq!(next_batch(&mut source).await.events, log[1..]);
}

#[tokio::test]
async fn a_source_that_has_caught_up_is_woken_by_the_next_append() {
    let fixture = SqliteFixture::fresh().await;
    let store = fixture.store();
    let mut source = source(&store, 10, None).await;
    assert!(futures::poll!(source.next()).is_pending());
    let (batch, _) = tokio::join!(next_batch(&mut source), given_stream(&*store, 1));
    assert_eq!(batch.events.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_loses_and_repeats_nothing_while_appends_race_and_waits_are_given_up() {
    const WRITERS: usize = 4;
    const APPENDS: usize = 150;
    let fixture = SqliteFixture::fresh().await;
    let store = fixture.store();
    for _ in 0..WRITERS {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let stream = new_stream();
            for number in 0..APPENDS {
                let expected = ExpectedRevision::of(number.checked_sub(1).map(|revision| revision as u64));
                store.append(append(&stream, expected, events(1))).await.unwrap();
            }
        });
    }
    let mut source = source(&store, 7, None).await;
    let mut followed: Vec<RecordedEvent> = Vec::new();
    while followed.len() < WRITERS * APPENDS {
        // Given up at its first wait, and asked again: nothing may be lost by that.
        let batch = match futures::poll!(source.next()) {
            Poll::Ready(Ok(Delivery::Events(batch))) => batch,
            Poll::Ready(other) => panic!("expected events, got {other:?}"),
            Poll::Pending => next_batch(&mut source).await,
        };
        assert_eq!(batch.after, followed.last().map(|event| event.position));
        assert_eq!(Some(batch.position), batch.events.last().map(|event| event.position));
        followed.extend(batch.events);
    }
    assert_eq!(followed, store.read_all(None, usize::MAX).await.unwrap());
}

#[tokio::test]
async fn a_source_ends_with_its_store() {
    let fixture = SqliteFixture::fresh().await;
    let store = fixture.store();
    given_stream(&*store, 1).await;
    let mut source = source(&store, 10, None).await;
    fixture.close();
    assert_eq!(next_batch(&mut source).await.events.len(), 1, "what is there is still delivered");
    source.next().await.unwrap_err();
}

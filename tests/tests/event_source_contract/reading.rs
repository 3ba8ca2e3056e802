//! Completeness and order of events.

use std::task::Poll;

use infra::event_store::ExpectedRevision;

use super::{Fixture, Reader, given_events, given_stream, new_stream, stored};

pub async fn every_event_arrives_once_and_in_order(fixture: impl Fixture) {
    for count in 1..=12 {
        given_stream(&fixture, count).await;
    }
    let mut reader = Reader::of_all(&fixture, 1_000).await;
    reader.take_events(78).await;
    for partition in fixture.partitions() {
        assert_eq!(reader.of(&partition), stored(&fixture, &partition).await, "{partition:?}");
    }
}

pub async fn batches_respect_their_limit_and_have_no_gaps(fixture: impl Fixture) {
    given_stream(&fixture, 25).await;
    let mut reader = Reader::of_all(&fixture, 10).await;
    reader.take_events(25).await;
    assert!(reader.batches.len() >= 3);
    assert!(reader.batches.iter().all(|batch| batch.events.len() <= 10));
}

pub async fn an_append_wakes_a_source_that_has_caught_up(fixture: impl Fixture) {
    given_stream(&fixture, 1).await;
    let mut reader = Reader::of_all(&fixture, 10).await;
    reader.take_events(1).await;
    assert!(futures::poll!(reader.source.next()).is_pending());
    tokio::join!(reader.take_events(2), given_stream(&fixture, 1));
}

pub async fn no_event_is_lost_during_concurrent_appends_and_cancelled_waits(fixture: impl Fixture) {
    const WRITERS: usize = 4;
    const APPENDS: usize = 150;
    for _ in 0..WRITERS {
        let store = fixture.store();
        tokio::spawn(async move {
            let stream = new_stream();
            for number in 0..APPENDS {
                let expected = ExpectedRevision::of(number.checked_sub(1).map(|revision| revision as u64));
                given_events(&*store, &stream, expected, 1).await;
            }
        });
    }
    let mut reader = Reader::of_all(&fixture, 7).await;
    while reader.events().count() < WRITERS * APPENDS {
        // Cancels the first wait, then calls again.
        let polled = futures::poll!(reader.source.next());
        match polled {
            Poll::Ready(update) => reader.keep(update.unwrap()),
            Poll::Pending => reader.take().await,
        }
    }
    for partition in fixture.partitions() {
        assert_eq!(reader.of(&partition), stored(&fixture, &partition).await, "{partition:?}");
    }
}

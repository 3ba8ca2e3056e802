//! Reading a stream, reading and following the log.

use std::collections::HashMap;

use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use infra::event_store::{
    EventLog,
    ExpectedRevision::{self, NoStream},
};

use tokio::time::timeout;

use super::{Fixture, append, event_of, events, given_stream, new_stream};
use crate::support::PATIENCE;

pub async fn reads_respect_their_limit(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = given_stream(&*store, 5).await;
    given_stream(&*store, 2).await;
    let revisions = |events: Vec<RecordedEvent>| events.iter().map(|e| e.revision).collect::<Vec<_>>();

    assert_eq!(revisions(store.log().read_stream(&stream, 0, 2).await.unwrap()), [0, 1]);
    assert_eq!(revisions(store.log().read_stream(&stream, 3, 9).await.unwrap()), [3, 4]);
    assert_eq!(revisions(store.log().read_stream(&stream, 0, 0).await.unwrap()), [0; 0]);
    assert_eq!(revisions(store.log().read_stream(&stream, 5, 9).await.unwrap()), [0; 0]);
    assert_eq!(revisions(store.log().read_stream(&stream, Revision::MAX, usize::MAX).await.unwrap()), [0; 0]);
    assert_eq!(revisions(store.log().read_stream(&new_stream(), 0, 9).await.unwrap()), [0; 0]);

    let log = store.log().read_all(None, usize::MAX).await.unwrap();
    assert_eq!(log.len(), 7);
    assert_eq!(store.log().read_all(None, 3).await.unwrap(), log[..3]);
    assert_eq!(store.log().read_all(Some(log[2].position), 3).await.unwrap(), log[3..6]);
    assert_eq!(store.log().read_all(Some(log[6].position), 3).await.unwrap(), []);
    assert_eq!(store.log().read_all(Some(Position::MAX), 3).await.unwrap(), []);
}

/// The limit counts events. A second bound on bytes keeps a read of large events small.
pub async fn large_events_arrive_in_several_reads(fixture: impl Fixture) {
    const MIB: usize = 1 << 20;
    let store = fixture.store();
    let stream = new_stream();
    let sizes = [3 * MIB, 3 * MIB, 6 * MIB, 10, 6 * MIB];
    for (revision, size) in (0..).zip(sizes) {
        let large = event_of(format!("\"{}\"", "x".repeat(size)).into());
        let expected = ExpectedRevision::of(u64::checked_sub(revision, 1));
        store.append(append(&stream, expected, vec![large])).await.unwrap();
    }
    let log: Vec<RecordedEvent> = read_to_end(&*store.log(), 100).await;
    assert_eq!(log.len(), sizes.len());
    let first_read = store.log().read_stream(&stream, 0, 100).await.unwrap();
    assert!(!first_read.is_empty() && first_read.len() < sizes.len());
    assert_eq!(first_read, log[..first_read.len()]);
    // The first page is shorter than its limit although the stream goes on. Only an empty page is the end.
    let mut read = first_read;
    loop {
        let page = store.log().read_stream(&stream, read.len() as Revision, 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        read.extend(page);
    }
    assert_eq!(read, log);
}

pub async fn the_last_event_before_a_time_is_found(fixture: impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.log().position_before(Timestamp::MAX).await.unwrap(), None);
    for _ in 0..7 {
        given_stream(&*store, 100).await;
    }
    let log = read_to_end(&*store.log(), 1_000).await;
    let mut times: Vec<Timestamp> = log.iter().map(|event| event.recorded_at).collect();
    times.dedup();
    times.push(Timestamp::MAX);
    for time in times {
        let earlier = log.iter().take_while(|event| event.recorded_at < time);
        let last = earlier.last().map(|event| event.position);
        assert_eq!(store.log().position_before(time).await.unwrap(), last, "{time}");
    }
}

pub async fn the_last_event_of_a_stream_is_found(fixture: impl Fixture) {
    let store = fixture.store();
    let (one, other) = (given_stream(&*store, 1).await, given_stream(&*store, 1_200).await);
    for stream in [&one, &other] {
        let mut all = read_stream_to_end(&*store.log(), stream).await;
        assert_eq!(store.log().last_of(stream).await.unwrap(), all.pop());
    }
    assert_eq!(store.log().last_of(&new_stream()).await.unwrap(), None);
}

pub async fn the_log_is_read_back_from_its_end_and_from_any_event(fixture: impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.log().read_back(None, 5).await.unwrap(), []);
    for _ in 0..3 {
        given_stream(&*store, 70).await;
    }
    let mut latest_first = read_to_end(&*store.log(), 1_000).await;
    latest_first.reverse();
    for limit in [1, 64, 100, 500] {
        let mut read: Vec<RecordedEvent> = Vec::new();
        loop {
            let before = read.last().map(|event| event.position);
            let page = store.log().read_back(before, limit).await.unwrap();
            assert!(page.len() <= limit);
            if page.is_empty() {
                break;
            }
            read.extend(page);
        }
        assert_eq!(read, latest_first, "{limit}");
    }
    assert_eq!(store.log().read_back(None, 0).await.unwrap(), []);
    assert_eq!(store.log().read_back(Some(Position::MAX), 3).await.unwrap(), latest_first[..3]);
}

async fn read_stream_to_end(log: &dyn EventLog, stream: &StreamName) -> Vec<RecordedEvent> {
    let mut all: Vec<RecordedEvent> = Vec::new();
    loop {
        let page = log.read_stream(stream, all.len() as Revision, 500).await.unwrap();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

pub async fn existing_and_missing_streams_are_distinguished(fixture: impl Fixture) {
    let store = fixture.store();
    let (one, other) = (given_stream(&*store, 1).await, given_stream(&*store, 2).await);
    assert_eq!(store.log().exist(&[one, new_stream(), other]).await.unwrap(), [true, false, true]);
    assert_eq!(store.log().exist(&[]).await.unwrap(), [false; 0]);
}

pub async fn a_reader_in_another_process_sees_acknowledged_events(fixture: impl Fixture) {
    let reader = fixture.reader().await;
    let store = fixture.store();
    assert_eq!(reader.store_id(), store.log().store_id());
    for count in 1..20 {
        let stream = given_stream(&*store, 1).await;
        assert_eq!(reader.read_stream(&stream, 0, 10).await.unwrap().len(), 1);
        assert_eq!(reader.read_all(None, 100).await.unwrap().len(), count);
    }
}

pub async fn a_follower_reads_every_event_during_concurrent_appends(fixture: impl Fixture) {
    const WRITERS: u64 = 8;
    const APPENDS: u64 = 100;
    let store = fixture.store();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move {
                let stream = new_stream();
                for revision in 0..APPENDS {
                    let expected = ExpectedRevision::of(revision.checked_sub(1));
                    store.append(append(&stream, expected, events(1))).await.unwrap();
                }
            })
        })
        .collect();

    let mut head = store.head();
    let mut followed: Vec<RecordedEvent> = Vec::new();
    while (followed.len() as u64) < WRITERS * APPENDS {
        head.wait_for(|head| *head > followed.last().map(|event| event.position)).await.unwrap();
        followed.extend(store.log().read_all(followed.last().map(|event| event.position), 10).await.unwrap());
    }
    for writer in writers {
        writer.await.unwrap();
    }
    assert_eq!(followed, read_to_end(&*store.log(), 1_000).await);
    let mut next_revisions: HashMap<_, Revision> = HashMap::new();
    for event in followed {
        let next = next_revisions.entry(event.stream).or_default();
        assert_eq!(event.revision, *next);
        *next += 1;
    }
}

pub async fn the_head_reaches_every_acknowledged_append(fixture: impl Fixture) {
    let store = fixture.store();
    let mut head = store.head();
    assert_eq!(*head.borrow(), None);
    for _ in 0..50 {
        let appended = store.append(append(&new_stream(), NoStream, events(2))).await.unwrap();
        let reached = head.wait_for(|head| *head >= appended.last_position);
        assert_eq!(*timeout(PATIENCE, reached).await.unwrap().unwrap(), appended.last_position);
        let log = store.log().read_all(None, 1_000).await.unwrap();
        assert_eq!(log.last().map(|event| event.position), appended.last_position);
    }
}

pub async fn the_head_wakes_a_follower(fixture: impl Fixture) {
    let store = fixture.store();
    let mut head = store.head();
    head.borrow_and_update();
    let waiting = tokio::spawn(async move {
        head.changed().await.unwrap();
        *head.borrow()
    });
    let appended = store.append(append(&new_stream(), NoStream, events(1))).await.unwrap();
    assert_eq!(waiting.await.unwrap(), appended.last_position);
}

async fn read_to_end(log: &dyn EventLog, limit: usize) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let batch = log.read_all(events.last().map(|event| event.position), limit).await.unwrap();
        if batch.is_empty() {
            return events;
        }
        events.extend(batch);
    }
}

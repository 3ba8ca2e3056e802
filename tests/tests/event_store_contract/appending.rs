//! Optimistic concurrency, atomicity and retries.

use domain::{RecordedEvent, StreamName, Timestamp};
use futures::future::join_all;
use infra::event_store::{
    AppendError, Appended, EventStore,
    ExpectedRevision::{self, Exact, NoStream},
};

use super::{Fixture, append, event, event_of, events, given_stream, new_stream};

async fn read(store: &dyn EventStore, stream: &StreamName) -> Vec<RecordedEvent> {
    store.log().read_stream(stream, 0, 1_000).await.unwrap()
}

/// The actual revision that a refused append reports.
fn actual_revision(outcome: Result<Appended, AppendError>) -> ExpectedRevision {
    match outcome {
        Err(AppendError::WrongExpectedRevision { actual, .. }) => actual,
        other => panic!("expected a wrong revision, got {other:?}"),
    }
}

pub async fn revisions_have_no_gap_and_positions_increase(fixture: impl Fixture) {
    let store = fixture.store();
    let (one, other) = (new_stream(), new_stream());
    let mut last_position = None;
    for (stream, expected, count) in
        [(&one, NoStream, 1), (&other, NoStream, 3), (&one, Exact(0), 2), (&other, Exact(2), 1)]
    {
        let appended = store.append(append(stream, expected, events(count))).await.unwrap();
        assert_eq!(appended.last_revision, Some(expected.next() + count as u64 - 1));
        assert!(appended.last_position > last_position);
        last_position = appended.last_position;
    }
    for (stream, count) in [(&one, 3), (&other, 4)] {
        let revisions: Vec<_> = read(&*store, stream).await.iter().map(|event| event.revision).collect();
        assert_eq!(revisions, (0..count).collect::<Vec<_>>());
    }
    let log = store.log().read_all(None, 100).await.unwrap();
    assert_eq!(log.len(), 7);
    assert!(log.is_sorted_by(|earlier, later| earlier.position < later.position));
    assert_eq!(log.last().map(|event| event.position), last_position);
}

pub async fn events_read_back_as_they_were_appended(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = StreamName::Stock(domain::Sku::new("85123A / \"Ünïcode\" 🎁").unwrap());
    let sent = vec![event_of(r#"{"name":"Ünïcode 🎁","nul":"\u0000"}"#.into()), event_of(b"[]".to_vec())];
    let before = Timestamp::now().as_microsecond();
    store.append(append(&stream, NoStream, sent.clone())).await.unwrap();
    let after = Timestamp::now().as_microsecond();

    let got = read(&*store, &stream).await;
    assert_eq!(got, store.log().read_all(None, 10).await.unwrap());
    assert_eq!(got.len(), sent.len());
    for (got, sent) in got.iter().zip(&sent) {
        assert_eq!(got.stream, stream);
        assert_eq!(got.id, sent.id);
        assert_eq!(&*got.type_name, sent.type_name);
        assert_eq!(*got.data, *sent.data);
        assert_eq!(*got.metadata, *sent.metadata);
        assert!((before..=after).contains(&got.recorded_at.as_microsecond()));
    }
}

pub async fn an_append_at_a_wrong_revision_is_refused_and_writes_nothing(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = given_stream(&*store, 3).await;
    let missing = new_stream();
    for (stream, expected, actual) in [
        (&stream, NoStream, Exact(2)),
        (&stream, Exact(0), Exact(2)),
        (&stream, Exact(3), Exact(2)),
        (&missing, Exact(0), NoStream),
    ] {
        let outcome = store.append(append(stream, expected, events(2))).await;
        assert_eq!(actual_revision(outcome), actual, "expected {expected}");
    }
    assert_eq!(store.log().read_all(None, 100).await.unwrap().len(), 3);
    store.append(append(&missing, NoStream, events(1))).await.unwrap();
    store.append(append(&stream, Exact(2), events(1))).await.unwrap();
}

pub async fn a_retry_gets_the_original_outcome(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = given_stream(&*store, 2).await;
    let original = append(&stream, Exact(1), events(3));
    let outcome = store.append(original.clone()).await.unwrap();
    assert_eq!(store.append(original.clone()).await.unwrap(), outcome, "a retry at once");

    store.append(append(&stream, Exact(4), events(2))).await.unwrap();
    given_stream(&*store, 1).await;
    assert_eq!(store.append(original).await.unwrap(), outcome, "a retry after other appends");
    assert_eq!(read(&*store, &stream).await.len(), 7);
}

pub async fn a_retry_of_a_first_append_gets_the_original_outcome(fixture: impl Fixture) {
    let stream = new_stream();
    let original = append(&stream, NoStream, events(2));
    let outcome = fixture.store().append(original.clone()).await.unwrap();
    assert_eq!(fixture.store().append(original.clone()).await.unwrap(), outcome);

    let reopened = fixture.reopen().await;
    assert_eq!(reopened.store().append(original).await.unwrap(), outcome);
    assert_eq!(read(&*reopened.store(), &stream).await.len(), 2);
}

pub async fn other_events_at_a_stored_revision_are_not_a_retry(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = given_stream(&*store, 1).await;
    let original = append(&stream, Exact(0), events(3));
    store.append(original.clone()).await.unwrap();

    for different in 0..3 {
        let mut changed = original.clone();
        changed.events[different] = event();
        assert_eq!(actual_revision(store.append(changed).await), Exact(3), "event {different} differs");
    }
    let mut longer = original.clone();
    longer.events.push(event());
    assert_eq!(actual_revision(store.append(longer).await), Exact(3), "one event more");
    let moved = append(&stream, NoStream, original.events);
    assert_eq!(actual_revision(store.append(moved).await), Exact(3), "another expected revision");
    assert_eq!(read(&*store, &stream).await.len(), 4);
}

pub async fn ids_are_not_checked_if_the_revision_is_right(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = new_stream();
    let same = event();
    store.append(append(&stream, NoStream, vec![same.clone()])).await.unwrap();
    let again = store.append(append(&stream, Exact(0), vec![same])).await.unwrap();
    assert_eq!(again.last_revision, Some(1));
}

pub async fn exactly_one_of_several_concurrent_appends_at_a_revision_succeeds(fixture: impl Fixture) {
    let store = fixture.store();
    let stream = new_stream();
    for round in 0..20 {
        let expected = ExpectedRevision::of(u64::checked_sub(round, 1));
        let racers = (0..16).map(|_| {
            let (store, racer) = (store.clone(), append(&stream, expected, events(1)));
            tokio::spawn(async move { store.append(racer).await })
        });
        let outcomes = join_all(racers).await;
        let winners = outcomes.into_iter().filter(|outcome| outcome.as_ref().unwrap().is_ok()).count();
        assert_eq!(winners, 1);
        assert_eq!(read(&*store, &stream).await.len() as u64, round + 1);
    }
}

pub async fn a_reader_sees_all_events_of_an_append_or_none(fixture: impl Fixture) {
    const EVENTS_PER_APPEND: usize = 7;
    const APPENDS: usize = 200;
    let store = fixture.store();
    let stream = new_stream();
    let appending = {
        let (store, stream) = (store.clone(), stream.clone());
        tokio::spawn(async move {
            for number in 0..APPENDS {
                let expected =
                    ExpectedRevision::of((number * EVENTS_PER_APPEND).checked_sub(1).map(|r| r as u64));
                store.append(append(&stream, expected, events(EVENTS_PER_APPEND))).await.unwrap();
            }
        })
    };
    loop {
        let seen = store.log().read_stream(&stream, 0, usize::MAX).await.unwrap().len();
        assert_eq!(seen % EVENTS_PER_APPEND, 0);
        if seen == APPENDS * EVENTS_PER_APPEND {
            break;
        }
    }
    appending.await.unwrap();
}

pub async fn acknowledged_events_exist_after_reopening(fixture: impl Fixture) {
    let store_id = fixture.store().log().store_id();
    let stream = given_stream(&*fixture.store(), 3).await;
    let others = join_all((0..50).map(|_| async { given_stream(&*fixture.store(), 2).await })).await;
    let log_before = fixture.store().log().read_all(None, 1_000).await.unwrap();

    let reopened = fixture.reopen().await;
    let store = reopened.store();
    assert_eq!(store.log().store_id(), store_id);
    assert_eq!(store.log().read_all(None, 1_000).await.unwrap(), log_before);
    assert_eq!(*store.head().borrow(), log_before.last().map(|event| event.position));
    for other in others {
        assert_eq!(read(&*store, &other).await.len(), 2);
    }
    let next = store.append(append(&stream, Exact(2), events(1))).await.unwrap();
    assert_eq!(next.last_revision, Some(3));
    assert!(next.last_position > log_before.last().map(|event| event.position));
}

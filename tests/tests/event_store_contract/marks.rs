//! Marks: a consumer recognises a log that no longer has the events that it read.

use domain::EventId;
use infra::event_store::{EventMark, ExpectedRevision::NoStream, ReadError};
use uuid::Uuid;

use super::*;
use crate::support::PATIENCE;

async fn given_events(store: &dyn EventStore, count: usize) -> Vec<EventMark> {
    for _ in 0..count {
        given_stream(store, 1).await;
    }
    let log = store.log().read_all(None, count).await.unwrap();
    assert_eq!(log.len(), count);
    log.iter().map(EventMark::from).collect()
}

pub async fn a_mark_finds_its_event_and_no_other(fixture: impl Fixture) {
    let store = fixture.store();
    let marks = given_events(&*store, 5).await;
    let (log, reader) = (store.log(), fixture.reader().await);
    for mark in &marks {
        assert!(log.has(mark).await.unwrap());
        assert!(reader.has(mark).await.unwrap());
        let others = [
            EventMark { id: EventId(Uuid::new_v4()), ..mark.clone() },
            EventMark { position: mark.position + 1, ..mark.clone() },
            EventMark { revision: mark.revision + 1, ..mark.clone() },
            EventMark { stream: new_stream(), ..mark.clone() },
        ];
        for other in others {
            assert!(!log.has(&other).await.unwrap(), "{other:?}");
        }
        assert_eq!(EventMark::from_json(&mark.to_json()), Some(mark.clone()));
    }
}

pub async fn a_read_after_a_mark_continues_after_its_event(fixture: impl Fixture) {
    let store = fixture.store();
    // Enough for a server to write events of its own between them.
    let marks = given_events(&*store, 120).await;
    // Before that, a page may be shorter.
    let mut head = store.head();
    let reached = head.wait_for(|head| *head >= marks.last().map(|mark| mark.position));
    tokio::time::timeout(PATIENCE, reached).await.unwrap().unwrap();
    for (index, mark) in marks.iter().enumerate() {
        let rest: Vec<EventMark> =
            store.log().read_after(mark, 7).await.unwrap().iter().map(EventMark::from).collect();
        assert_eq!(rest, marks[index + 1..].iter().take(7).cloned().collect::<Vec<_>>());
    }
}

/// The last two are what a restored store shows: another event at the position, and no event at it.
pub async fn a_read_after_an_event_that_the_log_lost_is_refused(fixture: impl Fixture) {
    let store = fixture.store();
    let marks = given_events(&*store, 5).await;
    let lost = [
        EventMark { stream: new_stream(), ..marks[4].clone() },
        EventMark { id: EventId(Uuid::new_v4()), ..marks[2].clone() },
        EventMark { position: marks[4].position + 1_000_000, revision: 1, ..marks[4].clone() },
        EventMark { position: marks[2].position + 1, revision: 1, ..marks[2].clone() },
    ];
    for mark in lost {
        let refused = store.log().read_after(&mark, 10).await;
        assert!(matches!(&refused, Err(ReadError::WentBack(_))), "{mark:?}: {refused:?}");
    }
    assert_eq!(store.log().read_after(&marks[3], 10).await.unwrap().len(), 1);
}

pub async fn the_last_event_is_at_the_end_of_the_log(fixture: impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.log().last_event().await.unwrap(), None);
    for count in 1..=120 {
        let appended = store.append(append(&new_stream(), NoStream, events(2))).await.unwrap();
        let last = store.log().last_event().await.unwrap().unwrap();
        assert_eq!(Some(last.position), appended.last_position, "after {count} appends");
        assert_eq!(Some(last.revision), appended.last_revision);
        assert_eq!(fixture.reader().await.last_event().await.unwrap(), Some(last));
    }
}

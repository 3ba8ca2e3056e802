//! Entries become due, fail again, and end.

use super::*;

pub async fn entries_are_due_in_the_order_of_their_times_page_by_page<F: Fixture>(fixture: F) {
    let store = fixture.store();
    for (stream, due) in [(order(1), 30), (order(2), 10), (payment(1), 10), (order(3), 20), (order(4), 31)] {
        store.park(LOG, &entry(stream, 1, due)).await.unwrap();
    }
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = store.due(LOG, at(30), after, 2).await.unwrap();
        assert!(page.len() <= 2);
        let Some(last) = page.last() else { break };
        after = Some((last.next_attempt_at, last.stream.clone()));
        found.extend(page.into_iter().map(|entry| entry.stream));
    }
    assert_eq!(found, [order(2), payment(1), order(3), order(1)]);
    assert_eq!(store.due(LOG, at(9), None, 2).await.unwrap(), []);
}

pub async fn a_failed_attempt_replaces_beginning_reason_and_time<F: Fixture>(fixture: F) {
    let store = fixture.store();
    let parked = ParkedReaction { last_revision: 6, ..entry(order(1), 3, 10) };
    store.park(LOG, &parked).await.unwrap();
    // The follower adds an event during the attempt.
    assert!(store.add(LOG, &order(1), 8).await.unwrap());
    let failed = ParkedReaction {
        revision: 5,
        event_id: event(5),
        event_type: "type.5".to_owned(),
        attempts: 2,
        reason: "another".to_owned(),
        next_attempt_at: at(50),
        ..parked
    };
    store.postpone(LOG, &failed).await.unwrap();
    assert_eq!(all(&*store).await, [ParkedReaction { last_revision: 8, ..failed.clone() }]);
    // Another process has removed the entry: a late failure does not restore it.
    assert_eq!(store.resume(LOG, &order(1), 8).await.unwrap(), None);
    store.postpone(LOG, &failed).await.unwrap();
    assert_eq!(all(&*store).await, []);
}

pub async fn a_retry_requested_during_an_attempt_stays_requested<F: Fixture>(fixture: F) {
    let store = fixture.store();
    let parked = entry(order(1), 3, 10);
    store.park(LOG, &parked).await.unwrap();
    assert_eq!(store.request_retry(LOG, Some(&order(1)), at(20)).await.unwrap(), 1);
    let failed = ParkedReaction { attempts: 2, next_attempt_at: at(50), ..parked };
    store.postpone(LOG, &failed).await.unwrap();
    let requested =
        ParkedReaction { attempts: 2, next_attempt_at: at(20), retry_requested: true, ..failed.clone() };
    assert_eq!(all(&*store).await, std::slice::from_ref(&requested));
    // The attempt that read the request answers it.
    let failed_again = ParkedReaction { attempts: 3, next_attempt_at: at(60), ..requested };
    store.postpone(LOG, &failed_again).await.unwrap();
    assert_eq!(all(&*store).await, [ParkedReaction { retry_requested: false, ..failed_again }]);
}

pub async fn an_entry_is_removed_only_if_it_covers_no_later_event<F: Fixture>(fixture: F) {
    let store = fixture.store();
    assert_eq!(store.resume(LOG, &order(1), 9).await.unwrap(), None);
    store.park(LOG, &ParkedReaction { last_revision: 6, ..entry(order(1), 3, 10) }).await.unwrap();
    store.park(LOG, &entry(order(2), 3, 10)).await.unwrap();
    assert_eq!(store.resume(LOG, &order(1), 5).await.unwrap(), Some(6));
    assert_eq!(store.count(LOG).await.unwrap(), 2);
    assert_eq!(store.resume(LOG, &order(1), 6).await.unwrap(), None);
    assert_eq!(all(&*store).await, [entry(order(2), 3, 10)]);
}

pub async fn an_entry_is_found_by_order_payment_and_event<F: Fixture>(fixture: F) {
    let store = fixture.store();
    let (first, second) = (entry(order(1), 3, 10), entry(payment(2), 4, 10));
    store.park(LOG, &first).await.unwrap();
    store.park(LOG, &second).await.unwrap();
    for (id, expected) in [
        (Uuid::from_u128(1), Some(&first)),
        (Uuid::from_u128(2), Some(&second)),
        (event(3).0, Some(&first)),
        (event(4).0, Some(&second)),
        (Uuid::from_u128(3), None),
    ] {
        assert_eq!(store.find(LOG, id).await.unwrap().as_ref(), expected, "{id}");
    }
    assert_eq!([first.stream_id(), second.stream_id()], [Uuid::from_u128(1), Uuid::from_u128(2)]);
}

pub async fn a_retry_of_one_stream_or_of_all_is_requested<F: Fixture>(fixture: F) {
    let store = fixture.store();
    for number in 1..=3 {
        store.park(LOG, &entry(order(number), 1, 100)).await.unwrap();
    }
    assert_eq!(store.request_retry(LOG, Some(&order(9)), at(20)).await.unwrap(), 0);
    assert_eq!(store.request_retry(LOG, Some(&order(2)), at(20)).await.unwrap(), 1);
    let requested = ParkedReaction { retry_requested: true, ..entry(order(2), 1, 20) };
    assert_eq!(store.due(LOG, at(20), None, 10).await.unwrap(), [requested]);
    assert_eq!(store.request_retry(LOG, None, at(30)).await.unwrap(), 3);
    let due = store.due(LOG, at(30), None, 10).await.unwrap();
    assert!(due.len() == 3 && due.iter().all(|entry| entry.retry_requested), "{due:?}");
}

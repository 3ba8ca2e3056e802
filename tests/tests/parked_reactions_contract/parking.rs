//! Entries are added, and later events wait behind them.

use super::*;

pub async fn an_entry_reads_back_unchanged_in_another_process<F: Fixture>(fixture: F) {
    let parked = ParkedReaction {
        last_revision: u64::from(u32::MAX),
        attempts: 7,
        retry_requested: true,
        ..entry(order(1), 3, 10)
    };
    fixture.store().park(LOG, &parked).await.unwrap();
    let elsewhere = fixture.store_elsewhere().await;
    assert_eq!(all(&*elsewhere).await, [parked]);
    assert_eq!(elsewhere.count(LOG).await.unwrap(), 1);
}

pub async fn an_entry_of_a_parked_stream_covers_the_events_of_both<F: Fixture>(fixture: F) {
    let store = fixture.store();
    let first = entry(order(1), 3, 10);
    store.park(LOG, &first).await.unwrap();
    // A later event: the entry still begins with the first one.
    store.park(LOG, &ParkedReaction { attempts: 9, ..entry(order(1), 5, 99) }).await.unwrap();
    assert_eq!(all(&*store).await, [ParkedReaction { last_revision: 5, ..first.clone() }]);
    // An earlier event, which another process had to react to.
    store.park(LOG, &ParkedReaction { attempts: 9, ..entry(order(1), 2, 99) }).await.unwrap();
    let begins_earlier =
        ParkedReaction { revision: 2, event_id: event(2), event_type: "type.2".into(), ..first };
    assert_eq!(all(&*store).await, [ParkedReaction { last_revision: 5, ..begins_earlier }]);
}

pub async fn a_later_event_is_added_only_to_an_entry_that_begins_before_it<F: Fixture>(fixture: F) {
    let store = fixture.store();
    assert!(!store.add(LOG, &order(1), 4).await.unwrap());
    store.park(LOG, &entry(order(1), 3, 10)).await.unwrap();
    assert!(!store.add(LOG, &order(1), 2).await.unwrap());
    assert!(!store.add(LOG, &payment(1), 4).await.unwrap());
    assert!(store.add(LOG, &order(1), 7).await.unwrap());
    // Read again after a restart.
    assert!(store.add(LOG, &order(1), 3).await.unwrap());
    assert_eq!(all(&*store).await, [ParkedReaction { last_revision: 7, ..entry(order(1), 3, 10) }]);
}

pub async fn entries_of_another_log_are_invisible<F: Fixture>(fixture: F) {
    let (store, other) = (fixture.store(), Uuid::from_u128(2));
    let here = entry(order(1), 3, 10);
    store.park(LOG, &here).await.unwrap();
    assert!(!store.add(other, &order(1), 4).await.unwrap());
    assert_eq!(store.count(other).await.unwrap(), 0);
    assert_eq!(store.list(other, None, 10).await.unwrap(), []);
    assert_eq!(store.due(other, at(99), None, 10).await.unwrap(), []);
    assert_eq!(store.find(other, here.stream_id()).await.unwrap(), None);
    assert_eq!(store.request_retry(other, None, at(0)).await.unwrap(), 0);
    assert_eq!(store.resume(other, &order(1), 99).await.unwrap(), None);
    store.postpone(other, &ParkedReaction { attempts: 9, ..here.clone() }).await.unwrap();
    assert_eq!(all(&*store).await, [here]);
}

pub async fn entries_are_listed_by_stream_page_by_page<F: Fixture>(fixture: F) {
    let store = fixture.store();
    let mut streams: Vec<StreamName> = (1..=5).flat_map(|number| [order(number), payment(number)]).collect();
    for stream in &streams {
        store.park(LOG, &entry(stream.clone(), 1, 10)).await.unwrap();
    }
    streams.sort_by_key(ToString::to_string);
    let (mut listed, mut after): (Vec<StreamName>, _) = (Vec::new(), None);
    loop {
        let page = store.list(LOG, after, 3).await.unwrap();
        assert!(page.len() <= 3);
        let Some(last) = page.last() else { break };
        after = Some(last.stream.clone());
        listed.extend(page.into_iter().map(|entry| entry.stream));
    }
    assert_eq!(listed, streams);
}

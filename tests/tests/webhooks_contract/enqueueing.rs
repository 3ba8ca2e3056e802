//! Deliveries and the follower's position are written together.

use futures::future::join_all;

use super::*;

fn log() -> Partition {
    Partition::whole_log()
}

pub(super) async fn deliveries_and_position_are_written_both_or_neither(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    let first = batch(None, 10, vec![delivery(to, 8), delivery(to, 9)]);
    assert_eq!(store.enqueue(&first, at(1)).await.unwrap(), EnqueueOutcome::Written { added: 2 });
    assert_eq!(store.resume(LOG, &log(), None).await.unwrap(), Some(reached(10)));

    for wrong in [None, Some(9), Some(11)] {
        let overtaken = store.enqueue(&batch(wrong, 20, vec![delivery(to, 12)]), at(2)).await.unwrap();
        assert_eq!(overtaken, EnqueueOutcome::Overtaken);
    }
    assert_eq!(store.resume(LOG, &log(), None).await.unwrap(), Some(reached(10)));
    assert_eq!(store.deliveries(to, None, None, 10).await.unwrap().len(), 2);
    let elsewhere = fixture.store_elsewhere().await;
    let next = batch(Some(10), 20, vec![delivery(to, 12)]);
    assert_eq!(elsewhere.enqueue(&next, at(2)).await.unwrap(), EnqueueOutcome::Written { added: 1 });
}

pub(super) async fn one_of_several_racing_followers_moves_the_position(fixture: impl Fixture) {
    let stores = [fixture.store(), fixture.store_elsewhere().await];
    let to = subscribe(&*stores[0], 1).await.id;
    let mut after = None;
    for position in 1..=5 {
        let step = batch(after, position, vec![delivery(to, position)]);
        let racing = (0..6).map(|number| stores[number % 2].enqueue(&step, at(1)));
        let outcomes: Vec<_> = join_all(racing).await.into_iter().map(Result::unwrap).collect();
        let won = outcomes.iter().filter(|one| **one == EnqueueOutcome::Written { added: 1 }).count();
        let lost = outcomes.iter().filter(|one| **one == EnqueueOutcome::Overtaken).count();
        assert_eq!((won, lost), (1, 5), "{outcomes:?}");
        after = Some(position);
    }
    assert_eq!(stores[0].deliveries(to, None, None, 10).await.unwrap().len(), 5);
}

pub(super) async fn an_event_enqueued_twice_makes_one_delivery(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    let other = subscribe(&*store, 2).await.id;
    enqueue(&*store, to, &[3], at(1)).await;
    let again = batch(Some(3), 4, vec![delivery(to, 3), delivery(other, 3), delivery(to, 4)]);
    assert_eq!(store.enqueue(&again, at(2)).await.unwrap(), EnqueueOutcome::Written { added: 2 });
    let kept = store.deliveries(to, None, None, 10).await.unwrap();
    assert_eq!(kept.iter().map(|one| one.content.position).collect::<Vec<_>>(), [4, 3]);
    assert_eq!((&kept[1].content, kept[1].queued_at), (&delivery(to, 3), at(1)));
}

pub(super) async fn a_deleted_subscription_gets_no_deliveries(fixture: impl Fixture) {
    let store = fixture.store();
    let gone = subscribe(&*store, 1).await.id;
    let stays = subscribe(&*store, 2).await.id;
    store.unsubscribe(gone, at(1)).await.unwrap();
    let never_was = SubscriptionId(Uuid::from_u128(99));
    let deliveries = vec![delivery(gone, 1), delivery(stays, 1), delivery(never_was, 1)];
    assert_eq!(
        store.enqueue(&batch(None, 1, deliveries), at(1)).await.unwrap(),
        EnqueueOutcome::Written { added: 1 }
    );
    store.replay(&[delivery(gone, 1)], at(1)).await.unwrap();
    assert_eq!(store.deliveries(gone, None, None, 10).await.unwrap(), []);
}

pub(super) async fn a_follower_starts_at_the_end_only_if_no_subscription_ever_existed(fixture: impl Fixture) {
    let store = fixture.store();
    assert_eq!(store.resume(LOG, &log(), None).await.unwrap(), None);
    assert_eq!(store.resume(LOG, &log(), Some(100)).await.unwrap(), Some(100.into()));
    // The stored position wins over a later end.
    let first = subscribe(&*store, 1).await;
    assert_eq!(store.resume(LOG, &log(), Some(200)).await.unwrap(), Some(100.into()));
    // Another partition may have events for this subscription.
    let other = Partition("orderly.orders/3".to_owned());
    assert_eq!(store.resume(LOG, &other, Some(50)).await.unwrap(), None);
    store.unsubscribe(first.id, at(1)).await.unwrap();
    assert_eq!(store.resume(LOG, &other, Some(50)).await.unwrap(), None);
}

pub(super) async fn a_position_in_another_log_is_ignored(fixture: impl Fixture) {
    let (store, other) = (fixture.store(), Uuid::from_u128(2));
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[3], at(1)).await;
    assert_eq!(store.resume(other, &log(), Some(100)).await.unwrap(), None);
    let step = EnqueueBatch { store_id: other, ..batch(None, 9, vec![delivery(to, 9)]) };
    assert_eq!(store.enqueue(&step, at(1)).await.unwrap(), EnqueueOutcome::Written { added: 1 });
    assert_eq!(store.resume(other, &log(), None).await.unwrap(), Some(reached(9)));
    assert_eq!(store.resume(LOG, &log(), None).await.unwrap(), None);
}

pub(super) async fn subscriptions_can_begin_earlier_after_the_log_lost_events(fixture: impl Fixture) {
    let store = fixture.store();
    let id = subscribe(&*store, 1).await.id;
    for (position, begins) in
        [(Some(8), Some(7)), (Some(7), Some(7)), (Some(3), Some(3)), (None, None), (Some(5), None)]
    {
        store.start_no_later_than(position).await.unwrap();
        let stored = fixture.store_elsewhere().await.subscription(id).await.unwrap().unwrap();
        assert_eq!(stored.after, begins, "{position:?}");
    }
}

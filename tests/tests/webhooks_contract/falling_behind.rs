//! Subscriptions that skip events of the log and read them later.

use infra::operations::webhooks::{Behind, CatchUpStep, SkippedEvents};

use super::*;

/// Moves the position of the follower from `from` to `to`, and skips the events from `first` to `last` after
/// the event at `after`.
async fn skip(
    store: &dyn WebhookStore,
    of: SubscriptionId,
    (from, to): (Option<Position>, Position),
    (after, first, last): (Position, Position, Position),
) {
    let skipped = vec![SkippedEvents { subscription: of, after, first, last }];
    let enqueued = store.enqueue(&EnqueueBatch { skipped, ..batch(from, to, Vec::new()) }, at(0)).await;
    assert_eq!(enqueued.unwrap(), EnqueueOutcome::Written { added: 0 });
}

async fn behind(store: &dyn WebhookStore, of: SubscriptionId) -> Option<(Position, Position)> {
    let behind = store.subscription(of).await.unwrap().unwrap().behind;
    behind.map(|Behind { after, skipped_to }| (after, skipped_to))
}

async fn step(
    store: &dyn WebhookStore,
    of: SubscriptionId,
    (after, position): (Position, Position),
    queued: &[Position],
) -> bool {
    let deliveries = queued.iter().map(|position| delivery(of, *position)).collect();
    store.catch_up(&CatchUpStep { subscription: of, after, position, deliveries }, at(5)).await.unwrap()
}

async fn queued(store: &dyn WebhookStore, of: SubscriptionId) -> Vec<Position> {
    let mut found = store.deliveries(of, None, None, 100).await.unwrap();
    found.reverse();
    found.into_iter().map(|one| one.content.position).collect()
}

pub(super) async fn skipped_events_put_a_subscription_behind_from_its_last_queued_event(
    fixture: impl Fixture,
) {
    let (store, elsewhere) = (fixture.store(), fixture.store_elsewhere().await);
    let (full, other) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    skip(&*store, full, (None, 9), (3, 5, 8)).await;
    assert_eq!(behind(&*elsewhere, full).await, Some((3, 8)));
    assert_eq!(behind(&*elsewhere, other).await, None);
    // It skips more events and stays where it stopped, also for a follower that saw another place.
    skip(&*store, full, (Some(9), 20), (3, 11, 19)).await;
    skip(&*store, full, (Some(20), 21), (2, 21, 21)).await;
    assert_eq!(behind(&*store, full).await, Some((3, 21)));
    // Another follower has moved the position: nothing is noted.
    let skipped = vec![SkippedEvents { subscription: other, after: 1, first: 2, last: 2 }];
    let overtaken = store.enqueue(&EnqueueBatch { skipped, ..batch(None, 30, Vec::new()) }, at(0)).await;
    assert_eq!(overtaken.unwrap(), EnqueueOutcome::Overtaken);
    assert_eq!(behind(&*store, other).await, None);
}

pub(super) async fn a_step_moves_the_place_and_the_last_step_ends_it(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    skip(&*store, to, (None, 9), (3, 4, 8)).await;
    assert!(step(&*store, to, (3, 5), &[4, 5]).await);
    assert_eq!(behind(&*store, to).await, Some((5, 8)));
    // The follower has skipped one more event meanwhile.
    skip(&*store, to, (Some(9), 10), (3, 10, 10)).await;
    assert!(step(&*store, to, (5, 9), &[5, 7, 8]).await);
    assert_eq!(behind(&*store, to).await, Some((9, 10)));
    assert!(step(&*store, to, (9, 10), &[10]).await);
    assert_eq!(behind(&*store, to).await, None);
    assert_eq!(queued(&*store, to).await, [4, 5, 7, 8, 10]);
}

pub(super) async fn a_subscription_that_stopped_and_skipped_nothing_ends_it_with_an_empty_step(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    skip(&*store, to, (None, 9), (9, 9, 9)).await;
    assert_eq!(behind(&*store, to).await, Some((9, 9)));
    assert!(step(&*store, to, (9, 9), &[]).await);
    assert_eq!(behind(&*store, to).await, None);
    // If an event follows in between, the step does not end it.
    skip(&*store, to, (Some(9), 10), (10, 10, 10)).await;
    skip(&*store, to, (Some(10), 11), (10, 11, 11)).await;
    assert!(step(&*store, to, (10, 10), &[]).await);
    assert_eq!(behind(&*store, to).await, Some((10, 11)));
}

pub(super) async fn an_earlier_skipped_event_moves_the_place_back(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    skip(&*store, to, (None, 9), (6, 7, 8)).await;
    // Another partition of the log was read more slowly.
    skip(&*store, to, (Some(9), 10), (4, 5, 5)).await;
    assert_eq!(behind(&*store, to).await, Some((4, 8)));
}

pub(super) async fn a_step_from_another_place_has_no_effect(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    assert!(!step(&*store, to, (3, 5), &[4, 5]).await);
    skip(&*store, to, (None, 9), (3, 4, 8)).await;
    assert!(!step(&*store, to, (4, 8), &[5]).await);
    assert_eq!((behind(&*store, to).await, queued(&*store, to).await), (Some((3, 8)), Vec::new()));
}

pub(super) async fn pending_and_due_deliveries_are_counted_up_to_a_limit(fixture: impl Fixture) {
    let store = fixture.store();
    let (to, other) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    enqueue(&*store, to, &[1, 2], at(0)).await;
    enqueue(&*store, to, &[3], at(7)).await;
    assert_eq!(store.pending(to, Timestamp::MAX, 10).await.unwrap(), 3);
    assert_eq!(store.pending(to, Timestamp::MAX, 2).await.unwrap(), 2);
    assert_eq!(store.pending(to, at(6), 10).await.unwrap(), 2);
    assert_eq!(store.pending(to, at(7), 10).await.unwrap(), 3);
    assert_eq!(store.pending(other, Timestamp::MAX, 10).await.unwrap(), 0);
}

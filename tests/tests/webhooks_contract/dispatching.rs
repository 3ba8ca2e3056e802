//! Leases, outcomes of attempts, replays and retries.

use futures::future::join_all;
use infra::operations::webhooks::{
    AfterAttempt, AttemptOutcome, DeliveryId, DeliveryStatus, WebhookDelivery,
};

use super::*;

const ONE: Uuid = Uuid::from_u128(101);
const OTHER: Uuid = Uuid::from_u128(102);

fn outcome(delivery: DeliveryId, second: i64, next: AfterAttempt) -> AttemptOutcome {
    let (status, error) = match next {
        AfterAttempt::Delivered => (Some(204), None),
        _ => (Some(503), Some("answered with 503".to_owned())),
    };
    AttemptOutcome { delivery, attempted_at: at(second), now: at(second + 1), status, error, next }
}

async fn only_delivery(store: &dyn WebhookStore, to: SubscriptionId) -> WebhookDelivery {
    let mut found = store.deliveries(to, None, None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

pub(super) async fn a_leased_delivery_cannot_be_claimed_before_its_lease_ends(fixture: impl Fixture) {
    let (store, elsewhere) = (fixture.store(), fixture.store_elsewhere().await);
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1], at(10)).await;
    let slots = [(to, 5)];
    assert_eq!(claim(&*store, ONE, &slots, at(9)).await, Vec::<Position>::new());
    assert_eq!(claim(&*store, ONE, &slots, at(10)).await, [1]);
    assert_eq!(claim(&*elsewhere, OTHER, &slots, at(69)).await, Vec::<Position>::new());
    // The first process has died.
    assert_eq!(claim(&*elsewhere, OTHER, &slots, at(70)).await, [1]);
    assert_eq!(only_delivery(&*store, to).await.attempts, 0);
}

pub(super) async fn the_deliveries_of_each_subscription_that_wait_longest_are_claimed_first(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let (busy, quiet) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    enqueue(&*store, busy, &[4, 5, 6], at(2)).await;
    enqueue(&*store, quiet, &[7], at(3)).await;
    store.replay(&[delivery(busy, 1)], at(1)).await.unwrap();
    assert_eq!(claim(&*store, ONE, &[(busy, 2), (quiet, 2)], at(5)).await, [4, 7, 1]);
    assert_eq!(claim(&*store, ONE, &[(busy, 1)], at(5)).await, [5]);
    assert_eq!(claim(&*store, ONE, &[], at(5)).await, Vec::<Position>::new());
    assert_eq!(claim(&*store, ONE, &[(busy, 9), (quiet, 9)], at(5)).await, [6]);
}

pub(super) async fn concurrent_dispatchers_share_the_due_deliveries(fixture: impl Fixture) {
    let stores = [fixture.store(), fixture.store_elsewhere().await];
    let to = subscribe(&*stores[0], 1).await.id;
    let positions: Vec<Position> = (1..=60).collect();
    enqueue(&*stores[0], to, &positions, at(0)).await;
    let slots = [(to, 10)];
    let claiming =
        (0..8).map(|number| claim(&*stores[number % 2], Uuid::from_u128(number as u128), &slots, at(1)));
    let mut claimed: Vec<Position> = join_all(claiming).await.concat();
    // A claim skips rows that another claim has locked at that moment.
    loop {
        let rest = claim(&*stores[0], ONE, &slots, at(1)).await;
        if rest.is_empty() {
            break;
        }
        claimed.extend(rest);
    }
    claimed.sort_unstable();
    assert_eq!(claimed, positions);
}

pub(super) async fn the_outcome_of_an_attempt_is_recorded(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1], at(0)).await;
    let id = delivery(to, 1).id();
    claim(&*store, ONE, &[(to, 1)], at(10)).await;
    store.settle(ONE, &[outcome(id, 10, AfterAttempt::RetryAt(at(20)))]).await.unwrap();
    let failing = only_delivery(&*store, to).await;
    assert_eq!((failing.status, failing.attempts), (DeliveryStatus::Pending, 1));
    assert_eq!((failing.next_attempt_at, failing.finished_at), (Some(at(20)), None));
    assert_eq!((failing.last_status, failing.last_error.as_deref()), (Some(503), Some("answered with 503")));
    assert_eq!((failing.first_attempt_at, failing.last_attempt_at), (Some(at(10)), Some(at(10))));
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(19)).await, Vec::<Position>::new());

    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(20)).await, [1]);
    store.settle(ONE, &[outcome(id, 20, AfterAttempt::Delivered)]).await.unwrap();
    let delivered = only_delivery(&*store, to).await;
    assert_eq!((delivered.status, delivered.attempts), (DeliveryStatus::Delivered, 2));
    assert_eq!((delivered.next_attempt_at, delivered.finished_at), (None, Some(at(21))));
    assert_eq!((delivered.last_status, delivered.last_error), (Some(204), None));
    assert_eq!((delivered.first_attempt_at, delivered.last_attempt_at), (Some(at(10)), Some(at(20))));
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(9_999)).await, Vec::<Position>::new());
}

pub(super) async fn a_delivery_without_a_place_is_stored_with_the_reason(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    let unplaced = NewDelivery { place: None, ..delivery(to, 1) };
    store.enqueue(&batch(None, 1, vec![unplaced.clone()]), at(0)).await.unwrap();
    let stored = only_delivery(&*store, to).await;
    assert_eq!((&stored.content, stored.status), (&unplaced, DeliveryStatus::Pending));
    assert_eq!(stored.last_error.as_deref(), Some("a stream of the order cannot be read"));
    // A replay that can read the stream adds the place.
    store.replay(&[delivery(to, 1)], at(1)).await.unwrap();
    assert_eq!(only_delivery(&*store, to).await.content, delivery(to, 1));
}

pub(super) async fn an_outcome_under_a_lost_claim_is_ignored(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1], at(0)).await;
    let id = delivery(to, 1).id();
    claim(&*store, ONE, &[(to, 1)], at(0)).await;
    assert_eq!(claim(&*store, OTHER, &[(to, 1)], at(60)).await, [1]);
    store.settle(ONE, &[outcome(id, 0, AfterAttempt::Failed)]).await.unwrap();
    assert_eq!(only_delivery(&*store, to).await.status, DeliveryStatus::Pending);
    store.settle(OTHER, &[outcome(id, 60, AfterAttempt::Delivered)]).await.unwrap();
    store.settle(OTHER, &[outcome(id, 61, AfterAttempt::Failed)]).await.unwrap();
    assert_eq!(only_delivery(&*store, to).await.status, DeliveryStatus::Delivered);
}

pub(super) async fn a_released_delivery_is_due_again_unless_its_claim_is_lost(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1, 2], at(0)).await;
    let ids = [delivery(to, 1).id(), delivery(to, 2).id()];
    claim(&*store, ONE, &[(to, 2)], at(0)).await;
    store.release(ONE, &ids[..1], at(1)).await.unwrap();
    assert_eq!(claim(&*store, OTHER, &[(to, 9)], at(1)).await, [1]);
    store.release(ONE, &ids, at(2)).await.unwrap();
    assert_eq!(claim(&*store, ONE, &[(to, 9)], at(2)).await, [2]);
    let stored = store.deliveries(to, None, None, 10).await.unwrap();
    assert!(stored.iter().all(|one| one.attempts == 0));
}

pub(super) async fn a_replay_makes_every_delivery_due_except_leased_ones(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1, 2, 3], at(0)).await;
    // One is delivered, one failing, one leased, one new.
    claim(&*store, ONE, &[(to, 2)], at(0)).await;
    store.settle(ONE, &[outcome(delivery(to, 1).id(), 0, AfterAttempt::Delivered)]).await.unwrap();
    store.settle(ONE, &[outcome(delivery(to, 2).id(), 0, AfterAttempt::RetryAt(at(9_999)))]).await.unwrap();
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(10)).await, [3]);
    let all: Vec<_> = (1..=4).map(|position| delivery(to, position)).collect();
    store.replay(&all, at(20)).await.unwrap();
    store.replay(&all, at(20)).await.unwrap();
    assert_eq!(claim(&*store, OTHER, &[(to, 9)], at(20)).await, [1, 2, 4]);
    let again = store.deliveries(to, None, None, 10).await.unwrap().pop().unwrap();
    assert_eq!((again.content.position, again.attempts, again.queued_at), (1, 0, at(20)));
    assert_eq!((again.first_attempt_at, again.finished_at), (None, None));
    store.settle(ONE, &[outcome(delivery(to, 3).id(), 10, AfterAttempt::Delivered)]).await.unwrap();
    let sent = store.deliveries(to, Some(DeliveryStatus::Delivered), None, 10).await.unwrap();
    assert_eq!(sent.iter().map(|one| one.content.position).collect::<Vec<_>>(), [3]);
}

pub(super) async fn a_retry_makes_one_delivery_due_unless_it_is_leased(fixture: impl Fixture) {
    let store = fixture.store();
    let (to, other) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    enqueue(&*store, to, &[1], at(0)).await;
    let id = delivery(to, 1).id();
    claim(&*store, ONE, &[(to, 1)], at(0)).await;
    // It is leased.
    let sending = store.retry(to, id, at(1)).await.unwrap().unwrap();
    assert_eq!((sending.next_attempt_at, sending.queued_at), (Some(at(60)), at(0)));
    store.settle(ONE, &[outcome(id, 0, AfterAttempt::Failed)]).await.unwrap();
    assert_eq!(only_delivery(&*store, to).await.status, DeliveryStatus::Failed);
    let due = store.retry(to, id, at(2)).await.unwrap().unwrap();
    assert_eq!((due.status, due.attempts, due.next_attempt_at), (DeliveryStatus::Pending, 0, Some(at(2))));
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(2)).await, [1]);
    assert_eq!(store.retry(other, id, at(3)).await.unwrap(), None);
}

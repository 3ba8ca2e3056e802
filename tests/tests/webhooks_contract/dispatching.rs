use futures::future::join_all;
use infra::{
    operations::webhooks::{Delivery, DeliveryStatus, Next, Settlement},
    webhooks::DeliveryId,
};

use super::*;

const ONE: Uuid = Uuid::from_u128(101);
const OTHER: Uuid = Uuid::from_u128(102);

fn settlement(delivery: DeliveryId, second: i64, next: Next) -> Settlement {
    let (status, error) = match next {
        Next::Delivered => (Some(204), None),
        _ => (Some(503), Some("answered with 503".to_owned())),
    };
    Settlement { delivery, attempted_at: at(second), now: at(second + 1), status, error, next }
}

async fn only_delivery(store: &dyn Webhooks, to: SubscriptionId) -> Delivery {
    let mut found = store.deliveries(to, None, None, 10).await.unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

pub(super) async fn a_claimed_delivery_is_nobody_elses_until_its_claim_ends(fixture: impl Fixture) {
    let (store, elsewhere) = (fixture.store(), fixture.store_elsewhere().await);
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1], at(10)).await;
    let slots = [(to, 5)];
    assert_eq!(claim(&*store, ONE, &slots, at(9)).await, Vec::<Position>::new());
    assert_eq!(claim(&*store, ONE, &slots, at(10)).await, [1]);
    assert_eq!(claim(&*elsewhere, OTHER, &slots, at(69)).await, Vec::<Position>::new());
    // Whoever had it has died.
    assert_eq!(claim(&*elsewhere, OTHER, &slots, at(70)).await, [1]);
    assert_eq!(only_delivery(&*store, to).await.attempts, 0);
}

pub(super) async fn of_each_subscription_those_that_wait_longest_are_claimed(fixture: impl Fixture) {
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

pub(super) async fn dispatchers_at_the_same_time_share_what_is_due(fixture: impl Fixture) {
    let stores = [fixture.store(), fixture.store_elsewhere().await];
    let to = subscribe(&*stores[0], 1).await.id;
    let positions: Vec<Position> = (1..=60).collect();
    enqueue(&*stores[0], to, &positions, at(0)).await;
    let slots = [(to, 10)];
    let claiming =
        (0..8).map(|number| claim(&*stores[number % 2], Uuid::from_u128(number as u128), &slots, at(1)));
    let mut claimed: Vec<Position> = join_all(claiming).await.concat();
    // What another has locked just then is skipped, not waited for.
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

pub(super) async fn what_became_of_an_attempt_is_noted(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1], at(0)).await;
    let id = delivery(to, 1).id();
    claim(&*store, ONE, &[(to, 1)], at(10)).await;
    store.settle(ONE, &settlement(id, 10, Next::AttemptAt(at(20)))).await.unwrap();
    let failing = only_delivery(&*store, to).await;
    assert_eq!((failing.status, failing.attempts), (DeliveryStatus::Pending, 1));
    assert_eq!((failing.next_attempt_at, failing.finished_at), (Some(at(20)), None));
    assert_eq!((failing.last_status, failing.last_error.as_deref()), (Some(503), Some("answered with 503")));
    assert_eq!((failing.first_attempt_at, failing.last_attempt_at), (Some(at(10)), Some(at(10))));
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(19)).await, Vec::<Position>::new());

    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(20)).await, [1]);
    store.settle(ONE, &settlement(id, 20, Next::Delivered)).await.unwrap();
    let delivered = only_delivery(&*store, to).await;
    assert_eq!((delivered.status, delivered.attempts), (DeliveryStatus::Delivered, 2));
    assert_eq!((delivered.next_attempt_at, delivered.finished_at), (None, Some(at(21))));
    assert_eq!((delivered.last_status, delivered.last_error), (Some(204), None));
    assert_eq!((delivered.first_attempt_at, delivered.last_attempt_at), (Some(at(10)), Some(at(20))));
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(9_999)).await, Vec::<Position>::new());
}

pub(super) async fn whoever_has_lost_a_claim_notes_nothing(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1], at(0)).await;
    let id = delivery(to, 1).id();
    claim(&*store, ONE, &[(to, 1)], at(0)).await;
    assert_eq!(claim(&*store, OTHER, &[(to, 1)], at(60)).await, [1]);
    store.settle(ONE, &settlement(id, 0, Next::Failed)).await.unwrap();
    assert_eq!(only_delivery(&*store, to).await.status, DeliveryStatus::Pending);
    store.settle(OTHER, &settlement(id, 60, Next::Delivered)).await.unwrap();
    store.settle(OTHER, &settlement(id, 61, Next::Failed)).await.unwrap();
    assert_eq!(only_delivery(&*store, to).await.status, DeliveryStatus::Delivered);
}

pub(super) async fn a_replay_makes_everything_due_but_what_is_being_sent(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    enqueue(&*store, to, &[1, 2, 3], at(0)).await;
    // One delivered, one failing, one being sent, one new.
    claim(&*store, ONE, &[(to, 2)], at(0)).await;
    store.settle(ONE, &settlement(delivery(to, 1).id(), 0, Next::Delivered)).await.unwrap();
    store.settle(ONE, &settlement(delivery(to, 2).id(), 0, Next::AttemptAt(at(9_999)))).await.unwrap();
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(10)).await, [3]);
    let all: Vec<_> = (1..=4).map(|position| delivery(to, position)).collect();
    store.replay(&all, at(20)).await.unwrap();
    store.replay(&all, at(20)).await.unwrap();
    assert_eq!(claim(&*store, OTHER, &[(to, 9)], at(20)).await, [1, 2, 4]);
    let again = store.deliveries(to, None, None, 10).await.unwrap().pop().unwrap();
    assert_eq!((again.what.position, again.attempts, again.queued_at), (1, 0, at(20)));
    assert_eq!((again.first_attempt_at, again.finished_at), (None, None));
    store.settle(ONE, &settlement(delivery(to, 3).id(), 10, Next::Delivered)).await.unwrap();
    let sent = store.deliveries(to, Some(DeliveryStatus::Delivered), None, 10).await.unwrap();
    assert_eq!(sent.iter().map(|one| one.what.position).collect::<Vec<_>>(), [3]);
}

pub(super) async fn one_delivery_can_be_made_due(fixture: impl Fixture) {
    let store = fixture.store();
    let (to, other) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    enqueue(&*store, to, &[1], at(0)).await;
    let id = delivery(to, 1).id();
    claim(&*store, ONE, &[(to, 1)], at(0)).await;
    // It is being sent.
    let sending = store.retry(to, id, at(1)).await.unwrap().unwrap();
    assert_eq!((sending.next_attempt_at, sending.queued_at), (Some(at(60)), at(0)));
    store.settle(ONE, &settlement(id, 0, Next::Failed)).await.unwrap();
    assert_eq!(only_delivery(&*store, to).await.status, DeliveryStatus::Failed);
    let due = store.retry(to, id, at(2)).await.unwrap().unwrap();
    assert_eq!((due.status, due.attempts, due.next_attempt_at), (DeliveryStatus::Pending, 0, Some(at(2))));
    assert_eq!(claim(&*store, ONE, &[(to, 1)], at(2)).await, [1]);
    assert_eq!(store.retry(other, id, at(3)).await.unwrap(), None);
}

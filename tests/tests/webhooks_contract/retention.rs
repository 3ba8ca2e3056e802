//! The delivery log and its pruning.

use infra::operations::webhooks::{
    AfterAttempt, AttemptOutcome, DeliveryRetention, DeliveryStatus, SubscriptionStatus,
};

use super::*;

const CLAIM: Uuid = Uuid::from_u128(101);

/// Makes one attempt to deliver the event at `position`. The attempt ends at `second` with `next`.
async fn finish(
    store: &dyn WebhookStore,
    to: SubscriptionId,
    position: Position,
    second: i64,
    next: AfterAttempt,
) {
    let one = delivery(to, position);
    store.replay(std::slice::from_ref(&one), at(0)).await.unwrap();
    claim(store, CLAIM, &[(to, 1)], at(second)).await;
    let outcome = AttemptOutcome {
        delivery: one.id(),
        attempted_at: at(second),
        now: at(second),
        status: None,
        error: None,
        next,
    };
    store.settle(CLAIM, &[outcome]).await.unwrap();
}

async fn positions(
    store: &dyn WebhookStore,
    to: SubscriptionId,
    status: Option<DeliveryStatus>,
) -> Vec<Position> {
    let found = store.deliveries(to, status, None, 100).await.unwrap();
    found.into_iter().map(|delivery| delivery.content.position).collect()
}

fn retention(now: i64, delivered: i64, failed: i64, queued: i64) -> DeliveryRetention {
    DeliveryRetention {
        now: at(now),
        delivered_before: at(delivered),
        failed_before: at(failed),
        queued_before: at(queued),
    }
}

pub(super) async fn the_delivery_log_is_listed_newest_first_in_pages(fixture: impl Fixture) {
    let store = fixture.store();
    let (to, other) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    finish(&*store, to, 1, 1, AfterAttempt::Delivered).await;
    finish(&*store, to, 2, 1, AfterAttempt::Failed).await;
    finish(&*store, to, 3, 1, AfterAttempt::Delivered).await;
    enqueue(&*store, other, &[1], at(0)).await;
    enqueue(&*store, to, &[4, 5], at(0)).await;
    assert_eq!(positions(&*store, to, None).await, [5, 4, 3, 2, 1]);
    assert_eq!(positions(&*store, to, Some(DeliveryStatus::Delivered)).await, [3, 1]);
    assert_eq!(positions(&*store, to, Some(DeliveryStatus::Failed)).await, [2]);
    assert_eq!(positions(&*store, to, Some(DeliveryStatus::Pending)).await, [5, 4]);
    let mut paged = Vec::new();
    let mut before = None;
    loop {
        let page = store.deliveries(to, None, before, 2).await.unwrap();
        let Some(last) = page.last() else { break };
        before = Some(last.number);
        paged.extend(page.into_iter().map(|delivery| delivery.content));
    }
    assert_eq!(paged, [5, 4, 3, 2, 1].map(|position| delivery(to, position)));
}

pub(super) async fn pruning_removes_expired_deliveries_only(fixture: impl Fixture) {
    let store = fixture.store();
    let to = subscribe(&*store, 1).await.id;
    for (position, second, next) in [
        (1, 10, AfterAttempt::Delivered),
        (2, 20, AfterAttempt::Delivered),
        (3, 10, AfterAttempt::Failed),
        (4, 20, AfterAttempt::Failed),
        (5, 5, AfterAttempt::RetryAt(at(6))),
    ] {
        finish(&*store, to, position, second, next).await;
    }
    assert_eq!(store.prune(retention(100, 10, 10, 0), 100).await.unwrap(), 0);
    assert_eq!(store.prune(retention(100, 20, 11, 0), 100).await.unwrap(), 2);
    assert_eq!(positions(&*store, to, None).await, [5, 4, 2]);
    assert_eq!(store.prune(retention(100, 99, 99, 0), 1).await.unwrap(), 2);
    assert_eq!(positions(&*store, to, None).await, [5]);
}

pub(super) async fn pruning_removes_the_deliveries_of_a_deleted_subscription_in_portions(
    fixture: impl Fixture,
) {
    let store = fixture.store();
    let (gone, stays) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    enqueue(&*store, gone, &[1, 2, 3], at(0)).await;
    enqueue(&*store, stays, &[4], at(0)).await;
    store.unsubscribe(gone, at(1)).await.unwrap();
    let nothing_else = retention(2, 0, 0, 0);
    let mut removed = Vec::new();
    for _ in 0..3 {
        removed.push(store.prune(nothing_else, 2).await.unwrap());
    }
    assert_eq!(removed, [2, 1, 0]);
    assert_eq!(positions(&*store, gone, None).await, Vec::<Position>::new());
    assert_eq!(positions(&*store, stays, None).await, [4]);
}

pub(super) async fn deliveries_that_are_pending_for_too_long_expire(fixture: impl Fixture) {
    let store = fixture.store();
    let (disabled, enabled) = (subscribe(&*store, 1).await.id, subscribe(&*store, 2).await.id);
    enqueue(&*store, disabled, &[1], at(10)).await;
    enqueue(&*store, enabled, &[2, 3, 4], at(10)).await;
    enqueue(&*store, enabled, &[5], at(11)).await;
    let disable = Box::new(|one: &mut Subscription| one.status = SubscriptionStatus::Disabled);
    store.change(disabled, disable).await.unwrap();
    // The second has failed once and the third is leased until 80.
    claim(&*store, CLAIM, &[(enabled, 1)], at(20)).await;
    let failed_once = AttemptOutcome {
        delivery: delivery(enabled, 2).id(),
        attempted_at: at(20),
        now: at(20),
        status: None,
        error: Some("cannot connect".to_owned()),
        next: AfterAttempt::RetryAt(at(90)),
    };
    store.settle(CLAIM, &[failed_once]).await.unwrap();
    assert_eq!(claim(&*store, CLAIM, &[(enabled, 1)], at(20)).await, [3]);
    assert_eq!(store.prune(retention(50, 0, 0, 10), 9).await.unwrap(), 0);
    assert_eq!(store.prune(retention(50, 0, 0, 11), 9).await.unwrap(), 3);
    assert_eq!(positions(&*store, enabled, Some(DeliveryStatus::Pending)).await, [5, 3]);
    let mut expired = store.deliveries(enabled, Some(DeliveryStatus::Failed), None, 9).await.unwrap();
    expired.extend(store.deliveries(disabled, Some(DeliveryStatus::Failed), None, 9).await.unwrap());
    let errors: Vec<_> =
        expired.iter().map(|one| (one.content.position, one.last_error.as_deref())).collect();
    let unattempted = Some("expired: no attempt was made in time");
    assert_eq!(errors, [(4, unattempted), (2, Some("expired: cannot connect")), (1, unattempted)]);
    assert!(expired.iter().all(|one| (one.finished_at, one.next_attempt_at) == (Some(at(50)), None)));
    // The lease has ended.
    assert_eq!(store.prune(retention(80, 0, 0, 11), 9).await.unwrap(), 1);
    assert_eq!(positions(&*store, enabled, Some(DeliveryStatus::Pending)).await, [5]);
}

//! Receivers that fail for days: expiry of deliveries, disabled subscriptions.

use std::sync::atomic::{AtomicI64, Ordering};

use super::{receiver::Reply, *};

const HOUR: Duration = Duration::from_hours(1);

impl Hooks {
    /// Lets the test move the clock of followers and dispatchers that start later. Returns the hours by which
    /// it is ahead.
    fn movable_clock(&mut self) -> Arc<AtomicI64> {
        let ahead = Arc::new(AtomicI64::new(0));
        let hours = Arc::clone(&ahead);
        self.webhooks.clock = Clock::given_by(move || {
            Timestamp::now() + jiff::SignedDuration::from_hours(hours.load(Ordering::Relaxed))
        });
        ahead
    }

    fn reports_disabled(&self, subscription: &str) -> bool {
        let readiness = self.webhooks.health.readiness().unwrap();
        let id = subscription.rsplit('/').next().unwrap();
        let mut reports = readiness.degraded.iter();
        reports.any(|one| one.name == "webhook_endpoints_disabled" && one.detail.contains(id))
    }
}

/// Options with the time limits of production, and short pauses.
fn options() -> DispatcherOptions {
    let fast = dispatcher_options();
    let schedule = RetrySchedule { give_up_after: 30 * 24 * HOUR, ..fast.schedule };
    let lanes = LaneOptions { failures_max: 2, ..fast.lanes };
    DispatcherOptions { schedule, lanes, ..fast }
}

/// A shop whose receiver has failed for three days, so that its subscription is disabled.
async fn given_disabled() -> (Hooks, Receiver, String) {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    receiver.always(Reply::Status(500));
    let hours = hooks.movable_clock();
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.start_follower();
    hooks.start_sending(options());
    hooks.paid_order("A").await;
    eventually("the receiver is known to fail", async || {
        let shown = hooks.get(&subscription).await.expect(200);
        (shown["failing_since"] != Value::Null).then(|| assert_eq!(shown["enabled"], true))
    })
    .await;
    hours.store(71, Ordering::Relaxed);
    receiver.until(receiver.received().len() + 3).await;
    assert_eq!(hooks.get(&subscription).await.expect(200)["enabled"], true);
    hours.store(73, Ordering::Relaxed);
    eventually("the subscription is disabled", async || {
        let shown = hooks.get(&subscription).await.expect(200);
        (shown["disabled_reason"] == "failing").then_some(())
    })
    .await;
    (hooks, receiver, subscription)
}

#[tokio::test]
async fn a_delivery_expires_three_days_after_it_was_queued_attempted_or_not() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    receiver.always(Reply::Status(500));
    let hours = hooks.movable_clock();
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.start_follower();
    for key in ["A", "B", "C"] {
        hooks.paid_order(key).await;
    }
    hooks.until(&subscription, "pending", 3).await;
    hours.store(70, Ordering::Relaxed);
    // The first failure stops the lane for the rest of the test.
    let lanes = LaneOptions { failures_max: 1, pause_min: HOUR, pause_max: HOUR, ..LaneOptions::default() };
    let schedule = RetrySchedule { first_pause: HOUR, ..RetrySchedule::default() };
    hooks.start_sending(DispatcherOptions { lanes, schedule, ..options() });
    eventually("one attempt has failed", async || {
        hooks.deliveries(&subscription).await.iter().any(|one| one["attempts"] == 1).then_some(())
    })
    .await;
    let later = hooks.deliveries(&subscription).await;
    assert!(later.iter().all(|one| one["status"] == "pending"), "{later:?}");

    hours.store(73, Ordering::Relaxed);
    let expired = hooks.until(&subscription, "failed", 3).await;
    let errors: Vec<_> = expired.iter().rev().map(|one| one["last_error"].as_str().unwrap()).collect();
    let unattempted = "expired: no attempt was made in time";
    assert_eq!(errors, ["expired: answered with 500", unattempted, unattempted]);
    hooks.paid_order("D").await;
    hooks.until(&subscription, "pending", 1).await;
    assert_eq!(receiver.received().len(), 1);
}

#[tokio::test]
async fn no_retry_is_later_than_three_days_after_queueing_however_late_the_first_attempt_was() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    receiver.always(Reply::Status(500));
    let hours = hooks.movable_clock();
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.start_follower();
    hooks.paid_order("A").await;
    hooks.until(&subscription, "pending", 1).await;
    hours.store(71, Ordering::Relaxed);
    let schedule = RetrySchedule { first_pause: HOUR, ..RetrySchedule::default() };
    hooks.start_sending(DispatcherOptions { schedule, lanes: LaneOptions::default(), ..options() });
    let failed = hooks.until(&subscription, "failed", 1).await;
    assert_eq!(
        (&failed[0]["attempts"], &failed[0]["last_error"]),
        (&json!(1), &json!("expired: answered with 500"))
    );
}

#[tokio::test]
async fn a_subscription_whose_receiver_fails_for_days_is_disabled_and_loses_no_event() {
    let (hooks, receiver, subscription) = given_disabled().await;
    eventually("it is reported", async || hooks.reports_disabled(&subscription).then_some(())).await;
    let attempts = receiver.received().len();
    let mut orders = Vec::new();
    for key in ["B", "C", "D"] {
        orders.push(hooks.paid_order(key).await);
    }
    eventually("later events wait in the log", async || {
        let shown = hooks.get(&subscription).await.expect(200);
        (shown["behind_after"] != Value::Null).then_some(())
    })
    .await;
    assert_eq!(receiver.received().len(), attempts);

    receiver.always(Reply::Status(204));
    let enabled = hooks.patch(&subscription, json!({"enabled": true})).await.expect(200);
    assert_eq!((&enabled["disabled_reason"], &enabled["failing_since"]), (&Value::Null, &Value::Null));
    hooks.until(&subscription, "delivered", 4).await;
    let received = receiver.received().split_off(attempts);
    for order in &orders {
        assert!(received.iter().any(|one| one.body["data"]["order_id"] == **order), "{order}");
    }
    eventually("nothing is reported", async || (!hooks.reports_disabled(&subscription)).then_some(())).await;
    assert_eq!(hooks.get(&subscription).await.expect(200)["behind_after"], Value::Null);
}

#[tokio::test]
async fn a_retry_by_hand_enables_a_subscription_that_was_disabled_for_its_failures() {
    let (hooks, receiver, subscription) = given_disabled().await;
    receiver.always(Reply::Status(204));
    let waiting = hooks.until(&subscription, "pending", 1).await;
    let path = format!("{subscription}/deliveries/{}/retry", waiting[0]["delivery_id"].as_str().unwrap());
    hooks.post(&path, "", json!({})).await.expect(202);
    hooks.until(&subscription, "delivered", 1).await;
    assert_eq!(hooks.get(&subscription).await.expect(200)["enabled"], true);
    // Disabled by its owner, it stays disabled.
    hooks.patch(&subscription, json!({"enabled": false})).await.expect(200);
    hooks.post(&path, "", json!({})).await.problem(409, "subscription_disabled");
}

#[tokio::test]
async fn a_receiver_that_recovers_is_no_longer_shown_as_failing() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    receiver.always(Reply::Status(500));
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    hooks.start_follower();
    hooks.start_sending(options());
    let order = hooks.paid_order("A").await;
    let failing = async |expected: bool| {
        let shown = hooks.get(&subscription).await.expect(200);
        (shown["failing_since"].is_null() != expected).then_some(())
    };
    eventually("it fails", async || failing(true).await).await;
    receiver.always(Reply::Status(204));
    eventually("it has recovered", async || failing(false).await).await;
    hooks.until(&subscription, "delivered", hooks.events_of(&order).await.len()).await;
}

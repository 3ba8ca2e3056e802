//! Followers and dispatchers that are killed, and several that run at once.

use std::collections::BTreeMap;

use infra::event_source::Partition;

use super::*;

/// How often the receiver got each id.
fn counts(receiver: &Receiver) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for received in receiver.received() {
        *counts.entry(received.id).or_default() += 1;
    }
    counts
}

#[tokio::test]
async fn deliveries_queued_before_a_crash_are_sent_once_after_it() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    hooks.start_follower();
    let order = hooks.paid_order("A").await;
    let expected = hooks.events_of(&order).await.len();
    eventually("all events are queued", async || {
        (hooks.queued(&subscription).await == expected).then_some(())
    })
    .await;
    hooks.kill().await;
    assert_eq!(receiver.received().len(), 0);

    hooks.start_follower();
    hooks.start_dispatcher();
    hooks.until(&subscription, "delivered", expected).await;
    let counts = counts(&receiver);
    assert_eq!((counts.len(), counts.values().max()), (expected, Some(&1)));
}

#[tokio::test]
async fn a_follower_killed_at_random_times_queues_each_event_once() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    let mut expected = 0;
    for round in 0..10 {
        hooks.start_follower();
        let order = hooks.paid_order(&format!("SKU-{round}")).await;
        expected += hooks.events_of(&order).await.len();
        // Kills the follower at a random point of its work, at most 8 ms later.
        tokio::time::sleep(Duration::from_micros(u64::from(fastrand::u16(..)) / 8)).await;
        hooks.kill().await;
    }
    hooks.start_follower();
    let queued = async || (hooks.queued(&subscription).await == expected).then_some(());
    eventually("each event is queued", queued).await;
    hooks.start_dispatcher();
    hooks.until(&subscription, "delivered", expected).await;
    let counts = counts(&receiver);
    assert_eq!((counts.len(), counts.values().max()), (expected, Some(&1)));
    for received in receiver.received() {
        assert!(received.body["data"]["sequence"].as_u64().unwrap() >= 1);
    }
}

#[tokio::test]
async fn two_processes_share_the_deliveries_and_send_none_twice() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    for _ in 0..2 {
        hooks.start_follower();
        hooks.start_dispatcher();
    }
    let mut expected = 0;
    for key in ["A", "B", "C", "D", "E"] {
        let order = hooks.paid_order(key).await;
        expected += hooks.events_of(&order).await.len();
    }
    hooks.until(&subscription, "delivered", expected).await;
    let counts = counts(&receiver);
    assert_eq!((counts.len(), counts.values().max()), (expected, Some(&1)));
}

#[tokio::test]
async fn a_subscription_gets_later_events_and_no_earlier_ones() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    hooks.paid_order("A").await;
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    // Recorded while no follower runs.
    let later = hooks.paid_order("B").await;
    hooks.start_follower();
    hooks.start_dispatcher();
    hooks.until(&subscription, "delivered", 1).await;
    hooks.paid_order("C").await;
    hooks.until(&subscription, "delivered", 2).await;
    assert_eq!(receiver.received()[0].body["data"]["order_id"], later);
    assert_eq!(receiver.received().len(), 2);
}

#[tokio::test]
async fn subscriptions_and_deliveries_survive_a_restart() {
    let (mut hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.paid_order("A").await;
    let before = hooks.until(&subscription, "delivered", 1).await;
    hooks.kill().await;
    let path = hooks.directory.path().join("operations.db");
    let reopened = SqliteOperations::open(&path).unwrap();
    let kept = reopened.subscriptions(None, 10).await.unwrap();
    assert_eq!(kept.len(), 1);
    let deliveries = reopened.deliveries(kept[0].id, None, None, 10).await.unwrap();
    assert_eq!(deliveries.len(), 1);
    assert_eq!(deliveries[0].content.id().to_string(), before[0]["delivery_id"].as_str().unwrap());
}

#[tokio::test]
async fn events_older_than_29_days_are_sent_only_by_a_replay() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    let order = hooks.paid_order("A").await;
    // The API, which queues the replayed delivery, and the dispatcher have the same clock.
    hooks.start_dispatcher();
    hooks.webhooks.clock = clock_ahead_by_hours(30 * 24);
    hooks.start_follower();
    let (log, whole) = (hooks.shop.events().log(), Partition::whole_log());
    let end = log.last_position().await.unwrap();
    eventually("the follower reaches the end of the log", async || {
        let reached = hooks.store.resume(log.store_id(), &whole, None).await.unwrap();
        (reached.map(|reached| reached.position) >= end).then_some(())
    })
    .await;
    assert_eq!(hooks.deliveries(&subscription).await, Vec::<Value>::new());
    hooks.post(&format!("{subscription}/replay"), "", json!({"order_id": order})).await.expect(202);
    receiver.until(1).await;
}

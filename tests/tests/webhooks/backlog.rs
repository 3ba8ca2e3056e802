//! Full queues, and orders with more events than one read returns.

use std::{
    collections::BTreeSet,
    sync::atomic::{AtomicUsize, Ordering},
};

use async_trait::async_trait;
use axum::http::StatusCode;
use domain::{EventId, NewEvent, OrderId};
use infra::{
    event_source::{Partition, Reached, SourceUpdate},
    event_store::{Append, ExpectedRevision, ReadError},
    operations::webhooks::{ReplayError, ReplayScope, WebhookService},
};
use uuid::Uuid;

use super::{receiver::Reply, *};
use crate::support::PATIENCE;

/// The log positions of the deliveries of a subscription, in the order of queueing.
async fn queued_positions(hooks: &Hooks, subscription: &str) -> Vec<u64> {
    let id: SubscriptionId = subscription.rsplit('/').next().unwrap().parse().unwrap();
    let mut found = hooks.store.deliveries(id, None, None, 1_000).await.unwrap();
    found.reverse();
    found.into_iter().map(|one| one.content.position).collect()
}

#[tokio::test]
async fn a_full_queue_stops_one_subscription_which_later_gets_every_event_in_order() {
    let (mut hooks, full) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let other = Receiver::start(&[]).await;
    hooks.webhooks.queued_max = 10;
    full.always(Reply::Status(503));
    let (stopped, going_on) = (hooks.subscribe(&full, &["*"]).await, hooks.subscribe(&other, &["*"]).await);
    hooks.start_follower();
    let fast = dispatcher_options();
    let schedule = RetrySchedule { give_up_after: 2 * PATIENCE, ..fast.schedule };
    hooks.start_sending(DispatcherOptions { schedule, ..fast });
    let mut expected = BTreeSet::new();
    for number in 0..10 {
        let order = hooks.paid_order(&format!("SKU-{number}")).await;
        expected.extend(hooks.events_of(&order).await.into_iter().map(|event| event.position));
    }
    hooks.until(&going_on, "delivered", expected.len()).await;
    assert!(expected.len() > 30);
    let shown = hooks.get(&stopped).await.expect(200);
    let queued = queued_positions(&hooks, &stopped).await;
    assert!([9, 10].contains(&queued.len()), "{queued:?}");
    assert_eq!(shown["behind_after"].as_u64(), queued.last().copied());

    full.always(Reply::Status(204));
    hooks.until(&stopped, "delivered", expected.len()).await;
    let last = hooks.paid_order("SKU-LAST").await;
    expected.extend(hooks.events_of(&last).await.into_iter().map(|event| event.position));
    hooks.until(&stopped, "delivered", expected.len()).await;
    assert_eq!(queued_positions(&hooks, &stopped).await, expected.into_iter().collect::<Vec<_>>());
    assert_eq!(hooks.get(&stopped).await.expect(200)["behind_after"], Value::Null);
}

/// Counts the events that a source returns.
struct CountedSource(DirectSource, Arc<AtomicUsize>);

#[async_trait]
impl EventSource for CountedSource {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        let update = self.0.next().await?;
        if let SourceUpdate::Events(batch) = &update {
            self.1.fetch_add(batch.events.len(), Ordering::Relaxed);
        }
        Ok(update)
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        self.0.seek(partition, reached);
    }
}

#[tokio::test]
async fn a_follower_without_subscriptions_skips_to_the_end_and_misses_nothing_of_the_first_one() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let (log, partition) = (hooks.shop.events().log(), Partition::whole_log());
    // Its stored position is the beginning, as after a time without a follower.
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    assert_eq!(hooks.store.resume(log.store_id(), &partition, Some(0)).await.unwrap(), None);
    let deleted = hooks.request(Method::DELETE, &subscription, None, json!({})).await;
    assert_eq!(deleted.status, StatusCode::NO_CONTENT);
    for number in 0..20 {
        hooks.paid_order(&format!("SKU-{number}")).await;
    }
    let end = log.last_position().await.unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let source = CountedSource(DirectSource::new(hooks.shop.events(), 10), Arc::clone(&read));
    hooks.start_following(Box::new(source), Arc::new(WholeLog(Arc::clone(&log))));
    eventually("the follower has saved the end", async || {
        let reached = hooks.store.resume(log.store_id(), &partition, None).await.unwrap();
        (reached.map(|reached| reached.position) >= end).then_some(())
    })
    .await;
    assert!(end > Some(100));
    assert_eq!(read.load(Ordering::Relaxed), 10);

    let receiver = Receiver::start(&[]).await;
    let subscription = hooks.subscribe(&receiver, &["order.*"]).await;
    hooks.start_dispatcher();
    let mut expected = Vec::new();
    for number in 0..5 {
        let order = hooks.paid_order(&format!("LATER-{number}")).await;
        expected.extend(hooks.events_of(&order).await);
    }
    expected.retain(|event| event.type_name.starts_with("order."));
    expected.sort_by_key(|event| event.position);
    let expected: Vec<u64> = expected.iter().map(|event| event.position).collect();
    hooks.until(&subscription, "delivered", expected.len()).await;
    assert_eq!(queued_positions(&hooks, &subscription).await, expected);
}

#[tokio::test]
async fn refused_events_that_wait_for_a_retry_do_not_stop_later_events() {
    let refused = vec![Reply::Status(422); 12];
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&refused).await);
    hooks.webhooks.due_max = 3;
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    hooks.start_follower();
    // A refused event is not sent again during the test, and does not stop the lane.
    let schedule = RetrySchedule { first_pause: 2 * PATIENCE, ..RetrySchedule::default() };
    let lanes = LaneOptions { failures_max: 100, ..LaneOptions::default() };
    hooks.start_sending(DispatcherOptions { schedule, lanes, ..dispatcher_options() });
    let mut expected = 0;
    for number in 0..6 {
        let order = hooks.paid_order(&format!("SKU-{number}")).await;
        expected += hooks.events_of(&order).await.len();
    }
    hooks.until(&subscription, "delivered", expected - refused.len()).await;
    assert_eq!(hooks.queued(&subscription).await, refused.len());
}

#[tokio::test]
async fn a_follower_and_a_catch_up_that_are_killed_lose_no_event() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    hooks.webhooks.queued_max = 3;
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    // A dispatcher that dies leaves its deliveries to others after 5.5 s, so they must not be given up after 6 s.
    let schedule = RetrySchedule { give_up_after: Duration::from_hours(72), ..dispatcher_options().schedule };
    let start_dispatcher =
        |hooks: &mut Hooks| hooks.start_sending(DispatcherOptions { schedule, ..dispatcher_options() });
    let mut expected = BTreeSet::new();
    for round in 0..8 {
        hooks.start_follower();
        start_dispatcher(&mut hooks);
        let order = hooks.paid_order(&format!("SKU-{round}")).await;
        expected.extend(hooks.events_of(&order).await.into_iter().map(|event| event.position));
        tokio::time::sleep(Duration::from_micros(u64::from(fastrand::u16(..)) / 4)).await;
        hooks.kill().await;
    }
    hooks.start_follower();
    start_dispatcher(&mut hooks);
    hooks.until(&subscription, "delivered", expected.len()).await;
    let queued: BTreeSet<u64> = queued_positions(&hooks, &subscription).await.into_iter().collect();
    assert_eq!(queued, expected);
}

/// Appends events of 400 KB to a new order.
async fn given_large_order(hooks: &Hooks, events: usize) -> OrderId {
    let order = OrderId(Uuid::new_v4());
    let metadata = hooks.events_of(&hooks.paid_order("SMALL").await).await[0].metadata.clone();
    for revision in 0..events {
        let event = NewEvent {
            id: EventId(Uuid::new_v4()),
            type_name: "order.shipped.v1",
            data: json!({"note": "x".repeat(400_000)}).to_string().into(),
            metadata: metadata.clone(),
        };
        let expected = ExpectedRevision::of((revision as u64).checked_sub(1));
        let append = Append { stream: order.into(), expected, events: vec![event], epoch: None };
        hooks.shop.events().append(append).await.unwrap();
    }
    order
}

#[tokio::test]
async fn an_order_of_more_than_4_mib_is_sent_and_replayed_in_full_and_stops_no_other_order() {
    const EVENTS: usize = 14;
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["order.shipped.v1", "order.placed.v2"]).await;
    hooks.start_follower();
    hooks.start_dispatcher();
    let large = given_large_order(&hooks, EVENTS).await.to_string();
    let numbers = || {
        let received = receiver.received().into_iter().map(|one| one.body);
        let of_large = received.filter(|body| body["data"]["order_id"] == *large);
        of_large.map(|body| body["data"]["sequence"].as_u64().unwrap()).collect::<Vec<_>>()
    };
    let small = hooks.paid_order("A").await;
    eventually("all events of the large order", async || (numbers().len() >= EVENTS).then_some(())).await;
    let distinct: BTreeSet<u64> = numbers().into_iter().collect();
    assert_eq!(distinct, (1..=EVENTS as u64).collect());
    eventually("the other order", async || {
        receiver.received().iter().any(|one| one.body["data"]["order_id"] == *small).then_some(())
    })
    .await;
    let replay = hooks.post(&format!("{subscription}/replay"), "", json!({"order_id": large})).await;
    assert_eq!(replay.expect(202)["deliveries"], EVENTS);
    eventually("all events again", async || (numbers().len() >= 2 * EVENTS).then_some(())).await;
}

#[tokio::test]
async fn a_replay_is_refused_while_the_queue_is_full() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    hooks.webhooks.queued_max = 3;
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    let order = hooks.paid_order("A").await;
    hooks.start_follower();
    hooks.until(&subscription, "pending", 2).await;
    let id: SubscriptionId = subscription.rsplit('/').next().unwrap().parse().unwrap();
    let found = hooks.store.subscription(id).await.unwrap().unwrap();
    let scope = ReplayScope::Order(order.parse().unwrap());
    let refused = hooks.webhooks.replay(&found, scope, Timestamp::now()).await;
    assert!(matches!(refused, Err(ReplayError::QueueFull)), "{refused:?}");
}

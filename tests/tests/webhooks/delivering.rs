//! The content of webhooks, retries, and the delivery log.

use std::collections::BTreeSet;

use super::{receiver::Reply, *};

#[tokio::test]
async fn a_subscriber_gets_every_event_of_an_order_numbered_without_gaps() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    hooks.subscribe(&receiver, &["*"]).await;
    let orders = [hooks.paid_order("A").await, hooks.paid_order("B").await];
    let mut expected = 0;
    for order in &orders {
        let events = hooks.events_of(order).await;
        expected += events.len();
        let received = eventually("all events of an order", async || {
            let mut of_order = receiver.received();
            of_order.retain(|one| one.body["data"]["order_id"] == **order);
            (of_order.len() >= events.len()).then_some(of_order)
        })
        .await;
        let mut bodies: Vec<_> = received.into_iter().map(|one| one.body).collect();
        bodies.sort_by_key(|body| body["data"]["sequence"].as_u64());
        for (index, (body, event)) in bodies.iter().zip(&events).enumerate() {
            let data = &body["data"];
            assert_eq!(data["sequence"], index + 1);
            assert_eq!(data["previous_sequence"].as_u64(), u64::try_from(index).ok().filter(|one| *one > 0));
            assert_eq!(body["type"], *event.type_name);
            assert_eq!(body["timestamp"], event.recorded_at.to_string());
            assert_eq!(data["event_id"], event.id.to_string());
            assert_eq!(data["stream"], event.stream.to_string());
            assert_eq!(
                (data["revision"].as_u64(), data["position"].as_u64()),
                (Some(event.revision), Some(event.position))
            );
            let metadata = event.decode_metadata().unwrap();
            assert_eq!(data["correlation_id"], metadata.correlation_id.to_string());
            assert_eq!(data["event"], serde_json::from_slice::<Value>(&event.data).unwrap());
        }
    }
    let received = receiver.received();
    let ids: BTreeSet<_> = received.iter().map(|one| &one.id).collect();
    assert_eq!((received.len(), ids.len()), (expected, expected));
    assert_eq!(received[0].headers["content-type"], "application/json");
}

#[tokio::test]
async fn previous_sequence_links_the_events_that_a_subscription_asks_for() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    hooks.subscribe(&receiver, &["order.allocated.v1", "payment.*"]).await;
    let order = hooks.paid_order("A").await;
    let events = hooks.events_of(&order).await;
    let wanted = |name: &str| name == "order.allocated.v1" || name.starts_with("payment.");
    let sequences: Vec<u64> =
        (1..).zip(&events).filter(|(_, event)| wanted(&event.type_name)).map(|(number, _)| number).collect();
    let received = receiver.until(sequences.len()).await;
    let mut chain: Vec<_> = received
        .iter()
        .map(|one| (one.body["data"]["sequence"].as_u64(), one.body["data"]["previous_sequence"].as_u64()))
        .collect();
    chain.sort_unstable();
    let previous = std::iter::once(None).chain(sequences.iter().copied().map(Some));
    let expected: Vec<_> = sequences.iter().copied().map(Some).zip(previous).collect();
    assert_eq!(chain, expected);
    assert!(events.len() > sequences.len());
}

#[tokio::test]
async fn a_failing_delivery_is_retried_until_it_succeeds() {
    let replies = [Reply::Status(500), Reply::Status(429), Reply::Hang, Reply::Status(200)];
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&replies).await);
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.paid_order("A").await;
    let delivered = hooks.until(&subscription, "delivered", 1).await;
    assert_eq!((&delivered[0]["attempts"], &delivered[0]["last_status"]), (&json!(4), &json!(200)));
    assert_eq!((&delivered[0]["last_error"], &delivered[0]["next_attempt_at"]), (&Value::Null, &Value::Null));
    let received = receiver.received();
    assert_eq!(received.len(), 4);
    assert!(received.iter().all(|one| one.id == received[0].id && one.body == received[0].body));
    assert_eq!(delivered[0]["delivery_id"], received[0].id);
}

#[tokio::test]
async fn the_delivery_log_shows_why_an_attempt_failed() {
    for (reply, status, error) in [
        (Some(Reply::Status(503)), json!(503), "answered with 503"),
        (Some(Reply::Hang), Value::Null, "no answer within the time limit"),
        (None, Value::Null, "cannot connect"),
    ] {
        let hooks = Hooks::open().await;
        let receiver = Receiver::start(&vec![reply.clone().unwrap_or(Reply::Hang); 50]).await;
        let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
        if reply.is_none() {
            drop(receiver);
            hooks.paid_order("A").await;
        } else {
            hooks.paid_order("A").await;
            receiver.until(1).await;
        }
        let failing = eventually("an attempt", async || {
            let found = hooks.deliveries(&subscription).await;
            found.into_iter().find(|one| one["attempts"] != 0)
        })
        .await;
        assert_eq!((&failing["status"], &failing["last_status"]), (&json!("pending"), &status));
        assert_eq!(failing["last_error"], error);
        assert!(failing["next_attempt_at"].is_string(), "{failing}");
    }
}

#[tokio::test]
async fn an_endless_answer_counts_by_its_status() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[Reply::Endless]).await);
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.paid_order("A").await;
    assert_eq!(hooks.until(&subscription, "delivered", 1).await[0]["attempts"], 1);
}

#[tokio::test]
async fn a_delivery_fails_after_the_last_attempt_and_can_be_retried_by_hand() {
    let hooks = Hooks::open().await;
    let receiver = Receiver::start(&vec![Reply::Status(500); 1_000]).await;
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.paid_order("A").await;
    let failed = hooks.until(&subscription, "failed", 1).await;
    assert!(failed[0]["attempts"].as_u64().unwrap() > 10, "{failed:?}");
    assert_eq!((&failed[0]["next_attempt_at"], &failed[0]["last_status"]), (&Value::Null, &json!(500)));
    let made = receiver.received().len();
    // A retry by hand starts again with no attempts.
    let path = format!("{subscription}/deliveries/{}/retry", failed[0]["delivery_id"].as_str().unwrap());
    let due = hooks.post(&path, "", json!({})).await.expect(202);
    assert_eq!((&due["status"], &due["attempts"]), (&json!("pending"), &json!(0)));
    receiver.until(made + 1).await;
}

#[tokio::test]
async fn a_410_answer_disables_the_subscription_until_it_is_enabled_again() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[Reply::Status(410)]).await);
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    let first = hooks.paid_order("A").await;
    let failed = hooks.until(&subscription, "failed", 1).await;
    assert_eq!(failed[0]["last_status"], 410);
    // The outcome of the delivery is stored first.
    let gone = eventually("the subscription is disabled", async || {
        let found = hooks.get(&subscription).await.expect(200);
        (found["enabled"] == false).then_some(found)
    })
    .await;
    assert_eq!(gone["disabled_reason"], "gone");
    hooks
        .post(&format!("{subscription}/replay"), "", json!({"order_id": first}))
        .await
        .problem(409, "subscription_disabled");

    hooks.paid_order("B").await;
    let enabled = hooks.patch(&subscription, json!({"enabled": true})).await.expect(200);
    assert_eq!((&enabled["enabled"], &enabled["disabled_reason"]), (&json!(true), &Value::Null));
    let third = hooks.paid_order("C").await;
    let received = receiver.until(2).await;
    assert_eq!(received.last().unwrap().body["data"]["order_id"], third);
    assert_eq!(hooks.deliveries(&subscription).await.len(), 2);
}

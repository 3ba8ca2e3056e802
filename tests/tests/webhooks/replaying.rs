//! Replays of an order and of a time span.

use std::collections::BTreeSet;

use super::*;

fn ids(receiver: &Receiver) -> Vec<String> {
    receiver.received().into_iter().map(|one| one.id).collect()
}

#[tokio::test]
async fn a_replayed_order_has_the_same_ids_and_bodies() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    let order = hooks.paid_order("A").await;
    hooks.paid_order("B").await;
    let count = hooks.events_of(&order).await.len();
    let of_order = |mut bodies: Vec<(String, Value)>| {
        bodies.retain(|(_, body)| body["data"]["order_id"] == order);
        bodies.into_iter().map(|(id, body)| (id, body.to_string())).collect::<BTreeSet<_>>()
    };
    let received = || receiver.received().into_iter().map(|one| (one.id, one.body)).collect::<Vec<_>>();
    hooks.until(&subscription, "delivered", count * 2).await;
    let before = received();

    let replay = format!("{subscription}/replay");
    let answer = hooks.post(&replay, "", json!({"order_id": order})).await.expect(202);
    assert_eq!(answer["deliveries"], count);
    receiver.until(before.len() + count).await;
    let after = received().split_off(before.len());
    assert_eq!(of_order(after), of_order(before));
    assert_eq!(hooks.deliveries(&subscription).await.len(), count * 2);
}

#[tokio::test]
async fn a_replay_sends_events_from_before_the_subscription_with_their_sequence_numbers() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    let order = hooks.paid_order("A").await;
    let subscription = hooks.subscribe(&receiver, &["payment.*"]).await;
    hooks.post(&format!("{subscription}/replay"), "", json!({"order_id": order})).await.expect(202);
    let events = hooks.events_of(&order).await;
    let expected: BTreeSet<_> = (1..)
        .zip(&events)
        .filter(|(_, event)| event.type_name.starts_with("payment."))
        .map(|(number, event)| (number, event.id.to_string()))
        .collect();
    let received = receiver.until(expected.len()).await;
    let received_ids: BTreeSet<_> = received
        .iter()
        .map(|one| &one.body["data"])
        .map(|data| (data["sequence"].as_u64().unwrap(), data["event_id"].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(received_ids, expected);
}

#[tokio::test]
async fn a_time_span_is_replayed_with_both_ends_included() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    let mut placed = Vec::new();
    for key in ["A", "B", "C", "D"] {
        let order = hooks.paid_order(key).await;
        placed.push((order.clone(), hooks.events_of(&order).await[0].recorded_at));
    }
    let subscription = hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    let replay = format!("{subscription}/replay");
    let span = json!({"from": placed[1].1.to_string(), "to": placed[2].1.to_string()});
    assert_eq!(hooks.post(&replay, "", span).await.expect(202)["deliveries"], 2);
    let received = receiver.until(2).await;
    let received_ids: BTreeSet<_> =
        received.iter().map(|one| one.body["data"]["order_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(received_ids, [placed[1].0.clone(), placed[2].0.clone()].into());
    // A replay of a queued delivery is the same delivery.
    hooks.until(&subscription, "delivered", 2).await;
    let open_end = json!({"from": placed[1].1.to_string()});
    assert_eq!(hooks.post(&replay, "", open_end).await.expect(202)["deliveries"], 3);
    let nothing = json!({"from": "2001-01-01T00:00:00Z", "to": "2002-01-01T00:00:00Z"});
    assert_eq!(hooks.post(&replay, "", nothing).await.expect(202)["deliveries"], 0);
    hooks.until(&subscription, "delivered", 3).await;
    assert!(ids(&receiver).len() >= 5);
}

#[tokio::test]
async fn a_replay_with_a_malformed_scope_is_refused() {
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    let replay = format!("{}/replay", hooks.subscribe(&receiver, &["*"]).await);
    for body in [
        json!({}),
        json!({"to": "2026-01-01T00:00:00Z"}),
        json!({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}),
        json!({"order_id": "00000000-0000-0000-0000-000000000001", "from": "2026-01-01T00:00:00Z"}),
        json!({"from": "yesterday"}),
        json!({"order_id": "one"}),
        json!({"stream": "order-1"}),
    ] {
        hooks.post(&replay, "", body).await.problem(422, "invalid_request");
    }
    let unknown = json!({"order_id": "00000000-0000-0000-0000-000000000001"});
    assert_eq!(hooks.post(&replay, "", unknown).await.expect(202)["deliveries"], 0);
    let unknown_subscription = format!("{PATH}/00000000-0000-0000-0000-000000000001/replay");
    hooks
        .post(&unknown_subscription, "", json!({"from": "2026-01-01T00:00:00Z"}))
        .await
        .problem(404, "not_found");
}

//! Streams with an event that this build cannot decode, as a build that was rolled back leaves behind.

use domain::{EventId, NewEvent, OrderId, PaymentId, Sku, StreamName};
use infra::event_store::{Append, EventStore, ExpectedRevision};
use uuid::Uuid;

use super::*;

/// Appends an event of an unknown type.
async fn spoil(shop: &Shop, stream: impl Into<StreamName>, expected: ExpectedRevision) {
    let id = Uuid::new_v4();
    let metadata = json!({"command_id": id, "command": "new", "correlation_id": id});
    let event = NewEvent {
        id: EventId(id),
        type_name: "from.the.future.v9",
        data: b"{}".to_vec(),
        metadata: metadata.to_string().into_bytes().into(),
    };
    let append = Append { stream: stream.into(), expected, events: vec![event], epoch: None };
    shop.store.append(append).await.unwrap();
}

#[tokio::test]
async fn commands_on_a_stream_that_cannot_be_decoded_name_the_reason() {
    let shop = Shop::without_process_manager().await;
    spoil(&shop, Sku::new("a").unwrap(), ExpectedRevision::NoStream).await;
    let receipt = shop.post("/v1/stock/a/receipts", "in", json!({"quantity": 1})).await;
    receipt.problem(503, "stream_unreadable");
    let adjustment = shop.post("/v1/stock/a/adjustments", "count", json!({"delta": 1})).await;
    adjustment.problem(503, "stream_unreadable");
    shop.place("order of it", &[line("a", 1, 100)]).await.problem(503, "stream_unreadable");
    let degraded = shop.get("/readyz").await.expect(200);
    assert_eq!(degraded["degraded"][0]["name"], "unreadable_streams");
    // Other streams are not affected.
    shop.receive("b", 5).await;
    shop.place("other order", &[line("b", 1, 100)]).await.expect(201);
}

#[tokio::test]
async fn commands_and_retries_on_an_order_that_cannot_be_decoded_name_the_reason() {
    let shop = Shop::without_process_manager().await;
    let order = paid_order(&shop).await;
    let id = |member: &str| order[member].as_str().unwrap().parse::<Uuid>().unwrap();
    let (order_id, payment_id) = (OrderId(id("order_id")), PaymentId(id("payment_id")));
    let log = shop.log().await;
    let last = |stream: StreamName| ExpectedRevision::Exact(log.of(stream).len() as u64 - 1);
    spoil(&shop, order_id, last(order_id.into())).await;
    spoil(&shop, payment_id, last(payment_id.into())).await;

    // The handler has both streams in memory, at an earlier revision: the first command of each meets a
    // conflict and reloads.
    shop.post(&path_of(&order, "/cancel"), "cancel", json!({})).await.problem(503, "stream_unreadable");
    let refund = json!({"amount": 1});
    shop.post(&path_of(&order, "/refunds"), "refund", refund).await.problem(503, "stream_unreadable");
    let void = shop.post(&payment_path(&order, "/void"), "void", json!({})).await;
    void.problem(503, "stream_unreadable");
    shop.place("order", &[line("85123A", 10, 255)]).await.problem(503, "stream_unreadable");
}

//! Retries under one idempotency key.

use futures::future::join_all;

use super::*;
use crate::support::eventually;

/// Places an order, again under its key while other requests keep the order busy for longer than a request waits for
/// them, as they may on a slow machine.
async fn until_not_busy(shop: &Shop, key: &str, lines: &[Value]) -> Answer {
    eventually("the order is not busy", async || {
        let answer = shop.place(key, lines).await;
        let is_busy = answer.status.as_u16() == 503;
        if is_busy {
            answer.problem(503, "busy");
        }
        (!is_busy).then_some(answer)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_concurrent_requests_with_one_key_make_one_order_and_get_one_answer() {
    let shop = Shop::open().await;
    shop.receive("a", 100).await;
    for (key, quantity) in [("enough", 60), ("short", 60)] {
        let lines = [line("a", quantity, 100)];
        let answers = join_all((0..64).map(|_| until_not_busy(&shop, key, &lines))).await;
        for answer in &answers {
            assert_eq!((answer.status, answer.text()), (answers[0].status, answers[0].text()));
            assert_eq!(answer.header("etag"), answers[0].header("etag"));
        }
        assert_eq!(
            answers.iter().filter(|answer| !answer.is_replayed()).count(),
            1,
            "executed more than once"
        );
    }
    let log = shop.log().await;
    assert_eq!(log.orders().len(), 2);
    assert_eq!(log.stock("a").levels().reserved, 60);
    assert_eq!(log.count("payment.requested.v1"), 1);
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_after_any_later_change_of_the_order() {
    let shop = Shop::open().await;
    shop.receive("a", 10).await;
    let lines = [line("a", 5, 100)];
    let first = shop.place("order", &lines).await;
    let placed = first.expect(201);
    let assert_same = async |shop: &Shop, when: &str| {
        let again = shop.place("order", &lines).await;
        assert_eq!((again.status, again.text()), (first.status, first.text()), "{when}");
        assert_eq!(again.header("etag"), first.header("etag"));
        assert_eq!(again.header("location"), first.header("location"));
        assert!(again.is_replayed());
    };
    assert_same(&shop, "at once").await;
    shop.pay(&placed).await;
    assert_same(&shop, "paid").await;
    let shipment = json!({"lines": [part(1, 2)]});
    let shipped = shop.post(&path_of(&placed, "/shipments"), "ship", shipment).await.expect(201);
    assert_same(&shop, "shipped").await;
    shop.post(&path_of(&placed, "/deliveries"), "arrived", json!({"shipment_id": shipped["shipment_id"]}))
        .await
        .expect(200);
    shop.post(&path_of(&placed, "/returns"), "return", json!({"lines": [part(1, 1)]})).await.expect(201);
    shop.post(&path_of(&placed, "/cancel"), "cancel", json!({})).await.expect(200);
    assert_same(&shop, "cancelled").await;
    let shop = shop.crash().await;
    assert_same(&shop, "after a restart").await;
}

#[tokio::test]
async fn every_command_of_an_order_and_a_payment_replays_its_first_answer() {
    let shop = Shop::open().await;
    let paid = paid_order(&shop).await;
    let shipment = json!({"lines": [part(1, 4)], "carrier": "DHL"});
    let shipped = post_twice(&shop, &path_of(&paid, "/shipments"), "s", shipment).await.expect(201);
    let arrived = json!({"shipment_id": shipped["shipment_id"]});
    post_twice(&shop, &path_of(&paid, "/deliveries"), "d", arrived).await.expect(200);
    post_twice(&shop, &path_of(&paid, "/returns"), "t", json!({"lines": [part(1, 1)]})).await.expect(201);
    let refunded =
        post_twice(&shop, &path_of(&paid, "/refunds"), "r", json!({"amount": 5})).await.expect(201);
    shop.until("the refund is requested", |log| log.count("payment.refund_requested.v1") == 2).await;
    let refund = format!("/refunds/{}/fail", refunded["refund_id"].as_str().unwrap());
    post_twice(&shop, &payment_path(&paid, &refund), "f", json!({"reason": "card closed"})).await.expect(200);
    post_twice(&shop, &path_of(&paid, "/cancel"), "c", json!({"note": "changed mind"})).await.expect(200);
}

#[tokio::test]
async fn a_key_cannot_be_reused_for_another_body() {
    let shop = Shop::open().await;
    shop.receive("a", 10).await;
    let placed = shop.place("key", &[line("a", 1, 100)]).await.expect(201);
    let problem = shop.place("key", &[line("a", 2, 100)]).await.problem(422, "idempotency_key_reused");
    assert_eq!(problem["order_id"], placed["order_id"]);
    // The order of members and white space do not change the request.
    let spaced = r#"{ "lines": [{"unit_price":100, "quantity":1,"sku":"a"}], "currency":"GBP"}"#;
    let request = axum::http::Request::post("/v1/orders")
        .header("idempotency-key", "\"key\"")
        .header("content-type", "application/json; charset=utf-8")
        .body(spaced.into())
        .unwrap();
    assert_eq!(shop.send(request).await.expect(201), placed);
    // The key is free on another path.
    shop.post(&path_of(&placed, "/cancel"), "key", json!({})).await.expect(200);
    shop.post("/v1/stock/a/receipts", "key", json!({"quantity": 1})).await.expect(201);
    let other = json!({"note": "again"});
    shop.post(&path_of(&placed, "/cancel"), "key", other).await.problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn a_retry_of_a_refused_command_is_decided_again() {
    let shop = Shop::open().await;
    shop.receive("a", 10).await;
    let placed = shop.place("order", &[line("a", 1, 100)]).await.expect(201);
    shop.post(&path_of(&placed, "/shipments"), "ship", json!({})).await.problem(409, "order_not_paid");
    shop.pay(&placed).await;
    let shipped = shop.post(&path_of(&placed, "/shipments"), "ship", json!({})).await;
    shipped.expect(201);
    assert!(!shipped.is_replayed());
    // The same holds for an invalid request.
    shop.place("fixed", &[line("a", 0, 100)]).await.problem(422, "invalid_request");
    shop.place("fixed", &[line("a", 1, 100)]).await.expect(201);
}

//! Receipts and adjustments of stock.

use domain::Sku;

use super::*;

#[tokio::test]
async fn the_answer_to_a_receipt_has_the_levels_and_the_revision() {
    let shop = Shop::open().await;
    let body = json!({"quantity": 100, "reference": "po-1"});
    let answer = shop.post("/v1/stock/85123A/receipts", "\"po-1/85123A\"", body).await;
    let expected = json!({"sku": "85123A", "on_hand": 100, "reserved": 0, "available": 100, "revision": 0});
    assert_eq!(answer.expect(201), expected);
    assert_eq!(answer.header("etag"), Some("\"0\""));
}

#[tokio::test]
async fn an_adjustment_stays_between_the_reserved_units_and_the_limit() {
    let shop = Shop::open().await;
    shop.receive("a", 10).await;
    shop.place("order", &[line("a", 6, 100)]).await.expect(201);
    let adjust = async |key, delta: i64| {
        shop.post("/v1/stock/a/adjustments", key, json!({"delta": delta, "reason": "count"})).await
    };
    adjust("down", -5).await.problem(409, "stock_below_reserved");
    assert_has(&adjust("down", -4).await.expect(201), json!({"on_hand": 6, "reserved": 6, "available": 0}));
    assert_has(&adjust("up", 999_999_994).await.expect(201), json!({"on_hand": 1_000_000_000}));
    adjust("more", 1).await.problem(409, "stock_limit");
    shop.post("/v1/stock/a/receipts", "more", json!({"quantity": 1})).await.problem(409, "stock_limit");
    adjust("nothing", 0).await.problem(422, "invalid_request");
}

#[tokio::test]
async fn stock_commands_replay_their_first_answer() {
    let shop = Shop::open().await;
    post_twice(&shop, "/v1/stock/a/receipts", "in", json!({"quantity": 10})).await;
    post_twice(&shop, "/v1/stock/a/adjustments", "count", json!({"delta": -1})).await;
    shop.place("order", &[line("a", 5, 100)]).await.expect(201);
    let replay = shop.post("/v1/stock/a/receipts", "in", json!({"quantity": 10})).await;
    assert_has(&replay.expect(201), json!({"on_hand": 10, "reserved": 0, "available": 10, "revision": 0}));
    let other = shop.post("/v1/stock/a/receipts", "in", json!({"quantity": 11})).await;
    other.problem(422, "idempotency_key_reused");
}

/// The event tells the levels after it, so the cost of a retry does not grow with the stream.
#[tokio::test]
async fn the_replay_of_a_stock_command_reads_its_own_event_only() {
    let shop = Shop::without_process_manager().await;
    shop.receive("a", 5).await;
    let body = json!({"quantity": 10});
    let first = shop.post("/v1/stock/a/receipts", "in", body.clone()).await;
    shop.place("order", &[line("a", 3, 100)]).await.expect(201);
    shop.post("/v1/stock/a/adjustments", "count", json!({"delta": -4})).await.expect(201);

    let stream = Sku::new("a").unwrap().into();
    let reads_before = shop.store.reads_of(&stream).len();
    let again = shop.post("/v1/stock/a/receipts", "in", body).await;
    assert!(again.is_replayed());
    assert_eq!(again.text(), first.text());
    let reads = shop.store.reads_of(&stream);
    assert!(reads[reads_before..].iter().all(|from| *from == 1), "{reads:?}");
}

#[tokio::test]
async fn a_sku_in_the_path_is_percent_decoded() {
    let shop = Shop::open().await;
    for (path, sku) in
        [("A%2FB%20%C3%BC%3F", "A/B ü?"), ("receipts", "receipts"), ("gift_0001_20", "gift_0001_20")]
    {
        let answer = shop.post(&format!("/v1/stock/{path}/receipts"), "in", json!({"quantity": 3})).await;
        assert_has(&answer.expect(201), json!({"sku": sku, "on_hand": 3}));
        shop.place(path, &[line(sku, 3, 1)]).await.expect(201);
    }
}

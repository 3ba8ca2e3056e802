//! Payments recorded by hand: authorisation, capture, failure, void and refund.

use super::*;

async fn placed(shop: &Shop) -> Value {
    shop.receive("a", 10).await;
    shop.place("order", &[line("a", 10, 100)]).await.expect(201)
}

async fn pay(shop: &Shop, order: &Value, step: &str, key: &str, body: Value) -> Answer {
    shop.post(&payment_path(order, &format!("/{step}")), key, body).await
}

#[tokio::test]
async fn a_capture_is_answered_after_its_order_has_recorded_it() {
    let shop = Shop::without_process_manager().await;
    let order = placed(&shop).await;
    let (order_id, payment_id) = (order["order_id"].as_str().unwrap(), order["payment_id"].as_str().unwrap());
    let authorized = pay(&shop, &order, "authorize", "a", json!({"reference": "pi_1"})).await;
    assert_eq!(
        authorized.expect(200),
        json!({
            "payment_id": payment_id, "order_id": order_id, "status": "authorized", "currency": "GBP",
            "amount": 1000, "authorized": 1000, "captured": 0, "refunded": 0, "disputed": 0, "revision": 1,
            "revisions": {format!("payment-{payment_id}"): 1},
        })
    );
    assert_eq!(authorized.header("etag"), Some("\"1\""));
    let part = pay(&shop, &order, "capture", "c1", json!({"amount": 400})).await.expect(200);
    assert_has(&part, json!({"status": "captured", "captured": 400}));
    shop.post(&path_of(&order, "/shipments"), "ship", json!({})).await.problem(409, "order_not_paid");
    let rest = pay(&shop, &order, "capture", "c2", json!({})).await.expect(200);
    assert_has(
        &rest,
        json!({"captured": 1000, "revision": 3,
        "revisions": {format!("payment-{payment_id}"): 3, format!("order-{order_id}"): 4}}),
    );
    let shipped = shop.post(&path_of(&order, "/shipments"), "ship", json!({})).await.expect(201);
    assert_has(&shipped, json!({"payment_status": "paid", "captured": 1000}));
    let again = pay(&shop, &order, "capture", "c2", json!({})).await;
    assert_eq!(again.json(), rest);
    assert!(again.is_replayed());
}

#[tokio::test]
async fn an_authorisation_or_capture_above_the_requested_amount_is_refused() {
    let shop = Shop::open().await;
    let order = placed(&shop).await;
    pay(&shop, &order, "capture", "c", json!({})).await.problem(409, "payment_state");
    pay(&shop, &order, "authorize", "a", json!({"amount": 1001})).await.problem(409, "amount_too_large");
    pay(&shop, &order, "authorize", "a", json!({"amount": 600})).await.expect(200);
    pay(&shop, &order, "capture", "c", json!({"amount": 601})).await.problem(409, "amount_too_large");
    for amount in [0, -5] {
        pay(&shop, &order, "capture", "c", json!({"amount": amount})).await.problem(422, "invalid_request");
    }
}

#[tokio::test]
async fn a_final_payment_failure_cancels_the_order_and_releases_its_stock() {
    let shop = Shop::open().await;
    let order = placed(&shop).await;
    let retryable = json!({"reason": "declined", "retryable": true});
    assert_has(&pay(&shop, &order, "fail", "f1", retryable).await.expect(200), json!({"status": "failed"}));
    pay(&shop, &order, "authorize", "another card", json!({})).await.expect(200);
    pay(&shop, &order, "fail", "f2", json!({"reason": "stolen"})).await.expect(200);
    let log = shop.until("its stock is released", |log| log.stock("a").levels().available() == 10).await;
    assert_eq!(log.count("order.cancelled.v2"), 1);
    pay(&shop, &order, "authorize", "late", json!({})).await.problem(409, "payment_closed");
    let cancel = shop.post(&path_of(&order, "/cancel"), "cancel", json!({})).await.expect(200);
    assert_has(&cancel, json!({"status": "cancelled", "payment_status": "not_due"}));
}

#[tokio::test]
async fn a_voided_payment_cancels_its_order() {
    let shop = Shop::open().await;
    let order = placed(&shop).await;
    pay(&shop, &order, "authorize", "a", json!({})).await.expect(200);
    assert_has(&pay(&shop, &order, "void", "v", json!({})).await.expect(200), json!({"status": "voided"}));
    let log = shop.until("its stock is released", |log| log.stock("a").levels().available() == 10).await;
    assert_eq!(log.count("order.cancelled.v2"), 1);
}

#[tokio::test]
async fn a_refund_by_hand_is_requested_and_its_outcome_reaches_the_order() {
    let shop = Shop::open().await;
    let order = placed(&shop).await;
    shop.pay(&order).await;
    let path = path_of(&order, "/refunds");
    shop.post(&path, "too much", json!({"amount": 1001})).await.problem(409, "refund_too_large");
    let first = shop.post(&path, "r1", json!({"amount": 600, "reason": "damaged"})).await.expect(201);
    shop.post(&path, "r2", json!({"amount": 401})).await.problem(409, "refund_too_large");
    let second = shop.post(&path, "r2", json!({"amount": 400})).await.expect(201);
    shop.until("both refunds are requested", |log| log.count("payment.refund_requested.v1") == 2).await;

    let outcome = |refund: &Value, outcome: &str| {
        format!("refunds/{}/{outcome}", refund["refund_id"].as_str().unwrap())
    };
    let paid_out = pay(&shop, &order, &outcome(&first, "succeed"), "o1", json!({"reference": "re_1"})).await;
    assert_has(&paid_out.expect(200), json!({"status": "captured", "captured": 1000, "refunded": 600}));
    let turned_down = pay(&shop, &order, &outcome(&first, "fail"), "o2", json!({})).await;
    turned_down.problem(409, "refund_settled");
    pay(&shop, &order, &outcome(&second, "fail"), "o3", json!({"reason": "expired"})).await.expect(200);
    // A failed refund can be requested again.
    let third = shop.post(&path, "r3", json!({"amount": 400})).await.expect(201);
    assert_has(&third, json!({"payment_status": "partially_refunded", "refunded": 600}));
    shop.until("the third refund is requested", |log| log.count("payment.refund_requested.v1") == 3).await;
    pay(&shop, &order, &outcome(&third, "succeed"), "o4", json!({})).await.expect(200);
    shop.post(&path_of(&order, "/shipments"), "ship", json!({})).await.problem(409, "order_refunded");
    let cancelled = shop.post(&path_of(&order, "/cancel"), "cancel", json!({})).await.expect(200);
    assert_has(&cancelled, json!({"payment_status": "refunded", "refunded": 1000, "refunds": []}));
}

#[tokio::test]
async fn money_captured_for_an_ended_order_is_refunded() {
    let shop = Shop::open().await;
    let order = placed(&shop).await;
    shop.pay(&order).await;
    let cancelled = shop.post(&path_of(&order, "/cancel"), "cancel", json!({})).await.expect(200);
    assert_has(&cancelled, json!({"status": "cancelled", "payment_status": "paid"}));
    let log = shop.until("a refund is requested", |log| log.count("payment.refund_requested.v1") == 1).await;
    let payment = log.payment(order["payment_id"].as_str().unwrap().parse().unwrap());
    let refund = &payment.refunds()[0];
    assert_eq!(refund.amount.minor_units(), 1000);
    let path = format!("refunds/{}/succeed", refund.refund_id);
    assert_has(&pay(&shop, &order, &path, "o", json!({})).await.expect(200), json!({"refunded": 1000}));
    let again = shop.post(&path_of(&order, "/cancel"), "again", json!({})).await.expect(200);
    assert_has(&again, json!({"payment_status": "refunded", "refunded": 1000}));
}

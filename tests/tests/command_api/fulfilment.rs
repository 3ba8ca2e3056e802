//! Shipments, deliveries, returns and cancellations.

use super::*;

async fn ship(shop: &Shop, order: &Value, key: &str, body: Value) -> Answer {
    shop.post(&path_of(order, "/shipments"), key, body).await
}

#[tokio::test]
async fn an_order_is_shipped_and_delivered_in_parts() {
    let shop = Shop::open().await;
    let order = paid_order(&shop).await;
    let first = ship(&shop, &order, "s1", json!({"lines": [part(1, 4)], "tracking_number": "T1"})).await;
    assert_eq!(first.header("location"), Some(&*path_of(&order, "")));
    let first = first.expect(201);
    assert_has(&first, json!({"fulfilment_status": "partially_shipped"}));
    ship(&shop, &order, "s2", json!({"lines": [part(1, 7)]})).await.problem(409, "quantity_unavailable");
    ship(&shop, &order, "s2", json!({"lines": [part(2, 1)]})).await.problem(422, "invalid_request");
    ship(&shop, &order, "s2", json!({"lines": [part(1, 1), part(1, 1)]}))
        .await
        .problem(422, "invalid_request");
    ship(&shop, &order, "s2", json!({"lines": []})).await.problem(422, "invalid_request");
    let second = ship(&shop, &order, "s2", json!({})).await.expect(201);
    assert_has(&second, json!({"fulfilment_status": "shipped"}));
    ship(&shop, &order, "s3", json!({})).await.problem(409, "nothing_to_ship");

    let log = shop.until("stock has both shipments", |log| log.count("stock.shipped.v1") == 2).await;
    assert_eq!((log.stock("85123A").levels().on_hand, log.stock("85123A").levels().reserved), (90, 0));

    let deliveries = path_of(&order, "/deliveries");
    let arrived = json!({"shipment_id": first["shipment_id"]});
    let arrived = shop.post(&deliveries, "d1", arrived).await.expect(200);
    assert_has(
        &arrived,
        json!({"fulfilment_status": "partially_delivered", "shipment_id": first["shipment_id"]}),
    );
    let arrived =
        shop.post(&deliveries, "d2", json!({"shipment_id": second["shipment_id"]})).await.expect(200);
    assert_has(&arrived, json!({"fulfilment_status": "delivered"}));
    let unknown = json!({"shipment_id": "00000000-0000-0000-0000-000000000000"});
    shop.post(&deliveries, "d3", unknown).await.problem(422, "invalid_request");
}

#[tokio::test]
async fn a_return_can_restock_or_not_and_refund_or_not() {
    let shop = Shop::open().await;
    let order = paid_order(&shop).await;
    let returns = path_of(&order, "/returns");
    let send_back = async |key: &str, body: Value| shop.post(&returns, key, body).await;
    send_back("t0", json!({"lines": [part(1, 1)]})).await.problem(409, "quantity_unavailable");
    ship(&shop, &order, "s", json!({"lines": [part(1, 8)]})).await.expect(201);

    let restocked = send_back("t1", json!({"lines": [part(1, 2)]})).await.expect(201);
    assert_has(&restocked, json!({"fulfilment_status": "partially_returned"}));
    let broken = json!({"lines": [{"line": 1, "quantity": 3, "restock": false}], "refund_amount": 100});
    let broken = send_back("t2", broken).await.expect(201);
    send_back("t3", json!({"lines": [part(1, 1)], "refund_amount": 0})).await.expect(201);
    send_back("t4", json!({"lines": [part(1, 3)]})).await.problem(409, "quantity_unavailable");
    // 2,550 were captured; refunds of 510 and 100 are already requested.
    let too_much = json!({"lines": [part(1, 1)], "refund_amount": 1941});
    send_back("t4", too_much).await.problem(409, "refund_too_large");
    send_back("t4", json!({"lines": [part(1, 1)], "refund_amount": -1}))
        .await
        .problem(422, "invalid_request");

    let log = shop.until("stock and payment have the returns", |log| {
        log.count("stock.returned.v1") == 2 && log.count("payment.refund_requested.v1") == 2
    });
    let log = log.await;
    assert_eq!(log.stock("85123A").levels().on_hand, 100 - 8 + 2 + 1);
    let payment = log.payment(order["payment_id"].as_str().unwrap().parse().unwrap());
    let mut refunds: Vec<(String, i64)> = payment
        .refunds()
        .iter()
        .map(|refund| (refund.refund_id.to_string(), refund.amount.minor_units()))
        .collect();
    let mut expected = vec![
        (restocked["return_id"].as_str().unwrap().to_owned(), 510),
        (broken["return_id"].as_str().unwrap().to_owned(), 100),
    ];
    refunds.sort();
    expected.sort();
    assert_eq!(refunds, expected);
}

#[tokio::test]
async fn cancelling_an_unpaid_order_releases_its_stock_and_closes_its_payment() {
    let shop = Shop::open().await;
    shop.receive("a", 5).await;
    let order = shop.place("order", &[line("a", 5, 100)]).await.expect(201);
    let cancelled = shop.post(&path_of(&order, "/cancel"), "c", json!({"note": "too slow"})).await;
    assert_has(
        &cancelled.expect(200),
        json!({"status": "cancelled", "payment_status": "not_due", "revision": 2}),
    );
    shop.until("stock and payment have the cancellation", |log| {
        log.stock("a").levels().available() == 5 && log.count("payment.closed.v1") == 1
    })
    .await;
    let authorize = payment_path(&order, "/authorize");
    shop.post(&authorize, "late", json!({})).await.problem(409, "payment_closed");
    ship(&shop, &order, "s", json!({})).await.problem(409, "order_status");
    // A second cancellation under another key changes nothing.
    let again = shop.post(&path_of(&order, "/cancel"), "c2", json!({})).await.expect(200);
    assert_has(&again, json!({"status": "cancelled", "revision": 2}));
}

#[tokio::test]
async fn cancelling_a_partly_shipped_order_releases_and_refunds_the_rest() {
    let shop = Shop::open().await;
    let order = paid_order(&shop).await;
    ship(&shop, &order, "s", json!({"lines": [part(1, 4)]})).await.expect(201);
    shop.post(&path_of(&order, "/cancel"), "c", json!({})).await.expect(200);
    let log = shop.until("the rest is released and its refund requested", |log| {
        log.stock("85123A").levels().reserved == 0 && log.count("payment.refund_requested.v1") == 1
    });
    let log = log.await;
    assert_eq!(log.stock("85123A").levels().on_hand, 96);
    let payment = log.payment(order["payment_id"].as_str().unwrap().parse().unwrap());
    assert_eq!(payment.refunds()[0].amount.minor_units(), 6 * 255);
    // Shipped units can still be returned.
    let returned = shop.post(&path_of(&order, "/returns"), "t", json!({"lines": [part(1, 4)]})).await;
    assert_has(&returned.expect(201), json!({"status": "cancelled", "fulfilment_status": "returned"}));
    let log = shop.until("the return is in stock", |log| log.stock("85123A").levels().on_hand == 100).await;
    assert_eq!(log.loose_reservations(), []);
}

#[tokio::test]
async fn a_shipped_or_rejected_order_cannot_be_cancelled() {
    let shop = Shop::open().await;
    let order = paid_order(&shop).await;
    ship(&shop, &order, "s", json!({})).await.expect(201);
    shop.post(&path_of(&order, "/cancel"), "c", json!({})).await.problem(409, "nothing_to_cancel");
    let rejected = shop.place("short", &[line("none", 1, 1)]).await.problem(409, "insufficient_stock");
    shop.post(&path_of(&rejected, "/cancel"), "c", json!({})).await.problem(409, "order_status");
}

//! Placing orders: answers, limits, due times and `Prefer: respond-async`.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use command_api::{
    CommandApiOptions,
    backlog::{Backlog, Reading},
};
use domain::{Amount, OrderId, Timestamp, shares::Shares};
use infra::health::Health;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::support::ShopOptions;

fn id_of(order: &Value) -> OrderId {
    order["order_id"].as_str().unwrap().parse().unwrap()
}

async fn place_with(shop: &Shop, key: &str, members: Value) -> Answer {
    let mut order = json!({"currency": "GBP", "lines": [line("a", 1, 100)]});
    order.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    shop.post("/v1/orders", key, order).await
}

#[tokio::test]
async fn the_answer_to_an_allocated_order_names_the_payment_to_settle() {
    let shop = Shop::open().await;
    shop.receive("85123A", 100).await;
    let order = json!({"customer_id": "17850", "currency": "GBP", "country": "United Kingdom",
        "lines": [line("85123A", 6, 255)]});
    let answer = shop.post("/v1/orders", "checkout-4711", order).await;
    let body = answer.expect(201);
    let (order, payment) = (body["order_id"].as_str().unwrap(), body["payment_id"].as_str().unwrap());
    assert_eq!(
        body,
        json!({
            "order_id": order, "status": "allocated", "payment_status": "pending",
            "fulfilment_status": "unfulfilled", "terms": "prepaid", "currency": "GBP", "total": 1530,
            "captured": 0, "refunded": 0, "payment_id": payment, "revision": 1,
            "payments": [{"payment_id": payment, "amount": 1530, "status": "requested"}],
            "revisions": {format!("order-{order}"): 1, format!("payment-{payment}"): 0},
        })
    );
    assert_eq!(answer.header("location"), Some(&*format!("/v1/orders/{order}")));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(shop.log().await.stock("85123A").levels().available(), 94);
}

#[tokio::test]
async fn the_answer_to_a_rejected_order_lists_every_shortage() {
    let shop = Shop::open().await;
    shop.receive("85123A", 2).await;
    let lines = [line("85123A", 4, 255), line("none", 1, 1), line("85123A", 2, 200)];
    let answer = shop.place("checkout", &lines).await;
    let body = answer.problem(409, "insufficient_stock");
    assert_eq!(
        body["shortages"],
        json!([
            {"sku": "85123A", "requested": 6, "available": 2},
            {"sku": "none", "requested": 1, "available": 0},
        ])
    );
    assert_has(&body, json!({"revision": 1, "type": "/problems/insufficient_stock"}));
    assert_eq!(answer.header("etag"), Some("\"1\""));
    assert_eq!(shop.log().await.order(id_of(&body)).shortages().len(), 2);
    // It stays rejected under this key, even after new stock arrives.
    shop.receive("none", 9).await;
    assert_eq!(shop.place("checkout", &lines).await.json(), body);
}

#[tokio::test]
async fn only_stocked_units_are_reserved_and_lines_of_one_sku_are_added() {
    let shop = Shop::open().await;
    shop.receive("a", 7).await;
    let postage = json!({"sku": "POST", "quantity": 1, "unit_price": 1800, "stocked": false});
    let lines = [line("a", 3, 100), postage.clone(), line("a", 4, 90)];
    assert_has(&shop.place("one", &lines).await.expect(201), json!({"total": 2460}));
    assert_eq!(shop.log().await.stock("a").levels().reserved, 7);
    let fees = shop.place("two", &[postage]).await.expect(201);
    assert_has(&fees, json!({"status": "allocated", "total": 1800}));
}

#[tokio::test]
async fn an_order_with_nothing_to_pay_is_paid_once_allocated() {
    let shop = Shop::open().await;
    shop.receive("a", 3).await;
    let free = shop.place("free", &[line("a", 1, 0)]).await.expect(201);
    assert_has(&free, json!({"payment_status": "paid", "payment_id": null, "total": 0}));
    let again = shop.place("free", &[line("a", 1, 0)]).await;
    assert_eq!((again.is_replayed(), again.expect(201)), (true, free));
    let discount = json!({"adjustments": [{"code": "voucher", "amount": -100}]});
    let discounted = place_with(&shop, "discounted", discount).await.expect(201);
    assert_has(&discounted, json!({"payment_status": "paid", "total": 0}));
    shop.post(&path_of(&discounted, "/shipments"), "ship", json!({})).await.expect(201);
    let below = json!({"adjustments": [{"code": "voucher", "amount": -101}]});
    place_with(&shop, "below zero", below).await.problem(422, "invalid_request");
    assert_eq!(shop.log().await.count("payment.requested.v1"), 0);
}

#[tokio::test]
async fn the_due_time_comes_from_the_request_and_defaults_to_the_setting() {
    let api =
        CommandApiOptions { payment_due_after: std::time::Duration::from_mins(7), ..Default::default() };
    let shop = Shop::with(ShopOptions { api, ..ShopOptions::default() }).await;
    shop.receive("a", 3).await;
    let placed_at = json!({"placed_at": "2010-12-01T08:26:00Z"});
    let before = Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap();
    let absent = place_with(&shop, "absent", placed_at).await.expect(201);
    let never = place_with(&shop, "never", json!({"payment_due_at": null})).await.expect(201);
    let due_at = "2030-01-01T00:00:00.123456Z";
    let given = place_with(&shop, "given", json!({"payment_due_at": due_at})).await.expect(201);

    let log = shop.log().await;
    let recorded_at = log.of(id_of(&absent))[0].recorded_at;
    let absent = log.order(id_of(&absent));
    assert_eq!(absent.placed_at().unwrap().to_string(), "2010-12-01T08:26:00Z");
    // Counted from the time of the request, not from `placed_at`.
    let counted_from = absent.payment_due_at().unwrap() - SignedDuration::from_mins(7);
    assert!((before..=recorded_at).contains(&counted_from), "{counted_from} is not after {before}");
    assert_eq!(log.order(id_of(&never)).payment_due_at(), None);
    assert_eq!(log.order(id_of(&given)).payment_due_at(), Some(due_at.parse().unwrap()));
    // Omitted and null are different requests.
    place_with(&shop, "never", json!({})).await.problem(422, "idempotency_key_reused");
    for placed_at in ["1969-12-31T23:59:59Z", "2150-01-01T00:00:00Z"] {
        let bad = place_with(&shop, placed_at, json!({"placed_at": placed_at})).await;
        assert_eq!(bad.problem(422, "invalid_request")["errors"][0]["field"], "placed_at");
    }
}

#[tokio::test]
async fn an_order_of_1114_lines_is_allocated_and_more_than_5000_lines_are_refused() {
    let shop = Shop::open().await;
    let lines = |count: u32| -> Vec<Value> {
        (0..count).map(|number| line(&format!("sku {}", number % 1_110), 1, 100)).collect()
    };
    for chunk in (0..1_110).collect::<Vec<u32>>().chunks(1_000) {
        let receipts: Vec<Value> =
            chunk.iter().map(|number| json!({"sku": format!("sku {number}"), "quantity": 5})).collect();
        let key = chunk[0].to_string();
        shop.post("/v1/stock/receipts", &key, json!({"receipts": receipts})).await.expect(200);
    }
    let largest = shop.place("largest", &lines(1_114)).await.expect(201);
    assert_has(&largest, json!({"status": "allocated", "total": 111_400}));
    let log = shop.log().await;
    assert_eq!(log.stock("sku 0").levels().reserved, 2);
    assert_eq!(log.stock("sku 1109").levels().reserved, 1);
    shop.place("limit", &lines(5_000)).await.problem(409, "insufficient_stock");
    let beyond = shop.place("beyond", &lines(5_001)).await;
    assert_eq!(beyond.problem(422, "invalid_request")["errors"][0]["field"], "lines");
    let log = shop
        .until("every reservation of the rejected order is released", |log| {
            log.loose_reservations().is_empty()
        })
        .await;
    assert_eq!(log.stock("sku 700").levels().available(), 4);
}

#[tokio::test]
async fn respond_async_answers_before_stock_is_reserved() {
    let shop = Shop::open().await;
    shop.receive("a", 1).await;
    let body = json!({"currency": "GBP", "lines": [line("a", 1, 100)]});
    for prefer in ["respond-async", "wait=5, Respond-Async; foo"] {
        let answer = shop.post_with("/v1/orders", "async", body.clone(), &[("prefer", prefer)]).await;
        let placed = answer.expect(202);
        assert_has(&placed, json!({"status": "placed", "revision": 0, "payment_id": null}));
        assert_eq!(answer.header("preference-applied"), Some("respond-async"));
        assert_eq!(answer.header("location"), Some(&*path_of(&placed, "")));
        shop.until("it is allocated", |log| log.count("payment.requested.v1") == 1).await;
    }
    // `Prefer` is not part of the fingerprint.
    let answer = shop.post("/v1/orders", "async", body).await;
    assert_has(&answer.expect(201), json!({"status": "allocated"}));
    assert!(answer.is_replayed());
}

#[tokio::test]
async fn every_member_of_an_order_is_stored() {
    let shop = Shop::open().await;
    shop.receive("a", 1).await;
    let members = json!({
        "customer_id": "Ünï", "country": "EIRE", "reference": "web-1",
        "metadata": {"channel": "app", "gift": ""},
        "adjustments": [{"code": "shipping", "amount": 395}, {"code": "voucher", "amount": -95}],
    });
    let placed = place_with(&shop, "full", members).await.expect(201);
    assert_has(&placed, json!({"total": 400}));
    let order = shop.log().await.order(id_of(&placed));
    assert_eq!(
        (order.customer_id(), order.country(), order.reference()),
        (Some("Ünï"), Some("EIRE"), Some("web-1"))
    );
    assert_eq!(order.metadata().unwrap()["channel"], "app");
    assert_eq!(order.adjustments().len(), 2);
}

#[tokio::test]
async fn adjustments_have_a_kind_and_are_spread_over_the_lines() {
    let shop = Shop::open().await;
    shop.receive("a", 3).await;
    shop.receive("b", 1).await;
    let body = json!({
        "currency": "EUR",
        "lines": [
            {"sku": "a", "quantity": 3, "unit_price": 3333,
             "adjustments": [{"kind": "discount", "code": "TEN", "amount": -1000}]},
            line("b", 1, 1),
        ],
        "adjustments": [
            {"kind": "tax", "code": "VAT20", "amount": 1800},
            {"kind": "shipping", "code": "DHL", "amount": 490},
            {"code": "gift wrap", "amount": 100},
            {"code": "voucher", "amount": -900},
            {"kind": "fee", "code": "card", "amount": 9, "spread": true},
        ],
    });
    let placed = shop.post("/v1/orders", "spread", body.clone()).await.expect(201);
    assert_has(&placed, json!({"total": 8999 + 1 + 1800 + 490 + 100 - 900 + 9}));

    let order = shop.log().await.order(id_of(&placed));
    let shares: Vec<Shares> = order.lines().iter().map(|line| line.shares).collect();
    let of = |discount, tax, fee| {
        let [discount, tax, fee] = [discount, tax, fee].map(|part| Amount::new(part).unwrap());
        Shares { discount, tax, fee, ..Shares::default() }
    };
    assert_eq!(shares, [of(-900, 1800, 9), of(0, 0, 0)]);
    let kinds = order.adjustments().iter().map(|part| (part.kind.unwrap().as_str(), part.spread));
    let expected = [("tax", true), ("shipping", false), ("fee", false), ("discount", true), ("fee", true)];
    assert_eq!(kinds.collect::<Vec<_>>(), expected);

    shop.post("/v1/orders", "spread", body).await.expect(201);
}

#[tokio::test]
async fn prices_may_include_the_tax_of_the_adjustments() {
    let shop = Shop::open().await;
    shop.receive("a", 2).await;
    let taxed = |tax: i64| {
        json!({
            "currency": "EUR", "prices_include_tax": true, "lines": [line("a", 2, 600)],
            "adjustments": [
                {"kind": "tax", "code": "VAT20", "amount": tax},
                {"kind": "shipping", "code": "DHL", "amount": 120},
                {"kind": "tax", "code": "VAT20", "amount": 20, "spread": false},
            ],
        })
    };
    let placed = shop.post("/v1/orders", "included", taxed(200)).await.expect(201);
    assert_has(&placed, json!({"total": 1320}));
    let order = shop.log().await.order(id_of(&placed));
    assert!(order.prices_include_tax());
    let line = &order.lines()[0];
    assert_eq!((line.total().minor_units(), line.shares.tax.minor_units()), (1200, 200));

    let problem = shop.post("/v1/orders", "too much", taxed(1201)).await.problem(422, "invalid_request");
    assert_eq!(problem["errors"][0]["field"], "lines[0].adjustments");
}

#[tokio::test]
async fn an_order_with_too_large_an_event_is_refused_and_one_of_5000_lines_is_not() {
    let shop = Shop::open().await;
    let order = |sku: &dyn Fn(usize) -> String| {
        let lines: Vec<Value> = (0..5_000)
            .map(|number| json!({"sku": sku(number), "quantity": 1, "unit_price": 0, "stocked": false}))
            .collect();
        json!({"currency": "GBP", "lines": lines})
    };
    let huge = order(&|number| format!("{}{number:04}", "€".repeat(60)));
    let problem = shop.post("/v1/orders", "huge", huge).await.problem(422, "order_too_large");
    assert!(problem["detail"].as_str().unwrap().contains("1000000"), "{problem}");
    assert_eq!(shop.log().await.orders().len(), 0);
    shop.post("/v1/orders", "long", order(&|number| format!("{number:020}"))).await.expect(201);
}

#[tokio::test]
async fn a_line_below_0_and_a_discount_above_0_are_refused_by_name() {
    let shop = Shop::open().await;
    let discount = |amount| json!([{"kind": "discount", "code": "d", "amount": amount}]);
    let line =
        |adjustments: Value| json!({"sku": "a", "quantity": 1, "unit_price": 10, "adjustments": adjustments});
    let fee = json!([{"code": "voucher", "amount": -11}, {"code": "fee", "amount": 20}]);
    let many = vec![json!({"code": "tax", "amount": 1}); 11];
    for (key, line, adjustments, field) in [
        ("line", line(discount(-11)), json!([{"code": "fee", "amount": 20}]), "lines[0]"),
        ("share", line(json!([])), fee, "lines[0]"),
        ("many", line(json!(many)), json!([]), "lines[0].adjustments"),
        ("positive", line(json!([])), discount(1), "adjustments"),
        ("positive on a line", line(discount(1)), json!([]), "lines[0].adjustments"),
    ] {
        let body = json!({"currency": "EUR", "lines": [line], "adjustments": adjustments});
        let problem = shop.post("/v1/orders", key, body).await.problem(422, "invalid_request");
        assert_eq!(problem["errors"][0]["field"], field, "{key}");
    }
    let unknown = json!({"currency": "EUR", "lines": [line(json!([]))], "adjustments": [{"kind": "gift", "code": "g", "amount": 1}]});
    let problem = shop.post("/v1/orders", "unknown", unknown).await.problem(422, "invalid_request");
    assert_eq!(problem["errors"][0]["field"], "adjustments[0].kind");
}

#[tokio::test]
async fn a_share_of_new_orders_is_refused_while_projectors_fall_behind_and_no_other_command() {
    let backlog = Backlog::default();
    tokio::time::pause();
    let seconds = AtomicU64::new(0);
    let falling_behind = move || {
        let second = seconds.fetch_add(1, Ordering::Relaxed);
        std::future::ready(Some(Reading { passed: 1_000 * second, behind: 4_000 * second }))
    };
    let following = backlog.clone().follow(falling_behind, Health::default(), CancellationToken::new());
    tokio::time::timeout(Duration::from_secs(6), following)
        .await
        .expect_err("it follows until it is stopped");
    tokio::time::resume();

    let shop = Shop::open().await.with_backlog(backlog);
    shop.receive("a", 100).await;
    let mut refused = Vec::new();
    for number in 0..60 {
        let key = format!("order {number}");
        let answer = place_with(&shop, &key, json!({})).await;
        if answer.status == 201 {
            continue;
        }
        answer.problem(503, "projections_behind");
        assert_eq!(answer.header("retry-after"), Some("1"));
        refused.push(key);
    }
    assert!((1..60).contains(&refused.len()), "{} of 60 orders were refused", refused.len());
    assert_eq!(shop.log().await.orders().len(), 60 - refused.len());
    shop.receive("b", 1).await;
    // The same key succeeds at a later try.
    let mut tries = 0;
    while place_with(&shop, &refused[0], json!({})).await.status != 201 {
        tries += 1;
        assert!(tries < 60, "the order is never admitted");
    }
}

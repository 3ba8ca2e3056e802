//! Orders that are not paid before they are due.

use domain::Timestamp;
use serde_json::{Value, json};

use super::{charge, payment_of, place};
use crate::support::{Shop, ShopOptions, TestClock, TestSandbox, line};

async fn place_order(shop: &Shop, key: &str, more: Value) -> Value {
    shop.receive("a", 10).await;
    let mut order = json!({"currency": "GBP", "lines": [line("a", 1, 100)]});
    order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    shop.post("/v1/orders", key, order).await.expect(201)
}

async fn reserved(shop: &Shop) -> u32 {
    let sku = domain::Sku::new("a").unwrap();
    shop.checkout.stock.read(&sku, |stock, _| stock.levels().reserved).await.unwrap()
}

#[tokio::test]
async fn an_order_that_is_not_paid_in_time_expires_and_its_stock_is_released() {
    let time = TestClock::default();
    let shop = Shop::with(ShopOptions { clock: time.clock(), ..ShopOptions::default() }).await;
    place_order(&shop, "late", json!({})).await;
    let patient = place_order(&shop, "patient", json!({"payment_due_at": null})).await;
    let paid = place_order(&shop, "paid", json!({})).await;
    shop.pay(&paid).await;
    time.advance_minutes(31);
    let log = shop.until("its stock is released", |log| log.count("stock.released.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 1);
    assert_eq!(reserved(&shop).await, 2);
    // The paid order can still be shipped, and the one without a due date can still be paid.
    shop.pay(&patient).await;
    shop.post(&format!("/v1/orders/{}/shipments", paid["order_id"].as_str().unwrap()), "ship", json!({}))
        .await
        .expect(201);
}

async fn move_due(shop: &Shop, order: &Value, key: &str, due_at: Value) -> crate::support::Answer {
    let path = format!("/v1/orders/{}/due", order["order_id"].as_str().unwrap());
    shop.post(&path, key, json!({ "payment_due_at": due_at })).await
}

#[tokio::test]
async fn an_order_expires_at_the_time_to_which_its_due_date_was_moved() {
    let time = TestClock::default();
    let shop = Shop::with(ShopOptions { clock: time.clock(), ..ShopOptions::default() }).await;
    let [moved, never, paid] = [
        place_order(&shop, "moved", json!({})).await,
        place_order(&shop, "never", json!({})).await,
        place_order(&shop, "control", json!({})).await,
    ];
    let in_an_hour = (Timestamp::now() + jiff::SignedDuration::from_hours(1)).to_string();
    let answer = move_due(&shop, &moved, "later", json!(in_an_hour)).await.expect(200);
    assert_eq!(move_due(&shop, &moved, "later", json!(in_an_hour)).await.expect(200), answer);
    move_due(&shop, &never, "never", Value::Null).await.expect(200);
    let past = move_due(&shop, &moved, "past", json!("2020-01-01T00:00:00Z")).await;
    let problem = past.problem(422, "invalid_request");
    assert_eq!(problem["errors"][0]["field"], "payment_due_at");
    let path = format!("/v1/orders/{}/due", moved["order_id"].as_str().unwrap());
    shop.post(&path, "missing", json!({})).await.problem(422, "invalid_request");

    time.advance_minutes(31);
    let log = shop.until("one order expires", |log| log.count("order.expired.v1") == 1).await;
    let id = paid["order_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(log.order(id).status().as_str(), "expired");
    move_due(&shop, &paid, "too late", Value::Null).await.problem(409, "order_status");
    time.advance_minutes(31);
    let log = shop.until("the moved order expires", |log| log.count("order.expired.v1") == 2).await;
    let id = never["order_id"].as_str().unwrap().parse().unwrap();
    assert_eq!(log.order(id).status().as_str(), "allocated");
}

#[tokio::test]
async fn a_due_date_in_the_past_is_refused_and_a_retry_after_it_gets_the_first_answer() {
    let time = TestClock::default();
    let shop = Shop::with(ShopOptions { clock: time.clock(), ..ShopOptions::default() }).await;
    shop.receive("a", 10).await;
    let place = async |key: &str, due_at: &str| {
        let body = json!({"currency": "GBP", "lines": [line("a", 1, 100)], "payment_due_at": due_at});
        shop.post("/v1/orders", key, body).await
    };
    let problem = place("past", "2020-01-01T00:00:00Z").await.problem(422, "invalid_request");
    assert_eq!(problem["errors"][0]["field"], "payment_due_at");
    let in_ten_minutes = (Timestamp::now() + jiff::SignedDuration::from_mins(10)).to_string();
    let first = place("soon", &in_ten_minutes).await.expect(201);
    time.advance_minutes(11);
    assert_eq!(place("soon", &in_ten_minutes).await.expect(201), first);
}

#[tokio::test]
async fn an_order_that_falls_due_while_the_process_is_down_expires_at_the_next_start() {
    let time = TestClock::default();
    let options = ShopOptions { clock: time.clock(), ..ShopOptions::default() };
    let shop = Shop::with(options.clone()).await;
    place_order(&shop, "late", json!({})).await;
    let shop = shop.crash_into(ShopOptions { process_manager: false, ..options.clone() }).await;
    time.advance_minutes(31);
    let log = shop.log().await;
    assert_eq!(log.count("order.expired.v1"), 0);
    let shop = shop.crash_into(options).await;
    shop.until("it expires", |log| log.count("order.expired.v1") == 1).await;
    shop.until("its payment is closed", |log| log.count("payment.closed.v1") == 1).await;
}

#[tokio::test]
async fn money_captured_in_time_but_not_recorded_on_the_order_prevents_its_expiry() {
    let time = TestClock::default();
    let options = ShopOptions { clock: time.clock(), process_manager: false, ..ShopOptions::default() };
    let shop = Shop::with(options.clone()).await;
    let order = place_order(&shop, "in time", json!({})).await;
    let payment = format!("/v1/payments/{}", payment_of(&order));
    shop.post(&format!("{payment}/authorize"), "authorize", json!({})).await.expect(200);
    // The process dies after the capture is recorded on the payment and before it is recorded on the order.
    shop.store.hold_from(crate::support::appends("order.payment_recorded.v1"));
    let capture = format!("{payment}/capture");
    tokio::select! {
        answer = shop.post(&capture, "capture", json!({})) => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    time.advance_minutes(31);
    let shop = shop.crash_into(ShopOptions { process_manager: true, ..options }).await;
    let log = shop.until("the order is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 0);
    shop.post(&format!("/v1/orders/{}/shipments", order["order_id"].as_str().unwrap()), "ship", json!({}))
        .await
        .expect(201);
}

#[tokio::test]
async fn an_order_with_an_unknown_payment_outcome_does_not_expire_and_keeps_a_later_capture() {
    let (time, sandbox) = (TestClock::default(), TestSandbox::open("").await);
    let options = ShopOptions { clock: time.clock(), ..sandbox.options() };
    let shop = Shop::with(options).await;
    sandbox.set_script(json!({"lost_answers": 1.0, "lost_webhooks": 1.0})).await;
    let order = place(&shop, "unknown outcome", "card").await;
    shop.until("an answer is lost", |log| log.count("payment.outcome_unknown.v1") == 1).await;
    // The expiry of another overdue order shows that the timers have run.
    place_order(&shop, "late", json!({})).await;
    time.advance_minutes(31);
    let log = shop.until("the other one expires", |log| log.count("order.expired.v1") == 1).await;
    assert_eq!(log.count("order.paid.v1"), 0);
    sandbox.set_script(json!({})).await;
    let log = shop.until("the outcome is known", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 1);
    assert_eq!(sandbox.charge(payment_of(&order), 1).await.captured.minor_units(), 100);
}

#[tokio::test]
async fn a_charge_that_waits_for_the_customer_is_voided_when_its_order_expires() {
    let (time, sandbox) = (TestClock::default(), TestSandbox::open("").await);
    let shop = Shop::with(ShopOptions { clock: time.clock(), ..sandbox.options() }).await;
    let order = place_order(&shop, "hesitant", json!({})).await;
    let answer = charge(&shop, &order, "charge", json!({"method": "needs_action"})).await.expect(202);
    assert_eq!(answer["status"], "requested");
    assert!(answer["next_action"].is_object(), "{answer}");
    time.advance_minutes(31);
    let log = shop.until("the charge is voided", |log| log.count("payment.voided.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 1);
    // The sandbox has taken no money.
    assert_eq!(sandbox.charge(payment_of(&order), 1).await.captured.minor_units(), 0);
    assert_eq!(sandbox.totals().await.currencies.values().map(|sum| sum.captures).sum::<u64>(), 0);
}

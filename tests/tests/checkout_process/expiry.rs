//! Orders that are not paid in time.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::Timestamp;
use infra::clock::Clock;
use serde_json::{Value, json};

use super::{charge, payment_of, place};
use crate::support::{Shop, ShopOptions, Till, line};

/// A clock that can be put forward.
#[derive(Clone, Default)]
struct Minutes(Arc<AtomicI64>);

impl Minutes {
    fn pass(&self, minutes: i64) {
        self.0.fetch_add(minutes, Ordering::AcqRel);
    }

    fn clock(&self) -> Clock {
        let minutes = Arc::clone(&self.0);
        Clock::given_by(move || {
            Timestamp::now() + jiff::SignedDuration::from_mins(minutes.load(Ordering::Acquire))
        })
    }
}

async fn order(shop: &Shop, key: &str, more: Value) -> Value {
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
async fn an_order_that_is_not_paid_in_time_expires_and_gives_its_stock_back() {
    let minutes = Minutes::default();
    let shop = Shop::with(ShopOptions { clock: minutes.clock(), ..ShopOptions::default() }).await;
    order(&shop, "late", json!({})).await;
    let patient = order(&shop, "patient", json!({"payment_due_at": null})).await;
    let paid = order(&shop, "paid", json!({})).await;
    shop.pay(&paid).await;
    minutes.pass(31);
    let log = shop.until("its stock is released", |log| log.count("stock.released.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 1);
    assert_eq!(reserved(&shop).await, 2);
    // The others may still be shipped, or paid.
    shop.pay(&patient).await;
    shop.post(&format!("/v1/orders/{}/shipments", paid["order_id"].as_str().unwrap()), "ship", json!({}))
        .await
        .expect(201);
}

#[tokio::test]
async fn an_order_expires_also_when_the_process_was_down_at_its_due_date() {
    let minutes = Minutes::default();
    let options = ShopOptions { clock: minutes.clock(), ..ShopOptions::default() };
    let shop = Shop::with(options.clone()).await;
    order(&shop, "late", json!({})).await;
    let shop = shop.crash_into(ShopOptions { process_manager: false, ..options.clone() }).await;
    minutes.pass(31);
    let log = shop.log().await;
    assert_eq!(log.count("order.expired.v1"), 0);
    let shop = shop.crash_into(options).await;
    shop.until("it expires", |log| log.count("order.expired.v1") == 1).await;
    shop.until("its payment is closed", |log| log.count("payment.closed.v1") == 1).await;
}

#[tokio::test]
async fn money_that_came_in_time_is_found_before_the_order_expires_though_nobody_told_it() {
    let minutes = Minutes::default();
    let options = ShopOptions { clock: minutes.clock(), process_manager: false, ..ShopOptions::default() };
    let shop = Shop::with(options.clone()).await;
    let order = order(&shop, "in time", json!({})).await;
    let payment = format!("/v1/payments/{}", payment_of(&order));
    shop.post(&format!("{payment}/authorize"), "authorize", json!({})).await.expect(200);
    // The process dies when the capture is recorded and the order not told.
    shop.store.hold_from(crate::support::appends("order.payment_recorded.v1"));
    let capture = format!("{payment}/capture");
    tokio::select! {
        answer = shop.post(&capture, "capture", json!({})) => panic!("answered: {answer:?}"),
        () = shop.store.held(1) => {}
    }
    minutes.pass(31);
    let shop = shop.crash_into(ShopOptions { process_manager: true, ..options }).await;
    let log = shop.until("the order is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 0);
    shop.post(&format!("/v1/orders/{}/shipments", order["order_id"].as_str().unwrap()), "ship", json!({}))
        .await
        .expect(201);
}

#[tokio::test]
async fn an_order_waits_for_a_payment_in_doubt_and_keeps_what_that_brings() {
    let (minutes, mut till) = (Minutes::default(), Till::open("").await);
    let options = ShopOptions { clock: minutes.clock(), ..till.options() };
    let shop = Shop::with(options).await;
    till.set_script(json!({"lost_answers": 1.0, "lost_webhooks": 1.0})).await;
    let order = place(&shop, "in doubt", "card").await;
    shop.until("an answer is lost", |log| log.count("payment.outcome_unknown.v1") == 1).await;
    minutes.pass(31);
    // Another order that is late shows that the due date has been looked at.
    super::expiry::order(&shop, "late", json!({"payment_due_at": "2020-01-01T00:00:00Z"})).await;
    let log = shop.until("the other one expires", |log| log.count("order.expired.v1") == 1).await;
    assert_eq!(log.count("order.paid.v1"), 0);
    till.set_script(json!({})).await;
    let log = shop.until("the doubt is over", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 1);
    assert_eq!(till.charge(payment_of(&order), 1).await.captured.minor_units(), 100);
    till.take_webhooks(&shop);
}

#[tokio::test]
async fn a_charge_that_still_waits_for_the_customer_is_given_up_with_its_order() {
    let (minutes, till) = (Minutes::default(), Till::open("").await);
    let shop = Shop::with(ShopOptions { clock: minutes.clock(), ..till.options() }).await;
    let order = order(&shop, "hesitant", json!({})).await;
    let answer = charge(&shop, &order, "charge", json!({"method": "needs_action"})).await.expect(202);
    assert_eq!(answer["status"], "requested");
    assert!(answer["next_action"].is_object(), "{answer}");
    minutes.pass(31);
    let log = shop.until("the charge is given up", |log| log.count("payment.voided.v1") == 1).await;
    assert_eq!(log.count("order.expired.v1"), 1);
    // The customer comes too late.
    assert_eq!(till.charge(payment_of(&order), 1).await.captured.minor_units(), 0);
    assert_eq!(till.totals().await.currencies.values().map(|sum| sum.captures).sum::<u64>(), 0);
}

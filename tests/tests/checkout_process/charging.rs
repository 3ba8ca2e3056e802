//! Charges, captures, voids and refunds through the sandbox.

use serde_json::json;

use super::{charge, payment_of, place};
use crate::support::{Shop, ShopOptions, TestSandbox, line};

/// Captures, captured amount and refunded amount at the sandbox.
async fn captured_at(sandbox: &TestSandbox) -> (u64, i64, i64) {
    let totals = sandbox.totals().await;
    let gbp = totals.currencies.values().next().copied().unwrap_or_default();
    (gbp.captures, gbp.captured.minor_units(), gbp.refunded.minor_units())
}

#[tokio::test]
async fn an_order_with_a_payment_method_is_charged_when_it_is_allocated() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = place(&shop, "checkout", "ok").await;
    assert_eq!(order["revisions"][format!("payment-{}", payment_of(&order))], 0);
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    let again = place(&shop, "checkout", "ok").await;
    assert_eq!(again["order_id"], order["order_id"]);
    assert_eq!(captured_at(&sandbox).await, (1, 100, 0));
}

#[tokio::test]
async fn a_declined_customer_can_charge_another_card_under_another_key() {
    charge_two_cards(usize::MAX).await;
}

/// A store cuts a read of large events: a short page is not the end of the stream.
#[tokio::test]
async fn a_payment_is_read_to_its_end_although_each_read_returns_one_event() {
    charge_two_cards(1).await;
}

async fn charge_two_cards(events_per_read: usize) {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    shop.store.shorten_reads_to(events_per_read);
    shop.receive("a", 1).await;
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    let declined = charge(&shop, &order, "first card", json!({"method": "decline_soft"})).await.expect(200);
    assert_eq!(declined["status"], "failed");
    let retried = charge(&shop, &order, "first card", json!({"method": "decline_soft"})).await;
    assert!(retried.is_replayed());
    assert_eq!(retried.expect(200)["status"], "failed");
    let paid = charge(&shop, &order, "second card", json!({"method": "ok"})).await.expect(200);
    assert_eq!((&paid["status"], &paid["captured"]), (&json!("captured"), &json!(100)));
    // The answer comes after the order has recorded the capture.
    assert_eq!(paid["revisions"][format!("order-{}", order["order_id"].as_str().unwrap())], 3);
    charge(&shop, &order, "third card", json!({"method": "ok"})).await.problem(409, "charge_under_way");
    assert_eq!(captured_at(&sandbox).await, (1, 100, 0));
}

#[tokio::test]
async fn a_final_decline_cancels_the_order() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    place(&shop, "checkout", "decline").await;
    let log = shop.until("its stock is released", |log| log.count("stock.released.v1") == 1).await;
    assert_eq!(log.count("order.cancelled.v2"), 1);
}

#[tokio::test]
async fn a_charge_whose_answer_was_lost_is_looked_up_and_made_once() {
    for method in ["lost_answer", "error_after"] {
        let sandbox = TestSandbox::open("").await;
        let shop = Shop::with(sandbox.options()).await;
        place(&shop, "checkout", method).await;
        let log = shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
        assert_eq!(log.count("payment.outcome_unknown.v1"), 1, "{method}");
        assert_eq!(captured_at(&sandbox).await, (1, 100, 0), "{method}");
    }
}

#[tokio::test]
async fn a_charge_cut_off_by_a_crash_is_repeated_and_made_once() {
    let sandbox = TestSandbox::open("").await;
    let options = sandbox.options();
    let shop = Shop::with(options.clone()).await;
    // The sandbox takes the money; the process dies before it records that.
    shop.store.hold_from(crate::support::appends("payment.captured.v1"));
    place(&shop, "checkout", "ok").await;
    shop.store.held(1).await;
    assert_eq!(captured_at(&sandbox).await, (1, 100, 0));
    let shop = shop.crash_into(options).await;
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(captured_at(&sandbox).await, (1, 100, 0));
}

#[tokio::test]
async fn an_authorisation_is_captured_in_parts_and_the_rest_voided() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    shop.receive("a", 1).await;
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    let held =
        charge(&shop, &order, "charge", json!({"method": "ok", "capture": "manual"})).await.expect(200);
    assert_eq!((&held["status"], &held["authorized"]), (&json!("authorized"), &json!(100)));
    let payment = format!("/v1/payments/{}", payment_of(&order));
    let part = shop.post(&format!("{payment}/capture"), "part", json!({"amount": 30})).await.expect(200);
    assert_eq!(part["captured"], 30);
    let repeated = shop.post(&format!("{payment}/capture"), "part", json!({"amount": 30})).await;
    assert!(repeated.is_replayed());
    let voided = shop.post(&format!("{payment}/void"), "void", json!({})).await.expect(200);
    assert_eq!(
        (&voided["status"], &voided["captured"], &voided["authorized"]),
        (&json!("captured"), &json!(30), &json!(30))
    );
    assert_eq!(captured_at(&sandbox).await, (1, 30, 0));
}

#[tokio::test]
async fn a_cancelled_order_is_refunded_through_the_provider() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = place(&shop, "checkout", "ok").await;
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    let cancel = format!("/v1/orders/{}/cancel", order["order_id"].as_str().unwrap());
    shop.post(&cancel, "cancel", json!({})).await.expect(200);
    let log = shop
        .until("the refund is recorded on the order", |log| log.count("order.payment_recorded.v1") == 2)
        .await;
    assert_eq!(log.count("payment.refunded.v1"), 1);
    assert_eq!(captured_at(&sandbox).await, (1, 100, 100));
}

#[tokio::test]
async fn a_refund_that_the_provider_refuses_is_repeated_only_after_a_pause() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = place(&shop, "checkout", "refund_fails").await;
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    let cancel = format!("/v1/orders/{}/cancel", order["order_id"].as_str().unwrap());
    shop.post(&cancel, "cancel", json!({})).await.expect(200);
    let log = shop.until("it fails again", |log| log.count("payment.refund_failed.v1") == 2).await;
    // The timers repeat it after 2 s.
    let times: Vec<_> = log
        .0
        .iter()
        .filter(|event| &*event.type_name == "payment.refund_failed.v1")
        .map(|event| event.recorded_at)
        .collect();
    assert!(times[1].duration_since(times[0]).as_millis() >= 1_000, "{times:?}");
}

#[tokio::test]
async fn without_a_provider_payments_are_recorded_by_hand() {
    let shop = Shop::with(ShopOptions::default()).await;
    shop.receive("a", 1).await;
    let payment = json!({"method": "ok"});
    let order = json!({"currency": "GBP", "lines": [line("a", 1, 100)], "payment": payment});
    shop.post("/v1/orders", "checkout", order).await.problem(422, "invalid_request");
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    charge(&shop, &order, "charge", json!({"method": "ok"})).await.problem(422, "invalid_request");
    shop.post("/v1/webhooks/sandbox", "", json!({})).await.problem(404, "not_found");
    shop.pay(&order).await;
}

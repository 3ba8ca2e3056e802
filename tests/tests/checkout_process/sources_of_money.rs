//! Refunds go back to the sources that hold the money; amounts recorded by hand add up; retries answer alike.

use serde_json::{Value, json};

use super::{charge, payment_of};
use crate::support::{Answer, Shop, TestSandbox, line};

/// An unpaid order over 1,000.
async fn unpaid(shop: &Shop) -> Value {
    shop.receive("a", 1).await;
    shop.place("checkout", &[line("a", 1, 1_000)]).await.expect(201)
}

async fn pay(shop: &Shop, order: &Value, step: &str, key: &str, body: Value) -> Answer {
    shop.post(&format!("/v1/payments/{}/{step}", payment_of(order)), key, body).await
}

async fn act(shop: &Shop, order: &Value, what: &str, body: Value) -> Answer {
    shop.post(&format!("/v1/orders/{}/{what}", order["order_id"].as_str().unwrap()), what, body).await
}

/// Finding: a charge that held 400 was asked for 1,000 for ever, and the customer got nothing.
#[tokio::test]
async fn a_cancelled_order_is_refunded_by_each_source_that_holds_money() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = unpaid(&shop).await;
    charge(&shop, &order, "charge", json!({"method": "ok", "capture": "manual"})).await.expect(200);
    pay(&shop, &order, "capture", "by charge", json!({"amount": 400})).await.expect(200);
    pay(&shop, &order, "void", "void", json!({})).await.expect(200);
    shop.until("the charge asks for no more", |log| log.count("order.payment_ended.v1") == 1).await;
    let added = act(&shop, &order, "payments", json!({})).await.expect(201);
    pay(&shop, &added, "authorize", "by hand", json!({})).await.expect(200);
    pay(&shop, &added, "capture", "by hand too", json!({})).await.expect(200);
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    let cancelled = act(&shop, &order, "cancel", json!({})).await.expect(200);
    shop.until("the charge is refunded", |log| log.count("payment.refunded.v1") == 1).await;
    let money = sandbox.totals().await.currencies.into_values().next().unwrap();
    assert_eq!(money.refunded.minor_units(), 400);

    let refund = &cancelled["refunds"][0];
    assert_eq!((&refund["payment_id"], &refund["amount"]), (&added["payment_id"], &json!(600)));
    let paid_out = format!("refunds/{}/succeed", refund["refund_id"].as_str().unwrap());
    pay(&shop, &added, &paid_out, "paid out", json!({})).await.expect(200);
    let log = shop.until("all is refunded", |log| log.count("payment.refunded.v1") == 2).await;
    assert_eq!((log.count("payment.refund_requested.v1"), log.count("payment.refund_failed.v1")), (2, 0));
}

/// Finding: `authorize` replaced the earlier amount and `capture` added to it.
#[tokio::test]
async fn amounts_recorded_by_hand_add_up() {
    let shop = Shop::open().await;
    let order = unpaid(&shop).await;
    for (number, amount) in [(1, 300), (2, 700)] {
        let key = |step: &str| format!("{step} {number}");
        pay(&shop, &order, "authorize", &key("authorize"), json!({"amount": amount})).await.expect(200);
        pay(&shop, &order, "capture", &key("capture"), json!({})).await.expect(200);
    }
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    let more = pay(&shop, &order, "authorize", "more", json!({"amount": 1})).await;
    more.problem(409, "payment_state");
}

/// Finding: the action of a customer was lost if the order carried the payment, and the charge could not be repeated.
#[tokio::test]
async fn a_request_with_the_same_method_gets_the_action_that_the_charge_waits_for() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = super::place(&shop, "checkout", "needs_action").await;
    shop.until("it waits", |log| log.count("payment.charge_pending.v1") == 1).await;
    for key in ["page", "page again"] {
        let waiting = charge(&shop, &order, key, json!({"method": "needs_action"})).await.expect(202);
        assert!(waiting["next_action"]["complete"].is_string(), "{waiting}");
    }
    charge(&shop, &order, "other", json!({"method": "ok"})).await.problem(409, "charge_under_way");
    sandbox.complete(payment_of(&order), 1).await;
    let log = shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("payment.charge_requested.v1"), 1);
}

#[tokio::test]
async fn an_order_that_waits_for_its_payment_is_answered_with_the_action_or_the_failure() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    shop.receive("a", 10).await;
    let wait = [("prefer", "wait=20")];
    let order = |method: &str| {
        let payment = json!({"method": method});
        json!({"currency": "GBP", "lines": [line("a", 1, 100)], "payment": payment})
    };
    let place = async |key: &str, method: &str| {
        let answer = shop.post_with("/v1/orders", key, order(method), &wait).await;
        assert_eq!(answer.header("preference-applied"), Some("wait=20"), "{}", answer.text());
        answer.expect(201)["payment"].clone()
    };
    assert_eq!(place("ok", "ok").await["status"], "captured");
    assert!(place("action", "needs_action").await["next_action"]["complete"].is_string());
    assert!(place("action", "needs_action").await["next_action"]["complete"].is_string());
    let soft = json!({"code": "insufficient_funds", "message": null, "retryable": true});
    assert_eq!(place("soft", "decline_soft").await["failure"], soft);
    let hard = json!({"code": "card_declined", "message": null, "retryable": false});
    assert_eq!(place("hard", "decline").await["failure"], hard);
}

/// Finding: a repeated charge answered with another revision, and called the provider, because of a later refund.
#[tokio::test]
async fn a_repeated_charge_gets_its_first_answer_while_a_later_refund_is_pending() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = unpaid(&shop).await;
    let body = json!({"method": "refund_pending"});
    let first = charge(&shop, &order, "charge", body.clone()).await.expect(200);
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    act(&shop, &order, "refunds", json!({"amount": 100})).await.expect(201);
    shop.until("the refund is pending", |log| log.count("payment.refund_pending.v1") == 1).await;
    let again = charge(&shop, &order, "charge", body).await;
    assert!(again.is_replayed());
    let again = again.expect(200);
    for member in ["status", "revision", "revisions"] {
        assert_eq!(again[member], first[member], "{member}");
    }
}

/// Finding: money that arrived after the end of the order could be neither recorded nor refunded.
#[tokio::test]
async fn money_that_arrives_by_hand_after_the_end_is_recorded_and_refunded_on_request() {
    let shop = Shop::open().await;
    let order = unpaid(&shop).await;
    act(&shop, &order, "cancel", json!({})).await.expect(200);
    shop.until("the payment is closed", |log| log.count("payment.closed.v1") == 1).await;
    pay(&shop, &order, "authorize", "authorize", json!({"amount": 1_000}))
        .await
        .problem(409, "payment_closed");
    pay(&shop, &order, "capture", "no amount", json!({})).await.problem(409, "payment_closed");
    let late = json!({"amount": 1_000, "reference": "bank transfer"});
    let captured = pay(&shop, &order, "capture", "transfer", late).await.expect(200);
    assert_eq!((&captured["status"], &captured["captured"]), (&json!("captured"), &json!(1_000)));
    let log = shop.until("the order knows", |log| log.count("order.payment_recorded.v1") == 1).await;
    assert_eq!(log.count("payment.refund_requested.v1"), 0);

    act(&shop, &order, "refunds", json!({"amount": 1_001})).await.problem(409, "refund_too_large");
    let refunds = format!("/v1/orders/{}/refunds", order["order_id"].as_str().unwrap());
    let refund = shop.post(&refunds, "give back", json!({"amount": 1_000})).await.expect(201);
    let refund = refund["refund_id"].as_str().unwrap();
    shop.until("it is requested", |log| log.count("payment.refund_requested.v1") == 1).await;
    pay(&shop, &order, &format!("refunds/{refund}/succeed"), "paid out", json!({})).await.expect(200);
    shop.until("it is given back", |log| log.count("order.payment_recorded.v1") == 2).await;
}

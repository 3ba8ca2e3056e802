//! The provider's word counts: refunds and disputes that begin there, late outcomes, and what operators may record.

use serde_json::{Value, json};

use super::{charge, payment_of, place};
use crate::support::{Answer, Shop, TestSandbox, line};

/// A shop with a sandbox that delivers its webhooks, and an order of two units for 500 each that is paid by `method`.
async fn paid(method: &str) -> (TestSandbox, Shop, Value) {
    let mut sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    sandbox.deliver_webhooks_to(&shop);
    shop.receive("a", 2).await;
    let order = shop.place("checkout", &[line("a", 2, 500)]).await.expect(201);
    charge(&shop, &order, "charge", json!({"method": method})).await.expect(200);
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    (sandbox, shop, order)
}

async fn refund(shop: &Shop, order: &Value, key: &str, amount: i64) -> Answer {
    let path = format!("/v1/orders/{}/refunds", order["order_id"].as_str().unwrap());
    shop.post(&path, key, json!({"amount": amount})).await
}

async fn settle_by_hand(shop: &Shop, order: &Value, refund: &Value, outcome: &str) -> Answer {
    let (payment, refund) = (payment_of(order), refund["refund_id"].as_str().unwrap());
    shop.post(&format!("/v1/payments/{payment}/refunds/{refund}/{outcome}"), outcome, json!({})).await
}

/// Captured, refunded and disputed, as the order records them.
async fn amounts(shop: &Shop, order: &Value) -> [i64; 3] {
    let id = order["order_id"].as_str().unwrap().parse().unwrap();
    let recorded = shop.checkout.order(id).await.unwrap().state;
    [recorded.captured(), recorded.refunded(), recorded.disputed()].map(domain::Amount::minor_units)
}

#[tokio::test]
async fn a_refund_made_at_the_provider_is_recorded_and_never_made_again() {
    let (sandbox, shop, order) = paid("ok").await;
    sandbox.refund(payment_of(&order), 1, 1_000).await;
    shop.until("it is recorded", |log| log.count("order.payment_recorded.v1") == 2).await;
    assert_eq!(amounts(&shop, &order).await, [1_000, 1_000, 0]);
    refund(&shop, &order, "again", 1).await.problem(409, "refund_too_large");
    let cancel = format!("/v1/orders/{}/cancel", order["order_id"].as_str().unwrap());
    shop.post(&cancel, "cancel", json!({})).await.expect(200);
    let log = shop.until("the payment is closed", |log| log.count("payment.closed.v1") == 1).await;
    assert_eq!(log.count("payment.refund_requested.v1"), 0);
}

#[tokio::test]
async fn a_dispute_holds_its_money_until_it_is_won() {
    let (sandbox, shop, order) = paid("ok").await;
    let dispute = sandbox.dispute(payment_of(&order), 1, 600).await;
    shop.until("it is recorded", |log| log.count("order.payment_recorded.v1") == 2).await;
    assert_eq!(amounts(&shop, &order).await, [1_000, 0, 600]);
    refund(&shop, &order, "too much", 401).await.problem(409, "refund_too_large");
    sandbox.settle_dispute(payment_of(&order), 1, &dispute, true).await;
    shop.until("it is won", |log| log.count("order.payment_recorded.v1") == 3).await;
    assert_eq!(amounts(&shop, &order).await, [1_000, 0, 0]);
    refund(&shop, &order, "all", 1_000).await.expect(201);
}

#[tokio::test]
async fn a_lost_dispute_is_money_gone_and_nothing_refunds_it_again() {
    let (sandbox, shop, order) = paid("ok").await;
    let dispute = sandbox.dispute(payment_of(&order), 1, 600).await;
    sandbox.settle_dispute(payment_of(&order), 1, &dispute, false).await;
    shop.until("it is lost", |log| log.count("payment.dispute_lost.v1") == 1).await;
    let cancel = format!("/v1/orders/{}/cancel", order["order_id"].as_str().unwrap());
    shop.post(&cancel, "cancel", json!({})).await.expect(200);
    shop.until("the rest is refunded", |log| log.count("payment.refunded.v1") == 1).await;
    let money = sandbox.totals().await.currencies.into_values().next().unwrap();
    assert_eq!((money.refunded.minor_units(), money.disputed.minor_units()), (400, 600));
}

#[tokio::test]
async fn an_operator_cannot_settle_a_refund_that_the_provider_knows() {
    let (sandbox, shop, order) = paid("refund_pending").await;
    let pending = refund(&shop, &order, "first", 500).await.expect(201);
    shop.until("it is pending", |log| log.count("payment.refund_pending.v1") == 1).await;
    for outcome in ["fail", "succeed"] {
        settle_by_hand(&shop, &order, &pending, outcome).await.problem(409, "refund_under_way");
    }
    sandbox.settle_refund(payment_of(&order), 1, pending["refund_id"].as_str().unwrap(), true).await;
    shop.until("it is paid", |log| log.count("order.payment_recorded.v1") == 2).await;
    assert_eq!(amounts(&shop, &order).await, [1_000, 500, 0]);
}

#[tokio::test]
async fn a_refund_that_fails_after_it_was_paid_can_be_requested_again() {
    let (sandbox, shop, order) = paid("ok").await;
    let first = refund(&shop, &order, "first", 1_000).await.expect(201);
    shop.until("it is paid", |log| log.count("order.payment_recorded.v1") == 2).await;
    assert_eq!(amounts(&shop, &order).await, [1_000, 1_000, 0]);
    sandbox.settle_refund(payment_of(&order), 1, first["refund_id"].as_str().unwrap(), false).await;
    shop.until("it comes back", |log| log.count("order.payment_recorded.v1") == 3).await;
    assert_eq!(amounts(&shop, &order).await, [1_000, 0, 0]);
    refund(&shop, &order, "second", 1_000).await.expect(201);
    shop.until("it is paid again", |log| log.count("payment.refunded.v1") == 2).await;
    let money = sandbox.totals().await.currencies.into_values().next().unwrap();
    assert_eq!(money.refunded.minor_units() - money.refunds_reversed.minor_units(), 1_000);
}

/// Finding: an operator recorded a refund as failed, requested another one, and both were paid unseen.
#[tokio::test]
async fn a_refund_that_succeeds_after_an_operator_recorded_its_failure_counts() {
    let mut sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let order = place(&shop, "checkout", "card").await;
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    // The provider does the refund, and every answer is lost.
    sandbox.set_script(json!({"lost_answers": 1.0})).await;
    let first = refund(&shop, &order, "first", 50).await.expect(201);
    shop.until("its outcome is unknown", |log| log.count("payment.refund_outcome_unknown.v1") == 1).await;
    settle_by_hand(&shop, &order, &first, "fail").await.expect(200);
    sandbox.deliver_webhooks_to(&shop);
    shop.until("it is paid after all", |log| log.count("order.payment_recorded.v1") == 3).await;
    let second = refund(&shop, &order, "second", 51).await;
    second.problem(409, "refund_too_large");
    refund(&shop, &order, "third", 50).await.expect(201);
}

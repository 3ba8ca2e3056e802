//! What the provider sends of itself.

use serde_json::json;

use super::{charge, payment_of};
use crate::support::{Shop, ShopOptions, Till, line};

#[tokio::test]
async fn a_payment_that_its_customer_completes_is_known_by_webhook() {
    let mut till = Till::open("duplicate_webhooks=1,reordered_webhooks=0.5").await;
    let shop = Shop::with(till.options()).await;
    till.take_webhooks(&shop);
    shop.receive("a", 1).await;
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    charge(&shop, &order, "charge", json!({"method": "needs_action"})).await.expect(202);
    till.complete(payment_of(&order), 1).await;
    let log = shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("payment.captured.v1"), 1);
}

#[tokio::test]
async fn a_webhook_that_comes_while_nobody_asks_is_enough() {
    // No process manager that could look the charge up.
    let mut till = Till::open("duplicate_webhooks=1,lost_answers=1").await;
    let shop = Shop::with(ShopOptions { process_manager: false, ..till.options() }).await;
    shop.receive("a", 1).await;
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    let answer = charge(&shop, &order, "charge", json!({"method": "card"})).await.expect(202);
    assert_eq!(answer["status"], "outcome_unknown");
    till.take_webhooks(&shop);
    let log = shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("payment.captured.v1"), 1);
}

#[tokio::test]
async fn what_is_not_signed_by_the_provider_is_refused() {
    let till = Till::open("").await;
    let shop = Shop::with(till.options()).await;
    let body = json!({"type": "charge.captured"});
    shop.post("/v1/webhooks/sandbox", "", body.clone()).await.problem(401, "webhook_signature");
    let forged =
        [("webhook-id", "evt_1"), ("webhook-timestamp", "1700000000"), ("webhook-signature", "v1,AAAA")];
    shop.post_with("/v1/webhooks/sandbox", "", body.clone(), &forged).await.problem(401, "webhook_signature");
    shop.post("/v1/webhooks/stripe", "", body).await.problem(404, "not_found");
    assert_eq!(shop.log().await.0.len(), 0);
}

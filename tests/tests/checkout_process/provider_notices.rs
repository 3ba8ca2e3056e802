//! Notices of the payment provider.

use std::convert::Infallible;

use axum::{
    body::{Body, Bytes},
    http::Request,
};
use futures::stream;
use serde_json::json;

use super::{charge, payment_of};
use crate::support::{Shop, ShopOptions, TestSandbox, line};

#[tokio::test]
async fn a_webhook_reports_that_the_customer_has_completed_a_payment() {
    let mut sandbox = TestSandbox::open("duplicate_webhooks=1,reordered_webhooks=0.5").await;
    let shop = Shop::with(sandbox.options()).await;
    sandbox.deliver_webhooks_to(&shop);
    shop.receive("a", 1).await;
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    charge(&shop, &order, "charge", json!({"method": "needs_action"})).await.expect(202);
    sandbox.complete(payment_of(&order), 1).await;
    let log = shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("payment.captured.v1"), 1);
}

#[tokio::test]
async fn a_webhook_alone_settles_a_charge_whose_answer_was_lost() {
    // Without a process manager nothing looks the charge up.
    let mut sandbox = TestSandbox::open("duplicate_webhooks=1,lost_answers=1").await;
    let shop = Shop::with(ShopOptions { process_manager: false, ..sandbox.options() }).await;
    shop.receive("a", 1).await;
    let order = shop.place("checkout", &[line("a", 1, 100)]).await.expect(201);
    let answer = charge(&shop, &order, "charge", json!({"method": "card"})).await.expect(202);
    assert_eq!(answer["status"], "outcome_unknown");
    sandbox.deliver_webhooks_to(&shop);
    let log = shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    assert_eq!(log.count("payment.captured.v1"), 1);
}

#[tokio::test]
async fn a_webhook_without_the_signature_of_the_provider_is_refused() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let body = json!({"type": "charge.captured"});
    shop.post("/v1/webhooks/sandbox", "", body.clone()).await.problem(401, "webhook_signature");
    let forged =
        [("webhook-id", "evt_1"), ("webhook-timestamp", "1700000000"), ("webhook-signature", "v1,AAAA")];
    shop.post_with("/v1/webhooks/sandbox", "", body.clone(), &forged).await.problem(401, "webhook_signature");
    shop.post("/v1/webhooks/stripe", "", body).await.problem(404, "not_found");
    assert_eq!(shop.log().await.0.len(), 0);
}

#[tokio::test]
async fn the_body_of_a_webhook_is_not_read_before_its_headers_are_checked() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let now = jiff::Timestamp::now().as_second();
    for headers in [
        vec![],
        vec![("webhook-id", "evt_1".to_owned()), ("webhook-timestamp", now.to_string())],
        vec![
            ("webhook-id", "evt_1".to_owned()),
            ("webhook-timestamp", (now - 301).to_string()),
            ("webhook-signature", "v1,AAAA".to_owned()),
        ],
    ] {
        // A read of this body never ends.
        let body = Body::from_stream(stream::pending::<Result<Bytes, Infallible>>());
        let request =
            headers.into_iter().fold(Request::post("/v1/webhooks/sandbox"), |request, (name, value)| {
                request.header(name, value)
            });
        shop.send(request.body(body).unwrap()).await.problem(401, "webhook_signature");
    }
}

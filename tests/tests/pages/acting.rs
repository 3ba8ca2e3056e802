//! What people do on the pages.

use axum::http::header;
use infra::{auth::Scope, http::Gate, sealing::SecretKeys};
use serde_json::json;

use super::{Browser, Pages, api, line, set};
use crate::{
    authentication::Keys,
    support::{Shop, TestSandbox, metadata},
};

#[tokio::test]
async fn an_order_is_shipped_once_although_its_form_is_sent_twice() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 2, 500), line("B", 1, 300)]).await;
    let browser = pages.browser();
    let path = format!("/orders/{id}/ship");
    let form = browser.get(&path).await.expect(200);
    form.has("unfulfilled → <strong>shipped</strong>").has("Money: none moves");
    form.has("<strong>2 × A</strong> leave the shelf").has("<strong>1 × B</strong> leave the shelf");
    let mut fields = form.fields();
    set(&mut fields, "carrier", "");

    let done = browser.submit(&path, &fields).await;
    assert!(done.location().starts_with(&format!("/orders/{id}?min_revision=")), "{}", done.location());
    browser.get(done.location()).await.expect(200).has("The shipment is recorded.").has("on the way");
    assert_eq!(browser.submit(&path, &fields).await.location(), done.location());
    assert_eq!(
        pages.until(&format!("/v1/orders/{id}"), |_| true).await["shipments"].as_array().unwrap().len(),
        1
    );

    let delivery = browser.get(&format!("/orders/{id}/deliver")).await.expect(200);
    let mut fields = delivery.fields();
    let shipments = pages.until(&format!("/v1/orders/{id}"), |_| true).await["shipments"].clone();
    set(&mut fields, "shipment", shipments[0]["shipment_id"].as_str().unwrap());
    let done = browser.submit(&format!("/orders/{id}/deliver"), &fields).await;
    browser.get(done.location()).await.expect(200).has("<span class=\"chip good\">delivered</span>");
}

#[tokio::test]
async fn changed_fields_are_carried_out_only_after_their_effects_were_shown() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 3, 500)]).await;
    let browser = pages.browser();
    let path = format!("/orders/{id}/ship");
    let mut fields = browser.get(&path).await.expect(200).fields();
    set(&mut fields, "units1", "1");
    let preview = browser.submit(&path, &fields).await.expect(200);
    preview.has("<strong>1 × A</strong> leave the shelf").has("partially shipped");
    browser.submit(&path, &preview.fields()).await.location();
    let order =
        pages.until(&format!("/v1/orders/{id}"), |order| order["fulfilment_status"] != "unfulfilled").await;
    assert_eq!(order["lines"][0]["shipped"], 1);

    set(&mut fields, "units1", "many");
    browser
        .submit(&path, &fields)
        .await
        .expect(200)
        .has("Line 1: enter a whole number of units.")
        .has("disabled");
    set(&mut fields, "units1", "9");
    browser.submit(&path, &fields).await.expect(200).has("9 units were requested and 2 can be shipped");
}

#[tokio::test]
async fn returns_refunds_and_cancellations_say_what_happens_to_money_and_stock() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 2, 500), line("B", 1, 300)]).await;
    let browser = pages.browser();
    let mut fields = browser.get(&format!("/orders/{id}/cancel")).await.expect(200).fields();
    set(&mut fields, "units2", "0");
    set(&mut fields, "units1", "1");
    set(&mut fields, "preview", "1");
    let form = browser.submit(&format!("/orders/{id}/cancel"), &fields).await.expect(200);
    form.has("5.00 <span class=\"unit\">GBP</span></span></strong> goes back")
        .has("<strong>1 × A</strong> are free for other orders again");

    let mut fields = browser.get(&format!("/orders/{id}/refund")).await.expect(200).fields();
    set(&mut fields, "amount", "13.01");
    let refused = browser.submit(&format!("/orders/{id}/refund"), &fields).await.expect(200);
    refused.has("At most 13.00 GBP can go back.");
    set(&mut fields, "amount", "2.5");
    set(&mut fields, "reason", "goodwill");
    let form = browser.submit(&format!("/orders/{id}/refund"), &fields).await.expect(200);
    form.has("2.50 <span class=\"unit\">GBP</span></span></strong> goes back").has("Stock: does not change");
    let done = browser.submit(&format!("/orders/{id}/refund"), &form.fields()).await;
    browser.get(done.location()).await.expect(200).has("The refund is requested.").has("2.50");

    let ship = browser.get(&format!("/orders/{id}/ship")).await.expect(200).fields();
    let done = browser.submit(&format!("/orders/{id}/ship"), &ship).await;
    browser.get(done.location()).await.expect(200);
    let mut fields = browser
        .get(&format!("/orders/{id}/return"))
        .await
        .expect(200)
        .has("Enter how many units came back.")
        .fields();
    set(&mut fields, "units2", "1");
    let form = browser.submit(&format!("/orders/{id}/return"), &fields).await.expect(200);
    form.has("<strong>1 × B</strong> go back on the shelf");
    browser.submit(&format!("/orders/{id}/return"), &form.fields()).await.location();
}

#[tokio::test]
async fn a_refusal_of_the_command_api_is_shown_in_its_words() {
    let keys = Keys::new();
    let (_, desk) = keys.add("desk", [Scope::Read, Scope::OrdersWrite]).await;
    let (_, all) = keys.add("all", [Scope::Admin]).await;
    let pages = Pages::behind(keys.gate(), SecretKeys::of_this_process().unwrap()).await;
    let write = [("authorization", all.as_str())];
    pages.shop.post_with("/v1/stock/A/receipts", "s", json!({"quantity": 9}), &write).await.expect(201);
    let body = json!({"currency": "GBP", "lines": [line("A", 1, 500)]});
    let order = pages.shop.post_with("/v1/orders", "o", body, &write).await.expect(201);
    let id = order["order_id"].as_str().unwrap();
    let browser = pages.browser();
    let mut login = browser.get("/login").await.fields();
    set(&mut login, "key", desk.trim_start_matches("Bearer "));
    set(&mut login, "person", "Ann Lee");
    browser.submit("/login", &login).await.location();
    let fresh = order["revision"].as_u64().unwrap();
    browser.get(&format!("/orders/{id}?min_revision={fresh}")).await.expect(200);

    let form = browser.get(&format!("/orders/{id}/ship")).await.expect(200);
    form.has("The order is not paid yet.");
    browser.submit(&format!("/orders/{id}/ship"), &form.fields()).await.expect(409).has("not paid");
    browser.get(&format!("/orders/{id}/refund")).await.expect(403).has("refunds:write");

    let form = browser.get(&format!("/orders/{id}/cancel")).await.expect(200);
    form.has("open payments are closed");
    browser.submit(&format!("/orders/{id}/cancel"), &form.fields()).await.location();
    // Events name the caller, and the person in front of the browser.
    let log = pages.shop.until("the order is cancelled", |log| log.count("order.cancelled.v2") == 1).await;
    let actor = metadata(log.first("order.cancelled.v2")).actor.unwrap();
    assert_eq!((&*actor.principal, actor.person.as_deref()), ("desk", Some("Ann Lee")));
}

#[tokio::test]
async fn a_command_api_that_does_not_answer_leaves_the_same_request_to_send_again() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 1, 500)]).await;
    let url = Some("http://127.0.0.1:1".to_owned());
    let keys = SecretKeys::of_this_process().unwrap();
    let browser = Browser::at(&query_api::router(api(&pages.shop, Gate::open(), keys, url)));
    let path = format!("/orders/{id}/ship");
    let fields = browser.get(&path).await.expect(200).fields();
    let failed = browser.submit(&path, &fields).await.expect(502);
    failed.has("The command API has not answered.");
    let key = |fields: &[(String, String)]| fields.iter().find(|(name, _)| name == "key").unwrap().1.clone();
    assert_eq!(key(&failed.fields()), key(&fields));

    let keys = SecretKeys::of_this_process().unwrap();
    let browser = Browser::at(&query_api::router(api(&pages.shop, Gate::open(), keys, None)));
    browser.get(&format!("/orders/{id}")).await.expect(200).has_not(&format!("/orders/{id}/ship"));
    let fields = browser.get(&path).await.expect(200).fields();
    browser.submit(&path, &fields).await.expect(404).has("ORDERLY_COMMAND_URL");
}

#[tokio::test]
async fn a_declined_payment_says_why_and_is_charged_again() {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    let pages = Pages::over(shop, Gate::open(), SecretKeys::of_this_process().unwrap()).await;
    pages.shop.receive("A", 5).await;
    let body =
        json!({"currency": "GBP", "lines": [line("A", 1, 500)], "payment": {"method": "decline_soft"}});
    let order = pages.shop.post("/v1/orders", "o", body).await.expect(201);
    let (id, payment) = (order["order_id"].as_str().unwrap(), order["payment_id"].as_str().unwrap());
    pages.until(&format!("/v1/payments/{payment}"), |payment| payment["retryable"] == true).await;
    let browser = pages.browser();
    let shown = browser.get(&format!("/orders/{id}")).await.expect(200);
    shown.has("Declined: ").has(&format!("/payments/{payment}/charge"));
    let path = format!("/payments/{payment}/charge");
    let mut fields = browser.get(&path).await.expect(200).fields();
    set(&mut fields, "method", "ok");
    let form = browser.submit(&path, &fields).await.expect(200);
    form.has("is asked to take").has("5.00");
    let done = browser.submit(&path, &form.fields()).await;
    assert_eq!(
        done.headers[header::LOCATION].to_str().unwrap().split('?').next(),
        Some(&*format!("/payments/{payment}"))
    );
    pages.until(&format!("/v1/payments/{payment}"), |payment| payment["status"] == "captured").await;
}

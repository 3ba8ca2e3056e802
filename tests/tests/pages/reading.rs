//! What the pages show.

use axum::http::header;
use infra::{auth::Scope, sealing::SecretKeys};
use serde_json::json;

use super::{Pages, line};
use crate::authentication::Keys;

#[tokio::test]
async fn an_order_shows_its_lines_its_money_and_its_timeline() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 2, 1_234), line("B", 1, 100_000)]).await;
    let shown = pages.browser().get(&format!("/orders/{id}")).await.expect(200);
    shown.has("1,024.68").has("href=\"/stock/A\"").has("href=\"/stock/B\"");
    shown.has("<strong>Placed</strong>").has("<strong>Reserved</strong>").has("because of 1");
    // The drawing has an arrow from the order to its reservations.
    shown.has("class=\"arrow\"").has("&quot;quantity&quot;").has("Idempotency key");
    shown
        .has(&format!("href=\"/orders/{id}/ship\""))
        .has(&format!("data-feed=\"/v1/feed?stream=order-{id}\""));
}

#[tokio::test]
async fn an_order_is_shown_as_it_was_after_an_earlier_event() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 2, 500)]).await;
    let browser = pages.browser();
    let now = browser.get(&format!("/orders/{id}")).await.expect(200);
    now.has("<span class=\"chip good\">allocated</span>").has("<span class=\"chip good\">paid</span>");
    let placed = browser.get(&format!("/orders/{id}?revision=0")).await.expect(200);
    placed.has("as it was after event 0").has("<span class=\"chip busy\">placed</span>");
    placed.has("<span class=\"chip busy\">pending</span>").has_not(&format!("/orders/{id}/ship"));
    // It does not follow the feed: the past does not change.
    placed.has_not("data-feed");
    let allocated = browser.get(&format!("/orders/{id}?revision=1")).await.expect(200);
    allocated
        .has("<span class=\"chip good\">allocated</span>")
        .has("<span class=\"chip busy\">pending</span>");
}

#[tokio::test]
async fn who_did_what_needs_the_scope_audit() {
    let keys = Keys::new();
    let (_, bearer) = keys.add("desk", [Scope::Read]).await;
    let (_, writer) = keys.add("shop", [Scope::OrdersWrite, Scope::StockWrite]).await;
    let pages = Pages::behind(keys.gate(), SecretKeys::of_this_process().unwrap()).await;
    let write = [("authorization", writer.as_str())];
    pages.shop.post_with("/v1/stock/A/receipts", "s", json!({"quantity": 9}), &write).await.expect(201);
    let body = json!({"currency": "GBP", "lines": [line("A", 1, 5)]});
    let order = pages.shop.post_with("/v1/orders", "o", body, &write).await.expect(201);
    let id = order["order_id"].as_str().unwrap();
    let browser = pages.browser();
    browser.log_in(&bearer).await.location();
    let fresh = order["revision"].as_u64().unwrap();
    let shown = browser.get(&format!("/orders/{id}?min_revision={fresh}")).await.expect(200);
    shown.has("scope <code>audit</code>").has_not("class=\"lanes").has_not("/ship\"");
    browser.get(&format!("/orders/{id}?revision=0")).await.expect(403).has("scope audit");
    browser.get(&format!("/orders/{id}/ship")).await.expect(403).has("orders:write");
}

#[tokio::test]
async fn the_search_box_finds_orders_by_id_payment_customer_and_sku() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 1, 500)]).await;
    let payment =
        pages.until(&format!("/v1/orders/{id}"), |_| true).await["payment_id"].as_str().unwrap().to_owned();
    let body = json!({"currency": "GBP", "customer_id": "ann lee", "lines": [line("A", 1, 700)]});
    let other = pages.shop.post("/v1/orders", "other", body).await.expect(201);
    let other = other["order_id"].as_str().unwrap();
    pages.until(&format!("/v1/orders/{other}"), |order| order["status"] == "allocated").await;
    let browser = pages.browser();
    assert_eq!(browser.get(&format!("/orders?q=+{id}")).await.location(), format!("/orders/{id}"));
    assert_eq!(browser.get(&format!("/orders?q={payment}")).await.location(), format!("/payments/{payment}"));
    let of_customer = browser.get("/orders?q=ann+lee").await.expect(200);
    of_customer.has(other).has_not(&id).has("Found by");
    browser.get("/orders?q=A").await.expect(200).has(other).has(&id).has("Orders with the SKU");
    browser.get("/orders?q=nothing").await.expect(200).has("No order matches");
    // A form sends its empty fields, too.
    browser
        .get("/orders?status=&sku=&placed_from=&customer_id=ann+lee")
        .await
        .expect(200)
        .has(other)
        .has_not(&id);
    browser.get("/orders?sku=A&overdue=true").await.expect(400);
}

#[tokio::test]
async fn a_browser_keeps_its_time_zone_and_its_colours() {
    let pages = Pages::open().await;
    let body = json!({
        "currency": "JPY", "placed_at": "2026-07-01T23:30:00Z", "reference": "<b>&",
        "lines": [{"sku": "fee", "quantity": 1, "unit_price": 1_500, "stocked": false}],
    });
    let order = pages.shop.post("/v1/orders", "o", body).await.expect(201);
    let id = order["order_id"].as_str().unwrap();
    pages.until(&format!("/v1/orders/{id}"), |order| order["status"] == "allocated").await;
    let browser = pages.browser();
    let path = format!("/orders/{id}");
    browser.get(&path).await.expect(200).has("2026-07-01 23:30:00").has("data-choose-zone");
    let chosen = browser.get(&format!("{path}?tz=Europe%2FBerlin&theme=dark")).await;
    assert_eq!(chosen.location(), path);
    assert_eq!(chosen.headers.get_all(header::SET_COOKIE).iter().count(), 2);
    let shown = browser.get(&path).await.expect(200);
    shown.has("2026-07-02 01:30:00").has("data-theme=\"dark\"").has_not("data-choose-zone");
    // Yen have no minor units, and texts of callers are texts.
    shown.has("1,500 <span class=\"unit\">JPY").has("&lt;b&gt;&amp;").has_not("<b>&");
    assert_eq!(browser.get("/orders?tz=Nowhere&status=placed").await.location(), "/orders?status=placed");
    browser.get(&path).await.expect(200).has("2026-07-02 01:30:00");
}

#[tokio::test]
async fn today_counts_the_orders_of_the_day_and_the_work() {
    let pages = Pages::open().await;
    pages.paid_order(&[line("A", 2, 1_250)]).await;
    let shown = pages.browser().get("/").await.expect(200);
    shown.has("25.00 <span class=\"unit\">GBP").has("Outcome unknown at the provider").has("<svg");
    shown.has("data-feed=\"/v1/feed?topic=tiles\"");
    pages.browser().get("/?currency=EUR").await.expect(200).has("0.00 <span class=\"unit\">EUR");
    pages.browser().get("/?currency=nothing").await.expect(400);
}

#[tokio::test]
async fn stock_shows_levels_and_reservations() {
    let pages = Pages::open().await;
    let path = "/v1/stock/A%2FB%20%2B1/receipts";
    pages.shop.post(path, "s", json!({"quantity": 2})).await.expect(201);
    let order = pages.shop.place("o", &[line("A/B +1", 2, 5)]).await.expect(201);
    let id = order["order_id"].as_str().unwrap();
    pages.until(&format!("/v1/orders/{id}"), |order| order["status"] == "allocated").await;
    let browser = pages.browser();
    browser.get("/stock?available_below=1").await.expect(200).has("sold out").has("/stock/A%2FB%20%2B1");
    assert_eq!(browser.get("/stock?q=A%2FB+%2B1").await.location(), "/stock/A%2FB%20%2B1");
    browser.get("/stock/A%2FB%20%2B1").await.expect(200).has(id).has("sold out");
}

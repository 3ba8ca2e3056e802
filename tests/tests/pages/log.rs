//! The log, the tree of a correlation, and the last events of today.

use infra::{auth::Scope, http::Gate, sealing::SecretKeys};
use serde_json::{Value, json};

use super::{Pages, line};
use crate::authentication::Keys;

/// The events of an order's timeline.
async fn timeline(pages: &Pages, order: &str) -> Vec<Value> {
    let path = format!("/v1/orders/{order}/timeline");
    pages.until(&path, |timeline| timeline["items"].is_array()).await["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn the_log_shows_the_latest_events_first_and_follows_the_feed() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 2, 500)]).await;
    let browser = pages.browser();
    let shown = browser.get("/log").await.expect(200);
    shown
        .has(&format!("href=\"/orders/{id}\""))
        .has("href=\"/stock/A\"")
        .has("2 units")
        .has("&quot;quantity&quot;");
    shown.has("data-feed=\"/v1/feed?topic=tiles\"").has("id=\"pause\"").has("Idempotency key");
    let place = |text: &str| shown.html.find(text).unwrap_or_else(|| panic!("{text} is missing"));
    assert!(place("<strong>Captured</strong>") < place("<strong>Placed</strong>"));
    assert!(place("<strong>Placed</strong>") < place("<strong>Received</strong>"));

    let stock = browser.get("/log?stream=stock-A").await.expect(200);
    stock
        .has("Reserved")
        .has("Received")
        .has_not("<strong>Placed")
        .has("data-feed=\"/v1/feed?stream=stock-A\"");
    let placed = browser.get("/log?event_type=order.placed.v2&stream=&actor=&from=&to=").await.expect(200);
    placed.has("<strong>Placed").has_not("<strong>Reserved");
    placed.has("/v1/events?latest_first=true&amp;event_type=order.placed.v2\"");
    browser.get("/log?actor=nobody").await.expect(200).has("No event matches.");
    // What ended before now does not change.
    let before = browser.get("/log?to=2100-01-01T00%3A00").await.expect(200);
    before.has("<strong>Placed").has_not("data-feed").has_not("id=\"pause\"");
    browser.get("/log?from=2100-01-01T00%3A00%3A00").await.expect(200).has("No event matches.");
    browser.get("/log?from=soon").await.expect(400).has("is neither a date");

    let first = browser.get("/log?limit=1").await.expect(200);
    let (_, next) = first.html.split_once("rel=\"next\" href=\"").unwrap();
    let next = next.split_once('"').unwrap().0.replace("&amp;", "&");
    browser.get(&next).await.expect(200).has_not("data-feed").has("First page");
}

#[tokio::test]
async fn the_log_reads_times_by_the_clock_of_the_person() {
    let pages = Pages::open().await;
    pages.paid_order(&[line("A", 1, 500)]).await;
    let browser = pages.browser();
    assert_eq!(browser.get("/log?tz=Europe%2FBerlin").await.location(), "/log");
    let shown = browser.get("/log?from=2026-07-01T02%3A00").await.expect(200);
    shown.has("from=2026-07-01T00%3A00%3A00Z").has("value=\"2026-07-01T02:00\"");
}

#[tokio::test]
async fn a_correlation_is_a_tree_of_causes_and_effects() {
    let pages = Pages::open().await;
    let id = pages.paid_order(&[line("A", 2, 500), line("B", 1, 100)]).await;
    let events = timeline(&pages, &id).await;
    let placed = events.iter().find(|event| event["type"] == "order.placed.v2").unwrap();
    let (correlation, position) = (placed["correlation_id"].as_str().unwrap(), &placed["position"]);
    let chain = events.iter().filter(|event| event["correlation_id"] == correlation).count();

    let browser = pages.browser();
    let address = format!("/log/{correlation}?around={position}");
    browser.get(&format!("/orders/{id}")).await.expect(200).has(&format!("href=\"{address}\""));
    for address in [address, format!("/log/{correlation}")] {
        let tree = browser.get(&address).await.expect(200);
        tree.has(&format!("{chain} events in ")).has("href=\"#e1\"").has(&format!("/orders/{id}#timeline"));
        assert_eq!(tree.html.matches("<circle").count(), chain, "{address}");
        // The reservations are below the order, which is the only root.
        let (_, list) = tree.html.split_once("<ul class=\"tree\">").unwrap();
        let (root, effects) = list.split_once("<ul>").unwrap();
        assert!(root.contains("Placed") && !root.contains("Reserved"), "{root}");
        assert_eq!(effects.matches("<strong>Reserved").count(), 2);
        tree.has_not("its cause is not on this page");
    }
    // A later part of the log has effects without their causes.
    let after = placed["position"].as_u64().unwrap();
    let later = browser.get(&format!("/log/{correlation}?after={after}")).await.expect(200);
    later.has("its cause is not on this page").has_not("<strong>Placed");
    browser.get("/log/00000000-0000-0000-0000-000000000001").await.expect(200).has("No event of it");
    browser.get("/log/x").await.expect(404);
    browser.get(&format!("/log/{correlation}?around=x")).await.expect(400);
}

#[tokio::test]
async fn today_shows_the_last_events_in_words() {
    let pages = Pages::open().await;
    pages.browser().get("/").await.expect(200).has("Nothing was recorded yet.");
    let id = pages.paid_order(&[line("A", 2, 500)]).await;
    let shown = pages.browser().get("/").await.expect(200);
    let (_, last) = shown.html.split_once("Last events").unwrap();
    for part in [&*format!("/orders/{id}"), "/stock/A", "Captured", "Reserved", "2 units"] {
        assert!(last.contains(part), "{part:?} is not in {last}");
    }
    // An order has more than twelve events with its stock.
    assert!(last.matches("<li class=\"event ").count() <= 12);
}

#[tokio::test]
async fn the_content_of_events_needs_the_scope_audit() {
    let keys = Keys::new();
    let (_, reader) = keys.add("desk", [Scope::Read]).await;
    let (_, auditor) = keys.add("auditor", [Scope::Read, Scope::Audit]).await;
    let (_, writer) = keys.add("shop", [Scope::StockWrite]).await;
    let pages = Pages::behind(keys.gate(), SecretKeys::of_this_process().unwrap()).await;
    let write = [("authorization", writer.as_str())];
    pages.shop.post_with("/v1/stock/A/receipts", "s", json!({"quantity": 9}), &write).await.expect(201);
    let browser = pages.browser();
    browser.log_in(&reader).await.location();
    for path in ["/log", "/log/00000000-0000-0000-0000-000000000001", "/audit", "/audit/then?of=A"] {
        browser.get(path).await.expect(403).has("scope");
    }
    let today = browser.get("/").await.expect(200);
    today.has("Received").has_not("9 units").has_not("href=\"/log\"").has_not("href=\"/audit\"");
    let browser = pages.browser();
    browser.log_in(&auditor).await.location();
    browser.get("/").await.expect(200).has("9 units").has("href=\"/log\"").has("href=\"/audit\"");
    browser.get("/log").await.expect(200).has("9 units").has("shop");
}

#[tokio::test]
async fn a_log_that_cannot_be_read_leaves_the_rest_of_today() {
    let pages = Pages::open().await;
    pages.paid_order(&[line("A", 1, 500)]).await;
    let log = query_api::LogAccess::opened_by(|| async {
        Err(infra::event_store::ReadError::Unavailable("the event store does not answer".into()))
    });
    let options = query_api::QueryApiOptions::default();
    let clock = infra::clock::Clock::system();
    let api = query_api::QueryApi::new(pages.shop.queries.clone(), None, log, clock, options);
    let browser = super::Browser::at(&query_api::router(api.behind(Gate::open())));
    browser.get("/").await.expect(200).has("The event log cannot be read now.").has("Latest orders");
    browser.get("/log").await.expect(503);
}

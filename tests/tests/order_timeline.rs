//! Compares the timelines of orders with the log, over a running platform.

use std::sync::Arc;

use axum::{
    Router,
    body::{Body, to_bytes},
    http::Request,
};
use domain::{Event, OrderId, PaymentId, RecordedEvent, StreamName, stock::StockEvent};
use infra::clock::Clock;
use query_api::{LogAccess, QueryApi};
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::support::{Shop, eventually, line};

/// The query API over the shop's read models and its log.
fn queries_of(shop: &Shop) -> Router {
    let log = shop.events().log();
    let options = query_api::QueryApiOptions::default();
    query_api::router(QueryApi::new(
        Arc::clone(&shop.queries),
        None,
        LogAccess::of(log),
        Clock::system(),
        options,
    ))
}

async fn get(router: &Router, uri: &str) -> Value {
    let response = router.clone().oneshot(Request::get(uri).body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status();
    let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
    assert_eq!(status, 200, "{uri}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

/// Waits until the rows include every event of the log.
async fn until_projected(shop: &Shop) {
    eventually("the rows follow the log", async || {
        let last = shop.events().log().last_position().await.unwrap();
        let checkpoints = shop.queries.checkpoints().await.unwrap();
        let is_there = !checkpoints.is_empty() && checkpoints.iter().all(|row| row.log_position == last);
        is_there.then_some(())
    })
    .await;
}

fn concerns(event: &RecordedEvent, order: OrderId) -> bool {
    match &event.stream {
        StreamName::Order(id) => *id == order,
        StreamName::Payment(id) => *id == PaymentId::of_order(order),
        StreamName::Stock(_) => match event.decode().unwrap() {
            Event::Stock(StockEvent::Reserved(data)) => data.order_id == order,
            Event::Stock(StockEvent::Released(data)) => data.order_id == order,
            Event::Stock(StockEvent::Shipped(data)) => data.order_id == order,
            Event::Stock(StockEvent::Unshipped(data)) => data.order_id == order,
            Event::Stock(StockEvent::Returned(data)) => data.order_id == order,
            Event::Stock(StockEvent::Received(_) | StockEvent::Adjusted(_))
            | Event::Order(_)
            | Event::Payment(_)
            | Event::Receipt(_)
            | Event::Exchange(_) => false,
        },
        StreamName::Receipt(_) | StreamName::Exchange(_) => false,
    }
}

async fn assert_timeline_matches_the_log(shop: &Shop, order: &Value) -> Vec<Value> {
    let id = order["order_id"].as_str().unwrap();
    let log = shop.events().log().read_all(None, usize::MAX >> 1).await.unwrap();
    let expected: Vec<_> = log.iter().filter(|event| concerns(event, id.parse().unwrap())).collect();
    let router = queries_of(shop);
    for limit in [1, 4, 200] {
        let (mut listed, mut cursor): (Vec<Value>, Option<String>) = (Vec::new(), None);
        loop {
            let after = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
            let page = get(&router, &format!("/v1/orders/{id}/timeline?limit={limit}{after}")).await;
            listed.extend(page["items"].as_array().unwrap().iter().cloned());
            cursor = page["next_cursor"].as_str().map(str::to_owned);
            if cursor.is_none() {
                break;
            }
        }
        let summary = |event: &&RecordedEvent| {
            let data: Value = serde_json::from_slice(&event.data).unwrap();
            (json!(event.position), json!(event.id), json!(event.stream), json!(event.revision), data)
        };
        let expected: Vec<_> = expected.iter().map(summary).collect();
        let found = listed.iter().map(|item| {
            let member = |name: &str| item[name].clone();
            (member("position"), member("event_id"), member("stream"), member("revision"), member("data"))
        });
        assert_eq!(found.collect::<Vec<_>>(), expected, "{limit} at a time");
        for item in &listed {
            // Every cause is an event of the same order.
            assert!(item["cause"].is_null() || item["cause"]["type"].is_string(), "{item}");
        }
        if limit == 200 {
            return listed;
        }
    }
    unreachable!("the last limit returns")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timeline_has_every_event_of_the_log_that_concerns_the_order() {
    let shop = Shop::open().await;
    for sku in ["A", "B", "C"] {
        shop.receive(sku, 100).await;
    }
    let order = shop.place("o1", &[line("A", 6, 100), line("B", 2, 50), line("A", 1, 90)]).await.expect(201);
    let other = shop.place("o2", &[line("A", 3, 100), line("C", 1, 10)]).await.expect(201);
    let short = shop.place("o3", &[line("A", 1, 100), line("B", 1_000, 50)]).await;
    let short = short.problem(409, "insufficient_stock");
    shop.pay(&order).await;
    let path = |suffix: &str| format!("/v1/orders/{}/{suffix}", order["order_id"].as_str().unwrap());
    let part = |line: u32, quantity: u32| json!({"lines": [{"line": line, "quantity": quantity}]});
    shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    shop.post(&path("shipments"), "s1", part(1, 4)).await.expect(201);
    shop.post(&path("shipments"), "s2", json!({})).await.expect(201);
    shop.post(&path("returns"), "r1", part(1, 3)).await.expect(201);
    let cancel = format!("/v1/orders/{}/cancel", other["order_id"].as_str().unwrap());
    shop.post(&cancel, "c", json!({})).await.expect(200);
    shop.until("the return and the release are recorded", |log| {
        let refunds = log.count("payment.refund_requested.v1");
        log.count("stock.returned.v1") == 1 && log.count("stock.released.v1") == 2 && refunds == 1
    })
    .await;
    until_projected(&shop).await;

    let listed = assert_timeline_matches_the_log(&shop, &order).await;
    let count = |name: &str| listed.iter().filter(|item| item["type"] == name).count();
    assert_eq!(
        (count("stock.reserved.v1"), count("stock.shipped.v1"), count("stock.returned.v1")),
        (2, 3, 1)
    );
    let shipped = listed.iter().find(|item| item["type"] == "stock.shipped.v1").unwrap();
    assert_eq!(shipped["cause"]["type"], "order.shipped.v1");
    let listed = assert_timeline_matches_the_log(&shop, &other).await;
    assert_eq!(listed.iter().filter(|item| item["type"] == "stock.released.v1").count(), 2);
    assert_timeline_matches_the_log(&shop, &short).await;
}

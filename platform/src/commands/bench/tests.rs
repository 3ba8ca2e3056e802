use std::{
    collections::HashMap,
    future::IntoFuture,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, routing::post};
use domain::StreamName;
use http::{HeaderMap, StatusCode, header};
use infra::event_store::{Append, ExpectedRevision};
use tokio::net::TcpListener;

use super::{
    buyer::{Buyer, Shop},
    dataset::{events_of_one_order, history_of},
    load::Latencies,
    load_duration,
    server::Target,
};

#[test]
fn an_order_of_one_line_has_four_events() {
    let names: Vec<_> = events_of_one_order().iter().map(|event| event.type_name).collect();
    let expected = ["order.placed.v2", "stock.reserved.v1", "order.allocated.v1", "payment.requested.v1"];
    assert_eq!(names, expected);
}

#[test]
fn a_history_has_no_gap_in_any_stream() {
    let mut revisions: HashMap<StreamName, ExpectedRevision> = HashMap::new();
    for Append { stream, expected, events, .. } in history_of(100) {
        let before = revisions.get(&stream).copied().unwrap_or(ExpectedRevision::NoStream);
        assert_eq!(expected, before, "{stream}");
        revisions.insert(stream, ExpectedRevision::Exact(expected.next() + events.len() as u64 - 1));
    }
}

#[test]
fn of_a_hundred_orders_five_are_cancelled_five_rejected_and_sixty_shipped() {
    let events: Vec<_> = history_of(100).into_iter().flat_map(|append| append.events).collect();
    let count = |name| events.iter().filter(|event| event.type_name == name).count();
    assert_eq!(count("order.placed.v2"), 100);
    assert_eq!(count("order.cancelled.v2"), 5);
    assert_eq!(count("order.rejected.v1"), 5);
    assert_eq!(count("order.paid.v1"), 75);
    assert_eq!(count("order.shipped.v1"), 60);
    assert_eq!(count("payment.closed.v1"), 5);
}

#[test]
fn percentiles_are_in_milliseconds() {
    let mut latencies = Latencies::new();
    for ms in 1..=100 {
        latencies.record(Duration::from_millis(ms));
    }
    let summary = latencies.summary();
    assert_eq!(summary.count, 100);
    for (measured, expected) in [(summary.p50_ms, 50.0), (summary.p99_ms, 99.0), (summary.max_ms, 100.0)] {
        assert!((measured - expected).abs() < 0.1, "{measured} ms instead of {expected} ms");
    }
}

#[test]
fn a_load_lasts_from_a_second_to_an_hour() {
    assert_eq!(load_duration("90s"), Ok(Duration::from_secs(90)));
    assert_eq!(load_duration("1m"), Ok(Duration::from_mins(1)));
    for refused in ["0s", "-1s", "2h", "ten", ""] {
        assert!(load_duration(refused).is_err(), "{refused:?} was accepted");
    }
}

#[tokio::test]
async fn an_order_that_the_server_holds_back_is_sent_again_under_its_key() {
    let keys = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&keys);
    let place = async move |headers: HeaderMap| {
        let mut seen = seen.lock().unwrap();
        seen.push(headers["idempotency-key"].clone());
        let headers = [(header::RETRY_AFTER, "0")];
        match seen.len() {
            1 => (StatusCode::SERVICE_UNAVAILABLE, headers, r#"{"code":"projections_behind"}"#),
            2 => (StatusCode::CREATED, headers, "{}"),
            _ => (StatusCode::SERVICE_UNAVAILABLE, headers, r#"{"code":"unavailable"}"#),
        }
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, Router::new().route(Buyer::PATH, post(place))).into_future());
    let target = Target { command: address.into(), query: address.into(), admin: None };
    let mut buyer = Buyer::connect(&Arc::new(Shop::new(1)), target, 1).await.unwrap().remove(0);

    assert_eq!(buyer.order_one().await.unwrap().status, StatusCode::CREATED);
    assert_eq!(buyer.order_one().await.unwrap().status, StatusCode::SERVICE_UNAVAILABLE);
    let keys = keys.lock().unwrap();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[1], keys[2]);
}

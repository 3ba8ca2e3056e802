//! The trace of a request goes into its events, to all that follows from them, and to the payment provider. The process
//! of these tests exports no spans; `platform/tests/cli/traces.rs` tests the spans.

use std::sync::{Arc, Mutex};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode},
};
use infra::signature::SigningSecret;
use sandbox::SandboxProvider;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::support::{Shop, ShopOptions, TestSandbox, eventually, line, metadata};

const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn order_with_a_payment() -> Value {
    json!({"currency": "GBP", "lines": [line("A", 1, 100)], "payment": {"method": "ok"}})
}

/// An order that is placed, allocated, charged and paid; `prefer` chooses who reacts first.
async fn events_of_a_traced_order(prefer: &str) {
    let sandbox = TestSandbox::open("").await;
    let shop = Shop::with(sandbox.options()).await;
    shop.receive("A", 10).await;
    let headers = [("traceparent", TRACE), ("prefer", prefer)];
    shop.post_with("/v1/orders", "checkout", order_with_a_payment(), &headers).await;
    let log = shop.until("it is paid", |log| log.count("order.paid.v1") == 1).await;
    for event in &log.0 {
        let is_of_the_order = &*event.type_name != "stock.received.v1";
        let trace = metadata(event).traceparent.map(|trace| trace.to_string());
        assert_eq!(trace.as_deref(), is_of_the_order.then_some(TRACE), "{}", event.type_name);
    }
    assert!(log.count("payment.captured.v1") == 1 && log.count("stock.reserved.v1") == 1);
}

#[tokio::test]
async fn the_events_of_an_order_that_its_handler_settles_have_the_trace_of_its_request() {
    events_of_a_traced_order("wait=10").await;
}

#[tokio::test]
async fn the_events_of_an_order_that_the_process_manager_settles_have_the_trace_of_its_request() {
    events_of_a_traced_order("respond-async").await;
}

#[tokio::test]
async fn an_unsampled_or_malformed_trace_is_not_stored_and_a_retry_may_have_another_trace() {
    let shop = Shop::without_process_manager().await;
    let unsampled = TRACE.replace("-01", "-00");
    for (key, trace) in [("1", unsampled.as_str()), ("2", "00-abc-01"), ("3", "")] {
        let receipt = json!({"quantity": 1});
        let headers = [("traceparent", trace)];
        shop.post_with("/v1/stock/A/receipts", key, receipt.clone(), &headers).await.expect(201);
        let headers = [("traceparent", TRACE)];
        let again = shop.post_with("/v1/stock/A/receipts", key, receipt, &headers).await;
        assert!(again.is_replayed(), "{}", again.text());
    }
    let log = shop.log().await;
    assert_eq!(log.count("stock.received.v1"), 3);
    assert!(log.0.iter().all(|event| metadata(event).traceparent.is_none()));
}

/// A payment provider that answers nothing, and keeps the traces of its requests.
async fn silent_provider() -> (SandboxProvider, Arc<Mutex<Vec<Option<String>>>>) {
    async fn note(State(traces): State<Arc<Mutex<Vec<Option<String>>>>>, headers: HeaderMap) -> StatusCode {
        let trace = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        traces.lock().unwrap().push(trace);
        StatusCode::SERVICE_UNAVAILABLE
    }
    let traces = Arc::default();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(note).with_state(Arc::clone(&traces));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (SandboxProvider::new(&url, SigningSecret::generate().unwrap()), traces)
}

#[tokio::test]
async fn the_payment_provider_gets_the_trace_of_the_request_that_charges() {
    let (provider, traces) = silent_provider().await;
    let shop = Shop::with(ShopOptions { provider: Some(Arc::new(provider)), ..ShopOptions::default() }).await;
    shop.receive("A", 10).await;
    let headers = [("traceparent", TRACE)];
    shop.post_with("/v1/orders", "traced", order_with_a_payment(), &headers).await.expect(201);
    let first = eventually("a call", async || traces.lock().unwrap().first().cloned()).await;
    assert_eq!(first.as_deref(), Some(TRACE));
    shop.post("/v1/orders", "untraced", order_with_a_payment()).await.expect(201);
    eventually("a call without a trace", async || traces.lock().unwrap().contains(&None).then_some(())).await;
}

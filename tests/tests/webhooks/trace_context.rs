//! Webhooks carry the trace of the request that caused their event.

use super::*;

#[tokio::test]
async fn a_receiver_gets_the_trace_of_the_events_of_a_sampled_request() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (hooks, receiver) = (Hooks::open().await, Receiver::start(&[]).await);
    hooks.subscribe(&receiver, &["order.placed.v2"]).await;
    hooks.shop.receive("A", 10).await;
    let order = json!({"currency": "GBP", "lines": [line("A", 1, 100)]});
    let traced = hooks.shop.post_with("/v1/orders", "1", order.clone(), &[("traceparent", TRACE)]).await;
    let traced = traced.expect(201)["order_id"].as_str().unwrap().to_owned();
    hooks.shop.post("/v1/orders", "2", order).await.expect(201);

    for received in receiver.until(2).await {
        let trace = received.headers.get("traceparent").map(|value| value.to_str().unwrap());
        let is_traced = received.body["data"]["order_id"] == *traced;
        assert_eq!(trace, is_traced.then_some(TRACE), "{}", received.body);
    }
}

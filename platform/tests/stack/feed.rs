//! The feed of a query API in a process of its own: it follows EventStoreDB, while Kafka feeds the projectors.

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value, json};
use tests::eventstoredb::{FixtureOptions, Server};
use tokio::time::timeout;

use crate::stack::Stack;

/// Time limit for an event to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_mins(1);

/// A listener.
struct Feed {
    answer: Response,
    received: Vec<u8>,
}

impl Feed {
    /// `last_id`: the event after which the feed goes on. Without it, it begins with the next event.
    async fn open(stack: &Stack, query: &str, last_id: Option<u64>) -> Self {
        let mut request = reqwest::Client::new().get(format!("{}/v1/feed{query}", stack.query_url()));
        if let Some(last_id) = last_id {
            request = request.header("last-event-id", last_id.to_string());
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200, "{query}");
        Self { answer, received: Vec::new() }
    }

    /// The next event. Its position must be its id.
    async fn next(&mut self) -> Value {
        loop {
            let end = self.received.windows(2).position(|bytes| bytes == b"\n\n");
            let Some(end) = end else {
                let chunk =
                    timeout(ARRIVES_WITHIN, self.answer.chunk()).await.expect("an event arrives in time");
                self.received.extend(chunk.unwrap().expect("the feed goes on"));
                continue;
            };
            let frame: Vec<u8> = self.received.drain(..end + 2).collect();
            let frame = String::from_utf8(frame).unwrap();
            let line = |name: &str| frame.lines().find_map(|line| line.strip_prefix(name));
            if line("event: ") == Some("recorded") {
                let event: Value = serde_json::from_str(line("data: ").unwrap()).unwrap();
                assert_eq!(line("id: "), Some(event["position"].to_string().as_str()), "{frame}");
                return event;
            }
        }
    }

    /// The events up to the first one of this type.
    async fn until(&mut self, last_type: &str) -> Vec<Value> {
        let mut events = Vec::new();
        while events.last().is_none_or(|event: &Value| event["event_type"] != last_type) {
            events.push(self.next().await);
        }
        events
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["event_type"].as_str().unwrap()).collect()
}

fn positions(events: &[Value]) -> Vec<u64> {
    events.iter().map(|event| event["position"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres and Kafka: infra/dev/services up"]
async fn the_feed_has_every_event_in_the_order_of_the_log_and_goes_on_after_its_last_id_over_kafka() {
    let store = Server::start(FixtureOptions::default()).await.unwrap();
    let stack = Stack::new()
        .await
        .with(&[("ORDERLY_EVENT_STORE", store.url()), ("ORDERLY_PAYMENT_PROVIDER", "none")]);
    let mut processes = Vec::new();
    for role in ["command-api", "process-manager", "relay", "projectors", "query-api"] {
        processes.push(stack.start(role, &[]).await);
    }
    stack.send("/v1/stock/A/receipts", json!({"quantity": 10}), None).await;

    let mut feed = Feed::open(&stack, "", None).await;
    let order = json!({"currency": "GBP", "lines": [{"sku": "A", "quantity": 1, "unit_price": 250}]});
    let placed = stack.send("/v1/orders", order, None).await;
    let order_id = placed["order_id"].as_str().unwrap();
    let events = feed.until("payment.requested.v1").await;
    let expected = ["order.placed.v2", "stock.reserved.v1", "order.allocated.v1", "payment.requested.v1"];
    assert_eq!(types(&events), expected);
    assert!(positions(&events).is_sorted());
    drop(feed);

    let mut of_order = Feed::open(&stack, &format!("?stream=order-{order_id}"), None).await;
    stack.send(&format!("/v1/orders/{order_id}/cancel"), json!({}), None).await;
    assert_eq!(of_order.next().await["event_type"], "order.cancelled.v2");

    // The second of the four events was the last that this listener had.
    let last_id = positions(&events)[1];
    let mut again = Feed::open(&stack, "", Some(last_id)).await;
    let missed = again.until("order.cancelled.v2").await;
    assert_eq!(types(&missed), [&expected[2..], &["order.cancelled.v2"]].concat());
    assert_eq!(missed[..2], events[2..]);
    for process in processes {
        process.terminate().await;
    }
}

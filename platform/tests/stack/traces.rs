//! One trace through processes of their own for all roles.

use std::collections::BTreeSet;

use axum::{Router, http::StatusCode, routing::post};
use infra::signature::SigningSecret;
use serde_json::json;
use tests::{
    collector::{CollectedSpan, Collector},
    eventstoredb::{FixtureOptions, Server},
};
use tokio::net::TcpListener;

use crate::stack::Stack;

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The span of the caller.
const CALLER: &str = "00f067aa0ba902b7";
const ROLES: [&str; 6] = ["command-api", "process-manager", "relay", "projectors", "webhooks", "query-api"];

/// A receiver of webhooks that accepts everything.
async fn receiver() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(async || StatusCode::NO_CONTENT));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

/// The roles whose processes have a span, with the role that the span names.
fn roles(spans: &[CollectedSpan]) -> BTreeSet<(&str, &str)> {
    fn of_span(span: &CollectedSpan) -> Option<(&str, &str)> {
        Some((span.process.get("orderly.roles")?, span.attributes.get("orderly.role")?))
    }
    spans.iter().filter_map(of_span).collect()
}

/// The process manager charges the order: its handler answers before it reacts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres and Kafka: infra/dev/services up"]
async fn one_trace_of_one_order_has_spans_of_every_role_over_kafka() {
    let collector = Collector::start().await.unwrap();
    let store = Server::start(FixtureOptions::default()).await.unwrap();
    let secret = SigningSecret::generate().unwrap();
    let sandbox_port = crate::stack::any_port();
    let sandbox_listen = sandbox_port.address().to_string();
    let sandbox = format!("sandbox:http://{sandbox_listen}");
    let stack = Stack::new().await.with(&[
        ("ORDERLY_EVENT_STORE", store.url()),
        ("ORDERLY_PAYMENT_PROVIDER", &sandbox),
        ("ORDERLY_SANDBOX_SECRET", &secret.reveal()),
        ("ORDERLY_OTLP_ENDPOINT", collector.url()),
        ("ORDERLY_TRACE_SAMPLE", "0"),
        ("ORDERLY_WEBHOOKS_ALLOW_PRIVATE", "true"),
    ]);
    let _sandbox =
        stack.start("sandbox", &["--payment-provider=sandbox", "--sandbox-listen", &sandbox_listen]).await;
    let mut processes = Vec::new();
    for role in ROLES {
        processes.push(stack.start(role, &[]).await);
    }
    stack.send("/v1/stock/A/receipts", json!({"quantity": 10}), None).await;
    let hook = json!({"url": receiver().await, "event_types": ["order.*"]});
    stack.send("/v1/webhook-subscriptions", hook, None).await;

    let traceparent = format!("00-{TRACE_ID}-{CALLER}-01");
    let order = json!({"currency": "GBP", "lines": [{"sku": "A", "quantity": 1, "unit_price": 250}],
        "payment": {"method": "ok"}});
    let placed = stack.send("/v1/orders", order, Some(&traceparent)).await;
    let order_id = placed["order_id"].as_str().unwrap();
    let paid = stack.until_paid(order_id, &traceparent).await;
    assert_eq!(paid["payment_status"], "paid");

    let expected: BTreeSet<_> = ROLES.into_iter().map(|role| (role, role)).collect();
    let of_payment = |span: &CollectedSpan| {
        span.name == "provider call" && span.process["orderly.roles"] == "process-manager"
    };
    let spans = collector
        .until("a span of every role", |spans| {
            roles(spans).is_superset(&expected) && spans.iter().any(of_payment)
        })
        .await;
    assert!(spans.iter().all(|span| span.trace_id == TRACE_ID), "{spans:#?}");
    for name in ["POST /v1/orders", "append", "publish", "react", "project", "deliver webhook"] {
        assert!(spans.iter().any(|span| span.name == name), "{name} is not in {spans:#?}");
    }
    for process in processes {
        process.terminate().await;
    }
}

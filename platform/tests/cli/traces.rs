//! The spans that a server exports: to a collector, to a file, and to a collector that is dead.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Stdio,
    time::{Duration, Instant},
};

use axum::{Router, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use serde_json::{Value, json};
use tests::collector::{CollectedSpan, Collector};
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

use super::support::{DataDir, Server};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
/// The span of the caller.
const CALLER: &str = "00f067aa0ba902b7";

fn traceparent(flags: &str) -> String {
    format!("00-{TRACE_ID}-{CALLER}-{flags}")
}

/// A receiver of webhooks that hands over their traces.
async fn receiver() -> (String, UnboundedReceiver<Option<String>>) {
    async fn receive(
        State(traces): State<UnboundedSender<Option<String>>>,
        headers: HeaderMap,
    ) -> StatusCode {
        let trace = headers.get("traceparent").map(|value| value.to_str().unwrap().to_owned());
        let _ = traces.send(trace);
        StatusCode::NO_CONTENT
    }
    let (sender, traces) = unbounded_channel();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let router = Router::new().route("/hook", post(receive)).with_state(sender);
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, traces)
}

/// Places an order with a payment in a trace. Returns its id.
async fn place(server: &Server, key: &str, trace: Option<&str>) -> String {
    place_with(server, key, trace, "").await
}

async fn place_with(server: &Server, key: &str, trace: Option<&str>, prefer: &str) -> String {
    let order = json!({"currency": "GBP", "lines": [{"sku": "A", "quantity": 1, "unit_price": 250}],
        "payment": {"method": "ok"}});
    let request = reqwest::Client::new().post(format!("{}/v1/orders", server.command_url)).json(&order);
    let request = request.header("idempotency-key", key).header("prefer", prefer);
    let request = match trace {
        Some(trace) => request.header("traceparent", trace),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{answer:?}");
    let answer: Value = answer.json().await.unwrap();
    answer["order_id"].as_str().unwrap().to_owned()
}

/// The roles that have a span.
fn roles(spans: &[CollectedSpan]) -> BTreeSet<&str> {
    spans.iter().filter_map(|span| span.attributes.get("orderly.role").map(String::as_str)).collect()
}

#[tokio::test]
async fn the_trace_of_an_order_has_spans_of_every_role_that_worked_on_it() {
    let (data, collector, (hook, mut webhooks)) =
        (DataDir::new(), Collector::start().await.unwrap(), receiver().await);
    let endpoint = format!("--otlp-endpoint={}", collector.url());
    let server = data.serve_with(&[&endpoint, "--trace-sample=0", "--webhooks-allow-private"]).await;
    server.post("/v1/stock/A/receipts", "po-1", json!({"quantity": 10})).await;
    let hook = json!({"url": hook, "event_types": ["order.placed.v2"]});
    server.post("/v1/webhook-subscriptions", "hooks-1", hook).await;

    let order = place(&server, "traced", Some(&traceparent("01"))).await;
    // The process manager reacts to this one.
    place_with(&server, "async", Some(&traceparent("01")), "respond-async").await;
    let http = reqwest::Client::new();
    let read = http.get(format!("{}/v1/orders/{order}", server.query_url));
    read.header("traceparent", traceparent("01")).send().await.unwrap();
    let expected = ["command-api", "process-manager", "projectors", "query-api", "webhooks"];
    let spans = collector
        .until("a span of every role", |spans| expected.iter().all(|role| roles(spans).contains(role)))
        .await;

    assert!(spans.iter().all(|span| span.trace_id == TRACE_ID && !span.is_failed), "{spans:#?}");
    assert!(spans.iter().all(|span| span.start <= span.end));
    let process = &spans[0].process;
    assert_eq!(
        (&*process["service.name"], &*process["service.version"]),
        ("orderly", env!("CARGO_PKG_VERSION"))
    );
    assert!(process["orderly.roles"].contains("webhooks"), "{process:?}");
    let placing = spans.iter().find(|span| span.name == "POST /v1/orders").unwrap();
    assert_eq!(
        (&*placing.parent_span_id, &*placing.attributes["http.response.status_code"]),
        (CALLER, "201")
    );
    let of_placing = |name: &str| {
        spans.iter().filter(|span| span.name == name && span.parent_span_id == placing.span_id).count()
    };
    // Stock, order and payment.
    assert!(of_placing("append") >= 3 && of_placing("project") >= 3, "{spans:#?}");
    assert!(spans.iter().any(|span| span.name == "provider call"), "{spans:#?}");
    let by_id: BTreeMap<&str, &CollectedSpan> = spans.iter().map(|span| (&*span.span_id, span)).collect();
    for span in &spans {
        let has_parent = span.parent_span_id == CALLER || by_id.contains_key(&*span.parent_span_id);
        assert!(has_parent, "{span:?} has a parent that was not exported");
    }
    let delivered = webhooks.recv().await.unwrap().unwrap();
    let attempt = spans.iter().find(|span| span.name == "deliver webhook").unwrap();
    assert_eq!(delivered, format!("00-{TRACE_ID}-{}-01", attempt.span_id));
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn requests_that_are_not_sampled_export_nothing_and_the_last_spans_are_exported_at_the_end() {
    let (data, collector) = (DataDir::new(), Collector::start().await.unwrap());
    let endpoint = format!("--otlp-endpoint={}", collector.url());
    let server = data.serve_with(&[&endpoint, "--trace-sample=0"]).await;
    server.post("/v1/stock/A/receipts", "po-1", json!({"quantity": 10})).await;
    for (key, trace) in [("1", None), ("2", Some(traceparent("00"))), ("3", Some("00-abc-01".to_owned()))] {
        place(&server, key, trace.as_deref()).await;
    }
    // Waits less than the time in which a batch fills, so only the end of the server can export it.
    place(&server, "4", Some(&traceparent("01"))).await;
    assert!(server.terminate().await.success());
    let spans = collector.spans();
    assert!(spans.iter().any(|span| span.name == "POST /v1/orders"), "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace_id == TRACE_ID), "{spans:#?}");
    let placings = spans.iter().filter(|span| span.name == "POST /v1/orders").count();
    assert_eq!(placings, 1, "{spans:#?}");
}

#[tokio::test]
async fn a_file_gets_the_spans_as_json_and_the_log_names_their_traces() {
    let data = DataDir::new();
    let (spans, log) = (data.path("spans.jsonl"), data.path("log.jsonl"));
    let endpoint = format!("--otlp-endpoint=file:{}", spans.display());
    let mut command =
        data.command(&["serve", "--command-listen", "127.0.0.1:0", "--query-listen", "127.0.0.1:0"]);
    command.args(["--sandbox-listen", "127.0.0.1:0", "--trace-sample=1", &endpoint]);
    command.env("ORDERLY_LOG_FORMAT", "json").env("ORDERLY_LOG", "info,requests=debug");
    let mut child =
        command.stdout(Stdio::piped()).stderr(std::fs::File::create(&log).unwrap()).spawn().unwrap();
    let mut banner = tokio::io::BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut banner, &mut line).await.unwrap();
    let banner: Value = serde_json::from_str(&line).unwrap();
    let api = banner["addresses"]["query_api"].as_str().unwrap();
    assert_eq!(reqwest::get(format!("{api}/v1/orders")).await.unwrap().status(), 200);
    assert_eq!(reqwest::get(format!("{api}/livez")).await.unwrap().status(), 200);
    let id = child.id().unwrap().to_string();
    assert!(tokio::process::Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    assert!(child.wait().await.unwrap().success());

    let read = |path| -> Vec<Value> {
        let text = std::fs::read_to_string(path).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let batches = read(&spans);
    let of_batch =
        |batch: &Value| batch["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap().clone();
    let spans: Vec<Value> = batches.iter().flat_map(of_batch).collect();
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((&span["name"], &span["parentSpanId"]), (&json!("GET /v1/orders"), &json!("")));
    let lines = read(&log);
    let of_route = |route: &str| {
        let answered = |line: &&Value| line["target"] == "requests" && line["http.route"] == route;
        lines.iter().find(answered).unwrap_or_else(|| panic!("{route} is not in {lines:#?}"))
    };
    assert_eq!(of_route("/v1/orders")["span"]["trace_id"], span["traceId"]);
    assert_eq!(of_route("/livez")["span"].get("trace_id"), None);
}

/// Waits until more spans than these have failed.
async fn failed_spans(server: &Server, before: f64) -> f64 {
    const SERIES: &str = r#"orderly_trace_spans_total{outcome="failed"} "#;
    let (url, begun) = (format!("{}/metrics", server.admin_url.as_ref().unwrap()), Instant::now());
    loop {
        let text = reqwest::get(&url).await.unwrap().text().await.unwrap();
        let failed: f64 = text.lines().find_map(|line| line.strip_prefix(SERIES)).unwrap().parse().unwrap();
        if failed > before {
            return failed;
        }
        assert!(begun.elapsed() < Duration::from_mins(1), "{text}");
    }
}

#[tokio::test]
async fn a_dead_collector_costs_the_spans_and_one_line_of_the_log() {
    let data = DataDir::new();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let log = data.path("server.log");
    let endpoint = format!("--otlp-endpoint=http://{closed}");
    let listen = ["serve", "--command-listen", "127.0.0.1:0", "--query-listen", "127.0.0.1:0"];
    let mut command = data.command(&listen);
    command.args(["--sandbox-listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0", &endpoint]);
    command.args(["--trace-sample", "1"]).stderr(std::fs::File::create(&log).unwrap());
    let server = Server::start(command, 4).await;
    server.post("/v1/stock/A/receipts", "po-1", json!({"quantity": 10})).await;
    let mut failed = 0.0;
    for key in ["checkout-1", "checkout-2"] {
        place(&server, key, None).await;
        failed = failed_spans(&server, failed).await;
    }
    let ending = Instant::now();
    assert!(server.terminate().await.success());
    assert!(ending.elapsed() < Duration::from_secs(15), "{:?}", ending.elapsed());
    let log = std::fs::read_to_string(log).unwrap();
    assert_eq!(log.matches("Cannot export spans").count(), 1, "{log}");
}

#[tokio::test]
async fn an_endpoint_that_cannot_be_used_is_refused_at_the_start() {
    for (endpoint, reason) in [
        ("collector:4317", "expected http://HOST:PORT"),
        ("file:/no/such/directory/spans.jsonl", "cannot write to /no/such/directory/spans.jsonl"),
    ] {
        let finished = DataDir::new().run(&["serve", "--otlp-endpoint", endpoint]).await;
        assert!(finished.code != Some(0) && finished.stderr.contains(reason), "{finished:?}");
    }
}

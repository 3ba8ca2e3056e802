//! A collector of traces: takes spans by OTLP over HTTP, and keeps them in memory.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{Router, body::Bytes, extract::State, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value::Value},
    trace::v1::{Span, span::SpanKind, status::StatusCode as SpanStatus},
};
use prost::Message;
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle, time::timeout};

/// How long [`Collector::until`] waits.
const PATIENCE: Duration = Duration::from_mins(1);

/// A span as the collector has received it. Ids are in hex.
#[derive(Debug, Clone)]
pub struct CollectedSpan {
    pub trace_id: String,
    pub span_id: String,
    /// Empty for the first span of a trace.
    pub parent_span_id: String,
    pub name: String,
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub start: u64,
    pub end: u64,
    pub is_failed: bool,
    pub attributes: BTreeMap<String, String>,
    /// The attributes of the process.
    pub process: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Collected {
    spans: Mutex<Vec<CollectedSpan>>,
    arrived: Notify,
}

/// A running collector. Ends when dropped.
#[derive(Debug)]
pub struct Collector {
    url: String,
    collected: Arc<Collected>,
    serving: JoinHandle<()>,
}

impl Collector {
    /// Listens on a free port.
    pub async fn start() -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}", listener.local_addr()?);
        let collected = Arc::new(Collected::default());
        let router = Router::new().route("/v1/traces", post(collect)).with_state(Arc::clone(&collected));
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                eprintln!("the collector has failed: {error}");
            }
        });
        Ok(Self { url, collected, serving })
    }

    /// What `ORDERLY_OTLP_ENDPOINT` is set to.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Every span so far.
    pub fn spans(&self) -> Vec<CollectedSpan> {
        self.collected.spans.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until the spans meet a condition, at most a minute.
    pub async fn until(
        &self,
        what: &str,
        condition: impl Fn(&[CollectedSpan]) -> bool,
    ) -> Vec<CollectedSpan> {
        let waiting = async {
            loop {
                let arrived = self.collected.arrived.notified();
                let spans = self.spans();
                if condition(&spans) {
                    return spans;
                }
                arrived.await;
            }
        };
        let found = timeout(PATIENCE, waiting).await;
        found.unwrap_or_else(|_| panic!("not collected: {what}; spans: {:#?}", self.spans()))
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn collect(State(collected): State<Arc<Collected>>, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let mut spans = Vec::new();
    for of_process in request.resource_spans {
        let process = texts(of_process.resource.map(|resource| resource.attributes).unwrap_or_default());
        let of_scopes = of_process.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(of_scopes.map(|span| received(span, &process)));
    }
    collected.spans.lock().unwrap_or_else(PoisonError::into_inner).extend(spans);
    collected.arrived.notify_waiters();
    StatusCode::OK
}

fn received(span: Span, process: &BTreeMap<String, String>) -> CollectedSpan {
    CollectedSpan {
        kind: span.kind(),
        is_failed: span.status.is_some_and(|status| status.code() == SpanStatus::Error),
        trace_id: hex::encode(&span.trace_id),
        span_id: hex::encode(&span.span_id),
        parent_span_id: hex::encode(&span.parent_span_id),
        name: span.name,
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: texts(span.attributes),
        process: process.clone(),
    }
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|attribute| (attribute.key, text(attribute.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::ArrayValue(array)) => {
            array.values.into_iter().map(|value| text(Some(value))).collect::<Vec<_>>().join(",")
        }
        other => format!("{other:?}"),
    }
}

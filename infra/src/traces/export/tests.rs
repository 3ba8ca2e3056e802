use domain::TraceParent;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry_sdk::trace::{SpanEvents, SpanLinks};
use serde_json::Value as Json;

use super::*;

fn span(trace: TraceParent) -> SpanData {
    let now = std::time::SystemTime::now();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(trace.trace_id.to_be_bytes()),
            SpanId::from_bytes(trace.span_id.to_be_bytes()),
            TraceFlags::SAMPLED,
            false,
            TraceState::NONE,
        ),
        parent_span_id: SpanId::INVALID,
        parent_span_is_remote: false,
        span_kind: SpanKind::Internal,
        name: "work".into(),
        start_time: now,
        end_time: now,
        attributes: Vec::new(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: Status::Unset,
        instrumentation_scope: InstrumentationScope::default(),
    }
}

fn tracer(queue: mpsc::Sender<SpanData>, sample: f64) -> Tracer {
    Tracer { scope: InstrumentationScope::default(), sample, queue, dropped: Counter::noop() }
}

/// Waiting would hang this test, because nothing takes spans from the queue.
#[tokio::test]
async fn a_full_queue_drops_spans_and_the_stop_exports_the_queued_ones() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spans.jsonl");
    let target =
        Target::open(TraceEndpoint::File(path.clone()), &resource("1.2.3", vec!["relay".to_owned()]));
    let (queue, queued) = mpsc::channel(2);
    let tracer = tracer(queue, 1.0);
    for span_id in 1..=3 {
        tracer.export(span(TraceParent { trace_id: 0xab, span_id, is_sampled: true }));
    }
    let (stop, counter) = (CancellationToken::new(), Counter::noop);
    stop.cancel();
    let exporter = Exporter { queued, target: target.unwrap(), stop, exported: counter(), failed: counter() };
    exporter.run().await;

    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<Json> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [batch] = &lines[..] else { panic!("{text}") };
    let resource = &batch["resourceSpans"][0];
    let has = |name: &str, value: Json| {
        let attributes = resource["resource"]["attributes"].as_array().unwrap();
        let found = attributes.iter().find(|attribute| attribute["key"] == name).unwrap();
        assert_eq!(found["value"], value, "{name}");
    };
    has("service.name", serde_json::json!({"stringValue": "orderly"}));
    has("service.version", serde_json::json!({"stringValue": "1.2.3"}));
    has("orderly.roles", serde_json::json!({"arrayValue": {"values": [{"stringValue": "relay"}]}}));
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let ids: Vec<&Json> = spans.iter().map(|span| &span["spanId"]).collect();
    assert_eq!(ids, ["0000000000000001", "0000000000000002"]);
    assert_eq!(spans[0]["traceId"], "000000000000000000000000000000ab");
}

#[test]
fn the_sample_is_a_share_of_the_requests() {
    let (queue, _queued) = mpsc::channel(1);
    let count = |sample| {
        let tracer = tracer(queue.clone(), sample);
        (0..10_000).filter(|_| tracer.samples()).count()
    };
    assert_eq!((count(0.0), count(1.0)), (0, 10_000));
    let some = count(0.1);
    assert!((800..1_200).contains(&some), "{some}");
}

#[tokio::test]
async fn a_file_that_cannot_be_made_is_refused_by_the_name_of_its_setting() {
    let endpoint = TraceEndpoint::File("/no/such/directory/spans.jsonl".into());
    let error = Target::open(endpoint, &resource("1", Vec::new())).err().unwrap();
    assert!(error.to_string().starts_with("ORDERLY_OTLP_ENDPOINT: cannot write to /no/such"), "{error}");
}

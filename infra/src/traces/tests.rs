use std::sync::Arc;

use domain::{EventId, OrderId, RecordedEvent, Timestamp, TraceParent};
use http::{HeaderMap, HeaderValue};
use uuid::Uuid;

use super::*;

const HEADER: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn trace() -> TraceParent {
    HEADER.parse().unwrap()
}

fn event(metadata: &str) -> RecordedEvent {
    RecordedEvent {
        position: 1,
        stream: OrderId(Uuid::nil()).into(),
        revision: 0,
        id: EventId(Uuid::nil()),
        type_name: "order.placed.v2".into(),
        data: Arc::from(*b"{}"),
        metadata: metadata.as_bytes().into(),
        recorded_at: Timestamp::UNIX_EPOCH,
        damage: None,
    }
}

#[test]
fn the_trace_of_an_event_stands_in_its_metadata() {
    let id = Uuid::nil();
    let metadata = |more: &str| {
        format!(r#"{{"command_id":"{id}","command":"order.place","correlation_id":"{id}"{more}}}"#)
    };
    let traced = metadata(&format!(r#","traceparent":"{HEADER}""#));
    assert_eq!(of_event(&event(&traced)), Some(trace()));
    // A key that looks like the member is escaped.
    let key = metadata(&format!(
        r#","idempotency":{{"key":"\"traceparent\":\"{HEADER}\"","fingerprint":"00","schema":1}}"#
    ));
    for other in [&metadata(""), &key, &metadata(r#","traceparent":"new""#), r#""traceparent":"#, ""] {
        assert_eq!(of_event(&event(other)), None, "{other}");
    }
}

#[test]
fn a_header_that_is_malformed_or_repeated_names_no_trace() {
    let headers = |values: &[&'static str]| -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(TRACEPARENT, HeaderValue::from_static(value));
        }
        headers
    };
    assert_eq!(of_headers(&headers(&[HEADER])), Some(trace()));
    for other in [&[][..], &[""], &["00-1-2-01"], &[HEADER, HEADER]] {
        assert_eq!(of_headers(&headers(other)), None, "{other:?}");
    }
}

#[tokio::test]
async fn work_within_a_trace_sees_it_and_other_work_does_not() {
    assert_eq!(current(), None);
    let inner = TraceParent { span_id: 1, ..trace() };
    let seen = within(Some(trace()), async {
        let nested = within(Some(inner), async { current() }).await;
        // Work without a trace of its own belongs to the trace around it.
        (current(), nested, within(None, async { current() }).await)
    });
    assert_eq!(seen.await, (Some(trace()), Some(inner), Some(trace())));
    assert_eq!(within(None, async { current() }).await, None);
}

/// No test of this program starts an export.
#[test]
fn a_process_that_exports_no_spans_passes_a_sampled_trace_on_and_begins_none() {
    let span = Span::begin("work", Kind::Internal, Some(trace()));
    assert_eq!(span.context(), Some(trace()));
    let unsampled = TraceParent { is_sampled: false, ..trace() };
    assert_eq!(Span::begin("work", Kind::Internal, Some(unsampled)).context(), None);
    assert_eq!(Span::of_request(Some(trace()), true).context(), Some(trace()));
    assert_eq!(Span::of_request(None, true).context(), None);
    let mut span = span;
    span.rename(|| panic!("a span that is not recorded needs no name"));
    span.describe::<0>(|| panic!("a span that is not recorded needs no attributes"));
}

//! Spans: pieces of work of a sampled trace, with their times and attributes.

use std::{
    borrow::Cow,
    time::{Instant, SystemTime},
};

use domain::TraceParent;
pub use opentelemetry::trace::SpanKind as Kind;
use opentelemetry::{
    KeyValue,
    trace::{SpanContext, SpanId, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};

use super::export::{Tracer, tracer};

/// A piece of work. Ends, and is exported, when dropped. Records nothing if its trace is not sampled, or if this process
/// exports no spans.
#[derive(Debug, Default)]
pub struct Span {
    recording: Option<Box<Recording>>,
    passed_on: Option<TraceParent>,
}

#[derive(Debug)]
struct Recording {
    data: SpanData,
    begun: Instant,
    tracer: &'static Tracer,
}

impl Span {
    /// Begins a part of the work of `parent`.
    pub fn begin(name: &'static str, kind: Kind, parent: Option<TraceParent>) -> Self {
        let Some(parent) = parent.and_then(TraceParent::if_sampled) else { return Self::default() };
        match tracer() {
            Some(tracer) => Self::record(tracer, name, kind, parent.trace_id, Some(parent)),
            None => Self { recording: None, passed_on: Some(parent) },
        }
    }

    /// Begins the work of a request. It continues the trace of its caller; without one, it may begin a new trace if
    /// `may_begin`.
    pub fn of_request(caller: Option<TraceParent>, may_begin: bool) -> Self {
        const NAME: &str = "request";
        match (caller, tracer()) {
            (Some(_), _) => Self::begin(NAME, Kind::Server, caller),
            (None, Some(tracer)) if may_begin && tracer.samples() => {
                Self::record(tracer, NAME, Kind::Server, fastrand::u128(1..), None)
            }
            (None, Some(_) | None) => Self::default(),
        }
    }

    fn record(
        tracer: &'static Tracer,
        name: &'static str,
        kind: Kind,
        trace_id: u128,
        parent: Option<TraceParent>,
    ) -> Self {
        let span_id = fastrand::u64(1..);
        let now = SystemTime::now();
        let data = SpanData {
            span_context: SpanContext::new(
                TraceId::from_bytes(trace_id.to_be_bytes()),
                SpanId::from_bytes(span_id.to_be_bytes()),
                TraceFlags::SAMPLED,
                false,
                TraceState::NONE,
            ),
            parent_span_id: parent
                .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span_id.to_be_bytes())),
            // A parent may be in this process or in another one: an event does not say which.
            parent_span_is_remote: parent.is_some(),
            span_kind: kind,
            name: Cow::Borrowed(name),
            start_time: now,
            end_time: now,
            attributes: Vec::new(),
            dropped_attributes_count: 0,
            events: SpanEvents::default(),
            links: SpanLinks::default(),
            status: Status::Unset,
            instrumentation_scope: tracer.scope.clone(),
        };
        let recording = Recording { data, begun: Instant::now(), tracer };
        let passed_on = TraceParent { trace_id, span_id, is_sampled: true };
        Self { recording: Some(Box::new(recording)), passed_on: Some(passed_on) }
    }

    /// What the work passes on: this span, or its parent if this process exports no spans. `None` if the trace is not
    /// sampled.
    pub fn context(&self) -> Option<TraceParent> {
        self.passed_on
    }

    /// Replaces the name.
    pub fn rename(&mut self, name: impl FnOnce() -> String) {
        if let Some(recording) = &mut self.recording {
            recording.data.name = Cow::Owned(name());
        }
    }

    /// Adds attributes. They are made only if the span is recorded.
    pub fn describe<const N: usize>(&mut self, attributes: impl FnOnce() -> [KeyValue; N]) {
        if let Some(recording) = &mut self.recording {
            recording.data.attributes.extend(attributes());
        }
    }

    /// Marks the work as failed.
    pub fn fail(&mut self, why: impl FnOnce() -> String) {
        if let Some(recording) = &mut self.recording {
            recording.data.status = Status::error(why());
        }
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(recording) = self.recording.take() else { return };
        let Recording { mut data, begun, tracer } = *recording;
        data.end_time = data.start_time + begun.elapsed();
        tracer.export(data);
    }
}

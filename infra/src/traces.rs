//! Distributed traces: which work belongs to a trace, and the spans that it leaves.
//!
//! A request decides once whether it is sampled. What belongs to no sampled trace makes no span and allocates nothing.
//! A sampled request passes its [`TraceParent`] on: within a task by [`within`] and [`current`], to its events in their
//! metadata, and with each event to whatever follows it. So a trace goes through all processes, also through those that
//! export no spans.

mod event_spans;
mod export;
mod span;

use domain::{RecordedEvent, TraceParent};
use http::HeaderMap;
use memchr::memmem;
pub use opentelemetry::KeyValue as Attribute;

pub use self::{
    event_spans::{EventSpans, counted},
    export::{TraceEndpoint, TraceExport, TraceExportError, TraceExportOptions},
    span::{Kind, Span},
};

/// The header of HTTP requests, of webhooks and of Kafka messages.
pub const TRACEPARENT: &str = "traceparent";
/// The attribute with the role that did the work of a span.
pub const ROLE: &str = "orderly.role";

tokio::task_local! {
    static CURRENT: TraceParent;
}

/// The span of the work that this task does now. `None` if that belongs to no sampled trace.
pub fn current() -> Option<TraceParent> {
    CURRENT.try_with(|current| *current).ok()
}

/// Does work as a part of `trace`. Tasks that the work spawns are not a part of it.
pub async fn within<F: Future>(trace: Option<TraceParent>, work: F) -> F::Output {
    match trace {
        Some(trace) => CURRENT.scope(trace, Box::pin(work)).await,
        None => work.await,
    }
}

/// The trace of an event. Looks for the name of the member first: decoding the metadata of each event would cost more
/// than everything else that an event without a trace costs here.
pub fn of_event(event: &RecordedEvent) -> Option<TraceParent> {
    const MEMBER: &[u8] = b"\"traceparent\":";
    memmem::find(&event.metadata, MEMBER)?;
    event.decode_metadata().ok()?.traceparent
}

/// The trace that a caller names. `None` if it names none, or not in the form of W3C Trace Context.
pub fn of_headers(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?.to_str().ok()?;
    if values.next().is_some() {
        return None;
    }
    value.parse().ok()
}

#[cfg(test)]
mod tests;

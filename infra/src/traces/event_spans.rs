//! The spans of a batch of events: one for each event of a sampled trace.

use std::fmt::Display;

use domain::RecordedEvent;

use super::{Attribute, Kind, ROLE, Span, export::tracer, of_event};

/// The work of a batch, as a part of the traces of its events. Most batches have no event of a sampled trace.
#[derive(Debug, Default)]
pub struct EventSpans(Vec<Span>);

impl EventSpans {
    /// Begins the work of `role` on these events.
    pub fn begin(name: &'static str, kind: &Kind, role: &'static str, events: &[RecordedEvent]) -> Self {
        if tracer().is_none() {
            return Self::default();
        }
        let traced = events.iter().filter_map(|event| Some((event, of_event(event)?)));
        let spans = traced.map(|(event, trace)| {
            let mut span = Span::begin(name, kind.clone(), Some(trace));
            span.describe(|| about(event));
            span.describe(|| [Attribute::new(ROLE, role), counted("batch.events", events.len())]);
            span
        });
        Self(spans.collect())
    }

    /// Ends the work: `error` says why it failed.
    pub fn end(self, error: Option<&dyn Display>) {
        for mut span in self.0 {
            if let Some(error) = error {
                span.fail(|| error.to_string());
            }
        }
    }
}

impl Span {
    /// Adds what identifies an event.
    pub fn describe_event(&mut self, event: &RecordedEvent) {
        self.describe(|| about(event));
    }
}

fn about(event: &RecordedEvent) -> [Attribute; 4] {
    [
        Attribute::new("event.stream", event.stream.to_string()),
        Attribute::new("event.type", event.type_name.to_string()),
        Attribute::new("event.id", event.id.to_string()),
        Attribute::new("event.position", i64::try_from(event.position).unwrap_or(i64::MAX)),
    ]
}

/// The attribute with a number of things.
pub fn counted(name: &'static str, number: usize) -> Attribute {
    Attribute::new(name, i64::try_from(number).unwrap_or(i64::MAX))
}

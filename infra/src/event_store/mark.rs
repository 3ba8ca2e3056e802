//! Marks: names of single events, by which a consumer recognises the log that it has read.

use std::fmt;

use domain::{EventId, Position, RecordedEvent, Revision, StreamName};
use serde::{Deserialize, Serialize};

/// Names one event of the log. A consumer stores the mark of its last event beside its position. A log that
/// lacks a marked event, or has another one in its place, went back to an earlier state.
///
/// The stream and the revision find the event in every store. A position alone does not: EventStoreDB refuses
/// to read at a position where no event begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMark {
    pub position: Position,
    pub stream: StreamName,
    pub revision: Revision,
    pub id: EventId,
}

impl EventMark {
    /// The form that databases store.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a struct of numbers and strings is JSON")
    }

    /// `None` if the text is not a mark. Such a position counts as one without a mark.
    pub fn from_json(text: &str) -> Option<Self> {
        let parsed = serde_json::from_str(text);
        if let Err(error) = &parsed {
            tracing::warn!(%error, "A stored mark of an event is unreadable; its position is not compared with the log");
        }
        parsed.ok()
    }
}

impl From<&RecordedEvent> for EventMark {
    fn from(event: &RecordedEvent) -> Self {
        Self {
            position: event.position,
            stream: event.stream.clone(),
            revision: event.revision,
            id: event.id,
        }
    }
}

impl fmt::Display for EventMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "event {} at position {} ({}, revision {})",
            self.id, self.position, self.stream, self.revision
        )
    }
}

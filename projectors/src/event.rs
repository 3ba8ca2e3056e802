//! Decoded events, and the reasons why an event cannot be applied.

use std::panic::{AssertUnwindSafe, catch_unwind};

use domain::{Event, EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};

/// An event, decoded once for all projections.
#[derive(Debug)]
pub struct DecodedEvent {
    pub id: EventId,
    pub stream: StreamName,
    pub revision: Revision,
    pub position: Position,
    pub recorded_at: Timestamp,
    /// The event, or why it cannot be decoded.
    pub event: Result<Event, String>,
}

impl From<RecordedEvent> for DecodedEvent {
    fn from(recorded: RecordedEvent) -> Self {
        let event = recorded.decode().map_err(|error| error.to_string());
        let RecordedEvent { id, stream, revision, position, recorded_at, .. } = recorded;
        Self { id, stream, revision, position, recorded_at, event }
    }
}

/// Why an event cannot be applied.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Poison {
    #[error("{0}")]
    Undecodable(String),
    #[error("revision {expected} must come next, but {found} came: events in between are missing")]
    Gap { expected: Revision, found: Revision },
    /// The event breaks a rule of the domain, so the domain cannot have decided it.
    #[error("the event contradicts the events before it: {0}")]
    Contradiction(String),
}

/// Runs a fold of the domain, and turns a failed assertion of it into [`Poison`].
pub(crate) fn guarded<T>(fold: impl FnOnce() -> T) -> Result<T, Poison> {
    catch_unwind(AssertUnwindSafe(fold)).map_err(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
        Poison::Contradiction(message.unwrap_or("an assertion failed").to_owned())
    })
}

//! Decoded events, and the reasons why an event cannot be applied.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
};

use domain::{Event, EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use infra::event_store::EventMark;

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

impl From<&DecodedEvent> for EventMark {
    fn from(event: &DecodedEvent) -> Self {
        let DecodedEvent { id, stream, revision, position, .. } = event;
        Self { position: *position, stream: stream.clone(), revision: *revision, id: *id }
    }
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
    #[error("the read models refuse the row of the stream after this event: {0}")]
    Refused(String),
}

/// Runs the fold of one event, and turns a panic into [`Poison`]. The reason leaves the panic's text out,
/// because it can quote the whole state.
pub fn guarded<T>(fold: impl FnOnce() -> Result<T, Poison>) -> Result<T, Poison> {
    let before = IS_GUARDED.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(fold));
    IS_GUARDED.set(before);
    outcome.unwrap_or_else(|_| Err(Poison::Contradiction("an assertion of the fold failed".to_owned())))
}

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// True if a panic of this thread now parks a stream. A panic hook then has nothing to report.
pub fn panics_are_handled() -> bool {
    IS_GUARDED.get()
}

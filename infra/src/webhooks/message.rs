//! What a receiver is sent.

use domain::{EventId, OrderId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::history::MalformedEvent;
use crate::operations::webhooks::Place;

/// The body, as docs/webhooks.md shows it.
#[derive(Debug, Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    /// When the event was recorded.
    timestamp: Timestamp,
    data: Data<'a>,
}

#[derive(Debug, Serialize)]
struct Data<'a> {
    order_id: OrderId,
    sequence: u64,
    previous_sequence: Option<u64>,
    event_id: EventId,
    stream: &'a StreamName,
    revision: Revision,
    position: Position,
    correlation_id: Uuid,
    /// As it is stored.
    event: &'a RawValue,
}

/// The same bytes for the same event, at every attempt.
pub(super) fn body(event: &RecordedEvent, order: OrderId, place: Place) -> Result<Vec<u8>, MalformedEvent> {
    let malformed = |reason: String| MalformedEvent { id: event.id, reason };
    let metadata = event.decode_metadata().map_err(|error| malformed(error.to_string()))?;
    let stored = serde_json::from_slice(&event.data).map_err(|error| malformed(error.to_string()))?;
    let message = Message {
        type_name: &event.type_name,
        timestamp: event.recorded_at,
        data: Data {
            order_id: order,
            sequence: place.sequence,
            previous_sequence: place.previous,
            event_id: event.id,
            stream: &event.stream,
            revision: event.revision,
            position: event.position,
            correlation_id: metadata.correlation_id,
            event: stored,
        },
    };
    serde_json::to_vec(&message).map_err(|error| malformed(error.to_string()))
}

//! The body of a webhook.

use domain::{EventId, OrderId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use infra::operations::webhooks::OrderPlace;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use crate::history::{Unreadable, malformed};

/// The body, as docs/webhooks.md documents it.
#[derive(Debug, Serialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    type_name: &'a str,
    /// When the event was recorded.
    timestamp: Timestamp,
    data: MessageData<'a>,
}

#[derive(Debug, Serialize)]
struct MessageData<'a> {
    order_id: OrderId,
    sequence: u64,
    previous_sequence: Option<u64>,
    event_id: EventId,
    stream: &'a StreamName,
    revision: Revision,
    position: Position,
    correlation_id: Uuid,
    /// The data of the event, as stored.
    event: &'a RawValue,
}

/// Returns the same bytes for the same event at every attempt, so receivers can compare duplicates.
pub(crate) fn body(event: &RecordedEvent, place: OrderPlace) -> Result<Vec<u8>, Unreadable> {
    let OrderPlace { order, sequence } = place;
    let metadata = event.decode_metadata().map_err(|error| malformed(event, &error))?;
    let stored = serde_json::from_slice(&event.data).map_err(|error| malformed(event, &error))?;
    let message = Message {
        type_name: &event.type_name,
        timestamp: event.recorded_at,
        data: MessageData {
            order_id: order,
            sequence: sequence.number,
            previous_sequence: sequence.previous,
            event_id: event.id,
            stream: &event.stream,
            revision: event.revision,
            position: event.position,
            correlation_id: metadata.correlation_id,
            event: stored,
        },
    };
    serde_json::to_vec(&message).map_err(|error| malformed(event, &error))
}

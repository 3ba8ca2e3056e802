//! Events of the log as answers show them.

use std::io::Write;

use domain::{EventId, EventMetadata, Position, RecordedEvent, Revision, StreamName, Timestamp};
use infra::event_row::{EventData, EventRow};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::timeline::TimelineActor;

/// An event and its metadata. `None` if the metadata cannot be decoded.
#[derive(Debug)]
pub(crate) struct Entry {
    pub event: RecordedEvent,
    pub metadata: Option<EventMetadata>,
}

impl From<RecordedEvent> for Entry {
    fn from(event: RecordedEvent) -> Self {
        Self { metadata: event.decode_metadata().ok(), event }
    }
}

impl Entry {
    pub fn row(&self) -> EventRow<'_> {
        EventRow::of(&self.event, self.metadata.as_ref())
    }
}

/// An event of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct LogEvent<'a> {
    /// Position in the log.
    #[schema(value_type = u64)]
    position: Position,
    #[schema(value_type = String, format = "date-time")]
    recorded_at: Timestamp,
    #[schema(value_type = String, example = "stock-85123A")]
    stream: &'a StreamName,
    #[schema(value_type = u64)]
    revision: Revision,
    #[schema(example = "stock.reserved.v1")]
    event_type: &'a str,
    #[schema(value_type = String, format = "uuid")]
    event_id: EventId,
    /// The stored name of the command that recorded it.
    command: Option<&'a str>,
    /// Shared by all events of a chain: the id of its first command; of an expiry, the id of the order.
    #[schema(value_type = Option<String>, format = "uuid")]
    correlation_id: Option<Uuid>,
    /// The event that the command reacts to. Null for a command of a caller, a timer or a provider's webhook.
    #[schema(value_type = Option<String>, format = "uuid")]
    causation_id: Option<EventId>,
    /// The key of the caller's command. Null for any other command.
    idempotency_key: Option<&'a str>,
    /// Who sent the command. Null if an earlier build recorded the event.
    actor: Option<TimelineActor<'a>>,
    /// As stored: an object, or a text if the event is damaged.
    #[schema(value_type = Option<Value>)]
    data: Option<EventData<'a>>,
}

impl<'a> LogEvent<'a> {
    pub fn of(row: EventRow<'a>) -> Self {
        let actor = |principal| TimelineActor { principal, person: row.person };
        Self {
            position: row.position,
            recorded_at: row.recorded_at,
            stream: row.stream,
            revision: row.revision,
            event_type: row.event_type,
            event_id: row.event_id,
            command: row.command,
            correlation_id: row.correlation_id,
            causation_id: row.causation_id,
            idempotency_key: row.idempotency_key,
            actor: row.principal.map(actor),
            data: Some(row.data),
        }
    }

    /// What a caller without the scope `audit` may know: neither who did it, nor what it contains.
    pub fn without_content(self) -> Self {
        Self { idempotency_key: None, actor: None, data: None, ..self }
    }

    /// Writes the event as a server-sent event.
    pub fn write_to(&self, frames: &mut Vec<u8>) {
        // Writes to memory do not fail.
        let _ = write!(frames, "id: {}\nevent: recorded\ndata: ", self.position);
        serde_json::to_writer(&mut *frames, self)
            .expect("an event has string keys and no failing serializers");
        frames.extend_from_slice(b"\n\n");
    }
}

#[cfg(test)]
mod tests {
    use domain::OrderId;

    use super::*;

    fn recorded(data: &str, metadata: &str) -> RecordedEvent {
        RecordedEvent {
            position: 7,
            stream: OrderId(Uuid::nil()).into(),
            revision: 0,
            id: EventId(Uuid::nil()),
            type_name: "order.placed.v2".into(),
            data: data.as_bytes().into(),
            metadata: metadata.as_bytes().into(),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: None,
        }
    }

    fn frame(event: &RecordedEvent) -> String {
        let mut frames = Vec::new();
        LogEvent::of(EventRow::of(event, event.decode_metadata().ok().as_ref())).write_to(&mut frames);
        String::from_utf8(frames).unwrap()
    }

    #[test]
    fn a_frame_has_one_line_of_data() {
        let frame = frame(&recorded("{\n\"sku\":\r\n\"A\"}", "{}"));
        assert_eq!(frame.lines().count(), 4, "{frame}");
        assert!(frame.starts_with("id: 7\nevent: recorded\ndata: {\"position\":7,"), "{frame}");
        assert!(frame.contains(r#""data":{"sku":"A"}"#) && frame.ends_with("}\n\n"), "{frame}");
    }

    #[test]
    fn an_event_without_content_names_no_actor_no_key_and_no_data() {
        let metadata = r#"{"command_id":"00000000-0000-0000-0000-000000000001","command":"order.place",
            "correlation_id":"00000000-0000-0000-0000-000000000001","actor":{"principal":"shop"},
            "idempotency":{"key":"secret-key","fingerprint":"00","schema":1}}"#;
        let event = recorded(r#"{"secret":1}"#, metadata);
        let metadata = event.decode_metadata().unwrap();
        let shown = || LogEvent::of(EventRow::of(&event, Some(&metadata)));
        let whole = serde_json::to_string(&shown()).unwrap();
        assert!(["secret-key", "shop", r#"{"secret":1}"#].iter().all(|part| whole.contains(part)), "{whole}");
        let notice = serde_json::to_string(&shown().without_content()).unwrap();
        assert!(!notice.contains("secret") && !notice.contains("shop"), "{notice}");
        assert!(notice.contains(r#""command":"order.place""#), "{notice}");
    }
}

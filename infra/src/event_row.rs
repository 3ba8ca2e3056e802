//! An event of the log as a row: what answers, pages and exports show of it.

use std::borrow::Cow;

use domain::{CommandId, EventId, EventMetadata, Position, RecordedEvent, Revision, StreamName, Timestamp};
use serde::Serialize;
use serde_json::{Value, value::RawValue};
use uuid::Uuid;

/// An event with its metadata. Its members are the columns of an export, in this order.
#[derive(Debug, Clone, Serialize)]
pub struct EventRow<'a> {
    pub position: Position,
    pub recorded_at: Timestamp,
    pub stream: &'a StreamName,
    pub revision: Revision,
    pub event_type: &'a str,
    pub event_id: EventId,
    /// The stored name of the command that recorded it. `None`, like the next six, if the metadata cannot be decoded.
    pub command: Option<&'a str>,
    pub command_id: Option<CommandId>,
    pub correlation_id: Option<Uuid>,
    pub causation_id: Option<EventId>,
    pub idempotency_key: Option<&'a str>,
    pub principal: Option<&'a str>,
    pub person: Option<&'a str>,
    /// Why the event cannot be read.
    pub damage: Option<&'a str>,
    pub data: EventData<'a>,
}

impl<'a> EventRow<'a> {
    /// `metadata`: those of the event, if they can be decoded.
    pub fn of(event: &'a RecordedEvent, metadata: Option<&'a EventMetadata>) -> Self {
        let actor = metadata.and_then(|metadata| metadata.actor.as_ref());
        let idempotency = metadata.and_then(|metadata| metadata.idempotency.as_ref());
        Self {
            position: event.position,
            recorded_at: event.recorded_at,
            stream: &event.stream,
            revision: event.revision,
            event_type: &event.type_name,
            event_id: event.id,
            command: metadata.map(|metadata| metadata.command.as_str()),
            command_id: metadata.map(|metadata| metadata.command_id),
            correlation_id: metadata.map(|metadata| metadata.correlation_id),
            causation_id: metadata.and_then(|metadata| metadata.causation_id),
            idempotency_key: idempotency.map(|idempotency| idempotency.key.as_str()),
            principal: actor.map(|actor| &*actor.principal),
            person: actor.and_then(|actor| actor.person.as_deref()),
            damage: event.damage.as_deref(),
            data: EventData::of(event),
        }
    }
}

/// The data of an event as JSON on one line: a line break would end a line of a feed or of a file.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum EventData<'a> {
    /// As stored.
    Stored(&'a RawValue),
    Rewritten(Value),
    /// What is stored is not JSON, or the event is damaged and this says why.
    Text(Cow<'a, str>),
}

impl<'a> EventData<'a> {
    fn of(event: &'a RecordedEvent) -> Self {
        if let Err(damaged) = event.check() {
            return Self::Text(damaged.to_string().into());
        }
        let has_line_break = event.data.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
        let stored = if has_line_break {
            serde_json::from_slice(&event.data).map(Self::Rewritten)
        } else {
            serde_json::from_slice(&event.data).map(Self::Stored)
        };
        stored.unwrap_or_else(|_| Self::Text(String::from_utf8_lossy(&event.data)))
    }

    /// The JSON as a text, for a cell of a table.
    pub fn into_text(self) -> Self {
        match self {
            Self::Stored(json) => Self::Text(json.get().into()),
            Self::Rewritten(json) => Self::Text(json.to_string().into()),
            Self::Text(text) => Self::Text(text),
        }
    }

    /// The decoded JSON; a text if there is none.
    pub fn to_value(&self) -> Value {
        match self {
            Self::Stored(json) => serde_json::from_str(json.get()).unwrap_or_default(),
            Self::Rewritten(json) => json.clone(),
            Self::Text(text) => text.as_ref().into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use domain::OrderId;

    use super::*;

    fn recorded(data: &str) -> RecordedEvent {
        RecordedEvent {
            position: 7,
            stream: OrderId(Uuid::nil()).into(),
            revision: 0,
            id: EventId(Uuid::nil()),
            type_name: "order.placed.v2".into(),
            data: data.as_bytes().into(),
            metadata: b"{}".as_slice().into(),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: None,
        }
    }

    #[test]
    fn data_stand_on_one_line_whatever_is_stored() {
        for (stored, shown, in_a_cell) in [
            (r#"{"sku": "A"}"#, r#"{"sku": "A"}"#, r#"{"sku": "A"}"#),
            ("{\n\"sku\":\r\n\"A\"}", r#"{"sku":"A"}"#, r#"{"sku":"A"}"#),
            ("not\nJSON", r#""not\nJSON""#, "not\nJSON"),
        ] {
            let event = recorded(stored);
            let data = EventRow::of(&event, None).data;
            assert_eq!(serde_json::to_string(&data).unwrap(), shown);
            assert_eq!(data.to_value(), serde_json::from_str::<Value>(shown).unwrap());
            let EventData::Text(cell) = data.into_text() else { panic!("a cell is a text") };
            assert_eq!(cell, in_a_cell);
        }
        let damaged = RecordedEvent { damage: Some(Arc::from("a flipped bit")), ..recorded("") };
        let row = EventRow::of(&damaged, None);
        assert_eq!(row.damage, Some("a flipped bit"));
        assert!(row.data.to_value().as_str().unwrap().contains("a flipped bit"));
    }
}

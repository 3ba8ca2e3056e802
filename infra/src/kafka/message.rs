//! The form of an event in Kafka: a CloudEvent in binary mode. docs/events.md shows it.
//!
//! The value is the event's data, with the stored bytes. Everything else is in headers, so that a consumer
//! can decode exactly the stored event.

use std::str::{self, FromStr};

use domain::{Actor, EventId, RecordedEvent, StreamName};
use uuid::Uuid;

use crate::traces::TRACEPARENT;

const CONTENT_TYPE: &str = "content-type";
const SPEC_VERSION: &str = "ce_specversion";
const ID: &str = "ce_id";
const SOURCE: &str = "ce_source";
const TYPE: &str = "ce_type";
const SUBJECT: &str = "ce_subject";
const TIME: &str = "ce_time";
const REVISION: &str = "ce_revision";
const POSITION: &str = "ce_position";
const CORRELATION_ID: &str = "ce_correlationid";
const CAUSATION_ID: &str = "ce_causationid";
const ACTOR: &str = "ce_actor";
const PERSON: &str = "ce_person";
/// The stored metadata, with the same bytes. Not an attribute of CloudEvents.
const METADATA: &str = "orderly_metadata";

/// Prefix of the source; the id of the log follows.
const SOURCE_SCHEME: &str = "urn:uuid:";

/// The headers of an event's message.
pub fn headers(event: &RecordedEvent, store_id: Uuid) -> Vec<(&'static str, Vec<u8>)> {
    let mut headers = vec![
        (CONTENT_TYPE, b"application/json".to_vec()),
        (SPEC_VERSION, b"1.0".to_vec()),
        (ID, event.id.to_string().into()),
        (SOURCE, format!("{SOURCE_SCHEME}{store_id}").into()),
        (TYPE, event.type_name.as_bytes().to_vec()),
        (SUBJECT, event.stream.to_string().into()),
        (TIME, event.recorded_at.to_string().into()),
        (REVISION, event.revision.to_string().into()),
        (POSITION, event.position.to_string().into()),
    ];
    // A copy of the ids, the actor and the trace in the metadata, for consumers that support CloudEvents but not Orderly.
    if let Ok(metadata) = event.decode_metadata() {
        headers.push((CORRELATION_ID, metadata.correlation_id.to_string().into()));
        if let Some(cause) = metadata.causation_id {
            headers.push((CAUSATION_ID, cause.to_string().into()));
        }
        if let Some(Actor { principal, person }) = metadata.actor {
            headers.push((ACTOR, principal.into_owned().into()));
            headers.extend(person.map(|person| (PERSON, person.into())));
        }
        headers.extend(metadata.traceparent.map(|trace| (TRACEPARENT, trace.to_string().into())));
    }
    headers.push((METADATA, event.metadata.to_vec()));
    headers
}

/// Why a message is not an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MalformedMessage {
    #[error("the header {0} is missing")]
    Missing(&'static str),
    #[error("the header {header} has the unreadable value {value:?}")]
    Unreadable { header: &'static str, value: String },
    #[error("the message has no value")]
    NoValue,
}

/// Decodes a message. Returns the id of its log and the event.
pub fn decode<'a>(
    headers: impl Iterator<Item = (&'a str, Option<&'a [u8]>)>,
    value: Option<&[u8]>,
) -> Result<(Uuid, RecordedEvent), MalformedMessage> {
    let mut found = Found::default();
    for (name, value) in headers {
        let slot = match name {
            ID => &mut found.id,
            SOURCE => &mut found.source,
            TYPE => &mut found.type_name,
            SUBJECT => &mut found.subject,
            TIME => &mut found.time,
            REVISION => &mut found.revision,
            POSITION => &mut found.position,
            METADATA => &mut found.metadata,
            _ => continue,
        };
        *slot = value;
    }
    let source = text(SOURCE, found.source)?;
    let store_id = source
        .strip_prefix(SOURCE_SCHEME)
        .and_then(|id| Uuid::try_parse(id).ok())
        .ok_or_else(|| unreadable(SOURCE, source.as_bytes()))?;
    let event = RecordedEvent {
        position: parsed(POSITION, found.position)?,
        stream: parsed::<StreamName>(SUBJECT, found.subject)?,
        revision: parsed(REVISION, found.revision)?,
        id: parsed::<EventId>(ID, found.id)?,
        type_name: text(TYPE, found.type_name)?.into(),
        data: value.ok_or(MalformedMessage::NoValue)?.into(),
        metadata: found.metadata.ok_or(MalformedMessage::Missing(METADATA))?.into(),
        recorded_at: parsed(TIME, found.time)?,
        damage: None,
    };
    Ok((store_id, event))
}

#[derive(Default)]
struct Found<'a> {
    id: Option<&'a [u8]>,
    source: Option<&'a [u8]>,
    type_name: Option<&'a [u8]>,
    subject: Option<&'a [u8]>,
    time: Option<&'a [u8]>,
    revision: Option<&'a [u8]>,
    position: Option<&'a [u8]>,
    metadata: Option<&'a [u8]>,
}

fn text<'a>(header: &'static str, value: Option<&'a [u8]>) -> Result<&'a str, MalformedMessage> {
    let value = value.ok_or(MalformedMessage::Missing(header))?;
    str::from_utf8(value).map_err(|_| unreadable(header, value))
}

fn parsed<T: FromStr>(header: &'static str, value: Option<&[u8]>) -> Result<T, MalformedMessage> {
    let text = text(header, value)?;
    text.parse().map_err(|_| unreadable(header, text.as_bytes()))
}

fn unreadable(header: &'static str, value: &[u8]) -> MalformedMessage {
    MalformedMessage::Unreadable { header, value: String::from_utf8_lossy(value).into_owned() }
}

#[cfg(test)]
mod tests;

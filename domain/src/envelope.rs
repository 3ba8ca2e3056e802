//! What is stored around an event: the command that caused it, the caller's key, its place in the log.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    Actor, CommandId, Decider, DecodeError, EventId, Position, Revision, StreamName, Timestamp, TraceParent,
    decider::StoredEvent, exchange::ExchangeEvent, order::OrderEvent, payment::PaymentEvent,
    receipt::ReceiptEvent, stock::StockEvent, trace,
};

/// The data of a command besides its content.
#[derive(Debug, Clone)]
pub struct CommandContext {
    pub id: CommandId,
    /// Shared by all events of a chain: the id of its first command; of an expiry, the id of the order.
    pub correlation_id: Uuid,
    /// The event that this command reacts to. None for a command of a caller, a timer or a webhook.
    pub causation_id: Option<EventId>,
    pub idempotency: Option<Idempotency>,
    /// Refuse the command unless the stream has this revision (HTTP `If-Match`).
    pub if_revision: Option<Revision>,
    pub actor: Actor,
    /// The span that sends the command, if its trace is sampled. Decides nothing.
    pub trace: Option<TraceParent>,
}

impl CommandContext {
    /// The context of a caller's command. Its actor is anonymous until [`CommandContext::by`] names another one.
    pub fn external(id: CommandId, idempotency: Idempotency) -> Self {
        Self {
            id,
            correlation_id: id.0,
            causation_id: None,
            idempotency: Some(idempotency),
            if_revision: None,
            actor: Actor::anonymous(),
            trace: None,
        }
    }

    /// The context of a command that a reaction to `cause` sends to `target`.
    pub fn reaction(cause: EventId, correlation_id: Uuid, target: &StreamName, command: &str) -> Self {
        Self {
            id: CommandId::of_reaction(cause, target, command),
            correlation_id,
            causation_id: Some(cause),
            idempotency: None,
            if_revision: None,
            actor: Actor::process_manager(),
            trace: None,
        }
    }

    /// The context of a timer's command. At the same revision of the target stream it is the same command.
    pub fn timed(
        target: &StreamName,
        correlation_id: Uuid,
        command: &str,
        revision: Option<Revision>,
    ) -> Self {
        Self {
            id: CommandId::of_timer(target, command, revision),
            correlation_id,
            causation_id: None,
            idempotency: None,
            if_revision: None,
            actor: Actor::timer(),
            trace: None,
        }
    }

    /// The context of a command that records an answer to the request `cause`. The revision of the target
    /// stream distinguishes several answers to one request.
    pub fn answer(
        cause: EventId,
        correlation_id: Uuid,
        target: &StreamName,
        command: &str,
        revision: Option<Revision>,
    ) -> Self {
        let command = format!("{command}/{}", revision.map_or(0, |revision| revision + 1));
        Self::reaction(cause, correlation_id, target, &command)
    }

    /// The context of a command that records a webhook. `notice` is the provider's id of the webhook.
    pub fn notice(provider: &str, notice: &str) -> Self {
        let (id, actor) = (CommandId::of_notice(provider, notice), Actor::provider(provider));
        let (correlation_id, trace) = (id.0, None);
        Self { id, correlation_id, causation_id: None, idempotency: None, if_revision: None, actor, trace }
    }

    /// The same command, sent by `actor`.
    pub fn by(self, actor: Actor) -> Self {
        Self { actor, ..self }
    }

    /// The same command, sent by a span.
    pub fn in_trace(self, trace: Option<TraceParent>) -> Self {
        Self { trace, ..self }
    }
}

impl CommandContext {
    /// The id of the event number `index` (from 0) of this command. Streams of version 0.1.0 have OrderPlaced
    /// events with an id of another derivation, so read the id of an event that was recorded earlier.
    pub fn event_id<A: Decider>(&self, command_name: &str, index: u32) -> EventId {
        match &self.idempotency {
            Some(idempotency) if index == 0 && A::is_identified_by_content(command_name) => {
                EventId::of_content(self.id, &idempotency.fingerprint)
            }
            _ => EventId::of_command(self.id, index),
        }
    }
}

/// The caller's key and a fingerprint of its request. Stored for ever with every event of the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    pub key: String,
    /// SHA-256 of the decoded command, in hex.
    pub fingerprint: String,
    /// Version of the command's schema when the fingerprint was computed.
    pub schema: u16,
}

/// Stored beside each event's data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventMetadata {
    pub command_id: CommandId,
    /// The stored name of the command.
    pub command: String,
    pub correlation_id: Uuid,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub causation_id: Option<EventId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency: Option<Idempotency>,
    /// Who sent the command. `None`: recorded by a build that did not know its callers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor: Option<Actor>,
    /// The span that sent the command, if its trace was sampled.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "trace::read_stored")]
    pub traceparent: Option<TraceParent>,
}

/// An event to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewEvent {
    pub id: EventId,
    pub type_name: &'static str,
    /// JSON.
    pub data: Vec<u8>,
    /// JSON of [`EventMetadata`], shared by all events of one command.
    pub metadata: Arc<[u8]>,
}

/// Encodes the events that one command caused.
pub fn seal<A: Decider>(context: &CommandContext, command_name: &str, events: &[A::Event]) -> Vec<NewEvent> {
    let metadata = EventMetadata {
        command_id: context.id,
        command: command_name.to_owned(),
        correlation_id: context.correlation_id,
        causation_id: context.causation_id,
        idempotency: context.idempotency.clone(),
        actor: Some(context.actor.clone()),
        traceparent: context.trace,
    };
    let shared: Arc<[u8]> =
        serde_json::to_vec(&metadata).expect("metadata has string keys and no failing serializers").into();
    (0u32..)
        .zip(events)
        .map(|(index, event)| NewEvent {
            id: context.event_id::<A>(command_name, index),
            type_name: event.type_name(),
            data: event.to_json(),
            metadata: shared.clone(),
        })
        .collect()
}

/// An event as read from the store. Cheap to clone, because several followers share the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedEvent {
    pub position: Position,
    pub stream: StreamName,
    pub revision: Revision,
    pub id: EventId,
    pub type_name: Arc<str>,
    /// JSON.
    pub data: Arc<[u8]>,
    /// JSON of [`EventMetadata`].
    pub metadata: Arc<[u8]>,
    /// When the store recorded it. Microseconds.
    pub recorded_at: Timestamp,
    /// Why the store cannot return the event as it was appended. Then type, data and metadata are empty and
    /// nothing decodes, so a reader treats the event like one that it cannot decode.
    pub damage: Option<Arc<str>>,
}

/// An event of any aggregate, decoded.
#[allow(clippy::large_enum_variant, reason = "decoded, read and dropped: few exist at a time")]
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Stock(StockEvent),
    Order(OrderEvent),
    Payment(PaymentEvent),
    Receipt(ReceiptEvent),
    Exchange(ExchangeEvent),
}

impl RecordedEvent {
    pub fn decode(&self) -> Result<Event, DecodeError> {
        match self.stream {
            StreamName::Stock(_) => self.decode_as::<StockEvent>().map(Event::Stock),
            StreamName::Order(_) => self.decode_as::<OrderEvent>().map(Event::Order),
            StreamName::Payment(_) => self.decode_as::<PaymentEvent>().map(Event::Payment),
            StreamName::Receipt(_) => self.decode_as::<ReceiptEvent>().map(Event::Receipt),
            StreamName::Exchange(_) => self.decode_as::<ExchangeEvent>().map(Event::Exchange),
        }
    }

    /// Decodes an event of a known aggregate.
    pub fn decode_as<E: StoredEvent>(&self) -> Result<E, DecodeError> {
        self.check()?;
        E::from_json(&self.type_name, &self.data)
    }

    pub fn decode_metadata(&self) -> Result<EventMetadata, DecodeError> {
        self.check()?;
        serde_json::from_slice(&self.metadata).map_err(DecodeError::Metadata)
    }

    /// Fails if the event is damaged.
    pub fn check(&self) -> Result<(), DecodeError> {
        self.damage.as_ref().map_or(Ok(()), |why| {
            let (position, revision, stream) = (self.position, self.revision, self.stream.clone());
            Err(DecodeError::Damaged { position, stream, revision, why: Arc::clone(why) })
        })
    }
}

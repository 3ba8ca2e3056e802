//! The port of parked reactions: those that the process manager could not run, with the later events of their
//! streams.

use async_trait::async_trait;
use domain::{
    EventId, ExchangeId, OrderId, PaymentId, ReceiptId, RecordedEvent, Revision, StreamName, Timestamp,
};
use uuid::Uuid;

use super::OperationsError;

/// A stream whose reactions wait, because the reaction to one of its events failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedReaction {
    pub stream: StreamName,
    /// Revision of the first event without a durable reaction.
    pub revision: Revision,
    pub event_id: EventId,
    pub event_type: String,
    /// Revision of the last event that the process manager has read. Its reaction waits too.
    pub last_revision: Revision,
    /// Microseconds.
    pub parked_at: Timestamp,
    /// Failed attempts since it was parked, and the one that parked it.
    pub attempts: u32,
    /// Why the last attempt failed, in at most [`ParkedReaction::REASON_CHARS_MAX`] characters.
    pub reason: String,
    pub next_attempt_at: Timestamp,
    /// True if an operator has requested a retry that was not made yet.
    pub retry_requested: bool,
}

impl ParkedReaction {
    pub const REASON_CHARS_MAX: usize = 500;

    /// The entry of an event whose reaction has just failed.
    pub fn new(event: &RecordedEvent, reason: &str, now: Timestamp, next_attempt_at: Timestamp) -> Self {
        Self {
            stream: event.stream.clone(),
            revision: event.revision,
            event_id: event.id,
            event_type: event.type_name.to_string(),
            last_revision: event.revision,
            parked_at: now,
            attempts: 1,
            reason: reason.chars().take(Self::REASON_CHARS_MAX).collect(),
            next_attempt_at,
            retry_requested: false,
        }
    }

    /// The id of the order, payment, receipt or exchange. [`ParkedReactions::find`] finds the entry by it.
    pub fn stream_id(&self) -> Uuid {
        match &self.stream {
            StreamName::Order(id) => id.0,
            StreamName::Payment(id) => id.0,
            StreamName::Receipt(id) => id.0,
            StreamName::Exchange(id) => id.0,
            StreamName::Stock(_) => self.event_id.0,
        }
    }
}

/// Stores parked reactions, one entry for each stream and log.
///
/// Contract, checked by the suite in `tests/tests/parked_reactions_contract.rs`:
/// - Writes to this store and to [`super::Positions`] become durable in the order in which they are made. So
///   after a power cut no saved position is past an entry that was written before it.
/// - An entry covers every event of its stream from `revision` to `last_revision`. Only
///   [`ParkedReactions::resume`] removes it, and only if it covers no further event.
/// - Entries of another log are invisible.
#[async_trait]
pub trait ParkedReactions: Send + Sync + 'static {
    /// Adds an entry. If the stream has one, that entry covers the events of both, and keeps its time and its
    /// attempts.
    async fn park(&self, store_id: Uuid, parked: &ParkedReaction) -> Result<(), OperationsError>;

    /// Adds a later event to the entry of its stream. False if the stream has no entry, or one that begins
    /// after this event.
    async fn add(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        revision: Revision,
    ) -> Result<bool, OperationsError>;

    /// At most `limit` entries that are due, in ascending order of `next_attempt_at` and stream, after `after`.
    async fn due(
        &self,
        store_id: Uuid,
        now: Timestamp,
        after: Option<(Timestamp, StreamName)>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError>;

    /// Stores a failed attempt: `failed` has the new beginning, reason, attempts and time, and otherwise the
    /// content of the entry as the attempt read it. A retry that was requested during the attempt stays
    /// requested.
    async fn postpone(&self, store_id: Uuid, failed: &ParkedReaction) -> Result<(), OperationsError>;

    /// Removes the entry of a stream whose reactions are durable up to `through`. If the entry covers later
    /// events, it stays, and the last of them is returned.
    async fn resume(
        &self,
        store_id: Uuid,
        stream: &StreamName,
        through: Revision,
    ) -> Result<Option<Revision>, OperationsError>;

    /// At most `limit` entries in ascending order of stream, after `after`.
    async fn list(
        &self,
        store_id: Uuid,
        after: Option<StreamName>,
        limit: usize,
    ) -> Result<Vec<ParkedReaction>, OperationsError>;

    /// The entry of the stream or first event with this id. See [`streams_with_id`].
    async fn find(&self, store_id: Uuid, id: Uuid) -> Result<Option<ParkedReaction>, OperationsError>;

    /// Makes the entry of a stream due, or all entries. Returns how many.
    async fn request_retry(
        &self,
        store_id: Uuid,
        stream: Option<&StreamName>,
        now: Timestamp,
    ) -> Result<u64, OperationsError>;

    async fn count(&self, store_id: Uuid) -> Result<u64, OperationsError>;
}

/// The streams that this id may name: events of stock have no reaction.
pub fn streams_with_id(id: Uuid) -> [StreamName; 4] {
    [OrderId(id).into(), PaymentId(id).into(), ReceiptId(id).into(), ExchangeId(id).into()]
}

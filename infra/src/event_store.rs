//! The event store port: append with optimistic concurrency, read a stream, read and follow the whole log.

pub mod eventstoredb;
mod mark;
mod outage;
mod pending;
pub mod sqlite;

use std::{collections::VecDeque, fmt, sync::Arc};

use async_trait::async_trait;
use domain::{NewEvent, Position, RecordedEvent, Revision, StreamName, Timestamp};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

pub use self::{mark::EventMark, outage::Outage};

/// The read half of an event store.
///
/// A short page is not the end: a read returns at most `limit` events, and fewer where it reaches a bound of
/// the store, such as one on bytes. Only an empty page means that there are no further events now. The first
/// event of a page is returned at any size.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// At most `limit` events of a stream, in order, from revision `from` on. Empty if the stream does not
    /// exist or ends before `from`.
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError>;

    /// At most `limit` events of the whole log, in order, after position `after` (`None`: from the
    /// beginning).
    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError>;

    /// The last event of a stream; `None` if the stream does not exist. By default it reads the whole stream.
    async fn last_of(&self, stream: &StreamName) -> Result<Option<RecordedEvent>, ReadError> {
        let mut last: Option<RecordedEvent> = None;
        loop {
            let from = last.as_ref().map_or(0, |event| event.revision + 1);
            match self.read_stream(stream, from, 1_000).await?.pop() {
                Some(event) => last = Some(event),
                None => return Ok(last),
            }
        }
    }

    /// At most `limit` events of the whole log before position `before` (`None`: before the end), the latest first. By
    /// default it reads from the beginning.
    async fn read_back(
        &self,
        before: Option<Position>,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        let mut latest: VecDeque<RecordedEvent> = VecDeque::new();
        loop {
            let page = self.read_all(latest.back().map(|event| event.position), 1_000).await?;
            let is_end = page.is_empty();
            for event in page {
                if before.is_some_and(|before| event.position >= before) {
                    return Ok(latest.into_iter().rev().take(limit).collect());
                }
                latest.push_back(event);
                if latest.len() > limit.max(1) {
                    latest.pop_front();
                }
            }
            if is_end {
                return Ok(latest.into_iter().rev().take(limit).collect());
            }
        }
    }

    /// For each stream, whether it has events. Costs one round trip where the store supports that.
    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let mut found = Vec::with_capacity(streams.len());
        for stream in streams {
            found.push(!self.read_stream(stream, 0, 1).await?.is_empty());
        }
        Ok(found)
    }

    /// Like [`EventLog::read_all`] after the event `mark`. Fails with [`ReadError::WentBack`] if the log does
    /// not have this event: a read by position alone would skip the events that replaced it. A page may end
    /// within an append.
    async fn read_after(&self, mark: &EventMark, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.expect(mark).await?;
        self.read_all(Some(mark.position), limit).await
    }

    /// Fails with [`ReadError::WentBack`] unless the log has this event.
    async fn expect(&self, mark: &EventMark) -> Result<(), ReadError> {
        if self.has(mark).await? { Ok(()) } else { Err(ReadError::went_back(mark)) }
    }

    /// True if the log has this event, at this position.
    async fn has(&self, mark: &EventMark) -> Result<bool, ReadError> {
        let found = self.read_stream(&mark.stream, mark.revision, 1).await?;
        // The id of a damaged event may differ. Its checksum reports the damage.
        let is_it = |event: &RecordedEvent| event.id == mark.id || event.damage.is_some();
        Ok(found.first().is_some_and(|event| event.position == mark.position && is_it(event)))
    }

    /// The last event; `None` while the log is empty.
    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError>;

    /// The position of the last event; `None` while the log is empty.
    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        Ok(self.last_event().await?.map(|event| event.position))
    }

    /// The position of the last event that was recorded before `time`; `None` if there is no such event.
    /// Relies on recorded times that increase with the positions. By default it reads from the beginning.
    async fn position_before(&self, time: Timestamp) -> Result<Option<Position>, ReadError> {
        let (mut before, mut after) = (None, None);
        loop {
            let page = self.read_all(after, 1_000).await?;
            let earlier = page.iter().take_while(|event| event.recorded_at < time);
            before = earlier.last().map(|event| event.position).or(before);
            after = page.last().map(|event| event.position);
            if after.is_none() || after > before {
                return Ok(before);
            }
        }
    }

    /// The last event, if a reader of this process follows the log, and delivered every event since the event `mark`.
    /// Proves without a call that the log still has both, as of the time when the reader last heard from it.
    fn last_followed(&self, mark: &EventMark) -> Option<RecordedEvent> {
        let _ = mark;
        None
    }

    /// Tells a follower that has read everything why it gets no further events, while that is so. Without
    /// this, it would wait for the head as if nothing was appended.
    fn outage(&self) -> Outage {
        Outage::default()
    }

    /// The id of this log. A new log, and a log restored from a backup, have another id.
    fn store_id(&self) -> Uuid;
}

/// An append-only log of events in streams.
///
/// Contract, checked by the suite in `tests/tests/event_store_contract.rs`:
/// - An append is atomic. Once it is answered with `Ok` it is durable: it survives `kill -9` and power loss.
/// - Revisions of a stream are 0, 1, 2, … without a gap. Positions of the log strictly increase in commit
///   order. A reader that has seen position p never later finds an unseen event before p.
/// - A retry of an append (same event ids, same expected revision) returns the original outcome. The store
///   compares these ids with the events stored at expected + 1, expected + 2, …: the first difference gives
///   [`AppendError::WrongExpectedRevision`]. If the expected revision is the current one, the events are
///   appended.
#[async_trait]
pub trait EventStore: Send + Sync + 'static {
    /// The read half of this store.
    fn log(&self) -> Arc<dyn EventLog>;

    /// Submits an append and returns at once. The store calls `done` exactly once, when the outcome is known,
    /// possibly on a thread of its own: `done` must not block.
    ///
    /// If [`EventStore::accepts_dependent_appends`] is true, the store processes appends in the order of
    /// submission. An append without events is a barrier: the store answers it after all appends that were
    /// submitted before it.
    fn submit(&self, append: Append, done: Done);

    /// Like [`EventStore::submit`], for an append that no caller waits for, because an append that depends on
    /// it follows at once. The store may hold it back a few milliseconds to commit both in one transaction.
    fn submit_unawaited(&self, append: Append, done: Done) {
        self.submit(append, done);
    }

    /// True if an append may be submitted before the appends that it builds on are durable. That needs a
    /// single writer that commits in the order of submission. Then a crash loses only the latest appends.
    fn accepts_dependent_appends(&self) -> bool;

    /// True if memory alone proves that a stream has no durable events, without a read of the disk or a call
    /// to a server. False proves nothing.
    fn lacks(&self, stream: &StreamName) -> bool {
        let _ = stream;
        false
    }

    /// Rises when an append fails that others may build on. The store refuses an append with an older epoch
    /// as [`AppendError::Superseded`]. Never changes if dependent appends are not accepted.
    fn epoch(&self) -> Epoch;

    /// Submits an append and waits for its outcome.
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(append, Box::new(move |outcome| drop(sender.send(outcome))));
        receiver.await.unwrap_or(Err(AppendError::OutcomeUnknown("the event store has stopped".into())))
    }

    /// Watches the position of the last event; `None` while the log is empty. A subscriber waits for a change
    /// here instead of polling the log. An append may be answered a few milliseconds before the head has it.
    /// A read of the log has every event up to the head.
    fn head(&self) -> watch::Receiver<Option<Position>>;
}

/// Called with the outcome of an append.
pub type Done = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// See [`EventStore::epoch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Epoch(pub u64);

/// Events to append to one stream.
#[derive(Debug, Clone)]
pub struct Append {
    pub stream: StreamName,
    pub expected: ExpectedRevision,
    /// Empty: a barrier.
    pub events: Vec<NewEvent>,
    /// The epoch in which the caller decided on this append. `None` if it depends on no unconfirmed append.
    pub epoch: Option<Epoch>,
}

/// The revision that a stream must have for an append to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedRevision {
    NoStream,
    Exact(Revision),
}

impl ExpectedRevision {
    /// The expectation that a stream is at this revision; `None`: that it does not exist.
    pub fn of(revision: Option<Revision>) -> Self {
        revision.map_or(Self::NoStream, Self::Exact)
    }

    /// The revision of the first event appended under this expectation.
    pub fn next(self) -> Revision {
        match self {
            Self::NoStream => 0,
            Self::Exact(revision) => revision + 1,
        }
    }
}

impl fmt::Display for ExpectedRevision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoStream => f.write_str("no stream"),
            Self::Exact(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// A durable append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Revision of the last event appended. For a barrier: the expected revision.
    pub last_revision: Option<Revision>,
    /// Position of the last event appended. For a barrier: position of the last event of the log. `None` if the
    /// store recognised a retry and does not know the position yet.
    pub last_position: Option<Position>,
}

/// Why an append failed, or why its outcome is unknown.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error(
        "the append expected {expected}, but the stream is at {actual}; read the stream and decide again"
    )]
    WrongExpectedRevision { expected: ExpectedRevision, actual: ExpectedRevision },
    #[error("an append that this one may depend on has failed; read the stream and decide again")]
    Superseded,
    /// Nothing was written: the store cannot take writes now (disk full, not reachable, stopping).
    #[error("the event store cannot take writes: {0}")]
    Unavailable(Arc<str>),
    /// The events may or may not have been written. Retry with the same ids and expected revision.
    #[error("the outcome of the append is not known: {0}")]
    OutcomeUnknown(Arc<str>),
    /// The events were written, but the stream lacks earlier ones.
    #[error("the stream is damaged: {0}; restore the event store from a backup")]
    StreamDamaged(Arc<str>),
}

/// Why a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("the event store cannot be read: {0}")]
    Unavailable(Arc<str>),
    #[error("the event store is damaged: {0}")]
    Corrupt(Arc<str>),
    /// The log lost events that were read before.
    #[error(
        "the event log went back: {0}. An older copy was probably restored. Stop every Orderly process of this log and \
         run `orderly repair log`"
    )]
    WentBack(Arc<str>),
}

impl ReadError {
    /// The log does not have the event of `mark`, which was read before.
    pub fn went_back(mark: &EventMark) -> Self {
        Self::WentBack(format!("it no longer has the {mark}, which was read before").into())
    }
}

//! The event store port: append with optimistic concurrency, read a stream, read and follow the whole log.

pub mod eventstoredb;
pub mod sqlite;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use domain::{NewEvent, Position, RecordedEvent, Revision, StreamName};
use tokio::sync::{oneshot, watch};
use uuid::Uuid;

/// The read half of an event store: all that an auditor needs.
#[async_trait]
pub trait EventLog: Send + Sync + 'static {
    /// At most `limit` events of a stream, in order, from revision `from` on; empty where there is none.
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError>;

    /// At most `limit` events of the whole log, in order, after position `after` (`None`: from the beginning).
    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError>;

    /// Which of these streams have events. One round trip where the store can.
    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        let mut found = Vec::with_capacity(streams.len());
        for stream in streams {
            found.push(!self.read_stream(stream, 0, 1).await?.is_empty());
        }
        Ok(found)
    }

    /// The position of the last event; `None` while the log is empty.
    async fn last_position(&self) -> Result<Option<Position>, ReadError>;

    /// Names this log. A new log, or one restored from elsewhere, has another id.
    fn store_id(&self) -> Uuid;
}

/// An append-only log of events in streams.
///
/// Contract, checked by the suite in `tests/tests/event_store_contract.rs`:
/// - An append is atomic, and when it is answered with `Ok` it is durable: it survives `kill -9` and power loss.
/// - Revisions of a stream are 0, 1, 2, … without a gap. Positions of the log strictly increase in commit order,
///   and a reader that has seen position p never later finds an event before p that it has not seen.
/// - A retry of an append (same event ids, same expected revision) is recognised by comparing its ids with the
///   events stored at expected + 1, expected + 2, …: all equal gives the original outcome again, the first one
///   different gives [`AppendError::WrongExpectedRevision`]. Equal expected and current revision: appended.
#[async_trait]
pub trait EventStore: EventLog {
    /// Submits an append and returns at once; `done` is called exactly once when its outcome is known, possibly
    /// on a thread of the store: it must not block.
    ///
    /// Appends are processed in the order of submission where [`EventStore::accepts_dependent_appends`].
    /// An append without events is a barrier: it is answered when everything submitted before it is.
    fn submit(&self, append: Append, done: Done);

    /// [`EventStore::submit`] for an append that nobody waits for by itself, because one that depends on it
    /// follows at once: the store may hold it back a few milliseconds, to commit both together.
    fn submit_unawaited(&self, append: Append, done: Done) {
        self.submit(append, done);
    }

    /// Whether an append may be submitted before the appends it builds on are durable: true where a single
    /// writer commits strictly in order of submission, so that a crash loses only a suffix.
    fn accepts_dependent_appends(&self) -> bool;

    /// Whether it is known, without looking at a disk or asking a server, that a stream has no durable events.
    fn lacks(&self, stream: &StreamName) -> bool {
        let _ = stream;
        false
    }

    /// Counts failed appends. An append that carries an older epoch than this is refused as
    /// [`AppendError::Superseded`]: it may build on one that failed. Never changes where dependent appends are not
    /// accepted.
    fn epoch(&self) -> Epoch;

    /// [`EventStore::submit`], awaited.
    async fn append(&self, append: Append) -> Result<Appended, AppendError> {
        let (sender, receiver) = oneshot::channel();
        self.submit(append, Box::new(move |outcome| drop(sender.send(outcome))));
        receiver.await.unwrap_or(Err(AppendError::OutcomeUnknown("the event store has stopped".into())))
    }

    /// The position of the last event, changing as events are committed; `None` while the log is empty.
    /// Waiting on it is how a subscription follows the log without polling.
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
    /// The epoch that this append's decision was taken in; none where it depends on no unconfirmed append.
    pub epoch: Option<Epoch>,
}

/// Where the stream must stand for an append to succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpectedRevision {
    NoStream,
    Exact(Revision),
}

impl ExpectedRevision {
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
    /// Revision of the last event appended; for a barrier, that before its (absent) first event.
    pub last_revision: Option<Revision>,
    /// Position of the last event appended; for a barrier, of the log's last event.
    pub last_position: Option<Position>,
}

/// Why an append did not succeed, or is not known to have.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AppendError {
    #[error("the stream was expected at {expected} and stands at {actual}")]
    WrongExpectedRevision { expected: ExpectedRevision, actual: ExpectedRevision },
    #[error("an append that this one may depend on has failed")]
    Superseded,
    /// Nothing was written: the store cannot take writes now (disk full, not reachable, stopping).
    #[error("the event store cannot take writes: {0}")]
    Unavailable(Arc<str>),
    /// It may or may not have been written: ask again with the same ids and expected revision.
    #[error("the outcome of the append is not known: {0}")]
    OutcomeUnknown(Arc<str>),
}

/// Why a read failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReadError {
    #[error("the event store cannot be read: {0}")]
    Unavailable(Arc<str>),
    #[error("the event store is damaged: {0}")]
    Corrupt(Arc<str>),
}

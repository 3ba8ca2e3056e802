//! The event store in EventStoreDB (KurrentDB): a server of its own, which any number of processes may write to.
//!
//! Every append waits for the one it builds on, so dependent appends are not accepted and there are no epochs. What
//! the client library leaves to its user is done here: a time limit on every call, a client made again after its
//! connection was lost, and an unknown outcome told from a refusal. The head is polled:
//! `docs/adr/0014-poll-the-end-of-the-eventstoredb-log.md`.

mod appends;
mod config;
mod connection;
mod errors;
mod follower;
mod identity;
mod reads;

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use async_trait::async_trait;
use domain::{Position, RecordedEvent, Revision, StreamName};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use self::{appends::Pending, connection::Connection, reads::Reader};
pub use self::{
    config::{EventStoreDbConfig, InvalidUrl},
    errors::OpenError,
};
use super::{Append, AppendError, Done, Epoch, EventLog, EventStore, ReadError};

/// How long to wait for the server.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// A call that is not answered by then has failed; the outcome of an append is then not known.
    pub call_time_max: Duration,
    /// How long an event that another process wrote may stay unnoticed.
    pub follow_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { call_time_max: Duration::from_secs(5), follow_interval: Duration::from_millis(25) }
    }
}

/// The event store, shared with whoever else writes to that server.
#[derive(Debug)]
pub struct EventStoreDb {
    log: EventStoreDbLog,
    /// None once the store is closed.
    queue: RwLock<Option<mpsc::UnboundedSender<Pending>>>,
    head: watch::Receiver<Option<Position>>,
    _follower: DropGuard,
}

impl EventStoreDb {
    /// Connects, and makes the server an Orderly store if it is none yet. Needs a tokio runtime, then and later.
    pub async fn open(config: EventStoreDbConfig, options: Options) -> Result<Self, OpenError> {
        let connection = Arc::new(Connection::new(config, options.call_time_max));
        let store_id = identity::read_or_create(&connection).await?;
        let reader = Reader::new(connection.clone());
        let last =
            reader.last_position(None).await.map_err(|error| OpenError::unreadable(&connection, error))?;
        let head = Arc::new(watch::Sender::new(last));
        let (queue, submitted) = mpsc::unbounded_channel();
        tokio::spawn(appends::run(connection, submitted, head.clone()));
        let stop = CancellationToken::new();
        let head_receiver = head.subscribe();
        tokio::spawn(follower::run(reader.clone(), head, options.follow_interval, stop.clone()));
        Ok(Self {
            log: EventStoreDbLog { store_id, reader },
            queue: RwLock::new(Some(queue)),
            head: head_receiver,
            _follower: stop.drop_guard(),
        })
    }
}

#[async_trait]
impl EventStore for EventStoreDb {
    fn submit(&self, append: Append, done: Done) {
        let queue = self.queue.read().unwrap_or_else(PoisonError::into_inner);
        let pending = Pending::new(append, done);
        let refused = match queue.as_ref() {
            Some(queue) => queue.send(pending).err().map(|mpsc::error::SendError(pending)| pending),
            None => Some(pending),
        };
        drop(queue);
        if let Some(pending) = refused {
            pending.answer(Err(AppendError::Unavailable("the event store is closed".into())));
        }
    }

    fn accepts_dependent_appends(&self) -> bool {
        false
    }

    fn epoch(&self) -> Epoch {
        Epoch::default()
    }

    fn head(&self) -> watch::Receiver<Option<Position>> {
        self.head.clone()
    }
}

#[async_trait]
impl EventLog for EventStoreDb {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.log.read_stream(stream, from, limit).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.log.read_all(after, limit).await
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        self.log.exist(streams).await
    }

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        self.log.last_position().await
    }

    fn store_id(&self) -> Uuid {
        self.log.store_id()
    }
}

/// Reads a store that others write to.
#[derive(Debug)]
pub struct EventStoreDbLog {
    store_id: Uuid,
    reader: Reader,
}

impl EventStoreDbLog {
    /// Connects to a server that is an Orderly store already. Writes nothing.
    pub async fn open_read_only(config: EventStoreDbConfig, options: Options) -> Result<Self, OpenError> {
        let connection = Arc::new(Connection::new(config, options.call_time_max));
        let store_id = identity::read(&connection).await?;
        let store_id = store_id.ok_or_else(|| OpenError::NotAStore { server: connection.server() })?;
        Ok(Self { store_id, reader: Reader::new(connection) })
    }
}

#[async_trait]
impl EventLog for EventStoreDbLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.reader.read_stream(stream, from, limit).await
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        self.reader.read_all(after, limit).await
    }

    async fn exist(&self, streams: &[StreamName]) -> Result<Vec<bool>, ReadError> {
        self.reader.exist(streams).await
    }

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        self.reader.last_position(None).await
    }

    fn store_id(&self) -> Uuid {
        self.store_id
    }
}

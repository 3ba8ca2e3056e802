//! The event store in EventStoreDB (KurrentDB): a separate server that any number of processes may write to.
//!
//! Dependent appends are not accepted: the caller waits for an append before it submits another that builds
//! on it. So there are no epochs. This adapter adds three things to the client library: a time limit for
//! every call, a new client after the connection is lost, and a distinction between unknown outcomes and
//! refusals. `docs/adr/0014-poll-the-end-of-the-eventstoredb-log.md` explains why it polls the end of the
//! log.

mod appends;
mod config;
mod connection;
mod errors;
mod follower;
mod identity;
mod reads;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::Position;
use tokio::sync::{mpsc, watch};

use self::connection::Connection;
pub use self::{
    config::{EventStoreDbConfig, InvalidUrl},
    errors::EventStoreDbOpenError,
    reads::EventStoreDbLog,
};
use super::{Append, Done, Epoch, EventLog, EventStore, pending::PendingAppend};

/// Time limit and poll interval for the server.
#[derive(Debug, Clone, Copy)]
pub struct EventStoreDbOptions {
    /// A call without an answer after this time fails. The outcome of an append is then unknown.
    pub call_time_max: Duration,
    /// Pause between two polls for events that other processes wrote.
    pub follow_interval: Duration,
}

impl Default for EventStoreDbOptions {
    fn default() -> Self {
        Self { call_time_max: Duration::from_secs(5), follow_interval: Duration::from_millis(25) }
    }
}

/// The event store, shared with all other processes that write to that server.
#[derive(Debug)]
pub struct EventStoreDb {
    log: Arc<EventStoreDbLog>,
    queue: mpsc::UnboundedSender<PendingAppend>,
    head: watch::Receiver<Option<Position>>,
}

impl EventStoreDb {
    /// Connects, and creates an Orderly store on the server if there is none. Spawns two tokio tasks, which
    /// end after the store and all receivers of its head are dropped.
    pub async fn open(
        config: EventStoreDbConfig,
        options: EventStoreDbOptions,
    ) -> Result<Self, EventStoreDbOpenError> {
        let connection = Arc::new(Connection::new(config, options.call_time_max));
        let store_id = identity::read_or_create(&connection).await?;
        let last = reads::last_event(&connection, None)
            .await
            .map_err(|error| EventStoreDbOpenError::unreadable(&connection, error))?;
        let head = Arc::new(watch::Sender::new(last.map(|event| event.position)));
        let (queue, submitted) = mpsc::unbounded_channel();
        tokio::spawn(appends::run(connection.clone(), submitted, head.clone()));
        let head_receiver = head.subscribe();
        tokio::spawn(follower::run(connection.clone(), head, options.follow_interval));
        Ok(Self { log: Arc::new(EventStoreDbLog::new(connection, store_id)), queue, head: head_receiver })
    }
}

#[async_trait]
impl EventStore for EventStoreDb {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    fn submit(&self, append: Append, done: Done) {
        let pending = PendingAppend::new(append, done, true);
        if let Err(mpsc::error::SendError(refused)) = self.queue.send(pending) {
            refused.refuse_closed();
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

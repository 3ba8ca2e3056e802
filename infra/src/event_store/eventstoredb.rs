//! The event store in EventStoreDB (KurrentDB): a separate server that any number of processes may write to.
//!
//! Dependent appends are not accepted: the caller waits for an append before it submits another that builds
//! on it. So there are no epochs. This adapter adds three things to the client library: a time limit for
//! every call, a new client after the connection is lost, and a distinction between unknown outcomes and
//! refusals. One subscription feeds the head and all followers:
//! `docs/adr/0041-feed-all-followers-from-one-subscription.md`.

mod appends;
mod batches;
mod config;
mod connection;
mod errors;
mod identity;
mod no_delay;
mod raw;
mod reader;
mod reads;
mod server;
mod subscription;
mod times;
mod trust;
mod window;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::Position;
use tokio::sync::watch;

use self::{appends::Submissions, connection::Connection, window::Window};
pub use self::{
    config::{EventStoreDbConfig, InvalidUrl},
    errors::EventStoreDbOpenError,
    raw::{RawAppendError, RawAppends},
    reads::EventStoreDbLog,
};
use super::{Append, Done, Epoch, EventLog, EventStore, pending::PendingAppend};
use crate::health::Health;

/// Memory for appends that wait for an answer, in bytes. An append is at most about 1 MiB.
const APPEND_BYTES_MAX: u32 = 64 << 20;

/// Time limit for the server, and memory for its newest events.
#[derive(Debug, Clone)]
pub struct EventStoreDbOptions {
    /// A call without an answer after this time fails. The outcome of an append is then unknown.
    pub call_time_max: Duration,
    /// Memory for the newest events, which all followers share, in bytes. A follower that is further behind
    /// reads the server.
    pub window_bytes_max: usize,
    /// Gets a report while the connections to the server are slower than they could be.
    pub health: Health,
}

impl Default for EventStoreDbOptions {
    fn default() -> Self {
        Self { call_time_max: Duration::from_secs(5), window_bytes_max: 32 << 20, health: Health::default() }
    }
}

/// The event store, shared with all other processes that write to that server.
#[derive(Debug)]
pub struct EventStoreDb {
    log: Arc<EventStoreDbLog>,
    appends: Submissions,
    head: watch::Receiver<Option<Position>>,
}

impl EventStoreDb {
    /// Connects, and creates an Orderly store on the server if there is none. Spawns two tokio tasks, which
    /// end after the store and all receivers of its head are dropped.
    pub async fn open(
        config: EventStoreDbConfig,
        options: EventStoreDbOptions,
    ) -> Result<Self, EventStoreDbOpenError> {
        let connection = Arc::new(Connection::new(config, &options)?);
        let store_id = identity::read_or_create(&connection).await?;
        identity::check_rights(&connection).await?;
        let log = EventStoreDbLog::new(connection.clone(), store_id);
        let last =
            log.last_event().await.map_err(|error| EventStoreDbOpenError::unreadable(&connection, error))?;
        let window = Arc::new(Window::new(last, options.window_bytes_max, log.times().clone()));
        let (appends, submitted) = Submissions::new(APPEND_BYTES_MAX);
        tokio::spawn(appends::run(connection, submitted, window.seen().clone()));
        let head = window.head();
        let log = Arc::new(log.over(window.clone()));
        tokio::spawn(reader::run(log.clone(), window));
        Ok(Self { log, appends, head })
    }
}

#[async_trait]
impl EventStore for EventStoreDb {
    fn log(&self) -> Arc<dyn EventLog> {
        Arc::clone(&self.log) as Arc<dyn EventLog>
    }

    fn submit(&self, append: Append, done: Done) {
        self.appends.submit(PendingAppend::new(append, done, true));
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

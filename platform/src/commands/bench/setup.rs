//! What every part of a benchmark shares: its limits, its directory, and the server that it drives.

use std::{path::PathBuf, time::Duration};

use infra::{clock::Clock, health::Health};
use tempfile::TempDir;

use super::server::{Server, Target};
use crate::{
    commands::Failure,
    config::EventStoreUrl,
    stores::{StoreError, WritableEventStore},
};

pub struct BenchSetup {
    pub clients: usize,
    pub duration: Duration,
    /// Orders of the long history.
    pub orders: u64,
    /// Parent of the temporary data directories.
    pub dir: PathBuf,
    /// A server that was running before. `None`: each part starts its own.
    pub running: Option<Target>,
    /// The event store of the running server.
    pub event_store: EventStoreUrl,
}

impl BenchSetup {
    /// The server to drive: the running one, or a new one with a new data directory, which the caller stops.
    pub async fn target(&self) -> Result<(Option<Server>, Target), Failure> {
        if let Some(target) = self.running {
            return Ok((None, target));
        }
        let server = Server::orderly(self.new_directory()?).await?;
        let target = server.target();
        Ok((Some(server), target))
    }

    pub fn new_directory(&self) -> Result<TempDir, Failure> {
        let made = tempfile::Builder::new().prefix("orderly-bench-").tempdir_in(&self.dir);
        made.map_err(|error| Failure::new(format!("--dir {}: {error}", self.dir.display())))
    }
}

/// The embedded event store of a data directory.
pub fn event_store_url(directory: &TempDir) -> EventStoreUrl {
    EventStoreUrl::Sqlite(directory.path().join("events.db"))
}

/// An embedded event store in a data directory, opened without a server.
pub async fn open_event_store(directory: &TempDir) -> Result<WritableEventStore, StoreError> {
    WritableEventStore::open(&event_store_url(directory), Clock::system(), &Health::default()).await
}

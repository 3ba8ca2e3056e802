//! Operational state: data that is not a read model and that survives every rebuild.

pub mod api_keys;
pub mod parked;
pub mod postgres;
pub mod reconciliations;
pub mod sqlite;
pub mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use uuid::Uuid;

use crate::event_source::{Partition, Reached};

/// Stores how far a reactor, such as the process manager, has read each partition of a log.
#[async_trait]
pub trait Positions: Send + Sync + 'static {
    /// How far the reactor has read. `None` if nothing is saved for this log.
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Reached>, OperationsError>;

    /// Saves that the reactor has handled every event up to `reached`, if `known` is the saved position
    /// (`None`: none is saved for this log). Else returns false, without effect: another process has saved a position,
    /// or the database has lost its last commits, and with them parked reactions.
    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        known: Option<Position>,
        reached: &Reached,
    ) -> Result<bool, OperationsError>;

    /// Every position that is saved for this log, of every reactor.
    async fn saved(&self, store_id: Uuid) -> Result<Vec<SavedPosition>, OperationsError>;

    /// Forgets a position: the reactor then reads the partition from its beginning.
    async fn forget(&self, reactor: &str, partition: &Partition) -> Result<(), OperationsError>;
}

/// A saved position, and the reactor that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedPosition {
    pub reactor: String,
    pub partition: Partition,
    pub reached: Reached,
}

/// Operational state cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot use the operational state: {0}")]
pub struct OperationsError(pub Arc<str>);

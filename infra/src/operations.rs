//! Operational state: data that is not a read model and that survives every rebuild.

pub mod parked;
pub mod postgres;
pub mod sqlite;
pub mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use uuid::Uuid;

use crate::event_source::Partition;

/// Stores how far a reactor, such as the process manager, has read each partition of a log.
#[async_trait]
pub trait Positions: Send + Sync + 'static {
    /// The last saved position. `None` if none is saved for this log.
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Position>, OperationsError>;

    /// Saves that the reactor has handled every event up to `position`.
    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        position: Position,
    ) -> Result<(), OperationsError>;
}

/// Operational state cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot use the operational state: {0}")]
pub struct OperationsError(pub Arc<str>);

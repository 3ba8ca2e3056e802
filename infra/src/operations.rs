//! Operational state: what the platform must remember that is no read model. Survives every rebuild.

pub mod postgres;
pub mod sqlite;
pub mod webhooks;

use std::sync::Arc;

use async_trait::async_trait;
use domain::Position;
use uuid::Uuid;

use crate::event_source::Partition;

/// Where a reactor (the process manager) stands in each partition of a log.
#[async_trait]
pub trait Positions: Send + Sync + 'static {
    /// `None`: at the beginning, also for a log with another id than the one last seen.
    async fn load(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
    ) -> Result<Option<Position>, OperationsError>;

    /// Everything up to `position` has been reacted to.
    async fn save(
        &self,
        reactor: &str,
        store_id: Uuid,
        partition: &Partition,
        position: Position,
    ) -> Result<(), OperationsError>;
}

/// Why operational state cannot be read or written.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the operational state cannot be used: {0}")]
pub struct OperationsError(pub Arc<str>);

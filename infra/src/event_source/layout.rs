//! How a source divides the log into partitions, and where each partition ends.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use domain::{Position, StreamName};

use super::Partition;
use crate::event_store::{EventLog, ReadError};

/// The partitions of a source. The name of a stream alone decides its partition.
#[async_trait]
pub trait SourceLayout: Send + Sync + 'static {
    /// Every partition, always in the same order.
    fn partitions(&self) -> Vec<Partition>;

    /// Index in [`SourceLayout::partitions`] of the partition that holds the events of a stream.
    fn index_of(&self, stream: &StreamName) -> usize;

    /// The last position of each partition, in the order of [`SourceLayout::partitions`]; `None` if it is
    /// empty.
    async fn last_positions(&self) -> Result<Vec<Option<Position>>, ReadError>;
}

/// Layout of a source that reads the event store directly: one partition.
pub struct WholeLog(pub Arc<dyn EventLog>);

impl fmt::Debug for WholeLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WholeLog").field(&self.0.store_id()).finish()
    }
}

#[async_trait]
impl SourceLayout for WholeLog {
    fn partitions(&self) -> Vec<Partition> {
        vec![Partition::whole_log()]
    }

    fn index_of(&self, _stream: &StreamName) -> usize {
        0
    }

    async fn last_positions(&self) -> Result<Vec<Option<Position>>, ReadError> {
        Ok(vec![self.0.last_position().await?])
    }
}

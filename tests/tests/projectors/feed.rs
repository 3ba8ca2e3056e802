//! An event source over a log in memory.

use std::sync::Arc;

use async_trait::async_trait;
use domain::{Position, RecordedEvent};
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate},
    event_store::{EventLog, ReadError},
};

use super::MemoryLog;

/// A source that delivers the log in batches of given sizes. It can redeliver events before each batch.
pub struct Feed {
    log: Arc<MemoryLog>,
    partition: Partition,
    /// Sizes of batches, repeated cyclically.
    cuts: Vec<usize>,
    batches: usize,
    redelivered: usize,
    withheld: Option<Position>,
    assigned: bool,
    sought: bool,
    after: Option<Position>,
}

impl Feed {
    pub fn new(log: &Arc<MemoryLog>) -> Self {
        Self {
            log: Arc::clone(log),
            partition: Partition::whole_log(),
            cuts: vec![100],
            batches: 0,
            redelivered: 0,
            withheld: None,
            assigned: false,
            sought: false,
            after: None,
        }
    }

    /// Delivers the log as this partition, with the positions of the log as offsets.
    pub fn of(self, partition: Partition) -> Self {
        Self { partition, ..self }
    }

    pub fn cut(self, cuts: Vec<usize>) -> Self {
        Self { cuts, ..self }
    }

    /// Redelivers this many events before each batch.
    pub fn redeliver(self, redelivered: usize) -> Self {
        Self { redelivered, ..self }
    }

    /// Never delivers the event at this position.
    pub fn withhold(self, position: Position) -> Self {
        Self { withheld: Some(position), ..self }
    }

    async fn events_after(&self, after: Option<Position>) -> Result<Vec<RecordedEvent>, ReadError> {
        let size = self.cuts[self.batches % self.cuts.len()];
        self.log.read_all(after, size).await
    }
}

#[async_trait]
impl EventSource for Feed {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        if !std::mem::replace(&mut self.assigned, true) {
            return Ok(SourceUpdate::Assigned(vec![self.partition.clone()]));
        }
        if !self.sought {
            return std::future::pending().await;
        }
        let after = self.after;
        let mut head = self.log.head_changes();
        while *head.borrow_and_update() <= after {
            head.changed().await.map_err(|_| ReadError::Unavailable("the log is gone".into()))?;
        }
        let fresh = self.events_after(after).await?;
        let position = fresh.last().unwrap().position;
        let mut events = self.log.all();
        events.retain(|event| Some(event.position) <= after);
        events.drain(..events.len().saturating_sub(self.redelivered));
        events.extend(fresh.into_iter().filter(|event| Some(event.position) != self.withheld));
        self.batches += 1;
        self.after = Some(position);
        Ok(SourceUpdate::Events(Batch { partition: self.partition.clone(), after, events, position }))
    }

    fn seek(&mut self, _: &Partition, reached: Option<Reached>) {
        (self.sought, self.after) = (true, reached.map(|reached| reached.position));
    }
}

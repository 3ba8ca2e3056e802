//! An event source over a log in memory.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
};

use async_trait::async_trait;
use domain::{Position, RecordedEvent, StreamName};
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate, layout::SourceLayout},
    event_store::ReadError,
};

use super::MemoryLog;

/// A source that delivers the log in batches of given sizes, with the positions of the log as offsets. It can
/// redeliver events before each batch.
pub struct Feed {
    log: Arc<MemoryLog>,
    partitions: Vec<Place>,
    /// Sizes of batches, repeated cyclically.
    cuts: Vec<usize>,
    batches: usize,
    redelivered: usize,
    /// Most batches that arrive together.
    together: usize,
    withheld: Option<Position>,
    assigned: bool,
}

struct Place {
    partition: Partition,
    sought: bool,
    after: Option<Position>,
}

impl Place {
    fn of(partition: Partition) -> Self {
        Self { partition, sought: false, after: None }
    }
}

impl Feed {
    pub fn new(log: &Arc<MemoryLog>) -> Self {
        Self {
            log: Arc::clone(log),
            partitions: vec![Place::of(Partition::whole_log())],
            cuts: vec![100],
            batches: 0,
            redelivered: 0,
            together: 1,
            withheld: None,
            assigned: false,
        }
    }

    /// Delivers the log as this partition.
    pub fn of(self, partition: Partition) -> Self {
        Self { partitions: vec![Place::of(partition)], ..self }
    }

    /// Delivers each stream in its partition. At most `together` batches arrive at once.
    pub fn divided(self, layout: &DividedLog, together: usize) -> Self {
        Self { partitions: layout.partitions().into_iter().map(Place::of).collect(), together, ..self }
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

    /// The next batch of a partition in turn; `None` if no partition has an event to deliver.
    fn batch(&mut self) -> Option<Batch> {
        let count = self.partitions.len();
        (0..count).find_map(|turn| self.batch_of((self.batches + turn) % count))
    }

    fn batch_of(&mut self, index: usize) -> Option<Batch> {
        let count = self.partitions.len();
        let place = &self.partitions[index];
        if !place.sought {
            return None;
        }
        let after = place.after;
        let mut earlier = self.log.all();
        earlier.retain(|event| index_of(&event.stream, count) == index);
        let fresh = earlier.split_off(earlier.partition_point(|event| Some(event.position) <= after));
        let fresh = &fresh[..fresh.len().min(self.cuts[self.batches % self.cuts.len()])];
        let position = fresh.last()?.position;
        let mut events = earlier.split_off(earlier.len().saturating_sub(self.redelivered));
        events.extend(fresh.iter().filter(|event| Some(event.position) != self.withheld).cloned());
        self.batches += 1;
        let place = &mut self.partitions[index];
        place.after = Some(position);
        Some(Batch { partition: place.partition.clone(), after, events, position })
    }
}

#[async_trait]
impl EventSource for Feed {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        if !std::mem::replace(&mut self.assigned, true) {
            let partitions = self.partitions.iter().map(|place| place.partition.clone()).collect();
            return Ok(SourceUpdate::Assigned(partitions));
        }
        let mut head = self.log.head_changes();
        loop {
            head.borrow_and_update();
            if let Some(batch) = self.batch() {
                return Ok(SourceUpdate::Events(batch));
            }
            head.changed().await.map_err(|_| ReadError::Unavailable("the log is gone".into()))?;
        }
    }

    fn arrived(&mut self) -> Option<Result<SourceUpdate, ReadError>> {
        if self.batches.is_multiple_of(self.together) {
            return None;
        }
        self.batch().map(|batch| Ok(SourceUpdate::Events(batch)))
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        let place = self.partitions.iter_mut().find(|place| place.partition == *partition).unwrap();
        (place.sought, place.after) = (true, reached.map(|reached| reached.position));
    }
}

fn index_of(stream: &StreamName, count: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    stream.to_string().hash(&mut hasher);
    usize::try_from(hasher.finish() % count as u64).unwrap()
}

/// A log in memory, divided by stream.
pub struct DividedLog {
    pub log: Arc<MemoryLog>,
    /// The number of partitions.
    pub count: usize,
}

impl DividedLog {
    fn last_position_of(&self, events: &[RecordedEvent], index: usize) -> Option<Position> {
        let mut of_partition = events.iter().filter(|event| index_of(&event.stream, self.count) == index);
        of_partition.next_back().map(|event| event.position)
    }
}

#[async_trait]
impl SourceLayout for DividedLog {
    fn partitions(&self) -> Vec<Partition> {
        (0..self.count).map(|index| Partition(format!("all/{index}"))).collect()
    }

    fn index_of(&self, stream: &StreamName) -> usize {
        index_of(stream, self.count)
    }

    async fn last_positions(&self) -> Result<Vec<Option<Position>>, ReadError> {
        let events = self.log.all();
        Ok((0..self.count).map(|index| self.last_position_of(&events, index)).collect())
    }
}

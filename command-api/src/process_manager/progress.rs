//! How far the reactions to a partition have come.

use std::collections::VecDeque;

use domain::Position;
use infra::event_source::Partition;

/// The batches of one partition that still have unfinished reactions.
#[derive(Debug)]
pub(super) struct Progress {
    partition: Partition,
    /// Every reaction up to this position of the source is durable.
    reached: Option<Position>,
    saved: Option<Position>,
    /// Position of the last batch begun: reading continues after it.
    read: Option<Position>,
    /// In order. Each batch has an unfinished reaction, so there are at most as many as reactions under way.
    under_way: VecDeque<BatchUnderWay>,
}

#[derive(Debug)]
struct BatchUnderWay {
    number: u64,
    /// Reached when this batch and all before it are durable.
    position: Position,
    /// Reactions that are not durable yet, plus one while the batch is still being read.
    pending: usize,
}

/// Names the batch that a reaction belongs to.
#[derive(Debug, Clone)]
pub(super) struct BatchId {
    pub partition: Partition,
    /// Rises with each batch, over all partitions.
    pub number: u64,
}

impl Progress {
    /// `position`: the saved position, after which reading continues.
    pub fn new(partition: Partition, position: Option<Position>) -> Self {
        Self { partition, reached: position, saved: position, read: position, under_way: VecDeque::new() }
    }

    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Begins the batch of this number, which ends at `position`.
    pub fn begin(&mut self, number: u64, position: Position) {
        self.read = Some(position);
        self.under_way.push_back(BatchUnderWay { number, position, pending: 1 });
    }

    /// Counts a reaction to the batch begun last.
    pub fn add_reaction(&mut self) {
        if let Some(batch) = self.under_way.back_mut() {
            batch.pending += 1;
        }
    }

    /// Ends the count of reactions to the batch begun last.
    pub fn finish_reading(&mut self) {
        if let Some(number) = self.under_way.back().map(|batch| batch.number) {
            self.finish_reaction(number);
        }
    }

    /// A reaction became durable. Ignored if its batch belongs to an earlier assignment of the partition.
    pub fn finish_reaction(&mut self, number: u64) {
        let Ok(index) = self.under_way.binary_search_by_key(&number, |batch| batch.number) else { return };
        let batch = &mut self.under_way[index];
        batch.pending = batch.pending.saturating_sub(1);
        if batch.pending > 0 {
            return;
        }
        let position = batch.position;
        self.under_way.remove(index);
        match index.checked_sub(1) {
            None => self.reached = Some(position),
            Some(before) => self.under_way[before].position = position,
        }
    }

    /// The position after which reading continues.
    pub fn read(&self) -> Option<Position> {
        self.read
    }

    /// The position that is reached and not saved yet.
    pub fn unsaved(&self) -> Option<Position> {
        self.reached.filter(|_| self.reached > self.saved)
    }

    pub fn note_saved(&mut self, position: Position) {
        self.saved = Some(position);
    }
}

#[cfg(test)]
mod tests;

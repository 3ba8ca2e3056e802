//! How far the reactions to a partition have come.

use std::collections::VecDeque;

use domain::Position;
use infra::event_source::{Partition, Reached};

/// The batches of one partition that still have unfinished reactions.
#[derive(Debug)]
pub(super) struct Progress {
    partition: Partition,
    /// Every reaction up to this position of the source is durable.
    reached: Option<Reached>,
    saved: Option<Reached>,
    /// The end of the last batch begun: reading continues after it.
    read: Option<Reached>,
    /// In order. Each batch has an unfinished reaction, so there are at most as many as reactions under way.
    under_way: VecDeque<BatchUnderWay>,
}

#[derive(Debug)]
struct BatchUnderWay {
    number: u64,
    /// Reached when this batch and all before it are durable.
    end: Reached,
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
    /// `saved`: the saved position, after which reading continues.
    pub fn new(partition: Partition, saved: Option<Reached>) -> Self {
        let (reached, read) = (saved.clone(), saved.clone());
        Self { partition, reached, saved, read, under_way: VecDeque::new() }
    }

    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// Begins the batch of this number, which ends at `end`.
    pub fn begin(&mut self, number: u64, end: Reached) {
        self.read = Some(end.clone());
        self.under_way.push_back(BatchUnderWay { number, end, pending: 1 });
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
        let Some(done) = self.under_way.remove(index) else { return };
        match index.checked_sub(1) {
            None => self.reached = Some(done.end),
            Some(before) => self.under_way[before].end = done.end,
        }
    }

    /// The position after which reading continues.
    pub fn read(&self) -> Option<Reached> {
        self.read.clone()
    }

    /// The position that is reached and not saved yet.
    pub fn unsaved(&self) -> Option<Reached> {
        self.reached.clone().filter(|_| self.reached != self.saved)
    }

    /// The position that was saved last.
    pub fn saved(&self) -> Option<Position> {
        self.saved.as_ref().map(|saved| saved.position)
    }

    pub fn note_saved(&mut self, saved: Reached) {
        self.saved = Some(saved);
    }
}

#[cfg(test)]
mod tests;

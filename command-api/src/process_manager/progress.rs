//! How far the reactions to a partition have come.

use std::collections::VecDeque;

use domain::Position;
use infra::event_source::Partition;

/// Batches of one partition that were read, and not yet reacted to in full.
#[derive(Debug)]
pub(super) struct Progress {
    partition: Partition,
    /// Everything up to here is durable, as a position of the source.
    reached: Option<Position>,
    saved: Option<Position>,
    /// In order, each with something to wait for; so no more than there are reactions under way.
    under_way: VecDeque<UnderWay>,
}

#[derive(Debug)]
struct UnderWay {
    number: u64,
    /// Reached when this and everything before it is durable.
    position: Position,
    /// Not durable yet; one more while the batch is still being read.
    pending: usize,
}

/// Names a batch for whoever reacts to its events.
#[derive(Debug, Clone)]
pub(super) struct BatchId {
    pub partition: Partition,
    /// Rises from batch to batch, whatever partition they are of.
    pub number: u64,
}

impl Progress {
    /// `position`: where the partition goes on.
    pub fn new(partition: Partition, position: Option<Position>) -> Self {
        Self { partition, reached: position, saved: position, under_way: VecDeque::new() }
    }

    pub fn partition(&self) -> &Partition {
        &self.partition
    }

    /// The batch of this number, which ends at `position`, is going to be read.
    pub fn begin(&mut self, number: u64, position: Position) {
        self.under_way.push_back(UnderWay { number, position, pending: 1 });
    }

    /// An event of the batch begun last has a reaction.
    pub fn add_reaction(&mut self) {
        if let Some(batch) = self.under_way.back_mut() {
            batch.pending += 1;
        }
    }

    /// All reactions of the batch begun last are known.
    pub fn finish_reading(&mut self) {
        if let Some(number) = self.under_way.back().map(|batch| batch.number) {
            self.finish_reaction(number);
        }
    }

    /// A reaction is durable. One of a batch from before the partition was assigned anew changes nothing.
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

    /// What is reached and was not saved yet.
    pub fn unsaved(&self) -> Option<Position> {
        self.reached.filter(|_| self.reached > self.saved)
    }

    pub fn note_saved(&mut self, position: Position) {
        self.saved = Some(position);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a batch with some reactions.
    fn read(progress: &mut Progress, position: Position, reactions: usize) -> u64 {
        let number = 100 + position;
        progress.begin(number, position);
        for _ in 0..reactions {
            progress.add_reaction();
        }
        progress.finish_reading();
        number
    }

    #[test]
    fn a_position_is_reached_when_everything_before_it_is_durable() {
        let mut progress = Progress::new(Partition::whole_log(), Some(5));
        assert_eq!(progress.unsaved(), None);
        read(&mut progress, 10, 0);
        assert_eq!(progress.unsaved(), Some(10));
        progress.note_saved(10);

        let first = read(&mut progress, 20, 2);
        let second = read(&mut progress, 30, 1);
        let third = read(&mut progress, 40, 1);
        read(&mut progress, 50, 0);
        progress.finish_reaction(second);
        progress.finish_reaction(first);
        assert_eq!(progress.unsaved(), None);
        progress.finish_reaction(first);
        assert_eq!(progress.unsaved(), Some(30));
        progress.finish_reaction(third);
        assert_eq!(progress.unsaved(), Some(50));
    }

    #[test]
    fn a_reaction_that_hangs_keeps_its_place_and_no_memory_for_what_follows() {
        let mut progress = Progress::new(Partition::whole_log(), None);
        read(&mut progress, 1, 1);
        for position in 2..1_000 {
            let number = read(&mut progress, position, 1);
            progress.finish_reaction(number);
        }
        assert_eq!((progress.unsaved(), progress.under_way.len()), (None, 1));
    }

    #[test]
    fn reactions_of_an_earlier_assignment_count_for_nothing() {
        let mut earlier = Progress::new(Partition::whole_log(), None);
        let number = read(&mut earlier, 10, 1);
        let mut progress = Progress::new(Partition::whole_log(), None);
        read(&mut progress, 11, 1);
        progress.finish_reaction(number);
        assert_eq!(progress.unsaved(), None);
    }
}

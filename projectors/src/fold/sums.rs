//! Sums that events add, by partition.

use std::{collections::HashMap, hash::Hash};

use infra::{
    event_source::Partition,
    read_models::{PartitionSums, Totals},
};

#[derive(Debug)]
pub(super) struct SumsFold<K, T>(Vec<HashMap<K, T>>);

impl<K, T> Default for SumsFold<K, T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<K: Clone + Eq + Hash + Ord, T: Totals> SumsFold<K, T> {
    pub(super) fn of(partitions: usize) -> Self {
        Self((0..partitions).map(|_| HashMap::new()).collect())
    }

    /// `source`: index of the partition that the event came from.
    pub(super) fn add(&mut self, source: usize, sums: impl IntoIterator<Item = (K, T)>) {
        for (key, sum) in sums {
            self.0[source].entry(key).or_default().add(&sum);
        }
    }

    /// The sums of each partition that has any, sorted by key.
    pub(super) fn take_rows(&mut self, partitions: &[Partition]) -> Vec<PartitionSums<K, T>> {
        let with_sums = partitions.iter().zip(&mut self.0).filter(|(_, sums)| !sums.is_empty());
        let rows = |(partition, sums): (&Partition, &mut HashMap<K, T>)| {
            let mut sums: Vec<_> = std::mem::take(sums).into_iter().collect();
            sums.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
            PartitionSums { partition: partition.clone(), sums }
        };
        with_sums.map(rows).collect()
    }
}

//! Computes the topic and partition of a stream from its name and the number of partitions.

use domain::StreamName;

use super::KafkaConfig;
use crate::partition::Partition;

/// A topic of events, one per kind of stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Topic {
    Stock,
    Orders,
    Payments,
}

impl Topic {
    pub const ALL: [Self; 3] = [Self::Stock, Self::Orders, Self::Payments];

    /// The topic of a stream's events.
    pub fn of(stream: &StreamName) -> Self {
        match stream {
            StreamName::Stock(_) | StreamName::Receipt(_) => Self::Stock,
            StreamName::Order(_) | StreamName::Exchange(_) => Self::Orders,
            StreamName::Payment(_) => Self::Payments,
        }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::Stock => "stock",
            Self::Orders => "orders",
            Self::Payments => "payments",
        }
    }
}

impl KafkaConfig {
    /// `PREFIX.stock`, `PREFIX.orders`, `PREFIX.payments`.
    pub fn topic_name(&self, topic: Topic) -> String {
        format!("{}.{}", self.prefix(), topic.suffix())
    }

    /// The topic of the relay's progress records.
    pub fn progress_topic_name(&self) -> String {
        format!("{}.relay", self.prefix())
    }

    /// The partition of a topic, named as sources name it: `orderly.orders/3`.
    pub fn partition(&self, topic: Topic, number: u16) -> Partition {
        Partition(format!("{}/{number}", self.topic_name(topic)))
    }

    /// The partition of all events of a stream.
    pub fn partition_of(&self, stream: &StreamName) -> Partition {
        self.partition(Topic::of(stream), self.partition_number(&stream.to_string()))
    }

    /// Every partition of every topic of events.
    pub fn all_partitions(&self) -> Vec<Partition> {
        let numbers = |topic| (0..self.partitions()).map(move |number| (topic, number));
        Topic::ALL
            .into_iter()
            .flat_map(numbers)
            .map(|(topic, number)| self.partition(topic, number))
            .collect()
    }

    /// The topic and number of a partition. The inverse of [`KafkaConfig::partition`].
    pub fn parse_partition(&self, partition: &Partition) -> Option<(Topic, u16)> {
        let (name, number) = partition.0.rsplit_once('/')?;
        let topic = Topic::ALL.into_iter().find(|topic| self.topic_name(*topic) == name)?;
        Some((topic, number.parse().ok().filter(|number| *number < self.partitions())?))
    }

    /// Partition number of a key, as the default partitioner of Kafka's Java clients computes it. So a stream
    /// processor can join these topics with topics that Java clients write under the same keys.
    pub(crate) fn partition_number(&self, key: &str) -> u16 {
        let positive = murmur2(key.as_bytes()) & 0x7fff_ffff;
        u16::try_from(positive % u32::from(self.partitions())).expect("a remainder is less than its divisor")
    }
}

/// The 32-bit hash MurmurHash2 by Austin Appleby (public domain), with the seed that Kafka uses.
fn murmur2(data: &[u8]) -> u32 {
    const SEED: u32 = 0x9747_b28c;
    const M: u32 = 0x5bd1_e995;
    #[allow(clippy::cast_possible_truncation, reason = "the algorithm uses the length modulo 2^32")]
    let mut hash = SEED ^ data.len() as u32;
    let (words, rest) = data.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(M);
        mixed ^= mixed >> 24;
        hash = hash.wrapping_mul(M) ^ mixed.wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 4];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u32::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests;

//! The name of an ordered part of the log. Sources, checkpoints and the bus share it.

/// An ordered part of the log: all events of one stream are in one partition, in the order of the log.
///
/// `log` is the whole log. `TOPIC/NUMBER` is a partition of a Kafka topic, for example `orderly.orders/3`;
/// the name of the topic ends in the kind of its streams. Checkpoints store the name, so it never changes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Partition(pub String);

impl Partition {
    /// The one partition of a source that reads the event store directly.
    pub fn whole_log() -> Self {
        Self("log".to_owned())
    }
}

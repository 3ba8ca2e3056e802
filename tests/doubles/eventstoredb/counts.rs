//! The calls that the server has received, by kind.

use std::fmt;

/// Calls since the start, refused ones included.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    pub connections: u64,
    /// Appends by the call `Append`.
    pub appends: u64,
    /// Appends by the call `BatchAppend`.
    pub batches: u64,
    pub stream_reads: u64,
    /// Reads of the whole log.
    pub all_reads: u64,
    pub subscriptions: u64,
    /// Reads that the client broke off before their end.
    pub broken_off_reads: u64,
    /// Deletions and tombstones.
    pub deletions: u64,
    pub gossip_reads: u64,
}

/// Names and numbers on one line.
impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "connections={} appends={} batches={} stream_reads={} all_reads={} subscriptions={} \
             broken_off_reads={} deletions={} gossip_reads={}",
            self.connections,
            self.appends,
            self.batches,
            self.stream_reads,
            self.all_reads,
            self.subscriptions,
            self.broken_off_reads,
            self.deletions,
            self.gossip_reads
        )
    }
}

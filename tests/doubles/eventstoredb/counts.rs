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
    /// Reads, other than subscriptions, that have not ended.
    pub reads_under_way: u64,
    /// The most of them at once.
    pub reads_at_once_max: u64,
    /// Deletions and tombstones.
    pub deletions: u64,
    pub gossip_reads: u64,
}

impl Calls {
    pub(super) fn begin_read(&mut self) {
        self.reads_under_way += 1;
        self.reads_at_once_max = self.reads_at_once_max.max(self.reads_under_way);
    }

    /// The calls since an earlier time, divided by the number of events of one type.
    #[allow(clippy::cast_precision_loss, reason = "counts of a test are far below 2^53")]
    pub fn per_event(&self, earlier: &Self, events: usize) -> CallsPerEvent {
        let per_event = |(now, before): (u64, u64)| (now - before) as f64 / events.max(1) as f64;
        CallsPerEvent {
            events,
            appends: per_event((self.appends + self.batches, earlier.appends + earlier.batches)),
            stream_reads: per_event((self.stream_reads, earlier.stream_reads)),
            all_reads: per_event((self.all_reads, earlier.all_reads)),
            subscriptions: per_event((self.subscriptions, earlier.subscriptions)),
        }
    }
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

/// How many calls a client makes for one event of a type, such as `order.placed.v2`: for one order.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CallsPerEvent {
    pub events: usize,
    pub appends: f64,
    pub stream_reads: f64,
    pub all_reads: f64,
    pub subscriptions: f64,
}

impl CallsPerEvent {
    pub fn reads(&self) -> f64 {
        self.stream_reads + self.all_reads
    }
}

impl fmt::Display for CallsPerEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, appends, stream_reads, all_reads, subscriptions } = self;
        write!(
            f,
            "events={events} appends={appends:.3} stream_reads={stream_reads:.3} all_reads={all_reads:.3} \
             subscriptions={subscriptions:.3}"
        )
    }
}

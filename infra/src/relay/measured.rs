//! What a relay measures of its work.

use std::time::Instant;

use domain::{Position, RecordedEvent, Timestamp};

use super::progress::RelayProgress;
use crate::measurements::{
    Counter, FOLLOWER_LAG_EVENTS, FOLLOWER_LAG_SECONDS, Gauge, Histogram, RELAY_EVENTS, RELAY_FAILURES,
    RELAY_PUBLISHING, RELAY_TRANSACTION_SECONDS, RELAY_WITHHELD_STREAMS, number,
};

const FOLLOWER: &str = "relay";

pub(super) struct Measured {
    publishing: Gauge,
    events: Counter,
    transactions: Histogram,
    failures: Counter,
    withheld: Gauge,
    lag_events: Gauge,
    lag_seconds: Gauge,
    /// When the oldest event was recorded that is read and not published.
    oldest: Option<Timestamp>,
    /// When the relay began to publish the events that it publishes now.
    begun: Instant,
}

impl Measured {
    pub fn new() -> Self {
        let measured = Self {
            publishing: RELAY_PUBLISHING.with([]),
            events: RELAY_EVENTS.with([]),
            transactions: RELAY_TRANSACTION_SECONDS.with([]),
            failures: RELAY_FAILURES.with([]),
            withheld: RELAY_WITHHELD_STREAMS.with([]),
            lag_events: FOLLOWER_LAG_EVENTS.with([FOLLOWER]),
            lag_seconds: FOLLOWER_LAG_SECONDS.with([FOLLOWER]),
            oldest: None,
            begun: Instant::now(),
        };
        measured.publishing.set(0.0);
        measured.withheld.set(0.0);
        measured
    }

    /// The relay has taken over, or was interrupted.
    pub fn set_publishing(&self, is_publishing: bool) {
        self.publishing.set(f64::from(u8::from(is_publishing)));
    }

    pub fn set_withheld(&self, streams: usize) {
        self.withheld.set(number(streams));
    }

    /// These events are to be published next.
    pub fn begin(&mut self, events: &[RecordedEvent], progress: &RelayProgress, head: Option<Position>) {
        self.begun = Instant::now();
        self.oldest = events.first().map(|event| event.recorded_at);
        self.set_lag(progress.position, head);
    }

    /// A transaction with these events is committed.
    pub fn published(&mut self, events: &[RecordedEvent], progress: &RelayProgress, head: Option<Position>) {
        self.transactions.record(self.begun.elapsed());
        self.events.increment(events.len() as u64);
        // Of the events after these, the oldest was recorded later than the last of these.
        self.oldest = events.last().map(|event| event.recorded_at);
        self.set_lag(progress.position, head);
    }

    /// Publishing has failed. The lag grows until the relay goes on.
    pub fn failed(&self) {
        self.failures.increment(1);
        if let Some(oldest) = self.oldest {
            self.lag_seconds.set(age(oldest));
        }
    }

    fn set_lag(&self, published: Option<Position>, head: Option<Position>) {
        let behind = head.unwrap_or(0).saturating_sub(published.unwrap_or(0));
        self.lag_events.set(number(behind));
        let oldest = self.oldest.filter(|_| behind > 0);
        self.lag_seconds.set(oldest.map_or(0.0, age));
    }
}

/// Seconds since a time.
fn age(since: Timestamp) -> f64 {
    Timestamp::now().duration_since(since).as_secs_f64().max(0.0)
}

//! What a projector measures of its work.

use domain::Timestamp;
use infra::{
    measurements::{
        Counter, Gauge, Histogram, PARKED_STREAMS, PROJECTED_EVENTS, PROJECTION_BATCH_EVENTS,
        PROJECTION_COMMIT_SECONDS, PROJECTION_DELAY_SECONDS, PROJECTION_FAILURES, ROW_CACHE_BYTES,
        ROW_CACHE_HITS, ROW_CACHE_MISSES, number,
    },
    read_models::{ParkedStream, Projection},
};

pub(crate) struct Measured {
    pub commits: Histogram,
    pub failures: Counter,
    events: Counter,
    batches: Histogram,
    delays: Histogram,
    parked: [(Projection, Gauge); 4],
}

impl Measured {
    pub fn new() -> Self {
        Self {
            commits: PROJECTION_COMMIT_SECONDS.with([]),
            failures: PROJECTION_FAILURES.with([]),
            events: PROJECTED_EVENTS.with([]),
            batches: PROJECTION_BATCH_EVENTS.with([]),
            delays: PROJECTION_DELAY_SECONDS.with([]),
            parked: Projection::ALL
                .map(|projection| (projection, PARKED_STREAMS.with([projection.as_str()]))),
        }
    }

    /// The rows of a batch are visible.
    pub fn committed(&self, events: usize, first_recorded_at: Option<Timestamp>) {
        self.events.increment(events as u64);
        self.batches.record(number(events));
        if let Some(recorded_at) = first_recorded_at {
            let delay = Timestamp::now().duration_since(recorded_at);
            self.delays.record(delay.as_secs_f64().max(0.0));
        }
    }

    /// These streams are parked, by all projectors.
    pub fn set_parked(&self, parked: &[ParkedStream]) {
        for (projection, gauge) in &self.parked {
            gauge.set(number(parked.iter().filter(|stream| stream.projection == *projection).count()));
        }
    }
}

/// What a cache of rows measures.
pub(crate) struct CacheMeasured {
    bytes: Gauge,
    pub hits: Counter,
    pub misses: Counter,
}

impl CacheMeasured {
    /// `row`: the kind of the cached rows.
    pub fn of(row: &str) -> Self {
        Self {
            bytes: ROW_CACHE_BYTES.with([row]),
            hits: ROW_CACHE_HITS.with([row]),
            misses: ROW_CACHE_MISSES.with([row]),
        }
    }

    /// The gauge sums the caches of all projectors of the process.
    pub fn resized(&self, before: usize, after: usize) {
        self.bytes.increment(number(after) - number(before));
    }
}

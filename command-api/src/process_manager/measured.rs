//! What the process manager measures of the reactions in memory.

use std::{sync::Arc, time::Duration};

use infra::measurements::{
    Counter, Gauge, Histogram, REACTION_ATTEMPTS, REACTION_SECONDS, REACTIONS, REACTIONS_BYTES, number,
};

/// How many reactions are in which state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    pub ready: usize,
    pub running: usize,
    pub paused: usize,
    /// Behind another reaction of their stream.
    pub waiting: usize,
    pub bytes: usize,
}

pub(super) struct Measured {
    ready: Gauge,
    running: Gauge,
    paused: Gauge,
    waiting: Gauge,
    bytes: Gauge,
    pub attempts: Arc<AttemptsMeasured>,
}

/// The attempts at reactions, by their outcome.
pub(super) struct AttemptsMeasured {
    pub done: Counter,
    pub failed: Counter,
    pub parked: Counter,
    pub duration: Histogram,
}

impl Measured {
    pub fn new() -> Self {
        let attempts = AttemptsMeasured {
            done: REACTION_ATTEMPTS.with(["done"]),
            failed: REACTION_ATTEMPTS.with(["failed"]),
            parked: REACTION_ATTEMPTS.with(["parked"]),
            duration: REACTION_SECONDS.with([]),
        };
        Self {
            ready: REACTIONS.with(["ready"]),
            running: REACTIONS.with(["running"]),
            paused: REACTIONS.with(["paused"]),
            waiting: REACTIONS.with(["waiting"]),
            bytes: REACTIONS_BYTES.with([]),
            attempts: Arc::new(attempts),
        }
    }

    pub fn set(&self, load: Load) {
        self.ready.set(number(load.ready));
        self.running.set(number(load.running));
        self.paused.set(number(load.paused));
        self.waiting.set(number(load.waiting));
        self.bytes.set(number(load.bytes));
    }
}

impl AttemptsMeasured {
    pub fn count(&self, outcome: &Counter, took: Duration) {
        outcome.increment(1);
        self.duration.record(took);
    }
}

//! What an executor measures of its kind of aggregate.

use std::{sync::Arc, time::Duration};

use domain::Decider;
use infra::measurements::{
    APPEND_COMMANDS, APPEND_EVENTS, APPEND_SECONDS, APPENDS_SENT_AGAIN, CACHE_BYTES, CACHE_EVICTIONS,
    CACHE_HITS, CACHE_MISSES, COMMAND_ATTEMPTS, COMMANDS_UNDER_WAY, Counter, EVENTS_APPENDED, Gauge,
    Histogram, LOAD_SECONDS, number,
};

use super::{ExecuteError, Executed, Outcome};

pub(super) struct Measured {
    pub under_way: Gauge,
    pub sent_again: Counter,
    pub loads: Histogram,
    pub hits: Counter,
    pub misses: Counter,
    pub cache: CacheMeasured,
    attempts: Attempts,
    append_commands: Histogram,
    append_events: Histogram,
    appends: Histogram,
    events: Counter,
}

/// What a cache of aggregates measures.
#[derive(Clone)]
pub(super) struct CacheMeasured {
    pub bytes: Gauge,
    pub evictions: Counter,
}

/// Attempts at commands, by their outcome.
struct Attempts {
    recorded: Counter,
    unchanged: Counter,
    duplicate: Counter,
    key_reused: Counter,
    precondition_failed: Counter,
    refused: Counter,
    overloaded: Counter,
    superseded: Counter,
    conflict: Counter,
    busy: Counter,
    unavailable: Counter,
    outcome_unknown: Counter,
    unreadable: Counter,
    log_went_back: Counter,
}

impl Measured {
    pub fn of<A: Decider>() -> Arc<Self> {
        let of = [A::NAME];
        let cache = CacheMeasured { bytes: CACHE_BYTES.with(of), evictions: CACHE_EVICTIONS.with(of) };
        Arc::new(Self {
            under_way: COMMANDS_UNDER_WAY.with(of),
            sent_again: APPENDS_SENT_AGAIN.with(of),
            loads: LOAD_SECONDS.with(of),
            hits: CACHE_HITS.with(of),
            misses: CACHE_MISSES.with(of),
            cache,
            attempts: Attempts::of(A::NAME),
            append_commands: APPEND_COMMANDS.with(of),
            append_events: APPEND_EVENTS.with(of),
            appends: APPEND_SECONDS.with(of),
            events: EVENTS_APPENDED.with(of),
        })
    }

    pub fn count_attempt<A: Decider>(&self, ended: &Result<Executed<A>, ExecuteError>) {
        let attempts = &self.attempts;
        let counter = match ended {
            Ok(Executed { outcome, .. }) => match outcome {
                Outcome::Recorded => &attempts.recorded,
                Outcome::Unchanged => &attempts.unchanged,
                Outcome::Duplicate { .. } => &attempts.duplicate,
                Outcome::KeyReused => &attempts.key_reused,
                Outcome::PreconditionFailed => &attempts.precondition_failed,
                Outcome::Refused(_) => &attempts.refused,
            },
            Err(error) => match error {
                ExecuteError::Overloaded => &attempts.overloaded,
                ExecuteError::Superseded => &attempts.superseded,
                ExecuteError::Conflict => &attempts.conflict,
                ExecuteError::Busy => &attempts.busy,
                ExecuteError::Unavailable(_) => &attempts.unavailable,
                ExecuteError::OutcomeUnknown(_) => &attempts.outcome_unknown,
                ExecuteError::Unreadable(_) => &attempts.unreadable,
                ExecuteError::LogWentBack => &attempts.log_went_back,
            },
        };
        counter.increment(1);
    }

    /// The events of these commands are submitted as one append.
    pub fn submitted(&self, commands: usize, events: usize) {
        self.append_commands.record(number(commands));
        self.append_events.record(number(events));
    }

    /// An append has ended. `events` are durable: none if it has failed.
    pub fn ended(&self, took: Duration, events: usize) {
        self.appends.record(took);
        self.events.increment(events as u64);
    }
}

impl Attempts {
    fn of(aggregate: &str) -> Self {
        let counter = |outcome| COMMAND_ATTEMPTS.with([aggregate, outcome]);
        Self {
            recorded: counter("recorded"),
            unchanged: counter("unchanged"),
            duplicate: counter("duplicate"),
            key_reused: counter("key_reused"),
            precondition_failed: counter("precondition_failed"),
            refused: counter("refused"),
            overloaded: counter("overloaded"),
            superseded: counter("superseded"),
            conflict: counter("conflict"),
            busy: counter("busy"),
            unavailable: counter("unavailable"),
            outcome_unknown: counter("outcome_unknown"),
            unreadable: counter("unreadable"),
            log_went_back: counter("log_went_back"),
        }
    }
}

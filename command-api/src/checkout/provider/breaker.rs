//! A circuit breaker: when calls to several payments fail in a row, no call is sent for a while.
//!
//! Only failures of different payments count. One payment whose calls hang is no reason to delay the others.

use std::time::Duration;

use domain::PaymentId;
use tokio::time::Instant;

/// Payments with a failed call, and no call that succeeded meanwhile, that open the breaker.
pub(super) const FAILING_PAYMENTS_MAX: usize = 5;
/// Time without calls, doubled up to [`PAUSE_MAX`] each time a probe fails.
const PAUSE_MIN: Duration = Duration::from_secs(2);
const PAUSE_MAX: Duration = Duration::from_mins(1);

#[derive(Debug)]
pub(super) struct Breaker {
    state: State,
    /// A probe without an outcome after this time counts as failed. Longer than the time limit of a call.
    probe_max: Duration,
}

#[derive(Debug)]
enum State {
    /// Calls are sent. `failing` are the payments whose calls failed since the last success.
    Closed { failing: Vec<PaymentId> },
    /// No call is sent before `until`.
    Open { until: Instant, pause: Duration },
    /// One call was sent to probe the provider. No further call is sent before its outcome, or before `until`.
    HalfOpen { until: Instant, pause: Duration },
}

/// The kind of state that a breaker is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    Open,
    HalfOpen,
}

impl Phase {
    pub const ALL: [Self; 3] = [Self::Closed, Self::Open, Self::HalfOpen];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
        }
    }
}

/// A change that operators see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// The first failure that stops calls. Failed probes are no change.
    Opened,
    Closed,
}

impl Breaker {
    pub fn new(probe_max: Duration) -> Self {
        Self { state: State::Closed { failing: Vec::new() }, probe_max }
    }

    pub fn phase(&self) -> Phase {
        match self.state {
            State::Closed { .. } => Phase::Closed,
            State::Open { .. } => Phase::Open,
            State::HalfOpen { .. } => Phase::HalfOpen,
        }
    }

    /// True if [`Breaker::admit`] would admit a call now.
    pub fn admits(&self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until, .. } | State::HalfOpen { until, .. } => until <= now,
        }
    }

    /// Asks to send a call; true if it may be sent. Its outcome must follow, unless it never ends.
    pub fn admit(&mut self, now: Instant) -> bool {
        let admits = self.admits(now);
        if let State::Open { pause, .. } | State::HalfOpen { pause, .. } = self.state
            && admits
        {
            self.state = State::HalfOpen { until: now + self.probe_max, pause };
        }
        admits
    }

    pub fn succeeded(&mut self) -> Option<Change> {
        let before = std::mem::replace(&mut self.state, State::Closed { failing: Vec::new() });
        match before {
            State::Closed { .. } => None,
            State::Open { .. } | State::HalfOpen { .. } => Some(Change::Closed),
        }
    }

    pub fn failed(&mut self, payment: PaymentId, now: Instant) -> Option<Change> {
        match &mut self.state {
            State::Closed { failing } => {
                if !failing.contains(&payment) {
                    failing.push(payment);
                }
                if failing.len() < FAILING_PAYMENTS_MAX {
                    return None;
                }
                self.state = State::Open { until: now + PAUSE_MIN, pause: PAUSE_MIN };
                Some(Change::Opened)
            }
            // A call that was sent before the breaker opened.
            State::Open { .. } => None,
            State::HalfOpen { pause, .. } => {
                let pause = (*pause * 2).min(PAUSE_MAX);
                self.state = State::Open { until: now + pause, pause };
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;

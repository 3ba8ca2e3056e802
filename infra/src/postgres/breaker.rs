//! Stops connecting to a server that does not answer, so that queries fail at once and do not wait 5 s each.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Failed connections in a row that open the breaker.
const FAILURES_MAX: u32 = 3;
/// While it is open, one connection is tried after this time.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// A circuit breaker.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    /// Set while the breaker is open.
    probe_at: Option<Instant>,
}

impl Breaker {
    /// True if a connection may be made now.
    pub fn admits(&self) -> bool {
        let (mut state, now) = (self.state(), Instant::now());
        match state.probe_at {
            Some(probe_at) if now < probe_at => false,
            Some(_) => {
                state.probe_at = Some(now + PROBE_EVERY);
                true
            }
            None => true,
        }
    }

    pub fn succeeded(&self) {
        *self.state() = State::default();
    }

    pub fn failed(&self) {
        let mut state = self.state();
        state.failures += 1;
        if state.failures >= FAILURES_MAX {
            state.probe_at = Some(Instant::now() + PROBE_EVERY);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn after_three_failures_one_connection_a_second_is_tried_until_one_succeeds() {
        let breaker = Breaker::default();
        for _ in 0..FAILURES_MAX {
            assert!(breaker.admits());
            breaker.failed();
        }
        for _ in 0..2 {
            assert!(!breaker.admits());
            advance(PROBE_EVERY).await;
            assert!(breaker.admits(), "a probe");
            assert!(!breaker.admits(), "one probe at a time");
            breaker.failed();
        }
        advance(PROBE_EVERY).await;
        assert!(breaker.admits());
        breaker.succeeded();
        assert!(breaker.admits() && breaker.admits());
        breaker.failed();
        assert!(breaker.admits(), "one failure is none in a row");
    }
}

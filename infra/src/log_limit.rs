//! A limit on repeated log lines, for events that a caller or a broken disk can cause thousands of times.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Lets one log line pass in each interval, and counts the others. Keep one in a `static` for each log line.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    passed_at: Option<Instant>,
    omitted: u64,
}

impl LogLimit {
    pub const fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::new(State { passed_at: None, omitted: 0 }) }
    }

    /// `Some` if the line may be written, with the number of lines omitted before it.
    pub fn pass(&self) -> Option<u64> {
        self.pass_at(Instant::now())
    }

    fn pass_at(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.passed_at.is_some_and(|at| now.duration_since(at) < self.interval) {
            state.omitted += 1;
            return None;
        }
        state.passed_at = Some(now);
        Some(std::mem::take(&mut state.omitted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_passes_in_each_interval_and_counts_the_omitted_ones() {
        let limit = LogLimit::new(Duration::from_secs(10));
        let start = Instant::now();
        let passed = [0, 1, 9, 10, 11, 25].map(|second| limit.pass_at(start + Duration::from_secs(second)));
        assert_eq!(passed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}

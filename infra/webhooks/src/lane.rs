//! The lane of an endpoint: how many attempts of this process may run at a time, and when.
//!
//! A lane begins with one attempt at a time. Each success doubles that, and a failure sets it back to one. While
//! a lane has its full width and its receiver answers quickly, each attempt is one of a lease of several
//! deliveries, because a lease costs two transactions.
//! After some failures in a row the lane stops. Then one attempt at a time tests the receiver, and the pauses
//! between these tests double. So an endpoint that fails takes nothing from another one.

use std::time::Duration;

use domain::Timestamp;
use tokio::time::Instant;

/// The most deliveries of a lease.
const LEASE_MAX: usize = 16;
/// A lease that ends within this time lets the next ones grow.
const QUICK: Duration = Duration::from_millis(250);

/// The limits of every lane.
#[derive(Debug, Clone, Copy)]
pub struct LaneOptions {
    /// The most attempts that run at a time.
    pub attempts_max: usize,
    /// Failures in a row that stop the lane.
    pub failures_max: u32,
    /// Pause before the first test of the receiver. Each failed test doubles it.
    pub pause_min: Duration,
    pub pause_max: Duration,
    /// A subscription is disabled if every attempt has failed for this long.
    pub disable_after: Duration,
}

impl Default for LaneOptions {
    fn default() -> Self {
        Self {
            attempts_max: 8,
            failures_max: 5,
            pause_min: Duration::from_secs(5),
            pause_max: Duration::from_mins(5),
            disable_after: Duration::from_hours(3 * 24),
        }
    }
}

/// The lane of one endpoint in this process.
#[derive(Debug)]
pub(crate) struct Lane {
    options: LaneOptions,
    /// The change of the subscription that this lane knows. A later change starts a new lane.
    pub changed_at: Timestamp,
    /// Running leases. Each makes one attempt at a time.
    running: usize,
    width: usize,
    /// Deliveries of the next lease.
    lease: usize,
    /// Failures since the last success.
    failures: u32,
    /// When the first of these failures happened.
    failing_since: Option<Timestamp>,
    paused_until: Option<Instant>,
}

impl Lane {
    /// A lane whose receiver failed since `failing_since` begins with a test of the receiver.
    pub fn new(options: LaneOptions, changed_at: Timestamp, failing_since: Option<Timestamp>) -> Self {
        let failures = failing_since.map_or(0, |_| options.failures_max);
        Self {
            options,
            changed_at,
            running: 0,
            width: 1,
            lease: 1,
            failures,
            failing_since,
            paused_until: None,
        }
    }

    /// Starts again after a change of the subscription. The running leases still count.
    pub fn renew(&mut self, changed_at: Timestamp, failing_since: Option<Timestamp>) {
        *self = Self { running: self.running, ..Self::new(self.options, changed_at, failing_since) };
    }

    /// How many leases may start now.
    pub fn free(&self, now: Instant) -> usize {
        if self.is_paused(now) { 0 } else { self.width.saturating_sub(self.running) }
    }

    /// The most deliveries of each lease that starts now.
    pub fn lease_max(&self) -> usize {
        self.lease
    }

    pub fn start(&mut self) {
        self.running += 1;
    }

    /// A lease has ended. Its attempts are told apart.
    pub fn end(&mut self, took: Duration) {
        self.running = self.running.saturating_sub(1);
        let grows = took < QUICK && self.width == self.options.attempts_max;
        self.lease = if grows { (self.lease * 2).min(LEASE_MAX) } else { (self.lease / 2).max(1) };
    }

    pub fn succeed(&mut self) {
        (self.failures, self.failing_since, self.paused_until) = (0, None, None);
        self.width = (self.width * 2).min(self.options.attempts_max);
    }

    /// `at` is when the attempt began.
    pub fn fail(&mut self, at: Timestamp, now: Instant) {
        (self.width, self.lease) = (1, 1);
        // An attempt that began before the pause is no test of the receiver.
        if !self.is_paused(now) {
            self.failures = self.failures.saturating_add(1);
            self.failing_since.get_or_insert(at);
            self.paused_until = self.pause(self.failures).map(|pause| now + pause);
        }
    }

    /// Since when every attempt has failed, if that has stopped the lane.
    pub fn stopped_since(&self) -> Option<Timestamp> {
        self.failing_since.filter(|_| self.failures >= self.options.failures_max)
    }

    /// The pause that follows if the next attempt fails. `None` while that does not stop the lane.
    pub fn pause_after_failure(&self) -> Option<Duration> {
        self.pause(self.failures.saturating_add(1))
    }

    fn is_paused(&self, now: Instant) -> bool {
        self.paused_until.is_some_and(|until| until > now)
    }

    fn pause(&self, failures: u32) -> Option<Duration> {
        let doublings = failures.checked_sub(self.options.failures_max)?;
        let factor = 2_u32.saturating_pow(doublings);
        Some(self.options.pause_min.saturating_mul(factor).min(self.options.pause_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane() -> Lane {
        Lane::new(LaneOptions::default(), Timestamp::UNIX_EPOCH, None)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Fails one attempt.
    fn fail(lane: &mut Lane, second: i64, now: Instant) {
        lane.start();
        lane.end(Duration::from_secs(1));
        lane.fail(at(second), now);
    }

    /// Delivers a lease in this time.
    fn succeed(lane: &mut Lane, took: Duration) {
        lane.start();
        lane.end(took);
        lane.succeed();
    }

    #[test]
    fn successes_widen_a_lane_up_to_its_limit_and_a_failure_narrows_it_to_one() {
        let (mut lane, now) = (lane(), Instant::now());
        let mut widths = Vec::new();
        for _ in 0..5 {
            widths.push(lane.free(now));
            succeed(&mut lane, Duration::ZERO);
        }
        assert_eq!(widths, [1, 2, 4, 8, 8]);
        lane.start();
        fail(&mut lane, 1, now);
        // The first attempt still runs.
        assert_eq!(lane.free(now), 0);
        lane.end(Duration::ZERO);
        assert_eq!((lane.free(now), lane.stopped_since()), (1, None));
    }

    #[test]
    fn leases_grow_while_a_wide_lane_is_quick_and_shrink_when_it_is_slow_or_fails() {
        let (mut lane, now) = (lane(), Instant::now());
        let quick = |lane: &mut Lane| {
            succeed(lane, Duration::from_millis(249));
            lane.lease_max()
        };
        let grown: Vec<usize> = (0..8).map(|_| quick(&mut lane)).collect();
        assert_eq!(grown, [1, 1, 1, 2, 4, 8, 16, 16]);
        succeed(&mut lane, Duration::from_millis(250));
        assert_eq!(lane.lease_max(), 8);
        fail(&mut lane, 1, now);
        assert_eq!(lane.lease_max(), 1);
    }

    #[test]
    fn failures_in_a_row_stop_a_lane_and_each_failed_test_doubles_the_pause() {
        let (mut lane, now) = (lane(), Instant::now());
        for second in 1..=4 {
            assert_eq!(lane.pause_after_failure(), None);
            fail(&mut lane, second, now);
            assert_eq!((lane.free(now), lane.stopped_since()), (1, None));
        }
        let mut pauses = Vec::new();
        let mut time = now;
        for second in 5..13 {
            let pause = lane.pause_after_failure().unwrap();
            fail(&mut lane, second, time);
            assert_eq!(lane.stopped_since(), Some(at(1)));
            assert_eq!(lane.free(time + pause.mul_f64(0.99)), 0);
            time += pause;
            assert_eq!(lane.free(time), 1);
            pauses.push(pause.as_secs());
        }
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 300, 300]);
        succeed(&mut lane, Duration::ZERO);
        assert_eq!((lane.free(time), lane.stopped_since()), (2, None));
    }

    #[test]
    fn attempts_that_began_before_the_pause_do_not_extend_it() {
        let (mut lane, now) = (lane(), Instant::now());
        for _ in 0..3 {
            succeed(&mut lane, Duration::ZERO);
        }
        (0..8).for_each(|_| lane.start());
        for _ in 0..8 {
            lane.end(Duration::ZERO);
            lane.fail(at(1), now);
        }
        assert_eq!(lane.free(now + Duration::from_secs(5)), 1);
    }

    #[test]
    fn a_lane_of_a_receiver_that_failed_before_begins_with_a_test() {
        let now = Instant::now();
        let mut lane = Lane::new(LaneOptions::default(), at(0), Some(at(-100)));
        assert_eq!(lane.free(now), 1);
        fail(&mut lane, 1, now);
        assert_eq!((lane.free(now), lane.stopped_since()), (0, Some(at(-100))));
        lane.renew(at(2), None);
        assert_eq!((lane.free(now), lane.stopped_since()), (1, None));
    }
}

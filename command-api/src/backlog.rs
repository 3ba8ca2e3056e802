//! Holds back new orders while projectors fall behind: they commit, but orders arrive faster than rows follow.
//!
//! Every second the command API reads how far the read models are. If the rows need more than [`BEHIND_MAX`] to
//! catch up and fall further behind, a growing share of new orders is refused. The share shrinks again once the
//! rows catch up. Read models that are unreachable, and projectors that commit nothing, refuse no order: a
//! refusal would not help them.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use domain::Position;
use infra::{
    health::Health,
    http::{Code, Problem, ProblemSource},
    measurements::NEW_ORDERS_ADMITTED,
    read_models::CheckpointRow,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Time that the rows may need to catch up before new orders are refused.
pub const BEHIND_MAX: Duration = Duration::from_secs(10);
/// How often the progress is read.
const READ_EVERY: Duration = Duration::from_secs(1);
/// Time limit of one reading.
const READ_TIMEOUT: Duration = Duration::from_secs(1);
/// Readings between two decisions that refuse more.
const READINGS: usize = 4;
/// Readings that the speed of the projectors is measured over. Commands that share their processor can keep them from it
/// for seconds, most of all at the start of an overload.
const SPEEDS: usize = 16;
/// Rows that need no longer to catch up than this say that too many orders are refused.
const NEARLY_THERE: Duration = Duration::from_secs(2);
/// Shares are parts of this number.
const WHOLE: u64 = 1_000;
/// The name under which refused orders are reported to [`Health`].
const CONDITION: &str = "projections_behind";

/// How far the read models are, in positions of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Position of the last event in the rows; 0 without one.
    pub passed: Position,
    /// Positions after it.
    pub behind: u64,
}

impl Reading {
    /// Of the partitions, the latest counts: the others may have had no event for a long time.
    pub fn of(checkpoints: &[CheckpointRow], head: Option<Position>) -> Self {
        let passed = checkpoints.iter().filter_map(|row| row.log_position).max().unwrap_or(0);
        Self { passed, behind: head.unwrap_or(0).saturating_sub(passed) }
    }
}

/// Admits new orders, or refuses a share of them. Clones have the same share.
#[derive(Debug, Clone)]
pub struct Backlog(Arc<Admission>);

#[derive(Debug)]
struct Admission {
    /// The part of new orders to execute, of [`WHOLE`].
    part: AtomicU64,
    /// New orders that asked while a share was refused.
    asked: AtomicU64,
}

/// A new order is refused, because the read models fall behind. Nothing was recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProjectionsBehind;

impl ProblemSource for ProjectionsBehind {
    const CODES: &'static [Code] = &[Code::ProjectionsBehind];

    fn problem(self) -> Problem {
        Problem::new(Code::ProjectionsBehind)
    }
}

impl Default for Backlog {
    fn default() -> Self {
        Self(Arc::new(Admission { part: AtomicU64::new(WHOLE), asked: AtomicU64::new(0) }))
    }
}

impl Backlog {
    pub fn admit(&self) -> Result<(), ProjectionsBehind> {
        let part = self.0.part.load(Ordering::Relaxed);
        if part == WHOLE {
            return Ok(());
        }
        // Spreads the admitted orders evenly.
        let before = u128::from(self.0.asked.fetch_add(1, Ordering::Relaxed));
        let admitted = |asked: u128| asked * u128::from(part) / u128::from(WHOLE);
        if admitted(before + 1) > admitted(before) { Ok(()) } else { Err(ProjectionsBehind) }
    }

    /// Adjusts the refused share until `shutdown`. `read` gives `None` if the progress cannot be read now.
    pub async fn follow<F: Future<Output = Option<Reading>>>(
        self,
        read: impl Fn() -> F,
        health: Health,
        shutdown: CancellationToken,
    ) {
        let (mut pace, admitted) = (Pace::default(), NEW_ORDERS_ADMITTED.with([]));
        admitted.set(1.0);
        loop {
            if shutdown.run_until_cancelled(tokio::time::sleep(READ_EVERY)).await.is_none() {
                return;
            }
            let reading = tokio::time::timeout(READ_TIMEOUT, read()).await.ok().flatten();
            let part = pace.observe(Instant::now(), reading);
            let before = self.0.part.swap(part, Ordering::Relaxed);
            admitted.set(number(part) / number(WHOLE));
            if part < WHOLE && before == WHOLE {
                tracing::warn!("The read models fall behind; a share of new orders is refused");
                let detail =
                    "the read models fall behind; a share of new orders is refused until they catch up";
                health.degraded(CONDITION, detail);
            } else if part == WHOLE && before < WHOLE {
                tracing::info!("The read models catch up; every new order is executed again");
                health.resolve(CONDITION);
            }
        }
    }
}

/// Decides which part of new orders is executed, from one reading to the next.
#[derive(Debug)]
struct Pace {
    /// Since the last decision that refuses more, at most [`READINGS`].
    readings: VecDeque<(Instant, Reading)>,
    /// From one reading to the next, the last one first; at most [`SPEEDS`].
    speeds: VecDeque<f64>,
    part: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Self { readings: VecDeque::new(), speeds: VecDeque::new(), part: WHOLE }
    }
}

impl Pace {
    fn observe(&mut self, at: Instant, reading: Option<Reading>) -> u64 {
        let Some(reading) = reading else {
            *self = Self::default();
            return self.part;
        };
        if let Some(last) = self.readings.back() {
            self.speeds.push_front(speed_between(*last, (at, reading)));
            self.speeds.truncate(SPEEDS);
        }
        self.readings.push_back((at, reading));
        if self.readings.len() < READINGS {
            return self.part;
        }
        let recent = || self.speeds.iter().copied().take(READINGS - 1);
        // Such as while a partition moves to another process. It says nothing about their speed.
        let have_paused = recent().any(|speed| speed == 0.0);
        let have_stopped = recent().all(|speed| speed == 0.0);
        // In the others they may have waited for events, or for a processor.
        let speed = self.speeds.iter().copied().fold(0.0, f64::max);
        let needed = Duration::try_from_secs_f64(number(reading.behind) / speed).unwrap_or(Duration::MAX);
        let Some((begun, first)) = self.readings.pop_front() else { return self.part };
        if have_stopped {
            // Stopped projectors catch up no sooner if orders are refused.
            self.part = WHOLE;
        } else if needed <= BEHIND_MAX {
            let growth = if needed <= NEARLY_THERE { self.part / 2 } else { self.part / 10 };
            self.part = (self.part + growth.max(1)).min(WHOLE);
        } else if reading.behind > first.behind && !have_paused {
            let arrived = reading.passed.saturating_sub(first.passed) + (reading.behind - first.behind);
            let arrived_per_second = number(arrived) / (at - begun).as_secs_f64();
            // Half of what the projectors pass, so that they catch up as fast as they fell behind.
            let sustainable = number(self.part) * 0.5 * speed / arrived_per_second;
            self.part = parts(sustainable).clamp(1, self.part);
            // The next decision sees the effect of this one.
            self.readings.drain(..self.readings.len() - 1);
        }
        self.part
    }
}

/// Positions that the projectors pass in a second.
fn speed_between(earlier: (Instant, Reading), later: (Instant, Reading)) -> f64 {
    let passed = later.1.passed.saturating_sub(earlier.1.passed);
    number(passed) / (later.0 - earlier.0).as_secs_f64()
}

#[allow(clippy::cast_precision_loss, reason = "an estimate")]
fn number(of: u64) -> f64 {
    of as f64
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 1,000")]
fn parts(of: f64) -> u64 {
    of as u64
}

#[cfg(test)]
mod tests;

//! Injected clock, so that tests control time.

mod steady;

use std::{fmt, sync::Arc, time::Duration};

use domain::Timestamp;

use self::steady::SteadyClock;
use crate::health::Health;

/// A clock. Cheap to clone; all clones show the same time.
///
/// Use it for times that are recorded or compared with recorded ones. Measure durations with `tokio::time`
/// instead, because corrections of the system time do not affect it.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Steady(Arc<SteadyClock>),
    Function(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl Clock {
    /// The clock of the operating system, with its jumps.
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// Follows the clock of the operating system. Holds back a jump of more than 5 minutes until it has lasted
    /// 15 minutes, logs it and reports it as `clock`.
    pub fn steady(health: Health) -> Self {
        Self(Source::Steady(Arc::new(SteadyClock::of_system(health))))
    }

    /// As [`Clock::steady`], over other clocks. `elapsed` never goes back.
    pub fn steady_over(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
        health: Health,
    ) -> Self {
        Self(Source::Steady(Arc::new(SteadyClock::new(wall, elapsed, health))))
    }

    /// A clock that shows the result of `now`.
    pub fn given_by(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Source::Function(Arc::new(now)))
    }

    /// The current time. It may go back, so two readings have no reliable order.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Steady(steady) => steady.now(),
            Source::Function(now) => now(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock::System",
            Source::Steady(_) => "Clock::Steady",
            Source::Function(_) => "Clock::Function",
        })
    }
}

#[cfg(test)]
mod tests;

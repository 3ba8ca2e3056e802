//! Injected clock, so that tests control time.

use std::{fmt, sync::Arc};

use domain::Timestamp;

/// A clock. Cheap to clone; all clones show the same time.
///
/// Use it for times that are recorded or compared with recorded ones. Measure durations with `tokio::time`
/// instead, because corrections of the system time do not affect it.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Function(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that shows the result of `now`.
    pub fn given_by(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Source::Function(Arc::new(now)))
    }

    /// The current time. It may go back, so two readings have no reliable order.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => Timestamp::now(),
            Source::Function(now) => now(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock::System",
            Source::Function(_) => "Clock::Function",
        })
    }
}

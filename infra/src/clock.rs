//! What time it is: asked of whoever composes the platform, so that a test can say.

use std::{fmt, sync::Arc};

use domain::Timestamp;

/// A clock. Cheap to clone; all clones show the same time.
///
/// For times that are compared with, or kept in, what is recorded. How long something takes is measured with
/// `tokio::time`, which no correction of the system's time disturbs.
#[derive(Clone)]
pub struct Clock(Reading);

#[derive(Clone)]
enum Reading {
    System,
    Given(Arc<dyn Fn() -> Timestamp + Send + Sync>),
}

impl Clock {
    /// The clock of the operating system.
    pub fn system() -> Self {
        Self(Reading::System)
    }

    /// A clock that shows whatever `now` says.
    pub fn given_by(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Reading::Given(Arc::new(now)))
    }

    /// The present. May go back: nobody may rely on two readings being in order.
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Reading::System => Timestamp::now(),
            Reading::Given(now) => now(),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Reading::System => "Clock::System",
            Reading::Given(_) => "Clock::Given",
        })
    }
}

//! A clock that the test moves forward.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};

use domain::Timestamp;
use infra::clock::Clock;

/// The time of the system, plus what the test has added to it.
#[derive(Clone, Default)]
pub struct TestClock(Arc<AtomicI64>);

impl TestClock {
    pub fn advance_minutes(&self, minutes: i64) {
        self.0.fetch_add(minutes, Ordering::AcqRel);
    }

    pub fn clock(&self) -> Clock {
        let minutes = Arc::clone(&self.0);
        Clock::given_by(move || {
            Timestamp::now() + jiff::SignedDuration::from_mins(minutes.load(Ordering::Acquire))
        })
    }
}

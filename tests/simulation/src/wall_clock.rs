//! The wall clock of the simulated machine, which is set to wrong times.

use std::time::Duration;

use domain::Timestamp;
use jiff::SignedDuration;

/// The start of virtual time.
const EPOCH_SECONDS: i64 = 1_767_225_600;
/// A jump up to this is followed at once, and a longer one after [`BELIEVED_AFTER`], as `infra::clock` says.
const STEP_MAX: SignedDuration = SignedDuration::from_mins(5);
const BELIEVED_AFTER: Duration = Duration::from_mins(15);

/// Durations are virtual time since the start of the run.
#[derive(Debug, Default)]
pub struct WallClock {
    /// This clock minus the true time.
    skew: SignedDuration,
    /// When the present jump began.
    jumped_at: Option<Duration>,
    /// True once the platform may follow a jump, because the jump lasted.
    may_be_followed: bool,
}

impl WallClock {
    /// The true time after `elapsed`.
    pub fn true_time(elapsed: Duration) -> Timestamp {
        let epoch = Timestamp::from_second(EPOCH_SECONDS).unwrap_or_default();
        epoch.saturating_add(elapsed).unwrap_or(epoch)
    }

    /// The time that this clock shows.
    pub fn shown(&self, elapsed: Duration) -> Timestamp {
        let true_time = Self::true_time(elapsed);
        true_time.saturating_add(self.skew).unwrap_or(true_time)
    }

    /// Once the platform follows a jump, the clock stays as it is: a right clock would be behind the log.
    pub fn set(&mut self, skew: SignedDuration, now: Duration) {
        self.note_time(now);
        if !self.may_be_followed {
            self.skew = skew;
            self.jumped_at = self.is_wrong().then_some(now);
        }
    }

    /// The machine starts again, which corrects a jump that the platform does not follow yet.
    pub fn note_start(&mut self, now: Duration) {
        self.note_time(now);
        if self.is_wrong() && !self.may_be_followed {
            self.set(SignedDuration::ZERO, now);
        }
    }

    fn note_time(&mut self, now: Duration) {
        self.may_be_followed |=
            self.jumped_at.is_some_and(|jumped_at| now.saturating_sub(jumped_at) >= BELIEVED_AFTER);
    }

    fn is_wrong(&self) -> bool {
        self.skew.abs() > STEP_MAX
    }

    /// Checks that a jump which the platform must not follow yet dates no event.
    pub fn check(&mut self, last_recorded_at: Option<Timestamp>, now: Duration) -> Result<(), String> {
        self.note_time(now);
        let ahead = last_recorded_at.map(|at| at.duration_since(Self::true_time(now)));
        match ahead.filter(|ahead| *ahead > STEP_MAX && !self.may_be_followed) {
            Some(ahead) => Err(format!("clock: an event is dated {} h ahead", ahead.as_hours())),
            None => Ok(()),
        }
    }
}

//! A clock that follows the system clock, but not its jumps.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use domain::Timestamp;
use jiff::SignedDuration;

use crate::health::Health;

/// The name of the condition in [`Health`].
const CONDITION: &str = "clock";
/// A difference up to this is a correction, which is followed at once.
pub(super) const STEP_MAX: SignedDuration = SignedDuration::from_mins(5);
/// A jump is believed after this time. The clock is then right after a suspended machine continues, and a
/// wrong time that is corrected sooner has no effect.
pub(super) const BELIEVED_AFTER: Duration = Duration::from_mins(15);

/// Compares the system clock with the time that has passed since a reading that was believed.
pub(super) struct SteadyClock {
    wall: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// Time since the start of the process. Never goes back.
    elapsed: Box<dyn Fn() -> Duration + Send + Sync>,
    health: Health,
    state: Mutex<State>,
}

struct State {
    /// The last reading that was believed. It is renewed only once in [`BELIEVED_AFTER`], so that many small
    /// steps do not add up to a jump.
    anchor: (Timestamp, Duration),
    jump: Option<Jump>,
}

struct Jump {
    since: Duration,
    by: SignedDuration,
}

impl SteadyClock {
    pub fn of_system(health: Health) -> Self {
        let start = Instant::now();
        Self::new(Timestamp::now, move || start.elapsed(), health)
    }

    pub fn new(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        elapsed: impl Fn() -> Duration + Send + Sync + 'static,
        health: Health,
    ) -> Self {
        let state = Mutex::new(State { anchor: (wall(), elapsed()), jump: None });
        Self { wall: Box::new(wall), elapsed: Box::new(elapsed), health, state }
    }

    pub fn now(&self) -> Timestamp {
        let mut state = self.lock();
        let (wall, elapsed) = ((self.wall)(), (self.elapsed)());
        let (believed, at) = state.anchor;
        let expected = believed.checked_add(elapsed.saturating_sub(at)).unwrap_or(Timestamp::MAX);
        let difference = wall.duration_since(expected);
        if difference.abs() <= STEP_MAX {
            if state.jump.take().is_some() {
                tracing::info!("The system clock is back; Orderly follows it again");
                self.health.resolve(CONDITION);
            }
            if elapsed.saturating_sub(at) >= BELIEVED_AFTER {
                state.anchor = (wall, elapsed);
            }
            return wall;
        }
        match &state.jump {
            Some(jump) if (difference - jump.by).abs() <= STEP_MAX => {
                if elapsed.saturating_sub(jump.since) >= BELIEVED_AFTER {
                    tracing::warn!(
                        clock.jump_s = difference.as_secs(),
                        "The system clock stays where it jumped to; Orderly follows it again"
                    );
                    self.health.resolve(CONDITION);
                    *state = State { anchor: (wall, elapsed), jump: None };
                    return wall;
                }
            }
            Some(_) | None => {
                self.report(difference);
                state.jump = Some(Jump { since: elapsed, by: difference });
            }
        }
        expected
    }

    fn report(&self, difference: SignedDuration) {
        let seconds = difference.as_secs();
        tracing::error!(
            clock.jump_s = seconds,
            "The system clock jumped; Orderly goes on with the time before the jump"
        );
        let detail = format!(
            "the system clock jumped by {seconds} s; Orderly goes on with the time before the jump. Correct the clock: if \
             it stays like this for {} minutes, Orderly follows it",
            BELIEVED_AFTER.as_secs() / 60
        );
        self.health.degraded(CONDITION, detail);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

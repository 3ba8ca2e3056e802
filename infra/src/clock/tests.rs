use std::sync::Mutex;

use jiff::SignedDuration;

use super::{
    steady::{BELIEVED_AFTER, STEP_MAX},
    *,
};

/// A machine: the true time since its start, and how far its clock is from it.
#[derive(Clone, Default)]
struct Machine(Arc<Mutex<(Duration, SignedDuration)>>);

impl Machine {
    fn at(elapsed: Duration) -> Timestamp {
        Timestamp::from_second(1_700_000_000).unwrap().checked_add(elapsed).unwrap()
    }

    fn clock(&self, health: &Health) -> Clock {
        let (wall, elapsed) = (self.clone(), self.clone());
        let wall = move || {
            let (elapsed, wrong_by) = *wall.0.lock().unwrap();
            Self::at(elapsed).checked_add(wrong_by).unwrap()
        };
        Clock::steady_over(wall, move || elapsed.0.lock().unwrap().0, health.clone())
    }

    fn pass(&self, time: Duration) {
        self.0.lock().unwrap().0 += time;
    }

    fn set_wrong_by(&self, wrong_by: SignedDuration) {
        self.0.lock().unwrap().1 = wrong_by;
    }

    fn true_time(&self) -> Timestamp {
        Self::at(self.0.lock().unwrap().0)
    }
}

fn is_degraded(health: &Health) -> bool {
    health.readiness().unwrap().degraded.iter().any(|condition| condition.name == "clock")
}

const TEN_YEARS: SignedDuration = SignedDuration::from_hours(87_600);

#[test]
fn a_jump_that_is_corrected_soon_has_no_effect_and_is_reported_meanwhile() {
    for jump in [TEN_YEARS, -TEN_YEARS, SignedDuration::from_hours(2), SignedDuration::from_hours(-2)] {
        let (machine, health) = (Machine::default(), Health::default());
        let clock = machine.clock(&health);
        machine.pass(Duration::from_secs(100));
        machine.set_wrong_by(jump);
        for _ in 0..10 {
            machine.pass(BELIEVED_AFTER / 20);
            assert_eq!(clock.now(), machine.true_time());
            assert!(is_degraded(&health));
        }
        machine.set_wrong_by(SignedDuration::ZERO);
        assert_eq!(clock.now(), machine.true_time());
        assert!(!is_degraded(&health));
    }
}

#[test]
fn a_jump_that_lasts_is_followed_in_the_end() {
    for jump in [TEN_YEARS, SignedDuration::from_hours(-2)] {
        let (machine, health) = (Machine::default(), Health::default());
        let clock = machine.clock(&health);
        machine.set_wrong_by(jump);
        assert_eq!(clock.now(), machine.true_time());
        machine.pass(BELIEVED_AFTER);
        assert_eq!(clock.now(), machine.true_time().checked_add(jump).unwrap());
        assert!(!is_degraded(&health));
        machine.pass(BELIEVED_AFTER);
        assert_eq!(clock.now(), machine.true_time().checked_add(jump).unwrap());
    }
}

#[test]
fn a_clock_that_keeps_jumping_is_never_followed() {
    let (machine, health) = (Machine::default(), Health::default());
    let clock = machine.clock(&health);
    for hour in 1..200 {
        machine.set_wrong_by(SignedDuration::from_hours(hour));
        machine.pass(BELIEVED_AFTER / 2);
        assert_eq!(clock.now(), machine.true_time());
    }
    assert!(is_degraded(&health));
}

#[test]
fn small_corrections_are_followed_at_once_and_do_not_add_up_to_a_jump() {
    let (machine, health) = (Machine::default(), Health::default());
    let clock = machine.clock(&health);
    machine.set_wrong_by(STEP_MAX);
    assert_eq!(clock.now(), machine.true_time().checked_add(STEP_MAX).unwrap());
    machine.set_wrong_by(-STEP_MAX);
    assert_eq!(clock.now(), machine.true_time().checked_sub(STEP_MAX).unwrap());
    // A step each second, in the same direction.
    let mut wrong_by = SignedDuration::ZERO;
    for _ in 0..600 {
        machine.pass(Duration::from_secs(1));
        wrong_by += SignedDuration::from_secs(60);
        machine.set_wrong_by(wrong_by);
        let ahead = clock.now().duration_since(machine.true_time());
        assert!(ahead <= STEP_MAX, "{ahead}");
    }
    assert!(is_degraded(&health));
}

use uuid::Uuid;

use super::*;

const PROBE_MAX: Duration = Duration::from_secs(35);

fn payment(number: usize) -> PaymentId {
    PaymentId(Uuid::from_u128(number as u128))
}

/// A breaker that has just opened.
fn open(now: Instant) -> Breaker {
    let mut breaker = Breaker::new(PROBE_MAX);
    for number in 1..FAILING_PAYMENTS_MAX {
        assert_eq!(breaker.failed(payment(number), now), None);
        assert!(breaker.admit(now));
    }
    assert_eq!(breaker.failed(payment(FAILING_PAYMENTS_MAX), now), Some(Change::Opened));
    breaker
}

#[test]
fn failures_of_one_payment_never_open_it() {
    let (mut breaker, now) = (Breaker::new(PROBE_MAX), Instant::now());
    for _ in 0..100 {
        assert_eq!(breaker.failed(payment(1), now), None);
        assert!(breaker.admit(now));
    }
}

#[test]
fn a_success_forgets_the_failures_before_it() {
    let (mut breaker, now) = (Breaker::new(PROBE_MAX), Instant::now());
    for number in 0..100 {
        assert_eq!(breaker.failed(payment(number), now), None);
        if number % (FAILING_PAYMENTS_MAX - 1) == 0 {
            assert_eq!(breaker.succeeded(), None);
        }
    }
    assert!(breaker.admit(now));
}

#[test]
fn after_the_pause_it_admits_one_probe_whose_success_closes_it() {
    let now = Instant::now();
    let mut breaker = open(now);
    assert!(!breaker.admit(now + PAUSE_MIN - Duration::from_millis(1)));
    assert_eq!(breaker.phase(), Phase::Open);
    assert!(breaker.admit(now + PAUSE_MIN));
    assert_eq!(breaker.phase(), Phase::HalfOpen);
    assert!(!breaker.admit(now + PAUSE_MIN) && !breaker.admits(now + PAUSE_MIN), "a second probe");
    assert_eq!(breaker.succeeded(), Some(Change::Closed));
    assert_eq!(breaker.phase(), Phase::Closed);
    assert!(breaker.admit(now + PAUSE_MIN) && breaker.admit(now + PAUSE_MIN));
}

#[test]
fn each_failed_probe_doubles_the_pause_up_to_a_minute() {
    let mut now = Instant::now();
    let mut breaker = open(now);
    for pause in [2, 4, 8, 16, 32, 60, 60].map(Duration::from_secs) {
        assert!(!breaker.admit(now + pause - Duration::from_millis(1)), "{pause:?}");
        now += pause;
        assert!(breaker.admit(now), "{pause:?}");
        assert_eq!(breaker.failed(payment(9), now), None);
    }
}

#[test]
fn a_probe_without_an_outcome_counts_as_failed() {
    let now = Instant::now();
    let mut breaker = open(now);
    assert!(breaker.admit(now + PAUSE_MIN));
    let late = now + PAUSE_MIN + PROBE_MAX;
    assert!(!breaker.admit(late - Duration::from_millis(1)));
    assert!(breaker.admit(late));
}

#[test]
fn a_call_sent_before_it_opened_changes_the_pause_only_by_a_success() {
    let now = Instant::now();
    let mut breaker = open(now);
    assert_eq!(breaker.failed(payment(9), now + PAUSE_MIN / 2), None);
    assert!(breaker.admits(now + PAUSE_MIN));
    assert_eq!(breaker.succeeded(), Some(Change::Closed));
}

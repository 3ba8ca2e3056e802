//! Failures, voids and lost answers.

use super::*;

#[test]
fn a_payment_fails_finally_or_retryably() {
    for events in [vec![requested()], vec![requested(), authorized(100)]] {
        given(events.clone()).when(fail(true)).then([failed(true)]);
        given(events).when(fail(false)).then([failed(false)]);
    }
}

#[test]
fn a_retryable_failure_may_become_final_and_not_the_reverse() {
    given([requested(), failed(true)])
        .when(fail(true))
        .then([failed(true)])
        .when(fail(false))
        .then([failed(false)])
        .when(fail(true))
        .then_nothing()
        .when(fail(false))
        .then_nothing();
}

#[test]
fn a_captured_or_voided_payment_cannot_fail() {
    given([requested(), authorized(100), captured(1)])
        .when(fail(false))
        .then_refused(PaymentRefusal::WrongState(PaymentState::Captured));
    given([requested(), voided()])
        .when(fail(false))
        .then_refused(PaymentRefusal::WrongState(PaymentState::Voided));
}

#[test]
fn a_void_releases_the_authorisation_and_keeps_the_captured_amount() {
    given([requested()]).when(void()).then([voided()]).when(void()).then_nothing();
    given([requested(), authorized(100)]).when(void()).then([voided()]);
    given([requested(), authorized(100), captured(30)])
        .when(void())
        .then([voided()])
        .when(capture(1))
        .then_refused(PaymentRefusal::WrongState(PaymentState::Captured));
}

#[test]
fn a_void_of_a_fully_captured_or_failed_payment_is_refused() {
    given([requested(), authorized(100), captured(100)])
        .when(void())
        .then_refused(PaymentRefusal::WrongState(PaymentState::Captured));
    given([requested(), failed(false)])
        .when(void())
        .then_refused(PaymentRefusal::WrongState(PaymentState::Failed));
}

#[test]
fn a_lost_answer_is_recorded_once_per_operation() {
    given([requested()])
        .when(lose(Operation::Authorize))
        .then([unknown(Operation::Authorize)])
        .when(lose(Operation::Authorize))
        .then_nothing();
    given([requested(), authorized(100), unknown(Operation::Capture)])
        .when(lose(Operation::Void))
        .then([unknown(Operation::Void)]);
}

#[test]
fn a_finally_failed_or_voided_payment_refuses_a_lost_answer() {
    for (events, state) in [
        (vec![requested(), failed(false)], PaymentState::Failed),
        (vec![requested(), voided()], PaymentState::Voided),
    ] {
        given(events).when(lose(Operation::Authorize)).then_refused(PaymentRefusal::WrongState(state));
    }
    given([requested(), failed(true)]).when(lose(Operation::Authorize)).then([unknown(Operation::Authorize)]);
}

#[test]
fn recording_what_happened_resolves_a_lost_answer() {
    let lost_authorisation = [requested(), unknown(Operation::Authorize)];
    let lost_capture = [requested(), authorized(100), unknown(Operation::Capture)];
    let cases = [
        (lost_authorisation.to_vec(), authorize(100), authorized(100)),
        (lost_authorisation.to_vec(), fail(true), failed(true)),
        (lost_authorisation.to_vec(), void(), voided()),
        (lost_capture.to_vec(), capture(100), captured(100)),
        (lost_capture.to_vec(), fail(false), failed(false)),
        (lost_capture.to_vec(), void(), voided()),
        // The capture never reached the provider: the authorisation is unchanged.
        (lost_capture.to_vec(), authorize(100), authorized(100)),
    ];
    for (events, command, event) in cases {
        given(events.clone()).when(command).then([event.clone()]);
        let payment = PaymentDecider::fold(&[events, vec![event]].concat());
        assert_ne!(payment.state(), PaymentState::OutcomeUnknown);
        assert_eq!(payment.unknown_operation(), None);
    }
}

#[test]
fn an_authorisation_that_resolves_doubt_never_lowers_the_authorized_amount() {
    given([requested(), authorized(100), captured(60), unknown(Operation::Capture)])
        .when(authorize(50))
        .then([authorized(100)]);
}

#[test]
fn a_failed_capture_leaves_the_amount_captured_before() {
    let events = [requested(), authorized(100), captured(60), unknown(Operation::Capture), failed(false)];
    let payment = PaymentDecider::fold(&events);
    assert_eq!((payment.state(), payment.captured()), (PaymentState::Captured, pence(60)));
    assert_eq!(payment.capturable(), Amount::ZERO);
}

#[test]
fn a_failed_payment_shows_its_reason_as_a_code_and_a_message() {
    let failure = |reason: Option<&str>| {
        let command = PaymentCommand::Fail { reason: reason.map(str::to_owned), retryable: true };
        let events = PaymentDecider::decide(&PaymentDecider::fold(&[requested()]), command).unwrap();
        let payment = PaymentDecider::fold(&[vec![requested()], events].concat());
        payment.failure().cloned().map(|failure| (failure.code, failure.message))
    };
    let shown = |code: &str, message: Option<&str>| Some((code.to_owned(), message.map(str::to_owned)));
    assert_eq!(failure(Some("card_declined")), shown("card_declined", None));
    assert_eq!(failure(Some("card_declined: Try again.")), shown("card_declined", Some("Try again.")));
    assert_eq!(failure(Some("No answer: busy")), shown("failed", Some("No answer: busy")));
    assert_eq!(failure(None), shown("failed", None));
    assert_eq!(PaymentDecider::fold(&[requested(), failed(true), authorized(100)]).failure(), None);
}

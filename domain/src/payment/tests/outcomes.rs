//! Failures, voids, and answers that were lost.

use super::*;

#[test]
fn a_payment_fails_for_good_or_so_that_it_may_be_tried_again() {
    for events in [vec![requested()], vec![requested(), authorized(100)]] {
        given(events.clone()).when(fail(true)).then([failed(true)]);
        given(events).when(fail(false)).then([failed(false)]);
    }
}

#[test]
fn a_failure_becomes_final_but_never_open_again() {
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
fn what_was_captured_or_voided_cannot_fail() {
    given([requested(), authorized(100), captured(1)])
        .when(fail(false))
        .then_refused(PaymentRefusal::WrongState(PaymentState::Captured));
    given([requested(), voided()])
        .when(fail(false))
        .then_refused(PaymentRefusal::WrongState(PaymentState::Voided));
}

#[test]
fn a_void_gives_back_what_is_authorized_and_keeps_what_was_captured() {
    given([requested()]).when(void()).then([voided()]).when(void()).then_nothing();
    given([requested(), authorized(100)]).when(void()).then([voided()]);
    given([requested(), authorized(100), captured(30)])
        .when(void())
        .then([voided()])
        .when(capture(1))
        .then_refused(PaymentRefusal::WrongState(PaymentState::Captured));
}

#[test]
fn a_payment_that_was_captured_in_full_or_failed_has_nothing_to_void() {
    given([requested(), authorized(100), captured(100)])
        .when(void())
        .then_refused(PaymentRefusal::WrongState(PaymentState::Captured));
    given([requested(), failed(false)])
        .when(void())
        .then_refused(PaymentRefusal::WrongState(PaymentState::Failed));
}

#[test]
fn a_lost_answer_is_a_state_and_saying_it_twice_changes_nothing() {
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
fn an_answer_cannot_be_lost_once_a_payment_has_failed_for_good_or_is_voided() {
    for (events, state) in [
        (vec![requested(), failed(false)], PaymentState::Failed),
        (vec![requested(), voided()], PaymentState::Voided),
    ] {
        given(events).when(lose(Operation::Authorize)).then_refused(PaymentRefusal::WrongState(state));
    }
    given([requested(), failed(true)]).when(lose(Operation::Authorize)).then([unknown(Operation::Authorize)]);
}

#[test]
fn a_lost_answer_is_reconciled_with_what_is_found_to_have_happened() {
    let lost_authorisation = [requested(), unknown(Operation::Authorize)];
    let lost_capture = [requested(), authorized(100), unknown(Operation::Capture)];
    let cases = [
        (lost_authorisation.to_vec(), authorize(100), authorized(100)),
        (lost_authorisation.to_vec(), fail(true), failed(true)),
        (lost_authorisation.to_vec(), void(), voided()),
        (lost_capture.to_vec(), capture(100), captured(100)),
        (lost_capture.to_vec(), fail(false), failed(false)),
        (lost_capture.to_vec(), void(), voided()),
        // It never reached the provider: the authorisation stands.
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
fn a_reconciled_authorisation_never_falls_below_what_stands() {
    given([requested(), authorized(100), captured(60), unknown(Operation::Capture)])
        .when(authorize(50))
        .then([authorized(100)]);
}

#[test]
fn a_lost_capture_that_failed_leaves_a_payment_captured_as_far_as_it_was() {
    let events = [requested(), authorized(100), captured(60), unknown(Operation::Capture), failed(false)];
    let payment = PaymentDecider::fold(&events);
    assert_eq!((payment.state(), payment.captured()), (PaymentState::Captured, pence(60)));
    assert_eq!(payment.capturable(), Amount::ZERO);
}

//! What becomes of the money when the order ends.

use super::*;

#[test]
fn a_payment_closes_once_and_keeps_what_its_order_owes() {
    given([requested(), authorized(100), captured(100)])
        .when(close(40))
        .then([closed(40), given_back(0, 60)])
        .when(close(40))
        .then_nothing();
    given([requested(), captured(100)]).when(close(100)).then([closed(100)]);
    given([requested(), captured(30)]).when(close(100)).then([closed(100)]);
}

#[test]
fn closing_asks_for_the_void_of_what_is_still_authorized() {
    given([requested(), authorized(100)]).when(close(0)).then([closed(0), void_requested()]);
    given([requested(), authorized(100), captured(30)]).when(close(0)).then([
        closed(0),
        void_requested(),
        given_back(0, 30),
    ]);
}

#[test]
fn a_payment_closed_before_it_was_requested_is_never_requested() {
    given([]).when(close(0)).then([closed(0)]).when(request()).then_nothing();
}

#[test]
fn nothing_more_is_taken_once_the_order_has_ended() {
    given([requested(), closed(0)]).when(authorize(100)).then_refused(PaymentRefusal::Closed);
    given([requested(), authorized(100), closed(0), void_requested()])
        .when(capture(100))
        .then_refused(PaymentRefusal::Closed);
}

#[test]
fn what_the_provider_takes_after_the_end_is_recorded_and_given_back() {
    given([requested(), closed(0)])
        .when(report(100, 0))
        .then([authorized_there(100), void_requested()])
        .when(report(100, 30))
        .then([captured_there(30), given_back(0, 30)])
        .when(report(100, 100))
        .then([captured_there(70), given_back(1, 70)]);
}

#[test]
fn each_authorisation_after_the_end_is_to_be_voided() {
    given([requested(), authorized(60), closed(0), void_requested()])
        .when(report(100, 0))
        .then([authorized_there(100), void_requested()]);
}

#[test]
fn an_operator_says_after_the_end_what_became_of_a_lost_answer() {
    let lost_capture =
        [requested(), authorized(100), unknown(Operation::Capture), closed(0), void_requested()];
    given(lost_capture.clone()).when(capture(100)).then([captured(100), given_back(0, 100)]);
    given(lost_capture.clone()).when(void()).then([voided()]);
    given(lost_capture).when(authorize(100)).then([authorized(100), void_requested()]);
}

#[test]
fn what_the_order_asked_back_before_is_not_given_back_twice() {
    given([requested(), captured(100), by_hand(1, 30)]).when(close(0)).then([closed(0), given_back(1, 70)]);
    // Of 50 kept, 30 were given back out of goodwill: the cancelled half is still owed in full.
    given([requested(), captured(100), by_hand(1, 30)]).when(close(50)).then([closed(50), given_back(1, 50)]);
    // More was given out of goodwill than is left to keep.
    given([requested(), captured(100), by_hand(1, 70)]).when(close(50)).then([closed(50), given_back(1, 30)]);
}

#[test]
fn what_failed_to_be_given_back_is_asked_for_again() {
    given([requested(), captured(100), closed(0), given_back(0, 100)])
        .when(record_refund_failed(closing_refund(0)))
        .then([refund_failed(closing_refund(0), 100), given_back(1, 100)])
        .when(record_refund_failed(closing_refund(1)))
        .then([refund_failed(closing_refund(1), 100), given_back(2, 100)])
        .when(record_refunded(closing_refund(2)))
        .then([refunded(closing_refund(2), 100)]);
}

#[test]
fn a_refund_by_hand_that_fails_after_the_end_is_given_back_as_far_as_nothing_is_owed() {
    given([requested(), captured(100), by_hand(1, 30), closed(0), given_back(1, 70)])
        .when(record_refund_failed(refund_id(1)))
        .then([refund_failed(refund_id(1), 30), given_back(2, 30)]);
    // The customer owes 50: whether the goodwill of 30 is tried again is for a person to say.
    given([requested(), captured(100), by_hand(1, 30), closed(50), given_back(1, 50)])
        .when(record_refund_failed(refund_id(1)))
        .then([refund_failed(refund_id(1), 30)]);
}

//! Refunds that the order requests.

use super::*;

#[test]
fn refunds_may_be_requested_in_parts_up_to_the_captured_amount() {
    given([requested(), captured(100)])
        .when(request_refund(1, 40))
        .then([by_hand(1, 40)])
        .when(request_refund(2, 60))
        .then([by_hand(2, 60)])
        .when(request_refund(3, 1))
        .then(not_held(refund_id(3), None, 1));
}

#[test]
fn a_refund_is_requested_once_under_its_id() {
    given([requested(), captured(100), by_hand(1, 40)]).when(request_refund(1, 40)).then_nothing();
    given([requested(), captured(100), by_hand(1, 40), refund_failed(refund_id(1), 40)])
        .when(request_refund(1, 40))
        .then_nothing();
    given([requested(), captured(100), by_hand(1, 40)])
        .when(request_refund(1, 41))
        .then_refused(PaymentRefusal::RefundSettled);
}

#[test]
fn a_refund_without_a_capture_or_without_an_amount_is_refused() {
    given([requested(), authorized(100)]).when(request_refund(1, 1)).then(not_held(refund_id(1), None, 1));
    given([requested(), captured(100)])
        .when(request_refund(1, 0))
        .then_refused(PaymentRefusal::InvalidAmount);
}

#[test]
fn a_failed_refund_frees_its_amount_for_another() {
    given([requested(), captured(100), by_hand(1, 100)])
        .when(record_refund_failed(refund_id(1)))
        .then([refund_failed(refund_id(1), 100)])
        .when(request_refund(2, 100))
        .then([by_hand(2, 100)])
        .when(record_refunded(refund_id(2)))
        .then([refunded(refund_id(2), 100)]);
}

#[test]
fn the_outcome_of_a_refund_is_recorded_once_and_does_not_change() {
    let refund_requested = [requested(), captured(100), by_hand(1, 40)];
    given(refund_requested.clone())
        .when(record_refunded(refund_id(1)))
        .then([refunded(refund_id(1), 40)])
        .when(record_refunded(refund_id(1)))
        .then_nothing()
        .when(record_refund_failed(refund_id(1)))
        .then_refused(PaymentRefusal::RefundSettled);
    given(refund_requested.clone())
        .when(record_refund_failed(refund_id(1)))
        .then([refund_failed(refund_id(1), 40)])
        .when(record_refund_failed(refund_id(1)))
        .then_nothing()
        .when(record_refunded(refund_id(1)))
        .then_refused(PaymentRefusal::RefundSettled);
    for command in [record_refunded(refund_id(2)), record_refund_failed(refund_id(2))] {
        given(refund_requested.clone())
            .when(command)
            .then_refused(PaymentRefusal::UnknownRefund(refund_id(2)));
    }
}

#[test]
fn only_failed_refunds_of_the_order_are_reported_to_it() {
    let payment = PaymentDecider::fold(&[
        requested(),
        captured(100),
        by_hand(1, 30),
        closed(0),
        closing_refund_requested(1, 70),
        refund_failed(refund_id(1), 30),
        closing_refund_requested(2, 30),
        refund_failed(closing_refund_id(1), 70),
    ]);
    assert_eq!(payment.refunds_failed(), pence(30));
    assert_eq!(payment.refunded(), Amount::ZERO);
}

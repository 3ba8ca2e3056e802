//! Refunds that the order asks for.

use super::*;

#[test]
fn refunds_are_asked_for_in_parts_up_to_what_was_captured() {
    given([requested(), captured(100)])
        .when(request_refund(1, 40))
        .then([by_hand(1, 40)])
        .when(request_refund(2, 60))
        .then([by_hand(2, 60)])
        .when(request_refund(3, 1))
        .then_refused(PaymentRefusal::AboveCaptured { requested: pence(1), refundable: pence(0) });
}

#[test]
fn a_refund_is_asked_for_once_under_its_id() {
    given([requested(), captured(100), by_hand(1, 40)]).when(request_refund(1, 40)).then_nothing();
    given([requested(), captured(100), by_hand(1, 40), refund_failed(refund_id(1), 40)])
        .when(request_refund(1, 40))
        .then_nothing();
    given([requested(), captured(100), by_hand(1, 40)])
        .when(request_refund(1, 41))
        .then_refused(PaymentRefusal::RefundSettled);
}

#[test]
fn nothing_is_refunded_where_nothing_was_captured() {
    given([requested(), authorized(100)])
        .when(request_refund(1, 1))
        .then_refused(PaymentRefusal::AboveCaptured { requested: pence(1), refundable: pence(0) });
    given([requested(), captured(100)])
        .when(request_refund(1, 0))
        .then_refused(PaymentRefusal::InvalidAmount);
}

#[test]
fn a_refund_that_failed_frees_its_amount_for_another() {
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
    let asked = [requested(), captured(100), by_hand(1, 40)];
    given(asked.clone())
        .when(record_refunded(refund_id(1)))
        .then([refunded(refund_id(1), 40)])
        .when(record_refunded(refund_id(1)))
        .then_nothing()
        .when(record_refund_failed(refund_id(1)))
        .then_refused(PaymentRefusal::RefundSettled);
    given(asked.clone())
        .when(record_refund_failed(refund_id(1)))
        .then([refund_failed(refund_id(1), 40)])
        .when(record_refund_failed(refund_id(1)))
        .then_nothing()
        .when(record_refunded(refund_id(1)))
        .then_refused(PaymentRefusal::RefundSettled);
    for command in [record_refunded(refund_id(2)), record_refund_failed(refund_id(2))] {
        given(asked.clone()).when(command).then_refused(PaymentRefusal::UnknownRefund(refund_id(2)));
    }
}

#[test]
fn only_failures_of_what_the_order_asked_for_are_reported_to_it() {
    let payment = PaymentDecider::fold(&[
        requested(),
        captured(100),
        by_hand(1, 30),
        closed(0),
        given_back(1, 70),
        refund_failed(refund_id(1), 30),
        given_back(2, 30),
        refund_failed(closing_refund(1), 70),
    ]);
    assert_eq!(payment.refunds_failed(), pence(30));
    assert_eq!(payment.refunded(), Amount::ZERO);
}

#[test]
fn a_payment_takes_a_bounded_number_of_refunds() {
    let small = (1..=4_000).map(|number| by_hand(number, 1));
    let events: Vec<_> = [requested(), captured(9_999)].into_iter().chain(small).collect();
    given(events.clone()).when(request_refund(9_000, 1)).then_refused(PaymentRefusal::TooManyRefunds);
    given(events[..4_001].to_vec()).when(request_refund(9_000, 1)).then([by_hand(9_000, 1)]);
}

//! Closing a payment when its order ends.

use super::*;

#[test]
fn a_payment_closes_once_and_refunds_what_its_order_does_not_keep() {
    given([requested(), authorized(100), captured(100)])
        .when(close(40))
        .then([closed(40), closing_refund_requested(0, 60)])
        .when(close(40))
        .then_nothing();
    given([requested(), captured(100)]).when(close(100)).then([closed(100)]);
    given([requested(), captured(30)]).when(close(100)).then([closed(100)]);
}

#[test]
fn closing_requests_the_void_of_an_authorisation() {
    given([requested(), authorized(100)]).when(close(0)).then([closed(0), void_requested()]);
    given([requested(), authorized(100), captured(30)]).when(close(0)).then([
        closed(0),
        void_requested(),
        closing_refund_requested(0, 30),
    ]);
}

#[test]
fn a_payment_closed_before_it_was_requested_is_never_requested() {
    given([]).when(close(0)).then([closed(0)]).when(request()).then_nothing();
}

#[test]
fn a_closed_payment_refuses_authorisations_and_captures() {
    given([requested(), closed(0)]).when(authorize(100)).then_refused(PaymentRefusal::Closed);
    given([requested(), authorized(100), closed(0), void_requested()])
        .when(authorize(1))
        .then_refused(PaymentRefusal::Closed);
}

#[test]
fn what_the_provider_takes_after_the_end_is_recorded_and_refunded_or_voided() {
    given([requested(), closed(0)])
        .when(report(100, 0))
        .then([authorized_at_provider(100), void_requested()])
        .when(report(100, 30))
        .then([captured_at_provider(30), of_charge(0, closing_refund_requested(0, 30))])
        .when(report(100, 100))
        .then([captured_at_provider(70), of_charge(0, closing_refund_requested(1, 70))]);
}

#[test]
fn each_authorisation_after_the_end_requests_a_void() {
    given([requested(), authorized(60), closed(0), void_requested()])
        .when(report(100, 0))
        .then([authorized_at_provider(100), void_requested()]);
}

#[test]
fn an_operator_may_resolve_a_lost_answer_after_the_end() {
    let lost_capture =
        [requested(), authorized(100), unknown(Operation::Capture), closed(0), void_requested()];
    given(lost_capture.clone()).when(capture(100)).then([captured(100), closing_refund_requested(0, 100)]);
    given(lost_capture.clone()).when(void()).then([voided()]);
    given(lost_capture).when(authorize(100)).then([authorized(100), void_requested()]);
}

#[test]
fn closing_does_not_refund_again_what_the_order_requested_before() {
    given([requested(), captured(100), by_hand(1, 30)])
        .when(close(0))
        .then([closed(0), closing_refund_requested(1, 70)]);
    // The order keeps 50 and refunded 30 of them by hand: the cancelled half is still refunded in full.
    given([requested(), captured(100), by_hand(1, 30)])
        .when(close(50))
        .then([closed(50), closing_refund_requested(1, 50)]);
    // 70 were refunded by hand, so only 30 are left to refund.
    given([requested(), captured(100), by_hand(1, 70)])
        .when(close(50))
        .then([closed(50), closing_refund_requested(1, 30)]);
}

#[test]
fn a_failed_closing_refund_is_requested_again() {
    given([requested(), captured(100), closed(0), closing_refund_requested(0, 100)])
        .when(record_refund_failed(closing_refund_id(0)))
        .then([refund_failed(closing_refund_id(0), 100), closing_refund_requested(1, 100)])
        .when(record_refund_failed(closing_refund_id(1)))
        .then([refund_failed(closing_refund_id(1), 100), closing_refund_requested(2, 100)])
        .when(record_refunded(closing_refund_id(2)))
        .then([refunded(closing_refund_id(2), 100)]);
}

#[test]
fn a_manual_refund_that_fails_after_the_end_is_repeated_only_beyond_the_amount_due() {
    given([requested(), captured(100), by_hand(1, 30), closed(0), closing_refund_requested(1, 70)])
        .when(record_refund_failed(refund_id(1)))
        .then([refund_failed(refund_id(1), 30), closing_refund_requested(2, 30)]);
    // The customer owes 50, so an operator decides whether to repeat the manual refund of 30.
    given([requested(), captured(100), by_hand(1, 30), closed(50), closing_refund_requested(1, 50)])
        .when(record_refund_failed(refund_id(1)))
        .then([refund_failed(refund_id(1), 30)]);
}

#[test]
fn late_money_recorded_by_hand_stays_until_the_order_refunds_it() {
    let late = |amount| {
        PaymentEvent::from(PaymentCaptured {
            amount: pence(amount),
            reference: None,
            charge: None,
            late: true,
        })
    };
    given([requested(), closed(0)])
        .when(capture(100))
        .then([late(100)])
        .when(request_refund(1, 100))
        .then([by_hand(1, 100)]);
    given([requested(), captured(100), closed(0), closing_refund_requested(0, 100)])
        .when(capture(30))
        .then([late(30)]);
    let without_amount = PaymentCommand::Capture { amount: None, reference: None };
    given([requested(), closed(0)]).when(without_amount).then_refused(PaymentRefusal::Closed);
}

#[test]
fn a_closed_payment_gives_up_after_many_failed_refunds_and_an_operator_retries() {
    let attempts = (0..20u64).flat_map(|earlier| {
        [closing_refund_requested(earlier, 100), refund_failed(closing_refund_id(earlier), 100)]
    });
    let mut events: Vec<_> = [requested(), captured(100), closed(0)].into_iter().chain(attempts).collect();
    let last = events.pop();
    given(events.clone()).when(record_refund_failed(closing_refund_id(19))).then(last.clone());
    events.extend(last);
    let retry = |by_hand| PaymentCommand::RetryRefund { refund_id: closing_refund_id(19), by_hand };
    given(events.clone())
        .when(retry(true))
        .then([closing_refund_requested(20, 100)])
        .when(retry(true))
        .then_refused(PaymentRefusal::NotRetryable);
    given([requested(), captured(100), closed(0), closing_refund_requested(0, 100)])
        .when(PaymentCommand::RetryRefund { refund_id: closing_refund_id(0), by_hand: false })
        .then_refused(PaymentRefusal::NotRetryable);
}

//! Captured and refunded amounts.

use super::*;

#[test]
fn an_order_is_paid_when_the_amount_due_is_captured() {
    given([placed(), allocated()])
        .when(record(84, 0, 0))
        .then([recorded(84, 0, 0)])
        .when(record(85, 0, 0))
        .then([recorded(85, 0, 0), paid()])
        .when(record(90, 0, 0))
        .then([recorded(90, 0, 0)]);
}

#[test]
fn a_repeated_or_late_report_changes_nothing() {
    let events = after(paid_order(), [recorded(85, 20, 10)]);
    for report in [record(85, 20, 10), record(50, 0, 0), record(85, 0, 10), record(0, 20, 0)] {
        given(events.clone()).when(report).then_nothing();
    }
    // Each amount only grows: only the larger amounts of a report are recorded.
    given(events).when(record(85, 30, 0)).then([recorded(85, 30, 10)]);
}

#[test]
fn money_captured_after_the_end_is_recorded_and_does_not_pay_the_order() {
    for end in [cancelled_whole(), expired()] {
        given([placed(), allocated(), end.clone()]).when(record(85, 0, 0)).then([recorded(85, 0, 0)]);
        given([placed(), end]).when(record(85, 0, 0)).then_refused(OrderRefusal::NoPayment);
    }
}

#[test]
fn refunds_are_limited_to_what_is_captured_and_not_requested_yet() {
    given(paid_order())
        .when(refund(1, 80))
        .then([refund_requested(1, 80)])
        .when(refund(2, 6))
        .then_refused(OrderRefusal::RefundTooLarge { requested: pence(6), refundable: pence(5) });
    given(after(paid_order(), [refund_requested(1, 80)]))
        .when(refund(2, 5))
        .then([refund_that_lowers(2, 5, 0)]);
}

#[test]
fn a_refund_before_a_capture_or_of_no_amount_is_refused() {
    for events in [vec![placed()], vec![placed(), allocated()], vec![placed(), rejected()]] {
        given(events)
            .when(refund(1, 1))
            .then_refused(OrderRefusal::RefundTooLarge { requested: pence(1), refundable: pence(0) });
    }
    for amount in [0, -1] {
        given(paid_order()).when(refund(1, amount)).then_refused(InvalidOrder::RefundAmount.into());
    }
}

#[test]
fn a_failed_refund_may_be_requested_again() {
    given(after(paid_order(), [refund_requested(1, 85), recorded(85, 0, 85)]))
        .when(refund(2, 85))
        .then([refund_that_lowers(2, 85, 0)]);
}

#[test]
fn a_manual_refund_of_a_cancelled_order_is_limited_to_what_it_keeps() {
    // Two mugs were shipped and the rest is cancelled: 20 are due, and the payment refunds 65 automatically.
    let part_cancelled = after(
        paid_order(),
        [shipped(1, &[(1, 2)]), cancelled(CancelReason::Requested, &[(1, 2), (2, 2), (3, 1)], 20, 65)],
    );
    given(part_cancelled.clone()).when(refund(1, 20)).then([refund_requested(1, 20)]);
    given(part_cancelled)
        .when(refund(1, 21))
        .then_refused(OrderRefusal::RefundTooLarge { requested: pence(21), refundable: pence(20) });
}

#[test]
fn the_number_of_refunds_of_an_order_is_bounded() {
    let many: Vec<_> = (1..=2 * PARTS_MAX as u128).map(|number| refund_requested(number, 1)).collect();
    let captured = vec![placed(), allocated(), recorded(90_000, 0, 0), paid()];
    given(after(captured.clone(), many[1..].to_vec())).when(refund(1, 1)).then([refund_that_lowers(1, 1, 0)]);
    given(after(captured, many)).when(refund(9_999, 1)).then_refused(OrderRefusal::TooManyParts);
}

#[test]
fn a_refund_of_all_the_money_is_no_reduction_of_the_price_while_units_are_to_be_shipped() {
    let order = |events: Vec<OrderEvent>| OrderDecider::fold(&events);
    let refunded = order(after(paid_order(), [refund_that_lowers(1, 85, 0)]));
    assert_eq!((refunded.owed(), refunded.amount_due(), refunded.is_paid()), (pence(85), pence(85), false));
    given(after(paid_order(), [refund_that_lowers(1, 85, 0)]))
        .when(ship_rest(1))
        .then_refused(OrderRefusal::AllRefunded);
    // Nothing can be held back any more.
    given(after(paid_order(), [shipped(1, &[(1, 4), (2, 2), (3, 1)])]))
        .when(refund(1, 85))
        .then([refund_requested(1, 85)]);
}

#[test]
fn what_was_paid_too_much_goes_back_first() {
    let events = vec![placed(), allocated(), recorded(95, 0, 0), paid()];
    assert_eq!(OrderDecider::fold(&events).overpaid(), pence(10));
    given(events).when(refund(1, 12)).then([refund_that_lowers(1, 12, 2)]);
}

#[test]
fn an_order_of_an_earlier_version_stays_paid_once_it_is() {
    let OrderEvent::Placed(placed) = placed() else { unreachable!() };
    let earlier = OrderPlaced { terms: None, ..placed };
    let events = [earlier.into(), allocated(), recorded(85, 0, 0), paid(), recorded(85, 85, 0)];
    let order = OrderDecider::fold(&events);
    assert!(order.is_paid());
    given(events).when(ship_rest(1)).then([shipped(1, &[(1, 4), (2, 2), (3, 1)])]);
}

#[test]
fn an_empty_reason_is_refused() {
    let (refund_id, amount) = (refund_id(1), pence(1));
    let (lines, reason) = (Vec::new(), Some(String::new()));
    let command = OrderCommand::Refund { refund_id, amount, lines, payment_id: None, reason };
    given(paid_order()).when(command).then_refused(InvalidOrder::Text { member: "reason" }.into());
}

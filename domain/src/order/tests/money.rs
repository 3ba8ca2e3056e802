//! What was captured, and what is given back.

use super::*;

#[test]
fn an_order_is_paid_when_what_is_due_was_captured() {
    given([placed(), allocated()])
        .when(record(84, 0, 0))
        .then([recorded(84, 0, 0)])
        .when(record(85, 0, 0))
        .then([recorded(85, 0, 0), paid()])
        .when(record(90, 0, 0))
        .then([recorded(90, 0, 0)]);
}

#[test]
fn a_repeated_or_overtaken_report_changes_nothing() {
    let events = after(paid_order(), [recorded(85, 20, 10)]);
    for report in [record(85, 20, 10), record(50, 0, 0), record(85, 0, 10), record(0, 20, 0)] {
        given(events.clone()).when(report).then_nothing();
    }
    // Each amount only grows: the part of a report that is news is kept.
    given(events).when(record(85, 30, 0)).then([recorded(85, 30, 10)]);
}

#[test]
fn money_that_comes_after_the_end_is_recorded_and_pays_for_nothing() {
    for end in [cancelled_whole(), expired()] {
        given([placed(), allocated(), end.clone()]).when(record(85, 0, 0)).then([recorded(85, 0, 0)]);
        given([placed(), end]).when(record(0, 0, 0)).then_nothing();
    }
}

#[test]
fn refunds_are_taken_from_what_was_captured_and_not_asked_for_yet() {
    given(paid_order())
        .when(refund(1, 80))
        .then([refund_requested(1, 80)])
        .when(refund(2, 6))
        .then_refused(OrderRefusal::RefundTooLarge { requested: pence(6), refundable: pence(5) });
    given(after(paid_order(), [refund_requested(1, 80)])).when(refund(2, 5)).then([refund_requested(2, 5)]);
}

#[test]
fn nothing_is_refunded_before_anything_was_captured() {
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
fn a_refund_that_failed_may_be_asked_for_again() {
    given(after(paid_order(), [refund_requested(1, 85), recorded(85, 0, 85)]))
        .when(refund(2, 85))
        .then([refund_requested(2, 85)]);
}

#[test]
fn a_cancelled_order_refunds_by_hand_no_more_than_it_keeps() {
    // Two mugs went out; the rest is cancelled: 20 are due, and the payment gives 65 back of itself.
    let part_cancelled = after(
        paid_order(),
        [shipped(1, &[(1, 2)]), cancelled(CancelReason::Requested, &[(1, 2), (2, 2), (3, 1)], 20)],
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
    given(after(captured.clone(), many[1..].to_vec())).when(refund(1, 1)).then([refund_requested(1, 1)]);
    given(after(captured, many)).when(refund(9_999, 1)).then_refused(OrderRefusal::TooManyParts);
}

#[test]
fn a_reason_is_a_bounded_text() {
    let command =
        OrderCommand::Refund { refund_id: refund_id(1), amount: pence(1), reason: Some(String::new()) };
    given(paid_order()).when(command).then_refused(InvalidOrder::Text { member: "reason" }.into());
}

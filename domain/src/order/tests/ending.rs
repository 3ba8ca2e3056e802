//! Cancellation and expiry.

use super::*;

#[test]
fn an_order_is_cancelled_once_while_it_is_placed_or_allocated() {
    let paid = cancelled(CancelReason::Requested, &[(1, 4), (2, 2), (3, 1)], 0, 85);
    for (events, end) in [
        (vec![placed()], cancelled_whole()),
        (vec![placed(), allocated()], cancelled_whole()),
        (paid_order(), paid),
    ] {
        given(events)
            .when(cancel(CancelReason::Requested))
            .then([end])
            .when(cancel(CancelReason::Requested))
            .then_nothing();
    }
}

#[test]
fn a_cancellation_stores_its_note_and_refuses_an_empty_one() {
    let command = |note: &str| {
        OrderCommand::Cancel(NewCancellation {
            note: Some(note.into()),
            ..NewCancellation::of_the_rest(CANCELLATION, CancelReason::Requested)
        })
    };
    let event = OrderCancelled {
        reason: CancelReason::Requested,
        note: Some("changed my mind".into()),
        lines: cancelled_lines(&[(1, 4), (2, 2), (3, 1)]),
        owed: pence(0),
        refunds: Vec::new(),
    };
    given([placed()]).when(command("changed my mind")).then([event.into()]);
    given([placed()]).when(command("")).then_refused(InvalidOrder::Text { member: "note" }.into());
}

#[test]
fn an_order_that_was_rejected_expired_or_shipped_in_full_cannot_be_cancelled() {
    for (events, refusal) in [
        (vec![placed(), rejected()], OrderRefusal::WrongStatus(OrderStatus::Rejected)),
        (vec![placed(), allocated(), expired()], OrderRefusal::WrongStatus(OrderStatus::Expired)),
        (after(paid_order(), [shipped(1, &[(1, 4), (2, 2), (3, 1)])]), OrderRefusal::NothingToCancel),
    ] {
        given(events).when(cancel(CancelReason::Requested)).then_refused(refusal);
    }
}

#[test]
fn cancelling_after_a_partial_shipment_cancels_the_rest_and_the_shipped_units_stay_due() {
    given(after(paid_order(), [shipped(1, &[(1, 3)])]))
        .when(cancel(CancelReason::Requested))
        .then([cancelled(CancelReason::Requested, &[(1, 1), (2, 2), (3, 1)], 30, 55)]);
}

#[test]
fn shipping_stays_due_for_what_was_shipped_and_drops_out_if_nothing_was() {
    let with_shipping = PlaceOrder { adjustments: vec![Adjustment::new("DHL", pence(15))], ..order() };
    let paid_order = [placed_as(with_shipping), allocated(), recorded(100, 0, 0), paid()];
    given(paid_order.clone()).when(cancel(CancelReason::Requested)).then([cancelled(
        CancelReason::Requested,
        &[(1, 4), (2, 2), (3, 1)],
        0,
        100,
    )]);
    given(after(paid_order.to_vec(), [shipped(1, &[(1, 3)])]))
        .when(cancel(CancelReason::Requested))
        .then([cancelled(CancelReason::Requested, &[(1, 1), (2, 2), (3, 1)], 45, 55)]);
}

#[test]
fn a_discount_that_is_not_spread_never_makes_the_owed_amount_negative() {
    let discount = Adjustment { spread: false, ..Adjustment::new("voucher", pence(-40)) };
    let discounted = PlaceOrder { adjustments: vec![discount], ..order() };
    let events = [placed_as(discounted), allocated(), recorded(45, 0, 0), paid(), shipped(1, &[(1, 3)])];
    given(events).when(cancel(CancelReason::Requested)).then([cancelled(
        CancelReason::Requested,
        &[(1, 1), (2, 2), (3, 1)],
        0,
        45,
    )]);
}

#[test]
fn a_failed_or_voided_payment_cancels_its_unpaid_order() {
    for reason in [CancelReason::PaymentFailed, CancelReason::PaymentVoided] {
        given([placed(), allocated()]).when(cancel(reason)).then([cancelled(
            reason,
            &[(1, 4), (2, 2), (3, 1)],
            0,
            0,
        )]);
    }
}

#[test]
fn a_failed_or_voided_payment_does_not_cancel_a_paid_or_ended_order() {
    for events in [
        paid_order(),
        after(paid_order(), [shipped(1, &[(1, 4), (2, 2), (3, 1)])]),
        vec![placed(), rejected()],
        vec![placed(), allocated(), cancelled_whole()],
        vec![placed(), allocated(), expired()],
    ] {
        for reason in [CancelReason::PaymentFailed, CancelReason::PaymentVoided] {
            given(events.clone()).when(cancel(reason)).then_nothing();
        }
    }
}

#[test]
fn an_unpaid_order_expires_when_its_payment_is_due_and_not_earlier() {
    let refusal = || OrderRefusal::NotDueYet { due_at: at(100) };
    for events in
        [vec![placed()], vec![placed(), allocated()], vec![placed(), allocated(), recorded(84, 0, 0)]]
    {
        given(events.clone()).when(expire(99)).then_refused(refusal());
        given(events).when(expire(100)).then([expired()]).when(expire(100)).then_nothing();
    }
}

#[test]
fn a_paid_or_ended_order_does_not_expire() {
    let free = PlaceOrder { lines: vec![line("MUG", 1, 0)], ..order() };
    for events in [
        paid_order(),
        vec![placed_as(free), allocated_free()],
        vec![placed(), rejected()],
        vec![placed(), cancelled_whole()],
    ] {
        given(events).when(expire(100)).then_nothing();
    }
}

#[test]
fn an_order_without_a_due_time_never_expires() {
    let without_due_time = PlaceOrder { payment_due_at: None, ..order() };
    given([placed_as(without_due_time)])
        .when(expire(i64::from(u32::MAX)))
        .then_refused(OrderRefusal::NeverDue);
}

//! When an order with each kind of terms ships, what a shipment makes due, and whether the order expires.

use super::*;
use crate::payment::PaymentAdjusted;

/// The order of 85, with a shipping fee of 15 that is not spread.
fn placed_on(terms: PaymentTerms) -> OrderEvent {
    placed_as(PlaceOrder { terms, adjustments: vec![Adjustment::new("DHL", pence(15))], ..order() })
}

fn allocated_on(terms: PaymentTerms) -> Vec<OrderEvent> {
    vec![placed_on(terms), allocated()]
}

fn authorization(authorized: i64, until: Option<i64>, number: u32) -> OrderAuthorizationRecorded {
    let (payment_id, until) = (payment_id(), until.map(at));
    OrderAuthorizationRecorded { payment_id, authorized: pence(authorized), until, number }
}

fn authorized(authorized: i64, until: Option<i64>) -> OrderEvent {
    authorization(authorized, until, 1).into()
}

fn ship_at(second: i64, number: u128, lines: &[(u32, u32)]) -> OrderCommand {
    OrderCommand::Ship {
        shipment_id: shipment(number),
        lines: Some(parts(lines)),
        carrier: None,
        tracking_number: None,
        now: at(second),
    }
}

/// What the payment of the order is to take, and to capture by now.
fn adjustment(events: &[OrderEvent]) -> (i64, i64) {
    let adjustments = OrderDecider::fold(events).adjustments_of_payments();
    let [(id, PaymentAdjusted { amount: Some(amount), capture_due, .. })] = adjustments.as_slice() else {
        panic!("{adjustments:?}")
    };
    assert_eq!(*id, payment_id());
    (amount.minor_units(), capture_due.minor_units())
}

#[test]
fn a_net_order_ships_unpaid_and_a_prepaid_one_does_not() {
    given(allocated_on(PaymentTerms::Net)).when(ship(1, &[(1, 1)])).then([shipped(1, &[(1, 1)])]);
    given(allocated_on(PaymentTerms::Prepaid)).when(ship(1, &[(1, 1)])).then_refused(OrderRefusal::NotPaid);
}

#[test]
fn an_order_that_ships_on_an_authorisation_needs_one_for_what_it_then_owes() {
    let refused = |needed, authorized| OrderRefusal::NotAuthorized {
        needed: pence(needed),
        authorized: pence(authorized),
    };
    let events = allocated_on(PaymentTerms::OnShipment);
    given(events.clone()).when(ship(1, &[(1, 1)])).then_refused(refused(10 + 15, 0));
    let held = after(events, [authorized(25, None)]);
    given(held.clone()).when(ship(1, &[(1, 1)])).then([shipped(1, &[(1, 1)])]);
    given(held).when(ship(1, &[(1, 2)])).then_refused(refused(20 + 15, 25));
}

#[test]
fn an_order_does_not_ship_on_an_authorisation_that_has_run_out() {
    let events = after(allocated_on(PaymentTerms::OnShipment), [authorized(100, Some(50))]);
    given(events.clone()).when(ship_at(49, 1, &[(1, 1)])).then([shipped(1, &[(1, 1)])]);
    let refused = OrderRefusal::NotAuthorized { needed: pence(25), authorized: pence(0) };
    given(events.clone()).when(ship_at(50, 1, &[(1, 1)])).then_refused(refused);
    // What was captured before stays.
    let captured = after(events, [recorded(25, 0, 0)]);
    given(captured).when(ship_at(50, 1, &[(1, 1)])).then([shipped(1, &[(1, 1)])]);
}

#[test]
fn each_shipment_makes_its_share_due_and_the_first_one_what_is_not_spread() {
    let events = allocated_on(PaymentTerms::OnShipment);
    let first = after(events, [authorized(100, None), shipped(1, &[(1, 1)])]);
    assert_eq!(adjustment(&first), (100, 10 + 15));
    let second = after(first.clone(), [shipped(2, &[(2, 2), (3, 1)])]);
    assert_eq!(adjustment(&second), (100, 25 + 40 + 5));
    let undone =
        OrderShipmentUndone { shipment_id: shipment(2), lines: parts(&[(2, 2), (3, 1)]), reason: None };
    assert_eq!(adjustment(&after(second, [undone.into()])), (100, 25));
    let all = after(first, [shipped(2, &[(1, 3), (2, 2), (3, 1)])]);
    assert_eq!(adjustment(&all), (100, 100));
}

#[test]
fn a_return_lowers_what_is_due_only_if_it_was_not_captured() {
    let shipped =
        after(allocated_on(PaymentTerms::OnShipment), [authorized(100, None), shipped(1, &[(1, 2)])]);
    let captured = after(shipped.clone(), [recorded(35, 0, 0)]);
    given(captured.clone()).when(take_back(1, &[(1, 1)], None)).then([returned(1, &[(1, 1)], 10)]);
    assert_eq!(adjustment(&after(captured, [returned(1, &[(1, 1)], 10)])), (100, 35));
    let OrderCommand::Return(new_return) = take_back(1, &[(1, 1)], None) else { panic!("a return") };
    let mut order = OrderDecider::fold(&shipped);
    for event in OrderDecider::decide(&order, OrderCommand::Return(new_return)).unwrap() {
        OrderDecider::evolve(&mut order, &event);
    }
    assert!(order.refunds().is_empty());
    assert_eq!((order.owed(), order.due_for_shipped()), (pence(90), pence(25)));
}

#[test]
fn units_of_an_unpaid_order_are_cancelled_one_by_one_unless_it_is_prepaid() {
    let part = |lines: &[(u32, u32)]| {
        let rest = NewCancellation::of_the_rest(CANCELLATION, CancelReason::Requested);
        OrderCommand::Cancel(NewCancellation { lines: Some(parts(lines)), ..rest })
    };
    given(allocated_on(PaymentTerms::Prepaid)).when(part(&[(1, 1)])).then_refused(OrderRefusal::NotPaid);
    for terms in [PaymentTerms::OnShipment, PaymentTerms::Net] {
        let events = allocated_on(terms);
        let cancelled = OrderDecider::decide(&OrderDecider::fold(&events), part(&[(1, 1)])).unwrap();
        assert_eq!(adjustment(&after(events, cancelled)), (90, 0));
    }
}

#[test]
fn only_a_prepaid_order_and_one_that_was_never_authorized_expires() {
    let expires = |events: Vec<OrderEvent>| OrderDecider::fold(&events).awaits_payment();
    assert!(expires(allocated_on(PaymentTerms::Prepaid)));
    assert!(expires(allocated_on(PaymentTerms::OnShipment)));
    let ran_out = [authorized(100, None), authorization(0, None, 2).into()];
    assert!(!expires(after(allocated_on(PaymentTerms::OnShipment), ran_out)));
    given(allocated_on(PaymentTerms::Net)).when(expire(1_000)).then_nothing();
}

#[test]
fn a_late_report_of_an_authorisation_changes_nothing() {
    let record = |report| OrderCommand::RecordAuthorization(report);
    given(allocated_on(PaymentTerms::OnShipment))
        .when(record(authorization(0, None, 1)))
        .then_nothing()
        .when(record(authorization(100, Some(50), 2)))
        .then([authorization(100, Some(50), 2).into()])
        .when(record(authorization(60, None, 1)))
        .then_nothing()
        .when(record(authorization(0, None, 3)))
        .then([authorization(0, None, 3).into()]);
    given(allocated_on(PaymentTerms::Prepaid)).when(record(authorization(100, None, 1))).then_nothing();
}

#[test]
fn money_is_overdue_from_its_due_time_under_net_and_from_the_start_once_shipped_on_an_authorisation() {
    let overdue = |events: Vec<OrderEvent>| OrderDecider::fold(&events).overdue_from();
    assert_eq!(overdue(allocated_on(PaymentTerms::Net)), Some(at(100)));
    assert_eq!(overdue(after(allocated_on(PaymentTerms::Net), [recorded(100, 0, 0)])), None);
    assert_eq!(overdue(allocated_on(PaymentTerms::Prepaid)), None);
    let held = after(allocated_on(PaymentTerms::OnShipment), [authorized(100, None)]);
    assert_eq!(overdue(held.clone()), None);
    let shipped = after(held, [shipped(1, &[(1, 1)])]);
    assert_eq!(overdue(shipped.clone()), Some(at(0)));
    assert_eq!(overdue(after(shipped, [recorded(25, 0, 0)])), None);
}

#[test]
fn a_net_order_has_a_due_time() {
    let without = PlaceOrder { terms: PaymentTerms::Net, payment_due_at: None, ..order() };
    given([]).when(place(without)).then_refused(InvalidOrder::NetWithoutDue.into());
    let never = OrderCommand::MoveDue { payment_due_at: None, now: at(0) };
    given(allocated_on(PaymentTerms::Net))
        .when(never.clone())
        .then_refused(InvalidOrder::NetWithoutDue.into());
    let moved = OrderDueMoved { payment_due_at: None };
    given(allocated_on(PaymentTerms::Prepaid)).when(never).then([moved.into()]);
}

#[test]
fn an_order_cannot_ship_on_an_authorisation_that_is_captured_only_once() {
    let once = |terms| PlaceOrder { terms, captures_in_parts: false, ..order() };
    given([]).when(place(once(PaymentTerms::OnShipment))).then_refused(OrderRefusal::TermsNotSupported);
    placed_as(once(PaymentTerms::Prepaid));
    placed_as(once(PaymentTerms::Net));
}

/// [`placed_on`] with payments of 30 and 60, so that 10 are unclaimed.
fn divided(terms: PaymentTerms) -> PlaceOrder {
    let tender = |amount| NewTender { amount: pence(amount), charge: None, credit: None };
    let adjustments = vec![Adjustment::new("DHL", pence(15))];
    PlaceOrder { terms, adjustments, payments: vec![tender(30), tender(60)], ..order() }
}

#[test]
fn an_order_that_ships_on_an_authorisation_has_one_payment() {
    let refused = OrderRefusal::TermsOfOnePayment;
    given([]).when(place(divided(PaymentTerms::OnShipment))).then_refused(refused.clone());
    let add = OrderCommand::AddPayment { payment_id: second(), amount: None, charge: None };
    given(allocated_on(PaymentTerms::OnShipment)).when(add).then_refused(refused);
}

fn second() -> PaymentId {
    PaymentId::of_tender(ORDER, 2)
}

#[test]
fn units_that_leave_a_net_order_lower_its_newest_payments_but_not_below_what_they_captured() {
    let tender = |payment_id, amount| AllocatedTender { payment_id, amount: pence(amount) };
    let payments = vec![tender(payment_id(), 30), tender(second(), 60)];
    let allocated = OrderAllocated { payment_id: Some(payment_id()), payments };
    let events = vec![placed_as(divided(PaymentTerms::Net)), allocated.into()];
    let amounts = |events: &[OrderEvent]| -> Vec<i64> {
        let adjustments = OrderDecider::fold(events).adjustments_of_payments();
        adjustments.iter().map(|(_, adjusted)| adjusted.amount.unwrap().minor_units()).collect()
    };
    let bowls = OrderLinesCancelled {
        cancellation_id: CANCELLATION,
        lines: cancelled_lines(&[(2, 2)]),
        withheld: pence(0),
        note: None,
        refunds: Vec::new(),
    };
    let fewer = after(events, [bowls.into()]);
    assert_eq!(amounts(&fewer), [30, 30]);
    assert_eq!(amounts(&after(fewer.clone(), [recorded_on(second(), 50, 0, 0)])), [10, 50]);
    assert_eq!(amounts(&after(fewer, [recorded_on(second(), 60, 0, 0)])), [0, 60]);
}

#[test]
fn a_payment_that_fails_neither_ends_a_net_order_nor_stops_asking_for_its_money() {
    let (payment_id, captured) = (payment_id(), pence(0));
    let failed = OrderCommand::EndPayment { payment_id, ending: TenderEnding::Failed, captured };
    given(allocated_on(PaymentTerms::Net)).when(failed.clone()).then_nothing();
    let all_shipped = [authorized(100, None), shipped(1, &[(1, 4), (2, 2), (3, 1)])];
    given(after(allocated_on(PaymentTerms::OnShipment), all_shipped)).when(failed).then_nothing();
}

#[test]
fn a_net_order_is_paid_when_units_leave_that_were_not_paid_for() {
    let shipped = after(allocated_on(PaymentTerms::Net), [shipped(1, &[(1, 4), (2, 2)])]);
    let part_paid = after(shipped, [recorded(80, 0, 0)]);
    let decided = |events: &[OrderEvent], command| {
        let decided = OrderDecider::decide(&OrderDecider::fold(events), command).unwrap();
        (decided.last() == Some(&paid()), after(events.to_vec(), decided))
    };
    let (is_paid, back) = decided(&part_paid, take_back(1, &[(1, 1)], None));
    assert!(!is_paid, "85 of 90 are paid");
    let part = NewCancellation::of_the_rest(CANCELLATION, CancelReason::Requested);
    let part = |lines: &[(u32, u32)]| NewCancellation { lines: Some(parts(lines)), ..part.clone() };
    let (is_paid, ended) = decided(&back, OrderCommand::Cancel(part(&[(3, 1)])));
    assert!(!is_paid, "80 of 85 are paid");
    assert_eq!(OrderDecider::fold(&ended).status(), OrderStatus::Cancelled);
    let (is_paid, ended) = decided(&ended, take_back(2, &[(1, 1)], None));
    assert!(is_paid && OrderDecider::fold(&ended).is_paid());
    // A later return does not say it again.
    let (is_paid, _) = decided(&ended, take_back(3, &[(1, 1)], None));
    assert!(!is_paid);
}

#[test]
fn a_voided_payment_of_a_net_order_leaves_its_open_money_to_another_one() {
    let (payment_id, captured) = (payment_id(), pence(0));
    let voided = OrderCommand::EndPayment { payment_id, ending: TenderEnding::Voided, captured };
    let ended: OrderEvent = OrderPaymentEnded { payment_id, ending: TenderEnding::Voided }.into();
    let add =
        |amount| OrderCommand::AddPayment { payment_id: second(), amount: Some(pence(amount)), charge: None };
    let added = OrderPaymentAdded { payment_id: second(), amount: pence(60), charge: None };
    let events = after(allocated_on(PaymentTerms::Net), [recorded(40, 0, 0)]);
    let refused = OrderRefusal::PaymentTooLarge { unclaimed: pence(0) };
    given(events.clone()).when(add(60)).then_refused(refused);
    let moved = [ended.clone(), added.clone().into(), shipped(1, &[(1, 1)])];
    given(events.clone())
        .when(voided.clone())
        .then([ended])
        .when(voided)
        .then_nothing()
        .when(add(60))
        .then([added.into()]);
    // What the first payment has captured stays, and it is asked for no more.
    let order = OrderDecider::fold(&after(events, moved));
    let amounts: Vec<_> =
        order.adjustments_of_payments().into_iter().map(|(id, adjusted)| (id, adjusted.amount)).collect();
    assert_eq!(amounts, [(payment_id, Some(pence(40))), (second(), Some(pence(60)))]);
}

#[test]
fn goodwill_for_a_shipped_line_is_not_captured_again_nor_taken_off_its_open_units() {
    let held = after(allocated_on(PaymentTerms::OnShipment), [authorized(100, None), shipped(1, &[(2, 1)])]);
    let captured = after(held, [recorded(35, 0, 0)]);
    let lines = vec![LineAmount { line: 2, amount: pence(5) }];
    let goodwill = OrderCommand::Refund {
        refund_id: refund_id(1),
        amount: pence(5),
        lines,
        payment_id: None,
        reason: None,
    };
    let order = OrderDecider::fold(&captured);
    let refunded = after(captured, OrderDecider::decide(&order, goodwill).unwrap());
    assert_eq!(adjustment(&refunded), (100, 35));
    let order = OrderDecider::fold(&refunded);
    let events = OrderDecider::decide(&order, cancel(CancelReason::Requested)).unwrap();
    let ended = OrderDecider::fold(&after(refunded, events));
    assert_eq!((ended.owed(), ended.kept(), ended.amount_due()), (pence(30), pence(30), pence(0)));
}

#[test]
fn an_order_is_to_ship_while_its_terms_allow_a_shipment_and_units_are_open() {
    let is_to_ship = |events: &[OrderEvent]| OrderDecider::fold(events).is_to_ship();
    assert!(!is_to_ship(&[placed(), allocated()]), "it is not paid");
    assert!(is_to_ship(&paid_order()));
    let all = [(1, 4), (2, 2), (3, 1)];
    assert!(is_to_ship(&after(paid_order(), [shipped(1, &[(1, 1)])])));
    assert!(!is_to_ship(&after(paid_order(), [shipped(1, &all)])), "all units have left");
    assert!(!is_to_ship(&after(paid_order(), [shipped(1, &all[..2])])), "postage alone is not shipped");
    assert!(!is_to_ship(&[placed_on(PaymentTerms::Net)]), "its stock is not reserved");
    assert!(is_to_ship(&allocated_on(PaymentTerms::Net)));
    let on_shipment = allocated_on(PaymentTerms::OnShipment);
    assert!(!is_to_ship(&after(on_shipment.clone(), [authorized(99, None)])), "1 is not authorized");
    assert!(is_to_ship(&after(on_shipment, [authorized(100, None)])));
}

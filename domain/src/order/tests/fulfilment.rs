//! Shipments, deliveries and returns.

use super::*;

#[test]
fn an_order_is_shipped_in_parts_until_no_unit_is_left() {
    given(paid_order())
        .when(ship(1, &[(1, 3), (2, 1)]))
        .then([shipped(1, &[(1, 3), (2, 1)])])
        .when(ship_rest(2))
        .then([shipped(2, &[(1, 1), (2, 1), (3, 1)])])
        .when(ship_rest(3))
        .then_refused(OrderRefusal::NothingToShip);
}

#[test]
fn a_shipment_stores_its_carrier_and_tracking_number_and_refuses_an_empty_one() {
    let command = |carrier: &str| OrderCommand::Ship {
        shipment_id: shipment(1),
        lines: Some(parts(&[(1, 1)])),
        carrier: Some(carrier.into()),
        tracking_number: Some("RM1".into()),
        now: at(0),
    };
    let event = OrderShipped {
        shipment_id: shipment(1),
        lines: parts(&[(1, 1)]),
        carrier: Some("Royal Mail".into()),
        tracking_number: Some("RM1".into()),
    };
    given(paid_order()).when(command("Royal Mail")).then([event.into()]);
    given(paid_order()).when(command("")).then_refused(InvalidOrder::Text { member: "carrier" }.into());
}

#[test]
fn a_shipment_of_units_that_are_not_open_is_refused() {
    let part_shipped = after(paid_order(), [shipped(1, &[(1, 3)])]);
    for (lines, refusal) in [
        (vec![(1, 2)], OrderRefusal::NotShippable { line: 1, requested: 2, shippable: 1 }),
        (vec![(2, 0)], OrderRefusal::NotShippable { line: 2, requested: 0, shippable: 2 }),
        (vec![(4, 1)], OrderRefusal::UnknownLine(4)),
        (vec![(0, 1)], OrderRefusal::UnknownLine(0)),
        (vec![(1, 1), (1, 1)], InvalidOrder::RepeatedLine.into()),
        (vec![], InvalidOrder::RepeatedLine.into()),
    ] {
        given(part_shipped.clone()).when(ship(2, &lines)).then_refused(refusal);
    }
}

#[test]
fn only_an_allocated_and_paid_order_is_shipped() {
    given([placed(), allocated(), recorded(84, 0, 0)]).when(ship_rest(1)).then_refused(OrderRefusal::NotPaid);
    for (events, status) in [
        (vec![placed()], OrderStatus::Placed),
        (vec![placed(), rejected()], OrderStatus::Rejected),
        (after(paid_order(), [cancelled_whole()]), OrderStatus::Cancelled),
        (vec![placed(), allocated(), expired()], OrderStatus::Expired),
    ] {
        given(events).when(ship_rest(1)).then_refused(OrderRefusal::WrongStatus(status));
    }
}

#[test]
fn a_shipment_is_delivered_once_even_if_the_rest_was_cancelled() {
    let part_cancelled = after(
        paid_order(),
        [shipped(1, &[(1, 4)]), cancelled(CancelReason::Requested, &[(2, 2), (3, 1)], 40, 45)],
    );
    for events in [after(paid_order(), [shipped(1, &[(1, 4)])]), part_cancelled] {
        given(events.clone()).when(deliver(1)).then([delivered(1)]).when(deliver(1)).then_nothing();
        given(events).when(deliver(2)).then_refused(OrderRefusal::UnknownShipment(shipment(2)));
    }
}

#[test]
fn a_return_refunds_the_value_of_its_units_or_the_requested_amount() {
    let shipped_order = after(paid_order(), [shipped(1, &[(1, 4), (2, 2), (3, 1)])]);
    for (requested, refund_amount) in [(None, 50), (Some(0), 0), (Some(85), 85), (Some(7), 7)] {
        given(shipped_order.clone()).when(take_back(1, &[(1, 1), (2, 2)], requested)).then([returned(
            1,
            &[(1, 1), (2, 2)],
            refund_amount,
        )]);
    }
}

#[test]
fn a_return_of_more_units_than_were_shipped_and_not_returned_is_refused() {
    let part_returned = after(paid_order(), [shipped(1, &[(1, 3)]), returned(1, &[(1, 2)], 20)]);
    given(part_returned.clone()).when(take_back(2, &[(1, 1)], None)).then([returned(2, &[(1, 1)], 10)]);
    for (lines, refusal) in [
        (vec![(1, 2)], OrderRefusal::NotReturnable { line: 1, requested: 2, returnable: 1 }),
        (vec![(1, 0)], OrderRefusal::NotReturnable { line: 1, requested: 0, returnable: 1 }),
        (vec![(2, 1)], OrderRefusal::NotReturnable { line: 2, requested: 1, returnable: 0 }),
        (vec![(9, 1)], OrderRefusal::UnknownLine(9)),
        (vec![(1, 1), (1, 1)], InvalidOrder::RepeatedLine.into()),
        (vec![], InvalidOrder::RepeatedLine.into()),
    ] {
        given(part_returned.clone()).when(take_back(2, &lines, None)).then_refused(refusal);
    }
}

#[test]
fn a_return_refunds_no_more_than_is_captured_and_not_requested_yet() {
    let events = after(paid_order(), [shipped(1, &[(1, 4)]), refund_requested(1, 80)]);
    given(events.clone())
        .when(take_back(1, &[(1, 1)], Some(10)))
        .then_refused(OrderRefusal::RefundTooLarge { requested: pence(10), refundable: pence(5) });
    given(events.clone())
        .when(take_back(1, &[(1, 1)], Some(-1)))
        .then_refused(InvalidOrder::RefundAmount.into());
    // 5 are left, and the customer owes nothing for the other units either.
    let order = OrderDecider::fold(&events);
    let decided = OrderDecider::decide(&order, take_back(1, &[(1, 1)], None)).unwrap();
    let OrderEvent::Returned(returned) = &decided[0] else { panic!("{decided:?}") };
    assert_eq!((returned.refund_amount, returned.withheld), (pence(5), Amount::ZERO));
}

#[test]
fn a_return_takes_its_share_of_the_discount_with_it() {
    let discounted = PlaceOrder { adjustments: vec![Adjustment::new("discount", pence(-45))], ..order() };
    let mut events = vec![placed_as(discounted), allocated(), recorded(40, 0, 0), paid()];
    events.push(shipped(1, &[(1, 4), (2, 2), (3, 1)]));
    let mut refunded = Vec::new();
    for (number, lines) in (1..).zip([[(1, 1)], [(1, 3)], [(2, 1)], [(2, 1)], [(3, 1)]]) {
        let order = OrderDecider::fold(&events);
        let decided = OrderDecider::decide(&order, take_back(number, &lines, None)).unwrap();
        let OrderEvent::Returned(returned) = &decided[0] else { panic!("{decided:?}") };
        refunded.push(returned.refund_amount.minor_units());
        events.extend(decided);
    }
    // Of the 45, 21 are of the mugs, 21 of the bowls and 3 of the postage.
    assert_eq!(refunded, [5, 14, 10, 9, 2]);
}

#[test]
fn shipped_units_of_a_cancelled_order_can_be_returned() {
    let part_cancelled = after(
        paid_order(),
        [shipped(1, &[(1, 4)]), cancelled(CancelReason::Requested, &[(2, 2), (3, 1)], 40, 45)],
    );
    given(part_cancelled).when(take_back(1, &[(1, 4)], None)).then([returned(1, &[(1, 4)], 40)]);
}

#[test]
fn the_number_of_shipments_and_of_returns_is_bounded() {
    let order = PlaceOrder { lines: vec![line("MUG", 2_000, 0)], ..order() };
    let start = [placed_as(order), allocated_free()];
    let shipments: Vec<_> = (1..=PARTS_MAX as u128).map(|number| shipped(number, &[(1, 1)])).collect();
    let all_but_one = after(start.to_vec(), shipments[1..].to_vec());
    given(all_but_one).when(ship(1, &[(1, 1)])).then([shipped(1, &[(1, 1)])]);
    let shipped_out = after(start.to_vec(), shipments);
    given(shipped_out.clone()).when(ship_rest(9_999)).then_refused(OrderRefusal::TooManyParts);
    let returns = (1..=PARTS_MAX as u128).map(|number| returned(number, &[(1, 1)], 0));
    given(after(shipped_out, returns))
        .when(take_back(9_999, &[(1, 1)], Some(0)))
        .then_refused(OrderRefusal::TooManyParts);
}

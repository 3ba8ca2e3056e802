//! The statuses of an order and the amount due.

use super::*;

#[test]
fn the_payment_status_follows_the_captured_and_refunded_amounts() {
    let free = PlaceOrder { lines: vec![line("MUG", 1, 0)], ..order() };
    let cases = [
        (vec![placed()], PaymentStatus::Pending),
        (vec![placed(), allocated()], PaymentStatus::Pending),
        (vec![placed(), allocated(), recorded(84, 0, 0)], PaymentStatus::PartiallyPaid),
        (paid_order(), PaymentStatus::Paid),
        (after(paid_order(), [recorded(85, 84, 0)]), PaymentStatus::PartiallyRefunded),
        (after(paid_order(), [recorded(85, 85, 0)]), PaymentStatus::Refunded),
        (vec![placed_as(free.clone())], PaymentStatus::Pending),
        (vec![placed_as(free), allocated_free()], PaymentStatus::Paid),
        (vec![placed(), rejected()], PaymentStatus::NotDue),
        (vec![placed(), allocated(), expired()], PaymentStatus::NotDue),
        (vec![placed(), allocated(), cancelled_whole()], PaymentStatus::NotDue),
        (after(paid_order(), [cancelled_whole()]), PaymentStatus::Paid),
        (after(paid_order(), [cancelled_whole(), recorded(85, 85, 0)]), PaymentStatus::Refunded),
    ];
    for (events, status) in cases {
        assert_eq!(OrderDecider::fold(&events).payment_status(), status, "{events:?}");
    }
}

#[test]
fn the_fulfilment_status_follows_the_stocked_units() {
    let all = &[(1, 4), (2, 2)];
    let rest_cancelled = cancelled(CancelReason::Requested, &[(2, 2), (3, 1)], 40, 45);
    let cases = [
        (vec![], FulfilmentStatus::Unfulfilled),
        (vec![shipped(1, &[(3, 1)])], FulfilmentStatus::Unfulfilled),
        (vec![shipped(1, &[(1, 4)])], FulfilmentStatus::PartiallyShipped),
        (vec![shipped(1, all)], FulfilmentStatus::Shipped),
        (vec![shipped(1, &[(1, 4)]), rest_cancelled.clone()], FulfilmentStatus::Shipped),
        (vec![shipped(1, &[(1, 4)]), delivered(1)], FulfilmentStatus::PartiallyDelivered),
        (vec![shipped(1, all), delivered(1)], FulfilmentStatus::Delivered),
        (vec![shipped(1, &[(1, 4)]), rest_cancelled.clone(), delivered(1)], FulfilmentStatus::Delivered),
        (vec![shipped(1, all), returned(1, &[(1, 4)], 40)], FulfilmentStatus::PartiallyReturned),
        (vec![shipped(1, all), returned(1, all, 80)], FulfilmentStatus::Returned),
        (vec![shipped(1, &[(1, 4)]), rest_cancelled, returned(1, &[(1, 4)], 40)], FulfilmentStatus::Returned),
    ];
    for (events, status) in cases {
        let order = OrderDecider::fold(&after(paid_order(), events.clone()));
        assert_eq!(order.fulfilment_status(), status, "{events:?}");
    }
}

#[test]
fn an_order_without_stocked_lines_is_fulfilled_by_its_services() {
    let service = PlaceOrder { lines: vec![NewLine { stocked: false, ..line("REPAIR", 1, 85) }], ..order() };
    let events = [placed_as(service), allocated(), recorded(85, 0, 0), paid(), shipped(1, &[(1, 1)])];
    assert_eq!(OrderDecider::fold(&events).fulfilment_status(), FulfilmentStatus::Shipped);
}

#[test]
fn a_paid_order_has_no_amount_due_and_an_ended_one_owes_for_the_shipped_units() {
    let rest_cancelled = cancelled(CancelReason::Requested, &[(2, 2), (3, 1)], 40, 45);
    let cases = [
        (paid_order(), 85),
        (vec![placed(), rejected()], 0),
        (vec![placed(), allocated(), expired()], 0),
        (after(paid_order(), [cancelled(CancelReason::Requested, &[(1, 4), (2, 2), (3, 1)], 0, 85)]), 0),
        (after(paid_order(), [shipped(1, &[(1, 4)]), rest_cancelled]), 40),
    ];
    for (events, owed) in cases {
        let order = OrderDecider::fold(&events);
        assert_eq!((order.owed(), order.amount_due()), (pence(owed), Amount::ZERO), "{events:?}");
    }
}

#[test]
fn every_unit_of_an_expired_order_is_cancelled() {
    let order = OrderDecider::fold(&[placed(), allocated(), expired()]);
    assert!(order.lines().iter().all(|line| line.cancelled == line.quantity && line.open() == 0));
}

#[test]
fn one_sku_may_have_several_lines_at_different_prices() {
    let lines = vec![line("MUG", 2, 10), line("MUG", 3, 0)];
    let order = OrderDecider::fold(&[placed_as(PlaceOrder { lines, ..order() })]);
    let units = units_by_sku(&order, parts(&[(1, 2), (2, 3)]).into_iter());
    assert_eq!(units, BTreeMap::from([(Sku::new("MUG").unwrap(), 5)]));
    assert_eq!(order.total(), pence(20));
}

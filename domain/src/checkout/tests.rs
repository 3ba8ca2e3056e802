use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::{
    CancellationId, Decider, RefundId, ReturnId, ShipmentId, Timestamp,
    credit::CreditGiven,
    decider::StoredEvent,
    order::{
        CancelReason, CancelledLine, NewLine, OrderAllocated, OrderCancelled, OrderCreditTakenBack,
        OrderDecider, OrderDelivered, OrderDueMoved, OrderExpired, OrderLinesCancelled, OrderPaid,
        OrderPaymentAdded, OrderPaymentEnded, OrderPaymentRecorded, OrderRefund, OrderRefundRequested,
        OrderRejected, OrderReturned, OrderShipmentUndone, OrderShipped, PlaceOrder, ReturnedLine,
    },
    payment::{Operation, PaymentCaptured, PaymentDecider, PaymentOutcomeUnknown, PaymentRequested},
};

mod payments;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const SHIPMENT: ShipmentId = ShipmentId(Uuid::from_u128(2));
const RETURN: ReturnId = ReturnId(Uuid::from_u128(3));
const CANCELLATION: CancellationId = CancellationId(Uuid::from_u128(5));
const REFUND: RefundId = RefundId(Uuid::from_u128(4));

fn pence(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

fn payment_id() -> PaymentId {
    PaymentId::of_order(ORDER)
}

/// Two mugs at 10, a bowl at 20, two free mugs, postage of 5: 45 in total.
fn placing() -> PlaceOrder {
    let line = |name: &str, quantity, unit_price, stocked| NewLine {
        sku: sku(name),
        quantity,
        unit_price: pence(unit_price),
        stocked,
        adjustments: Vec::new(),
    };
    let lines = vec![
        line("MUG", 2, 10, true),
        line("BOWL", 1, 20, true),
        line("MUG", 2, 0, true),
        line("POST", 1, 5, false),
    ];
    PlaceOrder {
        order_id: ORDER,
        customer_id: None,
        currency: "GBP".parse().unwrap(),
        country: None,
        lines,
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: None,
        metadata: BTreeMap::new(),
        placed_at: Timestamp::UNIX_EPOCH,
        now: Timestamp::UNIX_EPOCH,
        payment_due_at: None,
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    }
}

fn placed() -> OrderEvent {
    let place = OrderCommand::Place(Box::new(placing()));
    OrderDecider::decide(&Order::default(), place).unwrap().remove(0)
}

#[test]
fn the_reservations_of_an_order_are_the_same_before_and_after_it_is_placed() {
    let expected = BTreeMap::from([(sku("MUG"), 4), (sku("BOWL"), 1)]);
    assert_eq!(reservations_of_new_order(&placing()), expected);
    assert_eq!(reservations(&OrderDecider::fold(&[placed()])), expected);
}

fn allocated() -> OrderEvent {
    OrderAllocated { payment_id: Some(payment_id()), payments: Vec::new() }.into()
}

fn rejected() -> OrderEvent {
    OrderRejected { shortages: vec![Shortage { sku: sku("BOWL"), requested: 1, available: 0 }] }.into()
}

fn parts(lines: &[(u32, u32)]) -> Vec<LineQuantity> {
    lines.iter().map(|&(line, quantity)| LineQuantity { line, quantity }).collect()
}

fn shipped(lines: &[(u32, u32)]) -> OrderEvent {
    OrderShipped { shipment_id: SHIPMENT, lines: parts(lines), carrier: None, tracking_number: None }.into()
}

fn cancelled_lines(lines: &[(u32, u32)]) -> Vec<CancelledLine> {
    let of_line = |&(line, quantity)| CancelledLine { line, quantity, value: Some(pence(10)) };
    lines.iter().map(of_line).collect()
}

fn cancelled(lines: &[(u32, u32)], owed: i64) -> OrderEvent {
    let reason = CancelReason::Requested;
    let lines = cancelled_lines(lines);
    OrderCancelled { reason, note: None, lines, owed: pence(owed), refunds: Vec::new() }.into()
}

fn lines_cancelled(lines: &[(u32, u32)], refund: i64) -> OrderEvent {
    OrderLinesCancelled {
        cancellation_id: CANCELLATION,
        note: None,
        lines: cancelled_lines(lines),
        withheld: Amount::ZERO,
        refunds: refunds(CANCELLATION.into(), refund),
    }
    .into()
}

fn refunds(refund_id: RefundId, amount: i64) -> Vec<OrderRefund> {
    vec![OrderRefund { refund_id, payment_id: payment_id(), amount: pence(amount) }]
}

/// The reaction to the last of these events, on the state after it.
fn reaction_to_last(events: &[OrderEvent]) -> Reaction {
    react_to_order(ORDER, events.last().unwrap(), &OrderDecider::fold(events))
}

fn release(name: &str, quantity: u32) -> Step {
    Step::Stock(sku(name), StockCommand::Release { order_id: ORDER, quantity })
}

fn close(amount_due: i64) -> Step {
    let command = PaymentCommand::Close { order_id: ORDER, amount_due: pence(amount_due), refund: None };
    Step::Payment(payment_id(), command)
}

fn request_refund(refund_id: RefundId, amount: i64, reason: RefundReason) -> Step {
    let command = PaymentCommand::RequestRefund { refund_id, amount: pence(amount), reason };
    Step::Payment(payment_id(), command)
}

#[test]
fn a_placed_order_reserves_the_sum_of_its_lines_per_stocked_sku() {
    let units = BTreeMap::from([(sku("BOWL"), 1), (sku("MUG"), 4)]);
    assert_eq!(reaction_to_last(&[placed()]), Reaction::Reserve(units));
}

#[test]
fn an_order_that_is_no_longer_placed_reserves_nothing() {
    for later in [allocated(), rejected(), cancelled(&[(1, 2)], 0), OrderExpired {}.into()] {
        let order = OrderDecider::fold(&[placed(), later]);
        assert_eq!(react_to_order(ORDER, &placed(), &order), Reaction::None);
    }
}

#[test]
fn a_round_of_reservations_ends_in_an_allocation_or_a_rejection() {
    assert_eq!(settle(ORDER, Vec::new()), OrderCommand::Allocate { payment_id: payment_id() });
    let shortages = vec![Shortage { sku: sku("MUG"), requested: 4, available: 3 }];
    assert_eq!(settle(ORDER, shortages.clone()), OrderCommand::Reject { shortages });
}

#[test]
fn an_allocated_order_requests_its_total_unless_it_is_0_or_the_order_has_ended() {
    let request = PaymentCommand::Request {
        payment_id: payment_id(),
        order_id: ORDER,
        amount: pence(45),
        currency: "GBP".parse().unwrap(),
        charge: None,
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    let expected = Reaction::Send(vec![Step::Payment(payment_id(), request)]);
    assert_eq!(reaction_to_last(&[placed(), allocated()]), expected);

    let without_payment = OrderAllocated { payment_id: None, payments: Vec::new() }.into();
    assert_eq!(reaction_to_last(&[placed(), without_payment]), Reaction::None);
    let ended = OrderDecider::fold(&[placed(), allocated(), cancelled(&[(1, 2)], 0)]);
    assert_eq!(react_to_order(ORDER, &allocated(), &ended), Reaction::None);
}

#[test]
fn an_ended_order_releases_its_unshipped_units_and_closes_its_payment() {
    let everything = || vec![release("BOWL", 1), release("MUG", 4)];
    assert_eq!(reaction_to_last(&[placed(), rejected()]), Reaction::Send(everything()));
    let all = [(1, 2), (2, 1), (3, 2), (4, 1)];
    assert_eq!(reaction_to_last(&[placed(), cancelled(&all, 0)]), Reaction::Send(everything()));

    let with_close = |amount_due| everything().into_iter().chain([close(amount_due)]).collect();
    let expired = OrderExpired {}.into();
    assert_eq!(reaction_to_last(&[placed(), allocated(), expired]), Reaction::Send(with_close(0)));

    let part_shipped = [placed(), allocated(), shipped(&[(1, 2), (2, 1)]), cancelled(&[(3, 2), (4, 1)], 40)];
    assert_eq!(reaction_to_last(&part_shipped), Reaction::Send(vec![release("MUG", 2), close(40)]));
}

#[test]
fn a_shipment_moves_its_stocked_units_per_sku_and_no_postage() {
    let ship = |name: &str, quantity| {
        Step::Stock(sku(name), StockCommand::Ship { order_id: ORDER, shipment_id: SHIPMENT, quantity })
    };
    let reaction = reaction_to_last(&[placed(), allocated(), shipped(&[(1, 1), (2, 1), (3, 2), (4, 1)])]);
    assert_eq!(reaction, Reaction::Send(vec![ship("BOWL", 1), ship("MUG", 3)]));
    assert_eq!(reaction_to_last(&[placed(), allocated(), shipped(&[(4, 1)])]), Reaction::Send(Vec::new()));
}

#[test]
fn a_return_restocks_the_marked_units_and_requests_exactly_its_refund() {
    let returned = |refund_amount, restock| -> OrderEvent {
        let part = |line, quantity, restock| ReturnedLine { line, quantity, restock, value: Some(pence(10)) };
        OrderReturned {
            return_id: RETURN,
            lines: vec![part(1, 1, restock), part(2, 1, false), part(3, 1, restock)],
            refund_amount: pence(refund_amount),
            withheld: Amount::ZERO,
            reason: None,
            refunds: if refund_amount > 0 { refunds(RETURN.into(), refund_amount) } else { Vec::new() },
            credit: None,
        }
        .into()
    };
    let before = [placed(), allocated(), shipped(&[(1, 2), (2, 1), (3, 2)])];
    let after = |event| [before.as_slice(), &[event]].concat();
    let put_back = StockCommand::Return { order_id: ORDER, return_id: RETURN, quantity: 2 };
    let refund = request_refund(RETURN.into(), 30, RefundReason::Return);

    let steps = vec![Step::Stock(sku("MUG"), put_back), refund.clone()];
    assert_eq!(reaction_to_last(&after(returned(30, true))), Reaction::Send(steps));
    assert_eq!(reaction_to_last(&after(returned(30, false))), Reaction::Send(vec![refund]));
    assert_eq!(reaction_to_last(&after(returned(0, false))), Reaction::Send(Vec::new()));
}

fn refund_requested() -> OrderRefundRequested {
    OrderRefundRequested {
        refund_id: REFUND,
        amount: pence(7),
        lines: Vec::new(),
        lowers_owed: Some(pence(7)),
        reason: None,
        refunds: refunds(REFUND, 7),
    }
}

#[test]
fn cancelled_lines_release_their_units_once_and_request_exactly_their_refund() {
    let part = lines_cancelled(&[(1, 1), (3, 2), (4, 1)], 15);
    let (cancellation_id, quantity) = (CANCELLATION, 3);
    let release_part = StockCommand::ReleasePart { order_id: ORDER, cancellation_id, quantity };
    let steps = vec![
        Step::Stock(sku("MUG"), release_part),
        request_refund(CANCELLATION.into(), 15, RefundReason::Requested),
    ];
    assert_eq!(reaction_to_last(&[placed(), allocated(), part.clone()]), Reaction::Send(steps));

    let end = cancelled(&[(1, 1), (2, 1)], 0);
    let steps = vec![release("BOWL", 1), release("MUG", 1), close(15)];
    assert_eq!(reaction_to_last(&[placed(), allocated(), part, end]), Reaction::Send(steps));
}

#[test]
fn the_closing_of_a_payment_refunds_what_the_cancellation_says_and_keeps_what_is_owed() {
    let end = OrderCancelled {
        reason: CancelReason::Requested,
        note: None,
        lines: cancelled_lines(&[(1, 2)]),
        owed: pence(20),
        refunds: refunds(CANCELLATION.into(), 18),
    };
    let Reaction::Send(steps) =
        reaction_to_last(&[placed(), allocated(), refund_requested().into(), end.into()])
    else {
        panic!("no steps")
    };
    let refund = Some((CANCELLATION.into(), pence(18)));
    let command = PaymentCommand::Close { order_id: ORDER, amount_due: pence(20 + 7), refund };
    assert_eq!(steps.last(), Some(&Step::Payment(payment_id(), command)));
}

#[test]
fn a_refund_of_an_earlier_version_is_requested_from_the_payment_of_the_order() {
    let requested = r#"{"refund_id":"00000000-0000-0000-0000-000000000004","amount":7}"#;
    let requested = OrderEvent::from_json("order.refund_requested.v1", requested.as_bytes()).unwrap();
    let expected = Reaction::Send(vec![request_refund(REFUND, 7, RefundReason::Requested)]);
    assert_eq!(reaction_to_last(&[placed(), allocated(), requested]), expected);
}

#[test]
fn a_manual_refund_is_requested_from_the_payment_under_its_id() {
    let requested = refund_requested().into();
    let expected = Reaction::Send(vec![request_refund(REFUND, 7, RefundReason::Requested)]);
    assert_eq!(reaction_to_last(&[placed(), allocated(), requested]), expected);
}

#[test]
fn a_recorded_payment_has_no_reaction() {
    let recorded = OrderPaymentRecorded { captured: pence(45), ..OrderPaymentRecorded::default() }.into();
    assert_eq!(reaction_to_last(&[placed(), allocated(), recorded]), Reaction::None);
    assert_eq!(reaction_to_last(&[placed(), allocated(), OrderPaid {}.into()]), Reaction::None);
}

fn authorization_recorded(authorized: i64) -> OrderEvent {
    let (payment_id, authorized) = (payment_id(), pence(authorized));
    OrderAuthorizationRecorded { payment_id, authorized, until: None, number: 1 }.into()
}

fn second_payment() -> PaymentId {
    PaymentId(Uuid::from_u128(6))
}

fn payment_added() -> OrderEvent {
    OrderPaymentAdded { payment_id: second_payment(), amount: pence(15), charge: None }.into()
}

#[test]
fn an_added_payment_is_requested_once_and_closed_with_its_order() {
    let request = PaymentCommand::Request {
        payment_id: second_payment(),
        order_id: ORDER,
        amount: pence(15),
        currency: "GBP".parse().unwrap(),
        charge: None,
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    let events = [placed(), allocated(), payment_added()];
    let expected = Reaction::Send(vec![Step::Payment(second_payment(), request)]);
    assert_eq!(reaction_to_last(&events), expected);
    let order = OrderDecider::fold(&events);
    let Reaction::Send(steps) = react_to_order(ORDER, &allocated(), &order) else { panic!("no request") };
    assert_eq!(steps.len(), 1, "the allocation requests its own payment alone: {steps:?}");

    let ended = [&events[..], &[OrderExpired {}.into()]].concat();
    let Reaction::Send(steps) = reaction_to_last(&ended) else { panic!("no closing") };
    let closed = steps.iter().filter(|step| matches!(step, Step::Payment(_, PaymentCommand::Close { .. })));
    assert_eq!(closed.count(), 2);
    assert_eq!(react_to_order(ORDER, &payment_added(), &OrderDecider::fold(&ended)), Reaction::None);
}

#[test]
fn an_overdue_order_waits_for_each_of_its_payments() {
    let due_at = Timestamp::UNIX_EPOCH;
    let moved = OrderDueMoved { payment_due_at: Some(due_at) }.into();
    let order = OrderDecider::fold(&[placed(), moved, allocated(), payment_added()]);
    let currency = "GBP".parse().unwrap();
    let requested = |payment_id| {
        let amount = pence(15);
        let terms = PaymentTerms::Prepaid;
        PaymentEvent::from(PaymentRequested {
            payment_id,
            order_id: ORDER,
            amount,
            currency,
            terms,
            credit: None,
        })
    };
    let first = PaymentDecider::fold(&[requested(payment_id())]);
    let due = |second: &[PaymentEvent]| {
        let second = PaymentDecider::fold(&[&[requested(second_payment())], second].concat());
        when_due(&order, &[first.clone(), second], due_at)
    };
    let expire = WhenDue::Expire(OrderCommand::Expire { now: due_at });
    assert_eq!(due(&[]), expire);
    let unknown = PaymentOutcomeUnknown { operation: Operation::Authorize };
    assert_eq!(due(&[unknown.into()]), WhenDue::Wait);
    let captured = PaymentCaptured { amount: pence(5), reference: None, charge: None, late: false };
    let WhenDue::Record(OrderCommand::RecordPayment(recorded)) = due(&[captured.into()]) else {
        panic!("nothing to record")
    };
    assert_eq!((recorded.payment_id, recorded.captured), (Some(second_payment()), pence(5)));
}

fn has_steps(reaction: &Reaction) -> bool {
    match reaction {
        Reaction::None => false,
        Reaction::Reserve(units) => !units.is_empty(),
        Reaction::Send(steps) => !steps.is_empty(),
    }
}

/// A history that ends with an event of this kind, in a state in which a reaction has work to do.
fn order_history(kind: OrderEventKind) -> Vec<OrderEvent> {
    let recorded = OrderPaymentRecorded { captured: pence(45), ..OrderPaymentRecorded::default() };
    let paid = [placed(), allocated(), recorded.into(), OrderPaid {}.into()];
    let all_shipped = [&paid[..], &[shipped(&[(1, 2), (2, 1), (3, 2), (4, 1)])]].concat();
    let returned = OrderReturned {
        return_id: RETURN,
        lines: vec![ReturnedLine { line: 1, quantity: 1, restock: true, value: Some(pence(10)) }],
        refund_amount: pence(10),
        withheld: Amount::ZERO,
        reason: None,
        refunds: refunds(RETURN.into(), 10),
        credit: None,
    };
    let refund = refund_requested();
    match kind {
        OrderEventKind::Placed => vec![placed()],
        OrderEventKind::Allocated => vec![placed(), allocated()],
        OrderEventKind::Rejected => vec![placed(), rejected()],
        OrderEventKind::PaymentRecorded => paid[..3].to_vec(),
        OrderEventKind::PaymentAdded => vec![placed(), allocated(), payment_added()],
        OrderEventKind::PaymentEnded => {
            let ended = OrderPaymentEnded { payment_id: payment_id(), ending: TenderEnding::Failed };
            vec![placed(), allocated(), payment_added(), ended.into()]
        }
        OrderEventKind::Paid => paid.to_vec(),
        OrderEventKind::Shipped => all_shipped,
        OrderEventKind::Delivered => {
            [&all_shipped[..], &[OrderDelivered { shipment_id: SHIPMENT }.into()]].concat()
        }
        OrderEventKind::ShipmentUndone => {
            let lines = parts(&[(1, 2), (2, 1), (3, 2), (4, 1)]);
            let undone = OrderShipmentUndone { shipment_id: SHIPMENT, lines, reason: None };
            [&all_shipped[..], &[undone.into()]].concat()
        }
        OrderEventKind::AuthorizationRecorded => vec![placed(), allocated(), authorization_recorded(45)],
        OrderEventKind::DueMoved => vec![placed(), OrderDueMoved { payment_due_at: None }.into()],
        OrderEventKind::Returned => [&all_shipped[..], &[returned.into()]].concat(),
        OrderEventKind::CreditTakenBack => {
            let (exchange_id, amount) = (ExchangeId(Uuid::from_u128(11)), pence(10));
            let credit = Some(CreditGiven { exchange_id, order_id: OrderId(Uuid::from_u128(12)), amount });
            let (refund_amount, refund_id) = (Amount::ZERO, RefundId(Uuid::from_u128(13)));
            let exchanged = OrderReturned { credit, refund_amount, refunds: Vec::new(), ..returned };
            let refunds = refunds(refund_id, 10);
            let taken = OrderCreditTakenBack { exchange_id, refund_id, amount, refunds };
            [&all_shipped[..], &[exchanged.into(), taken.into()]].concat()
        }
        OrderEventKind::RefundRequested => [&paid[..], &[refund.into()]].concat(),
        OrderEventKind::LinesCancelled => [&paid[..], &[lines_cancelled(&[(1, 1), (3, 2)], 10)]].concat(),
        OrderEventKind::Cancelled => {
            vec![placed(), allocated(), cancelled(&[(1, 2), (2, 1), (3, 2), (4, 1)], 0)]
        }
        OrderEventKind::Expired => vec![placed(), allocated(), OrderExpired {}.into()],
    }
}

#[test]
fn an_order_event_has_a_reaction_exactly_if_its_kind_says_so() {
    for &kind in OrderEventKind::ALL {
        let history = order_history(kind);
        assert_eq!(history.last().map(OrderEvent::kind), Some(kind));
        let reaction = reaction_to_last(&history);
        assert_eq!(has_steps(&reaction), order_event_has_reaction(kind), "{kind:?}: {reaction:?}");
    }
}

#[test]
fn an_undone_shipment_names_the_shipments_before_it_and_none_after_it() {
    let order_id = ORDER;
    let shipment = |number| ShipmentId(Uuid::from_u128(number));
    let ship = |number, lines: &[(u32, u32)]| -> OrderEvent {
        let (shipment_id, lines) = (shipment(number), parts(lines));
        OrderShipped { shipment_id, lines, carrier: None, tracking_number: None }.into()
    };
    let undo = |number, lines: &[(u32, u32)]| -> OrderEvent {
        OrderShipmentUndone { shipment_id: shipment(number), lines: parts(lines), reason: None }.into()
    };
    let undone = undo(2, &[(1, 1)]);
    let events =
        [placed(), allocated(), ship(1, &[(1, 1)]), ship(2, &[(1, 1)]), undone.clone(), ship(3, &[(1, 1)])];
    let unship = StockCommand::Unship {
        order_id,
        shipment_id: shipment(2),
        quantity: 1,
        shipments: vec![shipment(1)],
    };
    let reaction = react_to_order(ORDER, &undone, &OrderDecider::fold(&events));
    assert_eq!(reaction, Reaction::Send(vec![Step::Stock(sku("MUG"), unship)]));
}

use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::{
    Decider, RefundId, ReturnId, ShipmentId, Timestamp,
    order::{
        NewLine, OrderAllocated, OrderCancelled, OrderDecider, OrderDelivered, OrderExpired, OrderPaid,
        OrderPaymentRecorded, OrderRefundRequested, OrderRejected, OrderReturned, OrderShipped, PlaceOrder,
        ReturnLine,
    },
    payment::{
        CaptureMode, Operation, PaymentAuthorized, PaymentCaptureRequested, PaymentCaptured,
        PaymentChargePending, PaymentChargeRequested, PaymentClosed, PaymentDecider, PaymentFailed,
        PaymentOutcomeUnknown, PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded,
        PaymentRequested, PaymentVoidRequested, PaymentVoided, ProviderWork,
    },
};

const ORDER: OrderId = OrderId(Uuid::from_u128(1));
const SHIPMENT: ShipmentId = ShipmentId(Uuid::from_u128(2));
const RETURN: ReturnId = ReturnId(Uuid::from_u128(3));
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
        reference: None,
        metadata: BTreeMap::new(),
        placed_at: Timestamp::UNIX_EPOCH,
        payment_due_at: None,
        payment: None,
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
    OrderAllocated { payment_id: Some(payment_id()) }.into()
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

fn cancelled(lines: &[(u32, u32)], amount_due: i64) -> OrderEvent {
    let reason = CancelReason::Requested;
    OrderCancelled { reason, note: None, lines: parts(lines), amount_due: pence(amount_due) }.into()
}

/// The reaction to the last of these events, on the state after it.
fn reaction_to_last(events: &[OrderEvent]) -> Reaction {
    react_to_order(ORDER, events.last().unwrap(), &OrderDecider::fold(events))
}

fn release(name: &str, quantity: u32) -> Step {
    Step::Stock(sku(name), StockCommand::Release { order_id: ORDER, quantity })
}

fn close(amount_due: i64) -> Step {
    let command = PaymentCommand::Close { order_id: ORDER, amount_due: pence(amount_due) };
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
    };
    let expected = Reaction::Send(vec![Step::Payment(payment_id(), request)]);
    assert_eq!(reaction_to_last(&[placed(), allocated()]), expected);

    let without_payment = OrderAllocated { payment_id: None }.into();
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
        let part = |line, quantity, restock| ReturnLine { line, quantity, restock };
        OrderReturned {
            return_id: RETURN,
            lines: vec![part(1, 1, restock), part(2, 1, false), part(3, 1, restock)],
            refund_amount: pence(refund_amount),
            reason: None,
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

#[test]
fn a_manual_refund_is_requested_from_the_payment_under_its_id() {
    let requested = OrderRefundRequested { refund_id: REFUND, amount: pence(7), reason: None }.into();
    let expected = Reaction::Send(vec![request_refund(REFUND, 7, RefundReason::Requested)]);
    assert_eq!(reaction_to_last(&[placed(), allocated(), requested]), expected);
}

#[test]
fn a_recorded_payment_has_no_reaction() {
    let zero = Amount::ZERO;
    let recorded = OrderPaymentRecorded { captured: pence(45), refunded: zero, refunds_failed: zero }.into();
    assert_eq!(reaction_to_last(&[placed(), allocated(), recorded]), Reaction::None);
    assert_eq!(reaction_to_last(&[placed(), allocated(), OrderPaid {}.into()]), Reaction::None);
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
    let recorded =
        OrderPaymentRecorded { captured: pence(45), refunded: Amount::ZERO, refunds_failed: Amount::ZERO };
    let paid = [placed(), allocated(), recorded.into(), OrderPaid {}.into()];
    let all_shipped = [&paid[..], &[shipped(&[(1, 2), (2, 1), (3, 2), (4, 1)])]].concat();
    let returned = OrderReturned {
        return_id: RETURN,
        lines: vec![ReturnLine { line: 1, quantity: 1, restock: true }],
        refund_amount: pence(10),
        reason: None,
    };
    let refund = OrderRefundRequested { refund_id: REFUND, amount: pence(7), reason: None };
    match kind {
        OrderEventKind::Placed => vec![placed()],
        OrderEventKind::Allocated => vec![placed(), allocated()],
        OrderEventKind::Rejected => vec![placed(), rejected()],
        OrderEventKind::PaymentRecorded => paid[..3].to_vec(),
        OrderEventKind::Paid => paid.to_vec(),
        OrderEventKind::Shipped => all_shipped,
        OrderEventKind::Delivered => {
            [&all_shipped[..], &[OrderDelivered { shipment_id: SHIPMENT }.into()]].concat()
        }
        OrderEventKind::Returned => [&all_shipped[..], &[returned.into()]].concat(),
        OrderEventKind::RefundRequested => [&paid[..], &[refund.into()]].concat(),
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

fn payment_requested() -> PaymentEvent {
    let currency = "GBP".parse().unwrap();
    PaymentRequested { payment_id: payment_id(), order_id: ORDER, amount: pence(45), currency }.into()
}

fn captured(amount: i64) -> PaymentEvent {
    PaymentCaptured { amount: pence(amount), reference: None, charge: None }.into()
}

/// The reaction to the last of `events`, on the state after `since`.
fn reaction_to_payment(events: &[PaymentEvent], since: &[PaymentEvent]) -> Reaction {
    let payment = PaymentDecider::fold(&[&[payment_requested()], events, since].concat());
    react_to_payment(events.last().unwrap(), &payment)
}

fn to_order(command: OrderCommand) -> Reaction {
    Reaction::Send(vec![Step::Order(ORDER, command)])
}

#[test]
fn the_order_records_the_current_amounts_of_its_payment() {
    let requested =
        PaymentRefundRequested { refund_id: REFUND, amount: pence(5), reason: RefundReason::Return };
    let refunded = PaymentRefunded { refund_id: REFUND, amount: pence(5), reference: None };
    let record = |captured, refunded| {
        let (captured, refunded) = (pence(captured), pence(refunded));
        to_order(OrderCommand::RecordPayment { captured, refunded, refunds_failed: Amount::ZERO })
    };
    assert_eq!(reaction_to_payment(&[captured(30)], &[]), record(30, 0));
    assert_eq!(reaction_to_payment(&[captured(30)], &[captured(15)]), record(45, 0));
    assert_eq!(reaction_to_payment(&[captured(30), requested.into(), refunded.into()], &[]), record(30, 5));
}

#[test]
fn a_finally_failed_or_voided_payment_cancels_its_order() {
    let failed = |retryable| PaymentEvent::from(PaymentFailed { reason: None, retryable });
    let voided = || PaymentEvent::from(PaymentVoided { reason: None });
    let closed = || PaymentEvent::from(PaymentClosed { order_id: ORDER, amount_due: Amount::ZERO });
    let cancel = |reason| to_order(OrderCommand::Cancel { reason, note: None });

    assert_eq!(reaction_to_payment(&[failed(false)], &[]), cancel(CancelReason::PaymentFailed));
    assert_eq!(reaction_to_payment(&[voided()], &[]), cancel(CancelReason::PaymentVoided));

    for (events, since) in [
        (vec![failed(true)], vec![]),
        // Money was captured later or before.
        (vec![failed(false)], vec![captured(45)]),
        (vec![captured(30), voided()], vec![]),
        // The order has ended already and caused the void.
        (vec![closed(), voided()], vec![]),
        (vec![closed(), failed(false)], vec![]),
    ] {
        assert_eq!(reaction_to_payment(&events, &since), Reaction::None, "{events:?} {since:?}");
    }
}

/// A history that ends with an event of this kind, in a state in which a reaction has work to do.
fn payment_history(kind: PaymentEventKind) -> Vec<PaymentEvent> {
    let charge: PaymentEvent = PaymentChargeRequested {
        charge: 1,
        provider: "provider".into(),
        method: "card".into(),
        amount: pence(45),
        capture: CaptureMode::Manual,
    }
    .into();
    let authorized = PaymentAuthorized { amount: pence(45), reference: None, charge: Some(1) };
    let captured = PaymentCaptured { amount: pence(45), reference: None, charge: Some(1) };
    let refund = PaymentRefundRequested { refund_id: REFUND, amount: pence(5), reason: RefundReason::Return };
    let held = [payment_requested(), charge, authorized.into()];
    let taken = [&held[..], &[captured.into()]].concat();
    let asked_back = [&taken[..], &[refund.into()]].concat();
    let after_charge = |event: PaymentEvent| [&held[..2], &[event]].concat();
    let after_authorisation = |event: PaymentEvent| [&held[..], &[event]].concat();
    let after_refund = |event: PaymentEvent| [&asked_back[..], &[event]].concat();
    let (refund_id, amount) = (REFUND, pence(5));
    match kind {
        PaymentEventKind::Requested => held[..1].to_vec(),
        PaymentEventKind::ChargeRequested => held[..2].to_vec(),
        PaymentEventKind::ChargePending => {
            after_charge(PaymentChargePending { charge: 1, reference: "pi".into() }.into())
        }
        PaymentEventKind::Authorized => held.to_vec(),
        PaymentEventKind::CaptureRequested => {
            let (amount, total) = (pence(45), pence(45));
            after_authorisation(PaymentCaptureRequested { charge: 1, amount, total }.into())
        }
        PaymentEventKind::Captured => taken,
        PaymentEventKind::Failed => after_charge(PaymentFailed { reason: None, retryable: false }.into()),
        PaymentEventKind::VoidRequested => after_authorisation(PaymentVoidRequested {}.into()),
        PaymentEventKind::Voided => after_authorisation(PaymentVoided { reason: None }.into()),
        PaymentEventKind::OutcomeUnknown => {
            after_charge(PaymentOutcomeUnknown { operation: Operation::Authorize }.into())
        }
        PaymentEventKind::RefundRequested => asked_back,
        PaymentEventKind::Refunded => {
            after_refund(PaymentRefunded { refund_id, amount, reference: None }.into())
        }
        PaymentEventKind::RefundFailed => {
            after_refund(PaymentRefundFailed { refund_id, amount, reason: None }.into())
        }
        PaymentEventKind::Closed => {
            [&held[..1], &[PaymentClosed { order_id: ORDER, amount_due: Amount::ZERO }.into()]].concat()
        }
    }
}

#[test]
fn a_payment_event_has_a_reaction_exactly_if_its_kind_says_so() {
    for &kind in PaymentEventKind::ALL {
        let history = payment_history(kind);
        assert_eq!(history.last().map(PaymentEvent::kind), Some(kind));
        let reaction = react_to_payment(history.last().unwrap(), &PaymentDecider::fold(&history));
        assert_eq!(has_steps(&reaction), payment_event_has_reaction(kind), "{kind:?}: {reaction:?}");
    }
}

#[test]
fn a_payment_event_adds_work_for_the_provider_exactly_if_its_kind_says_so() {
    for &kind in PaymentEventKind::ALL {
        let history = payment_history(kind);
        let (_, before) = history.split_last().unwrap();
        let known = PaymentDecider::fold(before).provider_work();
        let mut added = PaymentDecider::fold(&history).provider_work();
        added.retain(|work| !known.contains(work) && !matches!(work, ProviderWork::LookUp(_)));
        assert_eq!(!added.is_empty(), payment_event_asks_provider(kind), "{kind:?}: {added:?}");
    }
}

#[test]
fn an_event_that_moves_no_money_has_no_reaction_on_the_order() {
    let authorized = PaymentAuthorized { amount: pence(45), reference: None, charge: None };
    assert_eq!(reaction_to_payment(&[authorized.into()], &[]), Reaction::None);
    let orphan = PaymentDecider::fold(&[captured(1)]);
    assert_eq!(react_to_payment(&captured(1), &orphan), Reaction::None);
}

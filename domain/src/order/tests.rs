use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::{
    Amount, CancellationId, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp, testing,
};

fn given(events: impl IntoIterator<Item = OrderEvent>) -> testing::Given<OrderDecider> {
    testing::given(events)
}

fn pence(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

const ORDER: OrderId = OrderId(Uuid::from_u128(1));

fn shipment(number: u128) -> ShipmentId {
    ShipmentId(Uuid::from_u128(number))
}

fn return_id(number: u128) -> ReturnId {
    ReturnId(Uuid::from_u128(number))
}

fn refund_id(number: u128) -> RefundId {
    RefundId(Uuid::from_u128(number))
}

fn line(sku: &str, quantity: u32, unit_price: i64) -> NewLine {
    let (sku, unit_price) = (Sku::new(sku).unwrap(), pence(unit_price));
    NewLine { sku, quantity, unit_price, stocked: true, adjustments: Vec::new() }
}

/// Four mugs at 10, two bowls at 20, postage of 5: 85 in total, due at second 100.
fn order() -> PlaceOrder {
    PlaceOrder {
        order_id: ORDER,
        customer_id: Some("17850".into()),
        currency: "GBP".parse().unwrap(),
        country: Some("United Kingdom".into()),
        lines: vec![
            line("MUG", 4, 10),
            line("BOWL", 2, 20),
            NewLine { stocked: false, ..line("POST", 1, 5) },
        ],
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: None,
        metadata: BTreeMap::new(),
        placed_at: at(0),
        now: at(0),
        payment_due_at: Some(at(100)),
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    }
}

fn place(order: PlaceOrder) -> OrderCommand {
    OrderCommand::Place(Box::new(order))
}

fn placed_as(order: PlaceOrder) -> OrderEvent {
    let mut events = OrderDecider::decide(&Order::default(), place(order)).unwrap();
    assert_eq!(events.len(), 1);
    events.remove(0)
}

fn placed() -> OrderEvent {
    placed_as(order())
}

fn payment_id() -> PaymentId {
    PaymentId::of_order(ORDER)
}

fn allocated() -> OrderEvent {
    OrderAllocated { payment_id: Some(payment_id()), payments: Vec::new() }.into()
}

fn allocated_free() -> OrderEvent {
    OrderAllocated { payment_id: None, payments: Vec::new() }.into()
}

fn shortages() -> Vec<Shortage> {
    vec![Shortage { sku: Sku::new("MUG").unwrap(), requested: 4, available: 3 }]
}

fn rejected() -> OrderEvent {
    OrderRejected { shortages: shortages() }.into()
}

fn recorded(captured: i64, refunded: i64, refunds_failed: i64) -> OrderEvent {
    recorded_on(payment_id(), captured, refunded, refunds_failed)
}

fn recorded_on(payment_id: PaymentId, captured: i64, refunded: i64, refunds_failed: i64) -> OrderEvent {
    OrderPaymentRecorded {
        payment_id: Some(payment_id),
        captured: pence(captured),
        refunded: pence(refunded),
        refunds_failed: pence(refunds_failed),
        ..OrderPaymentRecorded::default()
    }
    .into()
}

fn paid() -> OrderEvent {
    OrderPaid {}.into()
}

/// Placed, allocated, and all 85 captured.
fn paid_order() -> Vec<OrderEvent> {
    vec![placed(), allocated(), recorded(85, 0, 0), paid()]
}

fn after(events: Vec<OrderEvent>, more: impl IntoIterator<Item = OrderEvent>) -> Vec<OrderEvent> {
    events.into_iter().chain(more).collect()
}

fn parts(lines: &[(u32, u32)]) -> Vec<LineQuantity> {
    lines.iter().map(|&(line, quantity)| LineQuantity { line, quantity }).collect()
}

fn shipped(number: u128, lines: &[(u32, u32)]) -> OrderEvent {
    let (carrier, tracking_number) = (None, None);
    OrderShipped { shipment_id: shipment(number), lines: parts(lines), carrier, tracking_number }.into()
}

fn delivered(number: u128) -> OrderEvent {
    OrderDelivered { shipment_id: shipment(number) }.into()
}

fn return_lines(lines: &[(u32, u32)]) -> Vec<ReturnLine> {
    lines.iter().map(|&(line, quantity)| ReturnLine { line, quantity, restock: true }).collect()
}

/// What units of [`order`] are worth.
fn value((line, quantity): (u32, u32)) -> Amount {
    let price = order().lines[line as usize - 1].unit_price;
    price.saturating_mul(quantity)
}

fn refunds(refund_id: RefundId, amount: i64) -> Vec<OrderRefund> {
    let refund = OrderRefund { refund_id, payment_id: payment_id(), amount: pence(amount) };
    if amount > 0 { vec![refund] } else { Vec::new() }
}

/// Units that are back, and what is refunded for them.
fn returned(number: u128, lines: &[(u32, u32)], refund_amount: i64) -> OrderEvent {
    let of_line = |&(line, quantity)| ReturnedLine {
        line,
        quantity,
        restock: true,
        value: Some(value((line, quantity))),
    };
    let worth: i64 = lines.iter().map(|&line| value(line).minor_units()).sum();
    OrderReturned {
        return_id: return_id(number),
        lines: lines.iter().map(of_line).collect(),
        refund_amount: pence(refund_amount),
        withheld: pence(worth - refund_amount),
        reason: None,
        refunds: refunds(return_id(number).into(), refund_amount),
        credit: None,
    }
    .into()
}

/// A refund that lowers the price.
fn refund_requested(number: u128, amount: i64) -> OrderEvent {
    refund_that_lowers(number, amount, amount)
}

/// A refund that lowers the price by another amount.
fn refund_that_lowers(number: u128, amount: i64, lowers_owed: i64) -> OrderEvent {
    OrderRefundRequested {
        refund_id: refund_id(number),
        amount: pence(amount),
        lines: Vec::new(),
        lowers_owed: Some(pence(lowers_owed)),
        reason: None,
        refunds: refunds(refund_id(number), amount),
    }
    .into()
}

const CANCELLATION: CancellationId = CancellationId(Uuid::from_u128(77));

/// The end of an order that then owes `owed` and refunds `refund_amount`.
fn cancelled(reason: CancelReason, lines: &[(u32, u32)], owed: i64, refund_amount: i64) -> OrderEvent {
    OrderCancelled {
        reason,
        note: None,
        lines: cancelled_lines(lines),
        owed: pence(owed),
        refunds: refunds(CANCELLATION.into(), refund_amount),
    }
    .into()
}

fn cancelled_lines(lines: &[(u32, u32)]) -> Vec<CancelledLine> {
    let of_line = |&(line, quantity)| CancelledLine { line, quantity, value: Some(value((line, quantity))) };
    lines.iter().map(of_line).collect()
}

/// Cancelled before anything was shipped or paid.
fn cancelled_whole() -> OrderEvent {
    cancelled(CancelReason::Requested, &[(1, 4), (2, 2), (3, 1)], 0, 0)
}

fn expired() -> OrderEvent {
    OrderExpired {}.into()
}

fn allocate() -> OrderCommand {
    OrderCommand::Allocate { payment_id: payment_id() }
}

fn reject() -> OrderCommand {
    OrderCommand::Reject { shortages: shortages() }
}

fn record(captured: i64, refunded: i64, refunds_failed: i64) -> OrderCommand {
    OrderCommand::RecordPayment(OrderPaymentRecorded {
        captured: pence(captured),
        refunded: pence(refunded),
        refunds_failed: pence(refunds_failed),
        ..OrderPaymentRecorded::default()
    })
}

fn ship(number: u128, lines: &[(u32, u32)]) -> OrderCommand {
    OrderCommand::Ship {
        shipment_id: shipment(number),
        lines: Some(parts(lines)),
        carrier: None,
        tracking_number: None,
        now: at(0),
    }
}

fn ship_rest(number: u128) -> OrderCommand {
    OrderCommand::Ship {
        shipment_id: shipment(number),
        lines: None,
        carrier: None,
        tracking_number: None,
        now: at(0),
    }
}

fn deliver(number: u128) -> OrderCommand {
    OrderCommand::Deliver { shipment_id: shipment(number) }
}

fn take_back(number: u128, lines: &[(u32, u32)], refund_amount: Option<i64>) -> OrderCommand {
    OrderCommand::Return(NewReturn {
        return_id: return_id(number),
        lines: return_lines(lines),
        refund_amount: refund_amount.map(pence),
        reason: None,
    })
}

fn refund(number: u128, amount: i64) -> OrderCommand {
    refund_from(number, amount, None)
}

fn refund_from(number: u128, amount: i64, payment_id: Option<PaymentId>) -> OrderCommand {
    let (refund_id, lines) = (refund_id(number), Vec::new());
    OrderCommand::Refund { refund_id, amount: pence(amount), lines, payment_id, reason: None }
}

fn cancel(reason: CancelReason) -> OrderCommand {
    OrderCommand::Cancel(NewCancellation::of_the_rest(CANCELLATION, reason))
}

fn expire(second: i64) -> OrderCommand {
    OrderCommand::Expire { now: at(second) }
}

mod ending;
mod fulfilment;
mod money;
mod placing;
mod statuses;
mod tenders;
mod terms;

#[test]
fn every_command_to_an_order_that_was_never_placed_is_refused() {
    let commands = [
        allocate(),
        reject(),
        record(1, 0, 0),
        ship_rest(1),
        deliver(1),
        take_back(1, &[(1, 1)], None),
        refund(1, 1),
        cancel(CancelReason::Requested),
        expire(200),
    ];
    for command in commands {
        given([]).when(command).then_refused(OrderRefusal::NotFound);
    }
}

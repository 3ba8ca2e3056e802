use std::collections::BTreeMap;

use uuid::Uuid;

use super::*;
use crate::{Amount, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp, testing};

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
    NewLine { sku: Sku::new(sku).unwrap(), quantity, unit_price: pence(unit_price), stocked: true }
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
        reference: None,
        metadata: BTreeMap::new(),
        placed_at: at(0),
        payment_due_at: Some(at(100)),
        payment: None,
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
    OrderAllocated { payment_id: Some(payment_id()) }.into()
}

fn allocated_free() -> OrderEvent {
    OrderAllocated { payment_id: None }.into()
}

fn shortages() -> Vec<Shortage> {
    vec![Shortage { sku: Sku::new("MUG").unwrap(), requested: 4, available: 3 }]
}

fn rejected() -> OrderEvent {
    OrderRejected { shortages: shortages() }.into()
}

fn recorded(captured: i64, refunded: i64, refunds_failed: i64) -> OrderEvent {
    OrderPaymentRecorded {
        captured: pence(captured),
        refunded: pence(refunded),
        refunds_failed: pence(refunds_failed),
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

fn returned(number: u128, lines: &[(u32, u32)], refund_amount: i64) -> OrderEvent {
    OrderReturned {
        return_id: return_id(number),
        lines: return_lines(lines),
        refund_amount: pence(refund_amount),
        reason: None,
    }
    .into()
}

fn refund_requested(number: u128, amount: i64) -> OrderEvent {
    OrderRefundRequested { refund_id: refund_id(number), amount: pence(amount), reason: None }.into()
}

fn cancelled(reason: CancelReason, lines: &[(u32, u32)], amount_due: i64) -> OrderEvent {
    OrderCancelled { reason, note: None, lines: parts(lines), amount_due: pence(amount_due) }.into()
}

/// Cancelled before anything was shipped.
fn cancelled_whole() -> OrderEvent {
    cancelled(CancelReason::Requested, &[(1, 4), (2, 2), (3, 1)], 0)
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
    OrderCommand::RecordPayment {
        captured: pence(captured),
        refunded: pence(refunded),
        refunds_failed: pence(refunds_failed),
    }
}

fn ship(number: u128, lines: &[(u32, u32)]) -> OrderCommand {
    OrderCommand::Ship {
        shipment_id: shipment(number),
        lines: Some(parts(lines)),
        carrier: None,
        tracking_number: None,
    }
}

fn ship_rest(number: u128) -> OrderCommand {
    OrderCommand::Ship { shipment_id: shipment(number), lines: None, carrier: None, tracking_number: None }
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
    OrderCommand::Refund { refund_id: refund_id(number), amount: pence(amount), reason: None }
}

fn cancel(reason: CancelReason) -> OrderCommand {
    OrderCommand::Cancel { reason, note: None }
}

fn expire(second: i64) -> OrderCommand {
    OrderCommand::Expire { now: at(second) }
}

mod ending;
mod fulfilment;
mod money;
mod placing;
mod statuses;

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

//! The rows of an export. Their members are the columns, in this order.

use std::io;

use domain::{
    Amount, Currency, DecodeError, EventId, OrderId, RecordedEvent, Revision, Sku, StreamName, Timestamp,
    order::{FulfilmentStatus, Order, OrderStatus, PaymentStatus},
    payment::{Payment, PaymentState},
    stock::{StockEvent, StockLevels},
};
use infra::event_row::EventRow;
use projectors::as_of::FoldedStream;
use serde::Serialize;
use uuid::Uuid;

use super::{Format, manifest::Sums, table::Table};

/// The data of an event are JSON: a text in CSV, a value in JSON Lines.
pub(super) fn write_event(table: &mut Table, event: &RecordedEvent) -> io::Result<()> {
    let metadata = event.decode_metadata().ok();
    let row = EventRow::of(event, metadata.as_ref());
    match table.format() {
        Format::Jsonl => table.row(&row),
        Format::Csv => table.row(&EventRow { data: row.data.into_text(), ..row }),
    }
}

/// An order at the end of the period. Amounts are in minor units.
#[derive(Debug, Serialize)]
pub(super) struct OrderRow<'a> {
    order_id: String,
    reference: Option<&'a str>,
    customer_id: Option<&'a str>,
    country: Option<&'a str>,
    currency: Option<Currency>,
    status: OrderStatus,
    payment_status: PaymentStatus,
    fulfilment_status: FulfilmentStatus,
    placed_at: Option<Timestamp>,
    recorded_at: Timestamp,
    updated_at: Timestamp,
    revision: Revision,
    lines: usize,
    /// As placed.
    units: u64,
    total: i64,
    owed: i64,
    amount_due: i64,
    captured: i64,
    refunded: i64,
    disputed: i64,
}

impl<'a> OrderRow<'a> {
    pub fn of(stream: &FoldedStream, order: &'a Order) -> Self {
        Self {
            order_id: id_of(stream),
            reference: order.reference(),
            customer_id: order.customer_id(),
            country: order.country(),
            currency: order.currency(),
            status: order.status(),
            payment_status: order.payment_status(),
            fulfilment_status: order.fulfilment_status(),
            placed_at: order.placed_at(),
            recorded_at: stream.recorded_at,
            updated_at: stream.updated_at,
            revision: stream.revision,
            lines: order.lines().len(),
            units: order.lines().iter().map(|line| u64::from(line.quantity)).sum(),
            total: order.total().minor_units(),
            owed: order.owed().minor_units(),
            amount_due: order.amount_due().minor_units(),
            captured: order.captured().minor_units(),
            refunded: order.refunded().minor_units(),
            disputed: order.disputed().minor_units(),
        }
    }

    pub fn add_to(&self, sums: &mut Sums) {
        let columns = [
            ("rows", 1),
            ("total", self.total),
            ("owed", self.owed),
            ("amount_due", self.amount_due),
            ("captured", self.captured),
            ("refunded", self.refunded),
            ("disputed", self.disputed),
        ];
        add(sums, self.currency, columns);
    }
}

/// A payment at the end of the period. Amounts are in minor units.
#[derive(Debug, Serialize)]
pub(super) struct PaymentRow<'a> {
    payment_id: String,
    order_id: Option<OrderId>,
    reference: Option<&'a str>,
    currency: Option<Currency>,
    status: PaymentState,
    /// True for the credit of an exchange, for which no money moves.
    is_credit: bool,
    recorded_at: Timestamp,
    updated_at: Timestamp,
    revision: Revision,
    amount: i64,
    authorized: i64,
    captured: i64,
    refunded: i64,
    disputed: i64,
}

impl<'a> PaymentRow<'a> {
    pub fn of(stream: &FoldedStream, payment: &'a Payment) -> Self {
        let units = Amount::minor_units;
        Self {
            payment_id: id_of(stream),
            order_id: payment.order_id(),
            reference: payment.reference(),
            currency: payment.currency(),
            status: payment.state(),
            is_credit: payment.credit().is_some(),
            recorded_at: stream.recorded_at,
            updated_at: stream.updated_at,
            revision: stream.revision,
            amount: units(payment.amount()),
            authorized: units(payment.authorized()),
            captured: units(payment.captured()),
            refunded: units(payment.refunded()),
            disputed: units(payment.disputed()),
        }
    }

    pub fn add_to(&self, sums: &mut Sums) {
        let columns = [
            ("rows", 1),
            ("amount", self.amount),
            ("authorized", self.authorized),
            ("captured", self.captured),
            ("refunded", self.refunded),
            ("disputed", self.disputed),
        ];
        add(sums, self.currency, columns);
    }
}

/// A movement of stock, in units, with the levels after it.
#[derive(Debug, Serialize)]
pub(super) struct StockMovement {
    sku: Sku,
    revision: Revision,
    position: u64,
    recorded_at: Timestamp,
    event_type: String,
    event_id: EventId,
    on_hand_change: i64,
    reserved_change: i64,
    on_hand: u32,
    reserved: u32,
    order_id: Option<OrderId>,
    /// The shipment, return or cancellation.
    part_id: Option<Uuid>,
    /// The reference of a receipt, or the reason of an adjustment.
    reason: Option<String>,
    command: Option<String>,
    correlation_id: Option<Uuid>,
    causation_id: Option<EventId>,
    principal: Option<String>,
    person: Option<String>,
}

impl StockMovement {
    pub fn of(
        sku: &Sku,
        event: &RecordedEvent,
        before: StockLevels,
        after: StockLevels,
    ) -> Result<Self, DecodeError> {
        let (order_id, part_id, reason) = details(event.decode_as()?);
        let metadata = event.decode_metadata().ok();
        let actor = metadata.as_ref().and_then(|metadata| metadata.actor.clone());
        Ok(Self {
            sku: sku.clone(),
            revision: event.revision,
            position: event.position,
            recorded_at: event.recorded_at,
            event_type: event.type_name.to_string(),
            event_id: event.id,
            on_hand_change: i64::from(after.on_hand) - i64::from(before.on_hand),
            reserved_change: i64::from(after.reserved) - i64::from(before.reserved),
            on_hand: after.on_hand,
            reserved: after.reserved,
            order_id,
            part_id,
            reason,
            correlation_id: metadata.as_ref().map(|metadata| metadata.correlation_id),
            causation_id: metadata.as_ref().and_then(|metadata| metadata.causation_id),
            command: metadata.map(|metadata| metadata.command),
            principal: actor.as_ref().map(|actor| actor.principal.to_string()),
            person: actor.and_then(|actor| actor.person),
        })
    }

    pub fn add_to(&self, sums: &mut Sums) {
        let all = sums.entry("all".to_owned()).or_default();
        *all.entry("rows").or_default() += 1;
        *all.entry("on_hand_change").or_default() += i128::from(self.on_hand_change);
        *all.entry("reserved_change").or_default() += i128::from(self.reserved_change);
    }
}

/// The order, the part of it, and the reason.
fn details(event: StockEvent) -> (Option<OrderId>, Option<Uuid>, Option<String>) {
    match event {
        StockEvent::Received(it) => (None, None, it.reference),
        StockEvent::Adjusted(it) => (None, None, it.reason),
        StockEvent::Reserved(it) => (Some(it.order_id), None, None),
        StockEvent::Released(it) => (Some(it.order_id), it.cancellation_id.map(|id| id.0), None),
        StockEvent::Shipped(it) => (Some(it.order_id), Some(it.shipment_id.0), None),
        StockEvent::Unshipped(it) => (Some(it.order_id), Some(it.shipment_id.0), None),
        StockEvent::Returned(it) => (Some(it.order_id), Some(it.return_id.0), None),
    }
}

/// The id in the name of an order or a payment, whose state may lack it.
fn id_of(stream: &FoldedStream) -> String {
    match &stream.name {
        StreamName::Order(id) => id.to_string(),
        StreamName::Payment(id) => id.to_string(),
        StreamName::Stock(_) | StreamName::Receipt(_) | StreamName::Exchange(_) => String::new(),
    }
}

fn add<const N: usize>(sums: &mut Sums, currency: Option<Currency>, columns: [(&'static str, i64); N]) {
    let group = currency.map(|currency| currency.to_string()).unwrap_or_default();
    let of_currency = sums.entry(group).or_default();
    for (column, value) in columns {
        *of_currency.entry(column).or_default() += i128::from(value);
    }
}

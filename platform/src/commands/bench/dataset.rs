//! A generated history of any length: orders placed, paid, shipped, cancelled and rejected.

use std::collections::BTreeMap;

use domain::{
    Amount, CancellationId, CommandId, NewEvent, OrderId, ShipmentId, Sku, Timestamp,
    order::{CancelReason, NewCancellation, NewLine, OrderCommand, PaymentTerms, PlaceOrder},
    payment::PaymentCommand,
};
use infra::event_store::Append;
use tempfile::TempDir;

use super::setup::{BenchSetup, open_event_store};
use crate::{
    commands::{
        Failure,
        history::{History, HistoryWriter, Sale},
    },
    progress::ProgressDisplay,
};

/// 2026-01-01T00:00Z, the time of the first order.
const BEGIN_S: i64 = 1_767_225_600;
/// One order every 30 s, so a longer history has more days and not busier days.
const ORDER_EVERY_S: i64 = 30;
const UNITS_PER_SKU: u32 = 1_000_000_000;
const SOLD_OUT: &str = "SOLD-OUT";
const SAMPLE_ORDERS: u64 = 2_000;
pub const CURRENCY: &str = "GBP";
const COUNTRIES: [&str; 5] = ["United Kingdom", "Germany", "France", "EIRE", "Netherlands"];

/// A history in the event store of a data directory.
pub struct Dataset {
    pub directory: TempDir,
    pub orders: u64,
    pub events: u64,
    /// Orders evenly spread over the history: all orders of a short one, about 2,000 of a long one.
    pub sample: Vec<OrderId>,
}

impl Dataset {
    pub const SKUS: usize = 1_000;
    /// One order of this many is cancelled.
    pub const ORDERS_PER_CANCELLED: u64 = 20;
    /// Orders have one to four lines, 2.5 on average.
    pub const LINES_PER_TWO_ORDERS: u64 = 5;

    pub async fn make(bench: &BenchSetup, orders: u64) -> Result<Self, Failure> {
        let directory = bench.new_directory()?;
        let opened = open_event_store(&directory).await?;
        let mut writer = HistoryWriter::new(&opened.store);
        receive_stock(&mut writer.history);
        let progress = ProgressDisplay::start("orders written", orders);
        let mut sample = Vec::new();
        for number in 0..orders {
            let order_id = add_order(&mut writer.history, number, Fate::of(number));
            if number % (orders / SAMPLE_ORDERS).max(1) == 0 {
                sample.push(order_id);
            }
            let done = number + 1;
            if done % HistoryWriter::CHUNK_ORDERS == 0 || done == orders {
                writer.end_chunk().await?;
                progress.set(done, orders);
            }
        }
        let events = writer.finish().await?;
        opened.close().await;
        Ok(Self { directory, orders, events, sample })
    }

    /// The time at which order `number` is placed.
    pub fn placed_at(number: u64) -> Timestamp {
        let seconds = ORDER_EVERY_S * i64::try_from(number).expect("a history has fewer than 2^63 orders");
        Timestamp::from_second(BEGIN_S + seconds).expect("a history is shorter than 7,000 years")
    }

    /// Each customer has ten orders, a hundred orders apart.
    pub fn customer(number: u64) -> String {
        format!("customer-{}", number / 1_000 * 100 + number % 100)
    }

    pub fn sku(number: usize) -> String {
        format!("SKU-{:04}", number % Self::SKUS)
    }
}

/// The events of one order with one line: placed, stock reserved, allocated, payment requested.
pub fn events_of_one_order() -> Vec<NewEvent> {
    let mut appended = Vec::new();
    let mut history = History::new(|append: Append| appended.push(append));
    receive_stock(&mut history);
    add_order(&mut history, 0, Fate::Unpaid);
    drop(history);
    let of_order = appended.into_iter().skip(Dataset::SKUS).flat_map(|append| append.events);
    of_order.collect()
}

/// All appends of a short history. The receipts of stock come first.
#[cfg(test)]
pub fn history_of(orders: u64) -> Vec<Append> {
    let mut appended = Vec::new();
    let mut history = History::new(|append: Append| appended.push(append));
    receive_stock(&mut history);
    for number in 0..orders {
        add_order(&mut history, number, Fate::of(number));
    }
    drop(history);
    appended
}

/// The last state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Cancelled,
    /// One of its SKUs is sold out.
    Rejected,
    Unpaid,
    Paid,
    Shipped,
}

impl Fate {
    /// Of twenty orders one is cancelled, one rejected, three stay unpaid, three stay paid and twelve are
    /// shipped.
    fn of(number: u64) -> Self {
        match number % 20 {
            0 => Self::Cancelled,
            1 => Self::Rejected,
            2..=4 => Self::Unpaid,
            5..=7 => Self::Paid,
            _ => Self::Shipped,
        }
    }
}

fn receive_stock(history: &mut History<'_>) {
    for number in 0..Dataset::SKUS {
        history.receive(&sku(&Dataset::sku(number)), UNITS_PER_SKU);
    }
}

/// Adds all events of one order and returns its id.
fn add_order(history: &mut History<'_>, number: u64, fate: Fate) -> OrderId {
    let mut sale = Sale::new(format!("order {number}"));
    let order_id = sale.order_id;
    history.order(&mut sale, OrderCommand::Place(Box::new(new_order(order_id, number, fate))));
    if fate == Fate::Cancelled {
        let cancellation = NewCancellation::of_the_rest(CancellationId(order_id.0), CancelReason::Requested);
        history.order(&mut sale, OrderCommand::Cancel(cancellation));
    }
    if matches!(fate, Fate::Paid | Fate::Shipped) {
        history.payment(&mut sale, PaymentCommand::Authorize { amount: None, reference: None });
        history.payment(&mut sale, PaymentCommand::Capture { amount: None, reference: None });
    }
    if fate == Fate::Shipped {
        let shipment_id = ShipmentId::of_command(CommandId(order_id.0));
        let (lines, carrier, tracking_number) = (None, None, None);
        let now = Dataset::placed_at(number);
        let ship = OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now };
        history.order(&mut sale, ship);
    }
    order_id
}

/// One to four lines with different SKUs.
fn new_order(order_id: OrderId, number: u64, fate: Fate) -> PlaceOrder {
    let seed = usize::try_from(number).expect("order numbers fit in usize");
    let line = |line: usize| NewLine {
        sku: sku(&Dataset::sku(seed * 7_919 + line * 131)),
        quantity: 1 + (number % 5) as u32,
        unit_price: Amount::new(100 + (number % 900).cast_signed()).expect("the amount is small"),
        stocked: true,
        adjustments: Vec::new(),
    };
    let mut lines: Vec<NewLine> = (0..=seed % 4).map(line).collect();
    if fate == Fate::Rejected {
        lines.push(NewLine { sku: sku(SOLD_OUT), ..line(0) });
    }
    PlaceOrder {
        order_id,
        customer_id: Some(Dataset::customer(number)),
        currency: CURRENCY.parse().expect("the currency is valid"),
        country: Some(COUNTRIES[seed % COUNTRIES.len()].to_owned()),
        lines,
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: None,
        metadata: BTreeMap::new(),
        placed_at: Dataset::placed_at(number),
        now: Dataset::placed_at(number),
        payment_due_at: None,
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    }
}

fn sku(text: &str) -> Sku {
    Sku::new(text).expect("the SKU is valid")
}

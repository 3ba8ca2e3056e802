//! The invariants of the log and of the read models.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{
    Amount, CommandId, EventId, RecordedEvent, Sku, StreamName,
    order::{Line, Order, OrderEvent, OrderStatus},
    shares,
    stock::StockEvent,
};
use infra::{
    event_source::Partition,
    event_store::EventMark,
    read_models::{MoneyTotals, ParkedStream, Rows, SalesDimension, SalesTotals, Totals},
};
use projectors::{event::DecodedEvent, fold::Fold};
use uuid::Uuid;

use crate::{
    isolation::unreadable_stream,
    memory::{Log, Tables},
};

/// Checks the invariants that hold at any moment, also right after a crash.
pub fn check_log(log: &Log) -> Result<(), String> {
    no_oversell(log.events())?;
    each_event_once(log.events())?;
    refunds_in_full(log.events())?;
    each_command_once(log.events())
}

/// No oversell: at every prefix of the log, the reserved units of a SKU are on hand.
fn no_oversell(events: &[RecordedEvent]) -> Result<(), String> {
    let mut levels: BTreeMap<&Sku, (i64, i64)> = BTreeMap::new();
    for event in events {
        let StreamName::Stock(sku) = &event.stream else { continue };
        if event.stream == unreadable_stream() {
            continue;
        }
        let Ok(domain::Event::Stock(data)) = event.decode() else {
            return Err(format!("{} cannot be decoded", event.id));
        };
        let (on_hand, reserved) = levels.entry(sku).or_default();
        match data {
            StockEvent::Received(received) => *on_hand += i64::from(received.quantity),
            StockEvent::Adjusted(adjusted) => *on_hand += adjusted.delta,
            StockEvent::Reserved(opened) => *reserved += i64::from(opened.quantity),
            StockEvent::Released(released) => *reserved -= i64::from(released.quantity),
            StockEvent::Shipped(shipped) => {
                *on_hand -= i64::from(shipped.quantity);
                *reserved -= i64::from(shipped.quantity);
            }
            StockEvent::Unshipped(unshipped) => {
                *on_hand += i64::from(unshipped.quantity);
                *reserved += i64::from(unshipped.quantity);
            }
            StockEvent::Returned(returned) => *on_hand += i64::from(returned.quantity),
        }
        if *reserved > *on_hand || *reserved < 0 || *on_hand < 0 {
            let position = event.position;
            return Err(format!(
                "no oversell: {sku:?} has {on_hand} on hand and {reserved} reserved at {position}"
            ));
        }
    }
    Ok(())
}

/// The ids of all events differ, and the revisions of each stream have no gap.
fn each_event_once(events: &[RecordedEvent]) -> Result<(), String> {
    let mut ids: HashSet<EventId> = HashSet::new();
    let mut next: HashMap<&StreamName, u64> = HashMap::new();
    for event in events {
        if !ids.insert(event.id) {
            return Err(format!(
                "no gap and no duplicate: {} of {} is in the log twice",
                event.id, event.stream
            ));
        }
        let expected = next.entry(&event.stream).or_default();
        if event.revision != *expected {
            return Err(format!(
                "no gap and no duplicate: {} has revision {} for {expected}",
                event.stream, event.revision
            ));
        }
        *expected += 1;
    }
    Ok(())
}

/// Each refund that an order accepts is asked of its payments to the last penny.
fn refunds_in_full(events: &[RecordedEvent]) -> Result<(), String> {
    for event in events.iter().filter(|event| event.type_name.starts_with("order.refund_requested.")) {
        let Ok(domain::Event::Order(OrderEvent::RefundRequested(requested))) = event.decode() else {
            return Err(format!("{} cannot be decoded", event.id));
        };
        let asked: i128 =
            requested.refunds.iter().map(|refund| i128::from(refund.amount.minor_units())).sum();
        if asked != i128::from(requested.amount.minor_units()) {
            let (amount, stream) = (requested.amount, &event.stream);
            return Err(format!("money agrees: {stream} accepted a refund of {amount} and asks for {asked}"));
        }
    }
    Ok(())
}

/// The events of one command in one stream have consecutive revisions.
fn each_command_once(events: &[RecordedEvent]) -> Result<(), String> {
    let mut last: HashMap<(CommandId, &StreamName), u64> = HashMap::new();
    for event in events {
        let metadata = event.decode_metadata().map_err(|error| error.to_string())?;
        let key = (metadata.command_id, &event.stream);
        if let Some(before) = last.insert(key, event.revision)
            && before + 1 != event.revision
        {
            return Err(format!("{} of {} was executed twice", metadata.command, event.stream));
        }
    }
    Ok(())
}

/// The rows that a whole log folds to, as it is read.
#[derive(Debug)]
pub struct FoldedRows {
    pub store_id: Uuid,
    pub last_event: Option<EventMark>,
    pub rows: Rows,
    pub parked: Vec<ParkedStream>,
}

pub fn folded_rows(log: &Log) -> FoldedRows {
    let mut fold = Fold::whole_streams([Partition::whole_log()].into());
    for event in log.events_as_read() {
        fold.apply(&DecodedEvent::from(event), 0);
    }
    let (rows, parked) = (fold.take_rows(), fold.take_parked());
    let last_event = log.events().last().map(EventMark::from);
    FoldedRows { store_id: log.store_id, last_event, rows, parked }
}

/// Checks *applied once* and *rows equal the log*: the rows equal a full replay, and no stream is parked.
pub fn check_rows(log: &Log, tables: &Tables) -> Result<(), String> {
    let expected = folded_rows(log);
    let is_unexpected = |row: &&ParkedStream| row.stream != unreadable_stream();
    if let Some(row) = tables.parked.values().map(|(row, _)| row).find(is_unexpected) {
        return Err(format!("applied once: {} is parked: {}", row.stream, row.reason));
    }
    if let Some(row) = expected.parked.iter().find(is_unexpected) {
        return Err(format!("{} cannot be folded: {}", row.stream, row.reason));
    }
    if tables.parked.len() != expected.parked.len() {
        return Err("isolation: a stream that cannot be folded is not parked".to_owned());
    }
    // Names every field, so new rows do not compile before they are compared.
    let Rows {
        stock,
        reservations,
        reservations_closed: _,
        order_stock_events,
        mut orders,
        mut payments,
        sales,
        money,
        counts,
    } = expected.rows;
    same("stock", tables.stock.values(), stock.iter())?;
    same("reservations", tables.reservations.values(), reservations.iter())?;
    same("stock events", tables.order_stock_events.iter(), order_stock_events.iter())?;
    orders.sort_unstable_by_key(|row| row.order_id);
    same("orders", tables.orders.values(), orders.iter())?;
    payments.sort_unstable_by_key(|row| row.payment_id);
    same("payments", tables.payments.values(), payments.iter())?;
    let sales: BTreeMap<_, _> = sales.into_iter().flat_map(|sales| sales.sums).collect();
    same("sales", tables.sales_in_all().iter(), sales.iter())?;
    let money: BTreeMap<_, _> = money.into_iter().flat_map(|money| money.sums).collect();
    same("money", tables.money_in_all().iter(), money.iter())?;
    let counts: BTreeMap<_, _> = counts.into_iter().flat_map(|counts| counts.sums).collect();
    same("counts", tables.counts_in_all().iter(), counts.iter())?;
    reports_equal_the_books(tables)
}

/// Checks *money agrees* for the reports: the money report is the books of all payments. The net sales are what was
/// captured and not refunded, plus what is unpaid, less what was paid beyond the totals.
fn reports_equal_the_books(tables: &Tables) -> Result<(), String> {
    let mut moved = MoneyTotals::default();
    tables.money_in_all().values().for_each(|sum| moved.add(sum));
    let mut books = MoneyTotals::default();
    tables.payments.values().for_each(|row| books.add(&MoneyTotals::of_payment(&row.payment)));
    if moved != books {
        return Err(format!("money agrees: the money report has {moved:?}, and payments have {books:?}"));
    }
    let (mut sums, mut total) = (SalesTotals::default(), SalesTotals::default());
    for (key, sum) in &tables.sales_in_all() {
        match key.dimension {
            SalesDimension::All => total.add(sum),
            SalesDimension::Sku(_) | SalesDimension::NoLine => sums.add(sum),
            SalesDimension::Country(_) => {}
        }
    }
    let orders = total.orders;
    let net: i128 = tables.orders.values().map(|row| net_sales(&row.order)).sum();
    if total.net() != net || (SalesTotals { orders, ..sums }) != total {
        return Err(format!("money agrees: sales are {total:?}, by SKU {sums:?}, and orders have {net} net"));
    }
    Ok(())
}

/// What an order adds to the net sales.
fn net_sales(order: &Order) -> i128 {
    let wide = |amount: Amount| i128::from(amount.minor_units());
    if order.payment_id().is_none() {
        return 0;
    }
    let worth = |line: &Line| {
        let left = shares::worth_of_first(line.cancelled + line.returned, line.quantity, line.total());
        wide(line.total()) - wide(left)
    };
    let ended = matches!(order.status(), OrderStatus::Cancelled | OrderStatus::Expired);
    let dropped = ended && order.lines().iter().all(|line| line.shipped == 0);
    let unspread = if dropped { 0 } else { wide(order.unspread()) };
    let live: i128 = order.lines().iter().map(worth).sum::<i128>() + unspread;
    let captured = wide(order.captured());
    // A credit reduces the sale like a refund.
    let refunded = wide(order.refunded()) + wide(order.credited());
    let beyond_total = captured - wide(order.total()) - wide(order.refunded());
    let (unpaid, overpaid) = ((live - captured).max(0), beyond_total.max(0));
    captured - refunded + unpaid - overpaid
}

fn same<R: PartialEq + std::fmt::Debug>(
    name: &str,
    stored: impl Iterator<Item = R>,
    expected: impl Iterator<Item = R>,
) -> Result<(), String> {
    let (found, wanted): (Vec<R>, Vec<R>) = (stored.collect(), expected.collect());
    if found == wanted {
        return Ok(());
    }
    let differing = found.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
    Err(format!(
        "rows equal the log: {name}: {} rows instead of {}, first difference {differing:?}",
        found.len(),
        wanted.len()
    ))
}

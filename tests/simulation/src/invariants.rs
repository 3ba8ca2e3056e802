//! What holds of the log and of the rows, whatever happened on the way.

use std::collections::{BTreeMap, HashMap, HashSet};

use domain::{CommandId, EventId, RecordedEvent, Sku, StreamName, stock::StockEvent};
use infra::{event_source::Partition, read_models::audit::AllRows};
use projectors::fold::{Decoded, Fold};

use crate::{memory::Log, world::World};

/// Holds at every moment, so also of a log that a crash has just cut off.
pub fn check_log(world: &World) -> Result<(), String> {
    let log = world.log.lock();
    no_oversell(log.events())?;
    each_event_once(log.events())?;
    each_command_once(log.events())
}

/// No oversell: at no prefix of the log is more of a SKU reserved than is on hand.
fn no_oversell(events: &[RecordedEvent]) -> Result<(), String> {
    let mut levels: BTreeMap<&Sku, (i64, i64)> = BTreeMap::new();
    for event in events {
        let StreamName::Stock(sku) = &event.stream else { continue };
        let Ok(domain::Event::Stock(data)) = event.decode() else {
            return Err(format!("{} cannot be read", event.id));
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

/// The deduplication keys of events differ, and each stream counts on without a gap.
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

/// What one command records of a stream is recorded at once.
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

/// The rows that the whole log folds to.
pub fn folded_rows(log: &Log) -> AllRows {
    let mut fold = Fold::whole_log(vec![Partition::whole_log()]);
    for event in log.events() {
        fold.apply(&Decoded::from(event.clone()), 0);
    }
    AllRows { store_id: log.store_id, position: log.last_position(), ..fold.into_rows() }
}

/// Applied once, and rows equal the log: the rows are those of a full replay, and no stream is parked.
pub fn check_rows(world: &World) -> Result<(), String> {
    let expected = folded_rows(&world.log.lock());
    let tables = world.tables.lock();
    if let Some((row, _)) = tables.parked.values().next() {
        return Err(format!("applied once: {} is parked: {}", row.stream, row.reason));
    }
    if let Some(row) = expected.parked.first() {
        return Err(format!("{} cannot be folded: {}", row.stream, row.reason));
    }
    same("stock", tables.stock.values(), expected.stock.iter())?;
    same("reservations", tables.reservations.values(), expected.reservations.iter())?;
    same("stock events", tables.order_stock_events.iter(), expected.order_stock_events.iter())?;
    let mut orders = expected.orders;
    orders.sort_unstable_by_key(|row| row.order_id);
    same("orders", tables.orders.values(), orders.iter())?;
    let mut payments = expected.payments;
    payments.sort_unstable_by_key(|row| row.payment_id);
    same("payments", tables.payments.values(), payments.iter())?;
    let sales: BTreeMap<_, _> = expected.sales.into_iter().flat_map(|(_, sums)| sums).collect();
    same("sales", tables.sales_in_all().iter(), sales.iter())
}

fn same<R: PartialEq + std::fmt::Debug>(
    name: &str,
    stored: impl Iterator<Item = R>,
    expected: impl Iterator<Item = R>,
) -> Result<(), String> {
    let (stored, expected): (Vec<R>, Vec<R>) = (stored.collect(), expected.collect());
    if stored == expected {
        return Ok(());
    }
    let differing = stored.iter().zip(&expected).find(|(stored, expected)| stored != expected);
    Err(format!(
        "rows equal the log: {name}: {} rows for {}, first difference {differing:?}",
        stored.len(),
        expected.len()
    ))
}

//! Stock levels and open reservations, from the stream of one SKU.

use std::collections::HashMap;

use domain::{Event, OrderId, Revision, Sku, stock::StockEvent};
use infra::read_models::{OrderStockEvent, ReservationRow, RowKeys, Rows, StockRow};

use crate::event::{DecodedEvent, Poison};

#[derive(Debug, Default)]
pub(super) struct StockFold {
    levels: HashMap<Sku, StockRow>,
    /// Units held, at least 1.
    reservations: HashMap<(Sku, OrderId), u32>,
    /// Events that this fold adds.
    order_stock_events: Vec<OrderStockEvent>,
}

impl StockFold {
    pub(super) fn put(&mut self, levels: Vec<StockRow>, reservations: Vec<ReservationRow>) {
        self.levels.extend(levels.into_iter().map(|row| (row.sku.clone(), row)));
        let held = reservations.into_iter();
        self.reservations.extend(held.map(|row| ((row.sku, row.order_id), row.quantity)));
    }

    pub(super) fn revision(&self, sku: &Sku) -> Option<Revision> {
        self.levels.get(sku).map(|row| row.revision)
    }

    pub(super) fn apply(
        &mut self,
        sku: &Sku,
        data: &StockEvent,
        event: &DecodedEvent,
        touched: Option<&mut RowKeys>,
    ) -> Result<(), Poison> {
        let DecodedEvent { revision, position, .. } = *event;
        let reservation = order_with_changed_reservation(data).map(|order| (sku.clone(), order));
        let held = reservation.as_ref().and_then(|key| self.reservations.get(key).copied());
        let folded = fold(sku, self.levels.get(sku), held.unwrap_or(0), data, revision)?;
        self.levels.insert(sku.clone(), folded.row);
        if let Some(order_id) = order_of(data) {
            self.order_stock_events.push(OrderStockEvent { order_id, position, sku: sku.clone(), revision });
        }
        if let Some(touched) = touched {
            touched.stock.insert(sku.clone());
            touched.reservations.extend(reservation.clone());
        }
        if let Some(key) = reservation {
            match folded.held {
                0 => self.reservations.remove(&key),
                quantity => self.reservations.insert(key, quantity),
            };
        }
        Ok(())
    }

    pub(super) fn changed(mut self, touched: &RowKeys, rows: &mut Rows) {
        rows.stock = touched.stock.iter().filter_map(|sku| self.levels.remove(sku)).collect();
        for key in &touched.reservations {
            let (sku, order_id) = key.clone();
            match self.reservations.get(key) {
                Some(&quantity) => rows.reservations.push(ReservationRow { sku, order_id, quantity }),
                None => rows.reservations_closed.push((sku, order_id)),
            }
        }
        rows.order_stock_events = sorted(self.order_stock_events);
    }

    pub(super) fn all(self, rows: &mut Rows) {
        rows.stock = self.levels.into_values().collect();
        rows.stock.sort_unstable_by(|a, b| a.sku.cmp(&b.sku));
        let held = self.reservations.into_iter();
        rows.reservations =
            held.map(|((sku, order_id), quantity)| ReservationRow { sku, order_id, quantity }).collect();
        rows.reservations.sort_unstable_by(|a, b| (&a.sku, a.order_id).cmp(&(&b.sku, b.order_id)));
        rows.order_stock_events = sorted(self.order_stock_events);
    }
}

fn sorted(mut events: Vec<OrderStockEvent>) -> Vec<OrderStockEvent> {
    events.sort_unstable();
    events
}

pub(super) fn add_keys(sku: &Sku, event: &DecodedEvent, keys: &mut RowKeys) {
    if !keys.stock.contains(sku) {
        keys.stock.insert(sku.clone());
    }
    if let Ok(Event::Stock(data)) = &event.event
        && let Some(order) = order_with_reduced_reservation(data)
    {
        keys.reservations.insert((sku.clone(), order));
    }
}

/// The order whose reservation an event opens or reduces.
fn order_with_changed_reservation(event: &StockEvent) -> Option<OrderId> {
    match event {
        StockEvent::Reserved(reserved) => Some(reserved.order_id),
        StockEvent::Released(released) => Some(released.order_id),
        StockEvent::Shipped(shipped) => Some(shipped.order_id),
        StockEvent::Unshipped(unshipped) => Some(unshipped.order_id),
        StockEvent::Received(_) | StockEvent::Adjusted(_) | StockEvent::Returned(_) => None,
    }
}

/// The order that an event belongs to.
fn order_of(event: &StockEvent) -> Option<OrderId> {
    match event {
        StockEvent::Returned(returned) => Some(returned.order_id),
        StockEvent::Reserved(_)
        | StockEvent::Released(_)
        | StockEvent::Shipped(_)
        | StockEvent::Unshipped(_) => order_with_changed_reservation(event),
        StockEvent::Received(_) | StockEvent::Adjusted(_) => None,
    }
}

/// The order whose reservation an event changes. Only these events need the row of the reservation: a Reserved
/// event opens a new one, and the others have none.
fn order_with_reduced_reservation(event: &StockEvent) -> Option<OrderId> {
    match event {
        StockEvent::Released(released) => Some(released.order_id),
        StockEvent::Shipped(shipped) => Some(shipped.order_id),
        StockEvent::Unshipped(unshipped) => Some(unshipped.order_id),
        StockEvent::Reserved(_)
        | StockEvent::Received(_)
        | StockEvent::Adjusted(_)
        | StockEvent::Returned(_) => None,
    }
}

/// A SKU after an event.
struct FoldedStock {
    row: StockRow,
    /// Units that the order of the event holds after it.
    held: u32,
}

/// `held_before`: units that the order of the event held before it.
fn fold(
    sku: &Sku,
    row: Option<&StockRow>,
    held_before: u32,
    event: &StockEvent,
    revision: Revision,
) -> Result<FoldedStock, Poison> {
    let (before, reserved_before) =
        row.map_or((0, 0), |row| (i64::from(row.on_hand), i64::from(row.reserved)));
    let held_before = i64::from(held_before);
    let (on_hand, reserved, held) = match event {
        StockEvent::Received(received) => {
            (before + i64::from(received.quantity), reserved_before, held_before)
        }
        StockEvent::Adjusted(adjusted) => {
            (before.saturating_add(adjusted.delta), reserved_before, held_before)
        }
        StockEvent::Reserved(opened) => {
            let quantity = i64::from(opened.quantity);
            (before, reserved_before + quantity, quantity)
        }
        StockEvent::Released(released) => {
            let quantity = i64::from(released.quantity);
            (before, reserved_before - quantity, held_before - quantity)
        }
        StockEvent::Shipped(shipped) => {
            let quantity = i64::from(shipped.quantity);
            (before - quantity, reserved_before - quantity, held_before - quantity)
        }
        StockEvent::Unshipped(unshipped) => {
            let quantity = i64::from(unshipped.quantity);
            (before + quantity, reserved_before + quantity, held_before + quantity)
        }
        StockEvent::Returned(returned) => {
            (before + i64::from(returned.quantity), reserved_before, held_before)
        }
    };
    let contradiction = || {
        let text = format!("it would leave {on_hand} on hand, {reserved} reserved, {held} held by its order");
        Poison::Contradiction(text)
    };
    if reserved > on_hand {
        return Err(contradiction());
    }
    let units = |units: i64| u32::try_from(units).map_err(|_| contradiction());
    let row = StockRow { sku: sku.clone(), on_hand: units(on_hand)?, reserved: units(reserved)?, revision };
    Ok(FoldedStock { row, held: units(held)? })
}

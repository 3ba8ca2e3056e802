use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::StockEvent;
use crate::{CancellationId, OrderId, ShipmentId};

/// How many closed reservations a SKU remembers, by their orders.
///
/// A delayed reserve must not reserve again what its order has already shipped. That fails only if more than
/// this many reservations of the SKU close during the delay.
pub(super) const CLOSED_REMEMBERED_MAX: usize = 1_000;

/// The stock of one SKU. It contains only open reservations, so its size follows the open orders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    on_hand: u32,
    reserved: u32,
    reservations: HashMap<OrderId, Reservation>,
    /// The orders whose reservations closed last, latest at the back.
    closed: VecDeque<OrderId>,
}

/// The reservation of one order for one SKU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reservation {
    /// Units still reserved.
    pub quantity: u32,
    /// The order's unshipped units were released, so a second release changes nothing. The units still reserved were
    /// shipped or cancelled before, and those commands have not arrived yet.
    pub released: bool,
    /// Most open reservations have none. Boxed, so that these take 32 bytes of memory with their order's id, and not
    /// 72: a shop has as many as open orders.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reduced_by: Option<Box<ReducedBy>>,
}

/// What has already reduced a reservation. Never empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct ReducedBy {
    shipments: Vec<ShipmentId>,
    /// Cancellations of single units.
    cancellations: Vec<CancellationId>,
}

impl Reservation {
    fn of(quantity: u32) -> Self {
        Self { quantity, released: false, reduced_by: None }
    }

    /// True if a shipment, a cancellation or a release has already reduced it.
    pub(super) fn is_reduced(&self) -> bool {
        self.released || self.reduced_by.is_some()
    }

    pub(super) fn has_shipment(&self, id: ShipmentId) -> bool {
        self.reduced_by.as_ref().is_some_and(|by| by.shipments.contains(&id))
    }

    pub(super) fn has_cancellation(&self, id: CancellationId) -> bool {
        self.reduced_by.as_ref().is_some_and(|by| by.cancellations.contains(&id))
    }

    fn add_shipments(&mut self, ids: &[ShipmentId]) {
        if !ids.is_empty() {
            self.reduced_by.get_or_insert_default().shipments.extend_from_slice(ids);
        }
    }

    fn add_cancellation(&mut self, id: CancellationId) {
        self.reduced_by.get_or_insert_default().cancellations.push(id);
    }
}

/// The numbers of a SKU, in units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockLevels {
    pub on_hand: u32,
    pub reserved: u32,
}

impl StockLevels {
    pub fn available(self) -> u32 {
        self.on_hand - self.reserved
    }
}

impl Stock {
    pub fn levels(&self) -> StockLevels {
        StockLevels { on_hand: self.on_hand, reserved: self.reserved }
    }

    pub fn reservation(&self, order: OrderId) -> Option<&Reservation> {
        self.reservations.get(&order)
    }

    pub fn open_reservations(&self) -> &HashMap<OrderId, Reservation> {
        &self.reservations
    }

    /// An estimate in constant time, because a SKU may have 100,000 open reservations.
    pub(super) fn heap_bytes(&self) -> usize {
        let Self { on_hand: _, reserved: _, reservations, closed } = self;
        // Most open reservations are not reduced. A slot of a hash table has a byte of control data, and an eighth of
        // the slots stays empty.
        let open = reservations.capacity() * (size_of::<(OrderId, Reservation)>() + 1) * 8 / 7;
        open + closed.capacity() * size_of::<OrderId>()
    }

    /// True if the order's reservation is among the last [`CLOSED_REMEMBERED_MAX`] that closed.
    pub(super) fn was_closed(&self, order: OrderId) -> bool {
        self.closed.contains(&order)
    }

    fn reduce(&mut self, order: OrderId, quantity: u32, mark: impl FnOnce(&mut Reservation)) {
        self.reserved = self.reserved.checked_sub(quantity).expect("decide reduces only what is reserved");
        if let Some(reservation) = self.reservations.get_mut(&order) {
            reservation.quantity -= quantity;
            mark(reservation);
            if reservation.quantity == 0 {
                self.reservations.remove(&order);
                self.remember_closed(order);
            }
        }
    }

    fn remember_closed(&mut self, order: OrderId) {
        if self.closed.len() == CLOSED_REMEMBERED_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(order);
    }
}

pub(super) fn evolve(stock: &mut Stock, event: &StockEvent) {
    match event {
        StockEvent::Received(received) => stock.on_hand += received.quantity,
        StockEvent::Adjusted(adjusted) => {
            let on_hand = i64::from(stock.on_hand) + adjusted.delta;
            stock.on_hand = u32::try_from(on_hand).expect("decide keeps stock between 0 and UNITS_MAX");
        }
        StockEvent::Reserved(reserved) => {
            stock.reserved += reserved.quantity;
            stock.reservations.insert(reserved.order_id, Reservation::of(reserved.quantity));
        }
        StockEvent::Released(released) => {
            stock.reduce(released.order_id, released.quantity, |held| match released.cancellation_id {
                Some(cancellation_id) => held.add_cancellation(cancellation_id),
                None => held.released = true,
            });
        }
        StockEvent::Shipped(shipped) => {
            stock.on_hand =
                stock.on_hand.checked_sub(shipped.quantity).expect("decide ships only what is reserved");
            let shipment = shipped.shipment_id;
            stock.reduce(shipped.order_id, shipped.quantity, |held| held.add_shipments(&[shipment]));
        }
        StockEvent::Unshipped(unshipped) => {
            stock.on_hand += unshipped.quantity;
            stock.reserved += unshipped.quantity;
            let held = stock.reservations.entry(unshipped.order_id).or_insert_with(|| {
                let mut closed = Reservation::of(0);
                closed.add_shipments(&unshipped.shipments);
                closed
            });
            held.quantity += unshipped.quantity;
        }
        StockEvent::Returned(returned) => stock.on_hand += returned.quantity,
    }
    assert!(stock.reserved <= stock.on_hand, "oversold: {stock:?} after {event:?}");
}

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
    /// The order's unshipped units were released, so a second release changes nothing. The units still
    /// reserved were shipped, and their ship commands have not arrived yet.
    pub released: bool,
    /// Shipments that have already reduced this reservation.
    pub shipments: Vec<ShipmentId>,
    /// Cancellations of single units that have already reduced it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cancellations: Vec<CancellationId>,
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
        // Most open reservations have no shipment.
        let open = reservations.capacity() * size_of::<(OrderId, Reservation)>();
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
            let held = Reservation {
                quantity: reserved.quantity,
                released: false,
                shipments: Vec::new(),
                cancellations: Vec::new(),
            };
            stock.reservations.insert(reserved.order_id, held);
        }
        StockEvent::Released(released) => {
            stock.reduce(released.order_id, released.quantity, |held| match released.cancellation_id {
                Some(cancellation_id) => held.cancellations.push(cancellation_id),
                None => held.released = true,
            });
        }
        StockEvent::Shipped(shipped) => {
            stock.on_hand =
                stock.on_hand.checked_sub(shipped.quantity).expect("decide ships only what is reserved");
            let shipment = shipped.shipment_id;
            stock.reduce(shipped.order_id, shipped.quantity, |held| held.shipments.push(shipment));
        }
        StockEvent::Unshipped(unshipped) => {
            stock.on_hand += unshipped.quantity;
            stock.reserved += unshipped.quantity;
            let held = stock.reservations.entry(unshipped.order_id).or_insert_with(|| Reservation {
                quantity: 0,
                released: false,
                shipments: unshipped.shipments.clone(),
                cancellations: Vec::new(),
            });
            held.quantity += unshipped.quantity;
        }
        StockEvent::Returned(returned) => stock.on_hand += returned.quantity,
    }
    assert!(stock.reserved <= stock.on_hand, "oversold: {stock:?} after {event:?}");
}

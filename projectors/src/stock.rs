//! Stock levels and open reservations, from the stream of one SKU.

use domain::{OrderId, Revision, Sku, stock::StockEvent};
use infra::read_models::StockRow;

use crate::fold::Poison;

/// What an event makes of a SKU.
pub(crate) struct Folded {
    pub(crate) row: StockRow,
    /// Units that the order of the event holds after it.
    pub(crate) held: u32,
}

/// The order whose reservation an event opens or draws on.
pub(crate) fn order_of(event: &StockEvent) -> Option<OrderId> {
    match event {
        StockEvent::Reserved(reserved) => Some(reserved.order_id),
        StockEvent::Released(released) => Some(released.order_id),
        StockEvent::Shipped(shipped) => Some(shipped.order_id),
        StockEvent::Received(_) | StockEvent::Adjusted(_) | StockEvent::Returned(_) => None,
    }
}

/// The order that an event belongs to.
pub(crate) fn order_concerned(event: &StockEvent) -> Option<OrderId> {
    match event {
        StockEvent::Returned(returned) => Some(returned.order_id),
        StockEvent::Reserved(_) | StockEvent::Released(_) | StockEvent::Shipped(_) => order_of(event),
        StockEvent::Received(_) | StockEvent::Adjusted(_) => None,
    }
}

/// The order whose open reservation an event draws on. Only these events need the row of the reservation: others
/// begin it, or have none.
pub(crate) fn order_drawn_on(event: &StockEvent) -> Option<OrderId> {
    match event {
        StockEvent::Released(released) => Some(released.order_id),
        StockEvent::Shipped(shipped) => Some(shipped.order_id),
        StockEvent::Reserved(_)
        | StockEvent::Received(_)
        | StockEvent::Adjusted(_)
        | StockEvent::Returned(_) => None,
    }
}

/// `held`: units that the order of the event held before it.
pub(crate) fn fold(
    sku: &Sku,
    row: Option<&StockRow>,
    held: u32,
    event: &StockEvent,
    revision: Revision,
) -> Result<Folded, Poison> {
    let (on_hand, reserved) = row.map_or((0, 0), |row| (i64::from(row.on_hand), i64::from(row.reserved)));
    let held = i64::from(held);
    let (on_hand, reserved, held) = match event {
        StockEvent::Received(received) => (on_hand + i64::from(received.quantity), reserved, held),
        StockEvent::Adjusted(adjusted) => (on_hand.saturating_add(adjusted.delta), reserved, held),
        StockEvent::Reserved(opened) => {
            let quantity = i64::from(opened.quantity);
            (on_hand, reserved + quantity, quantity)
        }
        StockEvent::Released(released) => {
            let quantity = i64::from(released.quantity);
            (on_hand, reserved - quantity, held - quantity)
        }
        StockEvent::Shipped(shipped) => {
            let quantity = i64::from(shipped.quantity);
            (on_hand - quantity, reserved - quantity, held - quantity)
        }
        StockEvent::Returned(returned) => (on_hand + i64::from(returned.quantity), reserved, held),
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
    Ok(Folded { row, held: units(held)? })
}

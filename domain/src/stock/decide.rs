use super::{
    Stock, StockAdjusted, StockCommand, StockEvent, StockLevels, StockReceived, StockReleased, StockReserved,
    StockReturned, StockShipped, StockUnshipped, UNITS_MAX,
};
use crate::OrderId;

/// Why a stock command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StockRefusal {
    #[error("{requested} units were requested and {available} are available")]
    Insufficient { requested: u32, available: u32 },
    #[error(
        "an adjustment by {delta} leaves {on_hand} units on hand, but {reserved} are reserved for orders"
    )]
    BelowReserved { delta: i64, on_hand: i64, reserved: u32 },
    #[error("a SKU has at most {UNITS_MAX} units on hand after a receipt or an adjustment")]
    AboveLimit,
    #[error("a quantity is between 1 and {UNITS_MAX} units, and an adjustment is not 0")]
    InvalidQuantity,
    #[error("the order has already reserved {held} units of this SKU and now requests {requested}")]
    ReservedOtherwise { held: u32, requested: u32 },
}

pub(super) fn decide(stock: &Stock, command: StockCommand) -> Result<Vec<StockEvent>, StockRefusal> {
    let levels = stock.levels();
    let decided: StockEvent = match command {
        StockCommand::Receive { quantity, reference } => {
            check_receipt(levels, quantity)?;
            StockReceived { quantity, reference, levels: None }.into()
        }
        StockCommand::ReceiveAccepted { quantity, reference } => {
            check_quantity(quantity)?;
            levels.on_hand.checked_add(quantity).ok_or(StockRefusal::AboveLimit)?;
            StockReceived { quantity, reference, levels: None }.into()
        }
        StockCommand::Adjust { delta, reason } => {
            check_adjustment(levels, delta)?;
            StockAdjusted { delta, reason, levels: None }.into()
        }
        StockCommand::Reserve { order_id, quantity } => return reserve(stock, order_id, quantity),
        StockCommand::CheckReserve { order_id, quantity } => {
            return reserve(stock, order_id, quantity).map(|_| Vec::new());
        }
        StockCommand::Release { order_id, quantity } => {
            match stock.reservation(order_id).filter(|held| !held.released) {
                None => return Ok(Vec::new()),
                Some(_) if quantity == 0 => return Ok(Vec::new()),
                Some(held) => {
                    let quantity = quantity.min(held.quantity);
                    StockReleased { order_id, quantity, cancellation_id: None, levels: None }.into()
                }
            }
        }
        StockCommand::ReleasePart { order_id, cancellation_id, quantity } => {
            // Also after the release of the rest, which leaves these units.
            let held = stock.reservation(order_id);
            match held.filter(|held| !held.has_cancellation(cancellation_id)) {
                None => return Ok(Vec::new()),
                Some(_) if quantity == 0 => return Ok(Vec::new()),
                Some(held) => {
                    let (quantity, cancellation_id) = (quantity.min(held.quantity), Some(cancellation_id));
                    StockReleased { order_id, quantity, cancellation_id, levels: None }.into()
                }
            }
        }
        StockCommand::Ship { order_id, shipment_id, quantity } => {
            match stock.reservation(order_id).filter(|held| !held.has_shipment(shipment_id)) {
                None => return Ok(Vec::new()),
                Some(_) if quantity == 0 => return Ok(Vec::new()),
                Some(held) => {
                    let quantity = quantity.min(held.quantity);
                    StockShipped { order_id, shipment_id, quantity, levels: None }.into()
                }
            }
        }
        StockCommand::Unship { order_id, shipment_id, quantity, shipments } => {
            check_quantity(quantity)?;
            levels.on_hand.checked_add(quantity).ok_or(StockRefusal::AboveLimit)?;
            let is_open = stock.reservation(order_id).is_some();
            // A delayed command of a shipment must not reduce the new reservation.
            let shipments =
                if is_open { Vec::new() } else { shipments.into_iter().chain([shipment_id]).collect() };
            StockUnshipped { order_id, shipment_id, quantity, shipments, levels: None }.into()
        }
        StockCommand::Return { order_id, return_id, quantity } => {
            check_quantity(quantity)?;
            // The order has accepted the return already, so only an overflow is refused.
            levels.on_hand.checked_add(quantity).ok_or(StockRefusal::AboveLimit)?;
            StockReturned { order_id, return_id, quantity, levels: None }.into()
        }
    };
    Ok(vec![decided])
}

/// Refuses a receipt that a SKU with these levels cannot take. Only returns, and receipts that were accepted
/// before, may exceed the limit.
pub fn check_receipt(levels: StockLevels, quantity: u32) -> Result<(), StockRefusal> {
    check_quantity(quantity)?;
    if levels.on_hand.saturating_add(quantity) > UNITS_MAX { Err(StockRefusal::AboveLimit) } else { Ok(()) }
}

fn check_adjustment(levels: StockLevels, delta: i64) -> Result<(), StockRefusal> {
    let on_hand = i64::from(levels.on_hand).checked_add(delta).ok_or(StockRefusal::AboveLimit)?;
    if delta == 0 {
        Err(StockRefusal::InvalidQuantity)
    } else if on_hand < i64::from(levels.reserved) {
        Err(StockRefusal::BelowReserved { delta, on_hand, reserved: levels.reserved })
    } else if delta > 0 && on_hand > i64::from(UNITS_MAX) {
        Err(StockRefusal::AboveLimit)
    } else {
        Ok(())
    }
}

fn reserve(stock: &Stock, order_id: OrderId, quantity: u32) -> Result<Vec<StockEvent>, StockRefusal> {
    check_quantity(quantity)?;
    if let Some(held) = stock.reservation(order_id) {
        // A retry finds the open reservation, possibly reduced by this order's shipments and release.
        return if held.quantity == quantity || held.is_reduced() {
            Ok(Vec::new())
        } else {
            Err(StockRefusal::ReservedOtherwise { held: held.quantity, requested: quantity })
        };
    }
    if stock.was_closed(order_id) {
        return Ok(Vec::new());
    }
    let available = stock.levels().available();
    if quantity > available {
        return Err(StockRefusal::Insufficient { requested: quantity, available });
    }
    Ok(vec![StockReserved { order_id, quantity, levels: None }.into()])
}

fn check_quantity(quantity: u32) -> Result<(), StockRefusal> {
    if (1..=UNITS_MAX).contains(&quantity) { Ok(()) } else { Err(StockRefusal::InvalidQuantity) }
}

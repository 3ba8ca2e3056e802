use super::{
    Stock, StockAdjusted, StockCommand, StockEvent, StockReceived, StockReleased, StockReserved,
    StockReturned, StockShipped, UNITS_MAX,
};

/// Why a stock command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StockRefusal {
    #[error("{requested} units were requested and {available} are available")]
    Insufficient { requested: u32, available: u32 },
    #[error("an adjustment by {delta} would leave {on_hand} on hand, and {reserved} are reserved for orders")]
    BelowReserved { delta: i64, on_hand: i64, reserved: u32 },
    #[error("receipts and adjustments bring a SKU to at most {UNITS_MAX} units on hand")]
    AboveLimit,
    #[error("a quantity is between 1 and {UNITS_MAX} units, an adjustment is not zero")]
    InvalidQuantity,
    #[error("the order already holds {held} units of this SKU and now asks for {requested}")]
    ReservedOtherwise { held: u32, requested: u32 },
}

pub(super) fn decide(stock: &Stock, command: StockCommand) -> Result<Vec<StockEvent>, StockRefusal> {
    let levels = stock.levels();
    let decided: StockEvent = match command {
        StockCommand::Receive { quantity, reference } => {
            positive(quantity)?;
            // More than this only after returns, which are taken in whatever the shelf holds.
            if levels.on_hand.saturating_add(quantity) > UNITS_MAX {
                return Err(StockRefusal::AboveLimit);
            }
            StockReceived { quantity, reference }.into()
        }
        StockCommand::Adjust { delta, reason } => {
            let on_hand = i64::from(levels.on_hand).checked_add(delta).ok_or(StockRefusal::AboveLimit)?;
            match on_hand {
                _ if delta == 0 => return Err(StockRefusal::InvalidQuantity),
                _ if on_hand < i64::from(levels.reserved) => {
                    return Err(StockRefusal::BelowReserved { delta, on_hand, reserved: levels.reserved });
                }
                _ if delta > 0 && on_hand > i64::from(UNITS_MAX) => return Err(StockRefusal::AboveLimit),
                _ => StockAdjusted { delta, reason }.into(),
            }
        }
        StockCommand::Reserve { order_id, quantity } => {
            positive(quantity)?;
            if let Some(held) = stock.reservation(order_id) {
                // A retry: the reservation is open, drawn down by no more than this order's own shipments.
                let drawn_down = held.released || !held.shipments.is_empty();
                return match held.quantity {
                    same if same == quantity || drawn_down => Ok(Vec::new()),
                    other => Err(StockRefusal::ReservedOtherwise { held: other, requested: quantity }),
                };
            }
            if stock.was_closed(order_id) {
                return Ok(Vec::new());
            }
            let available = levels.available();
            if quantity > available {
                return Err(StockRefusal::Insufficient { requested: quantity, available });
            }
            StockReserved { order_id, quantity }.into()
        }
        StockCommand::Release { order_id, quantity } => {
            match stock.reservation(order_id).filter(|held| !held.released) {
                None => return Ok(Vec::new()),
                Some(_) if quantity == 0 => return Ok(Vec::new()),
                Some(held) => StockReleased { order_id, quantity: quantity.min(held.quantity) }.into(),
            }
        }
        StockCommand::Ship { order_id, shipment_id, quantity } => {
            match stock.reservation(order_id).filter(|held| !held.shipments.contains(&shipment_id)) {
                None => return Ok(Vec::new()),
                Some(_) if quantity == 0 => return Ok(Vec::new()),
                Some(held) => {
                    StockShipped { order_id, shipment_id, quantity: quantity.min(held.quantity) }.into()
                }
            }
        }
        StockCommand::Return { order_id, return_id, quantity } => {
            positive(quantity)?;
            // A return follows an order that has accepted it: only what cannot be counted is refused.
            levels.on_hand.checked_add(quantity).ok_or(StockRefusal::AboveLimit)?;
            StockReturned { order_id, return_id, quantity }.into()
        }
    };
    Ok(vec![decided])
}

fn positive(quantity: u32) -> Result<(), StockRefusal> {
    if (1..=UNITS_MAX).contains(&quantity) { Ok(()) } else { Err(StockRefusal::InvalidQuantity) }
}

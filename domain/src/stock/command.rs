use crate::{OrderId, ReturnId, ShipmentId};

/// What can be asked of the stock of a SKU. Quantities are units, and at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StockCommand {
    /// Goods came in.
    Receive { quantity: u32, reference: Option<String> },
    /// A count or a write-off: `delta` units more or fewer on hand.
    Adjust { delta: i64, reason: Option<String> },
    /// Hold `quantity` for an order: the sum over the order's lines of this SKU.
    Reserve { order_id: OrderId, quantity: u32 },
    /// Give back what a final order will not ship.
    Release { order_id: OrderId, quantity: u32 },
    /// A shipment left the house.
    Ship { order_id: OrderId, shipment_id: ShipmentId, quantity: u32 },
    /// Returned goods are back on the shelf.
    Return { order_id: OrderId, return_id: ReturnId, quantity: u32 },
}

impl StockCommand {
    /// Stored in metadata, and part of the ids of reactions.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Receive { .. } => "stock.receive",
            Self::Adjust { .. } => "stock.adjust",
            Self::Reserve { .. } => "stock.reserve",
            Self::Release { .. } => "stock.release",
            Self::Ship { .. } => "stock.ship",
            Self::Return { .. } => "stock.return",
        }
    }
}

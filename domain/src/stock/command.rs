use crate::{CancellationId, OrderId, ReturnId, ShipmentId};

/// Commands to the stock of a SKU. Quantities are units, at least 1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StockCommand {
    /// Goods arrived.
    Receive { quantity: u32, reference: Option<String> },
    /// The goods of one SKU arrived with an accepted receipt of several SKUs. The receipt has checked the limit
    /// of units already, so only an overflow is refused.
    ReceiveAccepted { quantity: u32, reference: Option<String> },
    /// A count or a write-off changes the units on hand by `delta`.
    Adjust { delta: i64, reason: Option<String> },
    /// Reserves `quantity` for an order: the sum over the order's lines of this SKU.
    Reserve { order_id: OrderId, quantity: u32 },
    /// Asks whether [`StockCommand::Reserve`] would be accepted now. Records nothing.
    CheckReserve { order_id: OrderId, quantity: u32 },
    /// Releases the units that an ended order will not ship.
    Release { order_id: OrderId, quantity: u32 },
    /// Releases units of an order that goes on: some of its units were cancelled.
    ReleasePart { order_id: OrderId, cancellation_id: CancellationId, quantity: u32 },
    /// A shipment left the warehouse.
    Ship { order_id: OrderId, shipment_id: ShipmentId, quantity: u32 },
    /// A shipment never left: its units are on hand and reserved again. `shipments` are the other
    /// shipments that the order had made before.
    Unship { order_id: OrderId, shipment_id: ShipmentId, quantity: u32, shipments: Vec<ShipmentId> },
    /// Returned goods are back in stock.
    Return { order_id: OrderId, return_id: ReturnId, quantity: u32 },
}

impl StockCommand {
    /// Stored in metadata, and part of the ids of reactions, so it never changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Receive { .. } => "stock.receive",
            Self::ReceiveAccepted { .. } => "stock.receive_accepted",
            Self::Adjust { .. } => "stock.adjust",
            Self::Reserve { .. } => "stock.reserve",
            Self::CheckReserve { .. } => "stock.check_reserve",
            Self::Release { .. } => "stock.release",
            Self::ReleasePart { .. } => "stock.release_part",
            Self::Ship { .. } => "stock.ship",
            Self::Unship { .. } => "stock.unship",
            Self::Return { .. } => "stock.return",
        }
    }
}

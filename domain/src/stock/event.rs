use serde::{Deserialize, Serialize};

use super::StockLevels;
use crate::{CancellationId, OrderId, ReturnId, ShipmentId, decider::stored_events};

stored_events! {
    /// What happened to the stock of a SKU. Quantities are units.
    pub enum StockEvent of StockEventKind {
        Received(StockReceived) = "stock.received.v1",
        Adjusted(StockAdjusted) = "stock.adjusted.v1",
        Reserved(StockReserved) = "stock.reserved.v1",
        Released(StockReleased) = "stock.released.v1",
        Shipped(StockShipped) = "stock.shipped.v1",
        Unshipped(StockUnshipped) = "stock.unshipped.v1",
        Returned(StockReturned) = "stock.returned.v1",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReceived {
    pub quantity: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// None in events of builds before levels were recorded.
    #[serde(flatten)]
    pub levels: Option<StockLevels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockAdjusted {
    pub delta: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// None in events of builds before levels were recorded.
    #[serde(flatten)]
    pub levels: Option<StockLevels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReserved {
    pub order_id: OrderId,
    pub quantity: u32,
    /// None in events of builds before levels were recorded.
    #[serde(flatten)]
    pub levels: Option<StockLevels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReleased {
    pub order_id: OrderId,
    pub quantity: u32,
    /// The cancellation of these units. None if the order has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancellation_id: Option<CancellationId>,
    /// None in events of builds before levels were recorded.
    #[serde(flatten)]
    pub levels: Option<StockLevels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockShipped {
    pub order_id: OrderId,
    pub shipment_id: ShipmentId,
    pub quantity: u32,
    /// None in events of builds before levels were recorded.
    #[serde(flatten)]
    pub levels: Option<StockLevels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockUnshipped {
    pub order_id: OrderId,
    pub shipment_id: ShipmentId,
    /// These units are on hand and reserved again.
    pub quantity: u32,
    /// The shipments that a new reservation has already been reduced by. Empty if the reservation was still open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shipments: Vec<ShipmentId>,
    /// None only before the event is completed.
    #[serde(flatten)]
    pub levels: Option<StockLevels>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StockReturned {
    pub order_id: OrderId,
    pub return_id: ReturnId,
    pub quantity: u32,
    /// None in events of builds before levels were recorded.
    #[serde(flatten)]
    pub levels: Option<StockLevels>,
}

impl StockEvent {
    /// The levels of the SKU right after this event.
    pub fn levels(&self) -> Option<StockLevels> {
        match self {
            Self::Received(event) => event.levels,
            Self::Adjusted(event) => event.levels,
            Self::Reserved(event) => event.levels,
            Self::Released(event) => event.levels,
            Self::Shipped(event) => event.levels,
            Self::Unshipped(event) => event.levels,
            Self::Returned(event) => event.levels,
        }
    }

    pub(super) fn set_levels(&mut self, after: StockLevels) {
        let levels = match self {
            Self::Received(event) => &mut event.levels,
            Self::Adjusted(event) => &mut event.levels,
            Self::Reserved(event) => &mut event.levels,
            Self::Released(event) => &mut event.levels,
            Self::Shipped(event) => &mut event.levels,
            Self::Unshipped(event) => &mut event.levels,
            Self::Returned(event) => &mut event.levels,
        };
        *levels = Some(after);
    }
}

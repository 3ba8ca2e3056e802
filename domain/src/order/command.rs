use std::collections::BTreeMap;

use super::{Adjustment, CancelReason, LineQuantity, ReturnLine, Shortage};
use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp,
    new_charge::NewCharge,
};

/// Commands to an order.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderCommand {
    Place(Box<PlaceOrder>),
    /// All stocked units are reserved. `payment_id` is the payment to request if the total is not 0.
    Allocate {
        payment_id: PaymentId,
    },
    /// Some stocked units could not be reserved.
    Reject {
        shortages: Vec<Shortage>,
    },
    /// Records the payment's amounts. They are cumulative, so late and repeated reports change nothing.
    RecordPayment {
        captured: Amount,
        refunded: Amount,
        refunds_failed: Amount,
    },
    /// Ships these units. Without `lines`: every unit that is neither shipped nor cancelled.
    Ship {
        shipment_id: ShipmentId,
        lines: Option<Vec<LineQuantity>>,
        carrier: Option<String>,
        tracking_number: Option<String>,
    },
    /// A shipment arrived.
    Deliver {
        shipment_id: ShipmentId,
    },
    Return(NewReturn),
    /// Refunds money without a return.
    Refund {
        refund_id: RefundId,
        amount: Amount,
        reason: Option<String>,
    },
    /// Cancels the units that are not shipped. With a payment reason it changes nothing if the order is paid
    /// or has ended.
    Cancel {
        reason: CancelReason,
        note: Option<String>,
    },
    /// Ends an order whose payment was not captured in time. `now` is the time of the timer.
    Expire {
        now: Timestamp,
    },
}

/// An order as the caller sends it, with its id and its times.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceOrder {
    pub order_id: OrderId,
    /// None for a guest.
    pub customer_id: Option<String>,
    pub currency: Currency,
    pub country: Option<String>,
    pub lines: Vec<NewLine>,
    pub adjustments: Vec<Adjustment>,
    pub reference: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub placed_at: Timestamp,
    /// When an unpaid order expires. None: never.
    pub payment_due_at: Option<Timestamp>,
    /// Charge to request once stock is reserved. None: a later command requests a charge or records a
    /// payment.
    pub payment: Option<NewCharge>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    pub sku: Sku,
    pub quantity: u32,
    pub unit_price: Amount,
    /// False for postage, fees and services, which are never reserved.
    pub stocked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReturn {
    pub return_id: ReturnId,
    pub lines: Vec<ReturnLine>,
    /// None: the value of the returned units. Zero: no refund.
    pub refund_amount: Option<Amount>,
    pub reason: Option<String>,
}

impl OrderCommand {
    /// Stored in metadata, and part of the ids of reactions, so it never changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Place(_) => "order.place",
            Self::Allocate { .. } => "order.allocate",
            Self::Reject { .. } => "order.reject",
            Self::RecordPayment { .. } => "order.record_payment",
            Self::Ship { .. } => "order.ship",
            Self::Deliver { .. } => "order.deliver",
            Self::Return(_) => "order.return",
            Self::Refund { .. } => "order.refund",
            Self::Cancel { .. } => "order.cancel",
            Self::Expire { .. } => "order.expire",
        }
    }
}

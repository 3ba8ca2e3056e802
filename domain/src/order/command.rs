use std::collections::BTreeMap;

use super::{Adjustment, CancelReason, LineQuantity, ReturnLine, Shortage};
use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp,
    new_charge::NewCharge,
};

/// What can be asked of an order.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderCommand {
    Place(Box<PlaceOrder>),
    /// All stocked units are held. `payment_id` is the payment to settle, if there is anything to pay.
    Allocate {
        payment_id: PaymentId,
    },
    /// Not all stocked units could be held.
    Reject {
        shortages: Vec<Shortage>,
    },
    /// What the payment stands at: cumulative amounts, so that late and repeated reports change nothing.
    RecordPayment {
        captured: Amount,
        refunded: Amount,
        refunds_failed: Amount,
    },
    /// Units leave the house; no lines given: everything not yet shipped.
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
    /// Give money back without a return.
    Refund {
        refund_id: RefundId,
        amount: Amount,
        reason: Option<String>,
    },
    /// Cancel what is not shipped. For want of payment this changes nothing on an order that was paid after all
    /// or has ended.
    Cancel {
        reason: CancelReason,
        note: Option<String>,
    },
    /// The payment did not come in time. `now` is when this was found.
    Expire {
        now: Timestamp,
    },
}

/// An order as a checkout sends it, with the ids and times that it gets.
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
    /// When an unpaid order expires; none: never.
    pub payment_due_at: Option<Timestamp>,
    /// How the money is to be got as soon as stock is held; none: somebody sees to it.
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
    /// Stored in metadata, and part of the ids of reactions.
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

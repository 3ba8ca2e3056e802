use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp,
    decider::stored_events, new_charge::NewCharge,
};

stored_events! {
    /// What happened to an order.
    pub enum OrderEvent of OrderEventKind {
        Placed(OrderPlaced) = "order.placed.v1",
        /// Every stocked unit is reserved.
        Allocated(OrderAllocated) = "order.allocated.v1",
        Rejected(OrderRejected) = "order.rejected.v1",
        PaymentRecorded(OrderPaymentRecorded) = "order.payment_recorded.v1",
        /// The captured amount reached the amount due. At most once per order.
        Paid(OrderPaid) = "order.paid.v1",
        Shipped(OrderShipped) = "order.shipped.v1",
        Delivered(OrderDelivered) = "order.delivered.v1",
        Returned(OrderReturned) = "order.returned.v1",
        RefundRequested(OrderRefundRequested) = "order.refund_requested.v1",
        Cancelled(OrderCancelled) = "order.cancelled.v1",
        Expired(OrderExpired) = "order.expired.v1",
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OrderPlaced {
    pub order_id: OrderId,
    /// None for a guest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer_id: Option<String>,
    pub currency: Currency,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub country: Option<String>,
    pub lines: Vec<OrderLine>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<Adjustment>,
    /// Lines plus adjustments, in minor units.
    pub total: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    pub placed_at: Timestamp,
    /// When an unpaid order expires. None: never.
    pub payment_due_at: Option<Timestamp>,
    /// Charge to request once stock is reserved. None: a later command requests a charge or records a
    /// payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<NewCharge>,
}

/// Lines are numbered by their place in the order, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLine {
    pub sku: Sku,
    pub quantity: u32,
    /// Minor units. 0 for a free item.
    pub unit_price: Amount,
    #[serde(default = "default_stocked", skip_serializing_if = "is_true")]
    pub stocked: bool,
}

fn default_stocked() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_true(value: &bool) -> bool {
    *value
}

/// A signed part of the total that is not a line: tax, shipping, a discount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    pub code: String,
    /// Minor units, negative for a discount.
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAllocated {
    /// None if the total is 0.
    pub payment_id: Option<PaymentId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRejected {
    pub shortages: Vec<Shortage>,
}

/// A SKU that could not be reserved, with the units available at that moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shortage {
    pub sku: Sku,
    pub requested: u32,
    pub available: u32,
}

/// Cumulative amounts, in minor units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaymentRecorded {
    pub captured: Amount,
    pub refunded: Amount,
    /// Refunds that the order requested and the provider declined. They may be requested again.
    pub refunds_failed: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaid {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderShipped {
    pub shipment_id: ShipmentId,
    pub lines: Vec<LineQuantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub carrier: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tracking_number: Option<String>,
}

/// Units of a line, by its number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineQuantity {
    pub line: u32,
    pub quantity: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDelivered {
    pub shipment_id: ShipmentId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReturned {
    pub return_id: ReturnId,
    pub lines: Vec<ReturnLine>,
    /// Minor units. 0: no refund.
    pub refund_amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnLine {
    pub line: u32,
    pub quantity: u32,
    /// True if the units return to stock.
    pub restock: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRefundRequested {
    pub refund_id: RefundId,
    /// Minor units.
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub reason: CancelReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The units that were open and will not be shipped.
    pub lines: Vec<LineQuantity>,
    /// What the customer owes in total after the cancellation, in minor units. 0 if no unit was shipped.
    pub amount_due: Amount,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CancelReason {
    /// A caller of the API requested it.
    Requested,
    /// The payment failed and cannot be retried.
    PaymentFailed,
    /// The payment was voided.
    PaymentVoided,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderExpired {}

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    Amount, CancellationId, Currency, ExchangeId, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku,
    Timestamp,
    credit::{CreditGiven, CreditSource},
    decider::stored_events,
    new_charge::NewCharge,
    payment_terms::PaymentTerms,
    shares::{AdjustmentKind, Shares},
};

stored_events! {
    /// What happened to an order.
    pub enum OrderEvent of OrderEventKind {
        Placed(OrderPlaced) = "order.placed.v2" | "order.placed.v1",
        /// Every stocked unit is reserved.
        Allocated(OrderAllocated) = "order.allocated.v1",
        Rejected(OrderRejected) = "order.rejected.v1",
        PaymentRecorded(OrderPaymentRecorded) = "order.payment_recorded.v1",
        /// The order asks for money from one more source.
        PaymentAdded(OrderPaymentAdded) = "order.payment_added.v1",
        /// A payment asks for no more money, and the order goes on without it.
        PaymentEnded(OrderPaymentEnded) = "order.payment_ended.v1",
        /// What was captured and not refunded reached what the customer owes.
        Paid(OrderPaid) = "order.paid.v1",
        Shipped(OrderShipped) = "order.shipped.v1",
        Delivered(OrderDelivered) = "order.delivered.v1",
        /// A shipment never left: its units are to be shipped again.
        ShipmentUndone(OrderShipmentUndone) = "order.shipment_undone.v1",
        /// The payment is due at another time.
        DueMoved(OrderDueMoved) = "order.due_moved.v1",
        /// What is authorized for an order that ships on an authorisation.
        AuthorizationRecorded(OrderAuthorizationRecorded) = "order.authorization_recorded.v1",
        Returned(OrderReturned) = "order.returned.v2" | "order.returned.v1",
        /// The new order of an exchange gave back a part of its credit.
        CreditTakenBack(OrderCreditTakenBack) = "order.credit_taken_back.v1",
        RefundRequested(OrderRefundRequested) = "order.refund_requested.v2" | "order.refund_requested.v1",
        /// Some units are cancelled. The order goes on with the others.
        LinesCancelled(OrderLinesCancelled) = "order.lines_cancelled.v1",
        /// Every unit that is not shipped is cancelled, and the order has ended.
        Cancelled(OrderCancelled) = "order.cancelled.v2" | "order.cancelled.v1",
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
    /// Lines with their own adjustments, plus the adjustments of the order, in minor units. Without taxes if the
    /// prices include them.
    pub total: Amount,
    /// True if unit prices, shipping and fees contain the taxes of the adjustments.
    #[serde(default, skip_serializing_if = "is_false")]
    pub prices_include_tax: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub metadata: BTreeMap<String, String>,
    pub placed_at: Timestamp,
    /// When the payment is due. Then an unpaid order expires, unless its terms say otherwise. None: never.
    pub payment_due_at: Option<Timestamp>,
    /// None in version 1: such an order stays paid once it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<PaymentTerms>,
    /// Charge to request once stock is reserved. None: a later command requests a charge or records a
    /// payment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment: Option<NewCharge>,
    /// The payments of the order. If empty: one payment of the total.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payments: Vec<NewTender>,
}

/// A payment that an order is placed with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTender {
    /// Minor units, more than 0.
    pub amount: Amount,
    /// As the charge of the whole order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<NewCharge>,
    /// Set for the credit of an exchange: the first payment of its new order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<CreditSource>,
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
    /// Adjustments of this line alone. None in version 1.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<LineAdjustment>,
    /// The line's share of the order's adjustments that are spread. 0 in version 1.
    #[serde(default, skip_serializing_if = "Shares::is_zero")]
    pub shares: Shares,
}

fn default_stocked() -> bool {
    true
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_true(value: &bool) -> bool {
    *value
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_false(value: &bool) -> bool {
    !*value
}

/// A signed part of the total that belongs to the whole order: tax, shipping, a discount.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adjustment {
    /// None in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<AdjustmentKind>,
    pub code: String,
    /// Minor units, negative for a discount.
    pub amount: Amount,
    /// True if the lines have shares of it. Never in version 1.
    #[serde(default, skip_serializing_if = "is_false")]
    pub spread: bool,
}

impl Adjustment {
    /// An adjustment as a request without kind and `spread` means it.
    pub fn new(code: impl Into<String>, amount: Amount) -> Self {
        let kind = AdjustmentKind::of_amount(amount);
        Self { kind: Some(kind), code: code.into(), amount, spread: kind.is_spread() }
    }
}

/// A signed part of the total that belongs to one line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineAdjustment {
    pub kind: AdjustmentKind,
    pub code: String,
    /// Minor units for all units of the line, negative for a discount.
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAllocated {
    /// The first payment. None if the total is 0.
    pub payment_id: Option<PaymentId>,
    /// Every payment, if the order was placed with `payments`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payments: Vec<AllocatedTender>,
}

/// A payment to request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllocatedTender {
    pub payment_id: PaymentId,
    /// Minor units.
    pub amount: Amount,
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

/// Cumulative amounts of a payment, in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaymentRecorded {
    /// None: the first payment of the order. Builds that knew only one payment did not record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payment_id: Option<PaymentId>,
    pub captured: Amount,
    pub refunded: Amount,
    /// Refunds that the order requested and the provider declined. They may be requested again.
    pub refunds_failed: Amount,
    /// Refunds that the provider made without a request. `refunded` includes those that are paid.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub refunded_at_provider: Amount,
    /// Taken by disputes that are open or lost.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub disputed: Amount,
    /// Recorded by hand after the order had ended. `captured` includes it.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub captured_late: Amount,
    /// How often the provider's word lowered one of the amounts: see [`crate::payment::Payment::corrections`].
    #[serde(default, skip_serializing_if = "is_zero")]
    pub corrections: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
pub(super) fn is_zero(count: &u32) -> bool {
    *count == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaymentAdded {
    pub payment_id: PaymentId,
    /// Minor units.
    pub amount: Amount,
    /// Charge to request at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<NewCharge>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderPaymentEnded {
    pub payment_id: PaymentId,
    pub ending: TenderEnding,
}

/// Why a payment asks for no more money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenderEnding {
    /// It failed and cannot be retried.
    Failed,
    /// It was voided, or what it had not captured was.
    Voided,
}

impl From<TenderEnding> for CancelReason {
    fn from(ending: TenderEnding) -> Self {
        match ending {
            TenderEnding::Failed => Self::PaymentFailed,
            TenderEnding::Voided => Self::PaymentVoided,
        }
    }
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
pub struct OrderShipmentUndone {
    pub shipment_id: ShipmentId,
    /// The units of the shipment.
    pub lines: Vec<LineQuantity>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderDueMoved {
    /// When the unpaid order expires. None: never.
    pub payment_due_at: Option<Timestamp>,
}

/// What one payment has authorized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderAuthorizationRecorded {
    pub payment_id: PaymentId,
    /// Minor units, what is captured included. It falls to the captured amount when the authorisation ends.
    pub authorized: Amount,
    /// When the authorisation runs out. None if the provider did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Counts the authorisations of the payment and their ends, so that a late report changes nothing: see
    /// [`crate::payment::Payment::authorizations`].
    pub number: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderReturned {
    pub return_id: ReturnId,
    pub lines: Vec<ReturnedLine>,
    /// Minor units. 0: no refund.
    pub refund_amount: Amount,
    /// What the customer owes although the units are back, such as a fee for the return. Negative if more than
    /// their value is refunded.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub withheld: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What is refunded to which payment: `refund_amount` in all. Version 1 refunds it to the order's payment under the
    /// id of the return.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<OrderRefund>,
    /// What pays the new order of an exchange, beside `refund_amount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<CreditGiven>,
}

/// Credit that an exchange had given and that its new order refunded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCreditTakenBack {
    pub exchange_id: ExchangeId,
    /// As the refund of the new order.
    pub refund_id: RefundId,
    /// Minor units, more than 0.
    pub amount: Amount,
    /// What is refunded to which payment: `amount` in all, less what the customer owes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<OrderRefund>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnedLine {
    pub line: u32,
    pub quantity: u32,
    /// True if the units return to stock.
    pub restock: bool,
    /// What the units were worth, without what was already refunded for them. None in version 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Amount>,
}

/// A refund to one payment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRefund {
    pub refund_id: RefundId,
    pub payment_id: PaymentId,
    /// Minor units, more than 0.
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderRefundRequested {
    pub refund_id: RefundId,
    /// Minor units.
    pub amount: Amount,
    /// The lines that a part of the refund, or all of it, is for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineAmount>,
    /// By how much the refund reduces the price, so that the customer owes less. None in version 1, where the
    /// state of the order decides it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lowers_owed: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// `amount` in all. Version 1 refunds it to the order's payment under `refund_id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<OrderRefund>,
}

/// Money for a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct LineAmount {
    pub line: u32,
    /// Minor units, more than 0.
    pub amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderLinesCancelled {
    pub cancellation_id: CancellationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    pub lines: Vec<CancelledLine>,
    /// As of a return.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub withheld: Amount,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<OrderRefund>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub reason: CancelReason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The units that were open and will not be shipped.
    pub lines: Vec<CancelledLine>,
    /// What the customer owes after the cancellation, in minor units. Version 1 calls it `amount_due`, and does
    /// not subtract returned units.
    #[serde(alias = "amount_due")]
    pub owed: Amount,
    /// What the closing of the payments refunds. Empty in version 1, whose payment finds the amount itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refunds: Vec<OrderRefund>,
}

/// Units that will not be shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancelledLine {
    pub line: u32,
    pub quantity: u32,
    /// As of a returned line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<Amount>,
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

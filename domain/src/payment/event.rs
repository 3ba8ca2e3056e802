use serde::{Deserialize, Serialize};

use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, decider::stored_events, new_charge::CaptureMode,
};

stored_events! {
    /// What happened to a payment.
    pub enum PaymentEvent of PaymentEventKind {
        Requested(PaymentRequested) = "payment.requested.v1",
        /// The provider must be sent this charge.
        ChargeRequested(PaymentChargeRequested) = "payment.charge_requested.v1",
        /// The provider has the charge and waits for the customer or a bank.
        ChargePending(PaymentChargePending) = "payment.charge_pending.v1",
        Authorized(PaymentAuthorized) = "payment.authorized.v1",
        /// The provider must be sent this capture.
        CaptureRequested(PaymentCaptureRequested) = "payment.capture_requested.v1",
        Captured(PaymentCaptured) = "payment.captured.v1",
        Failed(PaymentFailed) = "payment.failed.v1",
        /// The provider must void the authorisation or the open charge: an operator requested it, or the
        /// payment was closed.
        VoidRequested(PaymentVoidRequested) = "payment.void_requested.v1",
        Voided(PaymentVoided) = "payment.voided.v1",
        OutcomeUnknown(PaymentOutcomeUnknown) = "payment.outcome_unknown.v1",
        RefundRequested(PaymentRefundRequested) = "payment.refund_requested.v1",
        Refunded(PaymentRefunded) = "payment.refunded.v1",
        RefundFailed(PaymentRefundFailed) = "payment.refund_failed.v1",
        Closed(PaymentClosed) = "payment.closed.v1",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequested {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    /// Minor units.
    pub amount: Amount,
    pub currency: Currency,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentChargeRequested {
    /// The number of the charge within this payment, from 1.
    pub charge: u32,
    /// The provider's name, as in the path of its webhooks.
    pub provider: String,
    /// The provider's token for a card or another payment method.
    pub method: String,
    /// Minor units.
    pub amount: Amount,
    pub capture: CaptureMode,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentChargePending {
    pub charge: u32,
    /// The provider's id of the charge.
    pub reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptureRequested {
    pub charge: u32,
    /// This capture alone, in minor units.
    pub amount: Amount,
    /// The captured amount of the charge after this capture, in minor units.
    pub total: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAuthorized {
    /// The total authorized, in minor units.
    pub amount: Amount,
    /// The provider's id of the charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The number of the charge. None if an operator recorded it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptured {
    /// This capture alone, in minor units.
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub retryable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoidRequested {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoided {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentOutcomeUnknown {
    pub operation: Operation,
}

/// The operation whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    Authorize,
    Capture,
    Void,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundRequested {
    pub refund_id: RefundId,
    /// Minor units.
    pub amount: Amount,
    pub reason: RefundReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundReason {
    /// The order took goods back.
    Return,
    /// An operator requested it.
    Requested,
    /// The order ended and keeps less than was captured.
    OrderClosed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub refund_id: RefundId,
    /// Minor units.
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundFailed {
    pub refund_id: RefundId,
    /// Minor units.
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentClosed {
    pub order_id: OrderId,
    /// What the order keeps of everything captured before or after this event, in minor units.
    pub amount_due: Amount,
}

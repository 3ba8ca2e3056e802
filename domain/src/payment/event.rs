use serde::{Deserialize, Serialize};

use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, decider::stored_events, new_charge::CaptureMode,
};

stored_events! {
    /// What happened to a payment.
    pub enum PaymentEvent of PaymentEventKind {
        Requested(PaymentRequested) = "payment.requested.v1",
        /// The provider is to be asked for the money.
        ChargeRequested(PaymentChargeRequested) = "payment.charge_requested.v1",
        /// The provider has the charge and waits, for the customer or for a bank.
        ChargePending(PaymentChargePending) = "payment.charge_pending.v1",
        Authorized(PaymentAuthorized) = "payment.authorized.v1",
        /// The provider is to be asked to capture.
        CaptureRequested(PaymentCaptureRequested) = "payment.capture_requested.v1",
        Captured(PaymentCaptured) = "payment.captured.v1",
        Failed(PaymentFailed) = "payment.failed.v1",
        /// The provider is to give back an authorisation, or to give up a charge: an operator asks for it, or the
        /// payment is closed.
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
    /// Counts the charges of this payment, from 1.
    pub charge: u32,
    /// The provider's name, as in the path of its webhooks.
    pub provider: String,
    /// The provider's token of a card or another means of payment.
    pub method: String,
    /// Minor units.
    pub amount: Amount,
    pub capture: CaptureMode,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentChargePending {
    pub charge: u32,
    /// The provider's own id.
    pub reference: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptureRequested {
    pub charge: u32,
    /// This capture alone.
    pub amount: Amount,
    /// What the charge has captured when this is done.
    pub total: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAuthorized {
    /// What stands authorized in all.
    pub amount: Amount,
    /// The provider's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    /// The charge it belongs to; none where it was recorded by hand.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptured {
    /// This capture alone.
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

/// What the provider was asked to do.
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
    pub amount: Amount,
    pub reason: RefundReason,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundReason {
    /// Goods came back.
    Return,
    /// Asked for by hand.
    Requested,
    /// The order ended and keeps less than was captured.
    OrderClosed,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefunded {
    pub refund_id: RefundId,
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundFailed {
    pub refund_id: RefundId,
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentClosed {
    pub order_id: OrderId,
    /// What the order keeps of what was or will be captured.
    pub amount_due: Amount,
}

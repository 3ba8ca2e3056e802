use serde::{Deserialize, Serialize};

use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, Timestamp, credit::CreditSource, decider::stored_events,
    new_charge::CaptureMode, payment_terms::PaymentTerms,
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
        /// The provider made a refund that this payment did not request. It may not be paid out yet.
        RefundFound(PaymentRefundFound) = "payment.refund_found.v1",
        /// The provider has accepted the refund and has not paid it out yet.
        RefundPending(PaymentRefundPending) = "payment.refund_pending.v1",
        /// The provider received the request of the refund and its answer was lost.
        RefundOutcomeUnknown(PaymentRefundOutcomeUnknown) = "payment.refund_outcome_unknown.v1",
        Refunded(PaymentRefunded) = "payment.refunded.v1",
        RefundFailed(PaymentRefundFailed) = "payment.refund_failed.v1",
        /// The customer's bank took the money back, until it decides.
        Disputed(PaymentDisputed) = "payment.disputed.v1",
        /// The disputed money came back.
        DisputeWon(PaymentDisputeWon) = "payment.dispute_won.v1",
        /// The disputed money is gone.
        DisputeLost(PaymentDisputeLost) = "payment.dispute_lost.v1",
        /// What the payment is to take has changed: units of its order were shipped, cancelled or returned.
        Adjusted(PaymentAdjusted) = "payment.adjusted.v1",
        Closed(PaymentClosed) = "payment.closed.v1",
    }
}

impl PaymentEvent {
    /// True if the work of the provider is replaced: what it did before is not waited for any more.
    pub fn replaces_work(&self) -> bool {
        match self {
            Self::VoidRequested(_) => true,
            Self::Requested(_)
            | Self::ChargeRequested(_)
            | Self::ChargePending(_)
            | Self::Authorized(_)
            | Self::CaptureRequested(_)
            | Self::Captured(_)
            | Self::Failed(_)
            | Self::Voided(_)
            | Self::OutcomeUnknown(_)
            | Self::RefundRequested(_)
            | Self::RefundFound(_)
            | Self::RefundPending(_)
            | Self::RefundOutcomeUnknown(_)
            | Self::Refunded(_)
            | Self::RefundFailed(_)
            | Self::Disputed(_)
            | Self::DisputeWon(_)
            | Self::DisputeLost(_)
            | Self::Adjusted(_)
            | Self::Closed(_) => false,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRequested {
    pub payment_id: PaymentId,
    pub order_id: OrderId,
    /// Minor units.
    pub amount: Amount,
    pub currency: Currency,
    /// The terms of the order.
    #[serde(default, skip_serializing_if = "PaymentTerms::is_prepaid")]
    pub terms: PaymentTerms,
    /// Set for the credit of an exchange: no provider and no operator has this money.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credit: Option<CreditSource>,
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
    /// When the authorisation runs out. None if that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentCaptured {
    /// This capture alone, in minor units.
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<u32>,
    /// True if an operator recorded money that arrived after the order had ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentFailed {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    pub retryable: bool,
    /// A word for programs, such as `card_declined`. None in events of builds that recorded no code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoidRequested {}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentVoided {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// True if the authorisation ran out. False if a void was requested.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ran_out: bool,
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
    /// Where the money comes from. None in events of builds that sent every refund to the latest charge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RefundSource>,
    /// The refund of the order that this is a part of. None if it goes to one source, under the order's own id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<RefundId>,
}

/// Where the money of a refund comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundSource {
    /// The provider refunds this charge.
    Charge(u32),
    /// Money recorded by hand: an operator pays it out.
    Manual,
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
    /// The provider made it without a request, for example from its dashboard.
    Provider,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundFound {
    pub refund_id: RefundId,
    /// The number of the refunded charge.
    pub charge: u32,
    /// Minor units.
    pub amount: Amount,
    /// The provider's id of the refund.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundPending {
    pub refund_id: RefundId,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentRefundOutcomeUnknown {
    pub refund_id: RefundId,
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
    /// True if the provider reported it. False if an operator recorded it, and in events of builds that did not
    /// record who it was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub by_provider: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDisputed {
    /// The provider's id of the dispute.
    pub dispute: String,
    /// The number of the disputed charge.
    pub charge: u32,
    /// Minor units.
    pub amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDisputeWon {
    pub dispute: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentDisputeLost {
    pub dispute: String,
}

/// Amounts are cumulative, in minor units, refunds of the order included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentAdjusted {
    /// What the payment is to take in all. None: as before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount: Option<Amount>,
    /// How much of it is to be captured by now, without a further command.
    pub capture_due: Amount,
    /// What the ended order keeps at most of everything captured: units came back that were not paid yet. None: as
    /// before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub amount_due: Option<Amount>,
    /// Counts the changes of the order, so that a late adjustment changes nothing.
    pub number: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PaymentClosed {
    pub order_id: OrderId,
    /// What the order keeps of everything captured before or after this event, in minor units.
    pub amount_due: Amount,
}

//! The JSON of the sandbox over HTTP. Server and adapter use the same types.

use std::collections::BTreeMap;

use domain::{
    Amount, Currency, OrderId, PaymentId, RefundId, Timestamp,
    payment::{CaptureMode, ChargeEnding, ProviderReport},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use infra::payment_provider::{ChargeAnswer, RefundAnswer};

/// The terms of a charge. A repeated request must have the same terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeTerms {
    /// Minor units.
    pub amount: Amount,
    pub currency: Currency,
    pub method: String,
    #[serde(default)]
    pub capture: CaptureMode,
    #[serde(default)]
    pub order_id: Option<OrderId>,
}

/// The terms of a refund.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundTerms {
    pub amount: Amount,
}

/// A charge with all movements of its money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChargeResource {
    pub payment_id: PaymentId,
    /// The number of the charge in its payment.
    pub charge: u32,
    pub reference: String,
    /// `None` if it was voided before it was requested.
    pub terms: Option<ChargeTerms>,
    pub status: ChargeStatus,
    /// Totals of all movements in minor units. A release or a refund does not reduce the first two.
    pub authorized: Amount,
    pub captured: Amount,
    pub refunded: Amount,
    pub failure: Option<ChargeFailure>,
    pub next_action: Option<Value>,
    pub refunds: Vec<RefundResource>,
    pub movements: Vec<Movement>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChargeStatus {
    Pending,
    /// Authorized, possibly captured in part.
    Authorized,
    /// Captured in full.
    Captured,
    Failed,
    /// Ended. The money that was authorized and not captured is released.
    Voided,
}

/// Why a charge failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeFailure {
    pub reason: String,
    pub retryable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundResource {
    pub refund_id: RefundId,
    pub reference: String,
    pub amount: Amount,
    pub status: RefundStatus,
    /// Why it failed.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    Pending,
    Succeeded,
    Failed,
}

/// One movement of money.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Movement {
    #[serde(rename = "type")]
    pub kind: MovementKind,
    pub amount: Amount,
    pub at: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MovementKind {
    /// The amount is reserved.
    Authorization,
    Capture,
    /// A reserved amount is released without a capture.
    Release,
    Refund,
}

impl MovementKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Capture => "capture",
            Self::Release => "release",
            Self::Refund => "refund",
        }
    }
}

/// The totals of the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerTotals {
    pub charges: u64,
    pub currencies: BTreeMap<Currency, CurrencyTotals>,
    pub webhooks: NoticeTotals,
}

/// The totals of one currency: counts, and amounts in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrencyTotals {
    pub authorizations: u64,
    pub authorized: Amount,
    pub captures: u64,
    pub captured: Amount,
    pub releases: u64,
    pub released: Amount,
    pub refunds: u64,
    pub refunded: Amount,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoticeTotals {
    pub waiting: u64,
    pub delivered: u64,
    /// Not accepted at the last attempt.
    pub given_up: u64,
}

/// A page of charges, the oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChargePage {
    pub items: Vec<ChargeResource>,
    /// The `cursor` of the next page. `None` on the last page.
    pub next_cursor: Option<String>,
}

/// The body of a notice.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct NoticeBody {
    #[serde(rename = "type")]
    pub kind: NoticeKind,
    pub timestamp: Timestamp,
    /// The refund, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<RefundId>,
    /// The charge as it was then.
    pub data: ChargeResource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum NoticeKind {
    #[serde(rename = "charge.pending")]
    ChargePending,
    #[serde(rename = "charge.authorized")]
    ChargeAuthorized,
    /// Captured in full or in part.
    #[serde(rename = "charge.captured")]
    ChargeCaptured,
    #[serde(rename = "charge.failed")]
    ChargeFailed,
    #[serde(rename = "charge.voided")]
    ChargeVoided,
    #[serde(rename = "refund.succeeded")]
    RefundSucceeded,
    #[serde(rename = "refund.failed")]
    RefundFailed,
}

impl ChargeResource {
    pub fn refund(&self, id: RefundId) -> Option<&RefundResource> {
        self.refunds.iter().find(|refund| refund.refund_id == id)
    }

    /// The report in the terms of the port.
    pub fn report(&self) -> ProviderReport {
        let ending = match self.status {
            ChargeStatus::Pending | ChargeStatus::Authorized | ChargeStatus::Captured => None,
            ChargeStatus::Failed => Some(ChargeEnding::Failed {
                reason: self.failure.as_ref().map(|failure| failure.reason.clone()),
                retryable: self.failure.as_ref().is_some_and(|failure| failure.retryable),
            }),
            ChargeStatus::Voided => Some(ChargeEnding::Voided),
        };
        ProviderReport {
            charge: self.charge,
            reference: self.reference.clone(),
            authorized: self.authorized,
            captured: self.captured,
            ending,
        }
    }
}

impl From<ChargeResource> for ChargeAnswer {
    fn from(charge: ChargeResource) -> Self {
        Self { report: charge.report(), next_action: charge.next_action }
    }
}

impl From<&RefundResource> for RefundAnswer {
    fn from(refund: &RefundResource) -> Self {
        match refund.status {
            RefundStatus::Pending => Self::Pending,
            RefundStatus::Succeeded => Self::Refunded { reference: refund.reference.clone() },
            RefundStatus::Failed => {
                Self::Failed { reason: refund.reason.clone().unwrap_or_else(|| "refused".to_owned()) }
            }
        }
    }
}

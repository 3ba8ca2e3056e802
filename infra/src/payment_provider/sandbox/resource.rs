//! What the sandbox tells over HTTP. Server and adapter read and write the same types.

use std::collections::BTreeMap;

use domain::{
    Amount, Currency, OrderId, PaymentId, RefundId, Timestamp,
    payment::{CaptureMode, ChargeEnding, ProviderReport},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::payment_provider::{ChargeAnswer, RefundAnswer};

/// What a charge is asked for with. The same charge is asked for with the same terms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Minor units.
    pub amount: Amount,
    pub currency: Currency,
    pub method: String,
    #[serde(default)]
    pub capture: CaptureMode,
    #[serde(default)]
    pub order_id: Option<OrderId>,
}

/// What a refund is asked for with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefundTerms {
    pub amount: Amount,
}

/// A charge as it stands, with everything that ever happened to its money.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChargeResource {
    pub payment_id: PaymentId,
    /// The number of the charge in its payment.
    pub charge: u32,
    pub reference: String,
    /// None: it was given up before it was asked for.
    pub terms: Option<Terms>,
    pub status: ChargeStatus,
    /// Ever authorized, ever captured, ever refunded, in minor units.
    pub authorized: Amount,
    pub captured: Amount,
    pub refunded: Amount,
    pub failure: Option<Failure>,
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
    /// Authorized, and perhaps captured in part.
    Authorized,
    /// In full.
    Captured,
    Failed,
    /// What was authorized and not captured is given back.
    Voided,
}

/// Why a charge has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub reason: String,
    pub retryable: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundResource {
    pub refund_id: RefundId,
    pub reference: String,
    pub amount: Amount,
    pub status: RefundStatus,
    /// Why it has failed.
    pub reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    Pending,
    Succeeded,
    Failed,
}

/// Money that has moved, or was set aside.
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
    /// Set aside.
    Authorization,
    Capture,
    /// Set aside no longer.
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

/// What has moved in all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub charges: u64,
    pub currencies: BTreeMap<Currency, CurrencyTotals>,
    pub webhooks: WebhookTotals,
}

/// Of one currency: how often something was done, and amounts in minor units.
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
pub struct WebhookTotals {
    pub waiting: u64,
    pub delivered: u64,
    /// Nobody took them, and they are not sent any more.
    pub given_up: u64,
}

/// A page of charges, the oldest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChargePage {
    pub items: Vec<ChargeResource>,
    /// To be passed as `cursor` for the next page; none on the last.
    pub next_cursor: Option<String>,
}

/// What a webhook says.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Event {
    #[serde(rename = "type")]
    pub kind: EventKind,
    pub timestamp: Timestamp,
    /// Of an event of a refund: which one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refund_id: Option<RefundId>,
    /// As it stood then.
    pub data: ChargeResource,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    #[serde(rename = "charge.pending")]
    ChargePending,
    #[serde(rename = "charge.authorized")]
    ChargeAuthorized,
    /// In full or in part.
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

    /// In the terms of the port.
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

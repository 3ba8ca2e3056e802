//! The JSON of the sandbox over HTTP. Server and adapter use the same types.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Amount, Currency, OrderId, PaymentId, RefundId, Timestamp,
    payment::{
        CaptureMode, ChargeEnding, DisputeReport, DisputeState, ProviderReport, RefundOutcome, RefundReport,
    },
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
    #[serde(default)]
    pub disputes: Vec<DisputeResource>,
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
    /// `None` if an earlier build made it.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundStatus {
    Pending,
    Succeeded,
    Failed,
}

/// A customer takes money back through the bank.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeResource {
    pub dispute_id: String,
    pub amount: Amount,
    pub status: DisputeState,
    pub reason: String,
    /// `None` if an earlier build opened it.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
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
    /// A refund that was paid comes back.
    RefundReversal,
    /// The bank takes disputed money.
    Dispute,
    /// The bank brings disputed money back.
    DisputeReversal,
}

impl MovementKind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Authorization => "authorization",
            Self::Capture => "capture",
            Self::Release => "release",
            Self::Refund => "refund",
            Self::RefundReversal => "refund_reversal",
            Self::Dispute => "dispute",
            Self::DisputeReversal => "dispute_reversal",
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
    #[serde(default)]
    pub refund_reversals: u64,
    #[serde(default)]
    pub refunds_reversed: Amount,
    #[serde(default)]
    pub disputes: u64,
    #[serde(default)]
    pub disputed: Amount,
    #[serde(default)]
    pub dispute_reversals: u64,
    #[serde(default)]
    pub disputes_reversed: Amount,
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
    /// The dispute, if the event is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dispute_id: Option<String>,
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
    #[serde(rename = "dispute.opened")]
    DisputeOpened,
    #[serde(rename = "dispute.won")]
    DisputeWon,
    #[serde(rename = "dispute.lost")]
    DisputeLost,
}

/// Banks hold the money of a card this long.
const AUTHORIZATION_LIFE: Duration = Duration::from_hours(7 * 24);

impl ChargeResource {
    pub fn refund(&self, id: RefundId) -> Option<&RefundResource> {
        self.refunds.iter().find(|refund| refund.refund_id == id)
    }

    pub fn dispute(&self, id: &str) -> Option<&DisputeResource> {
        self.disputes.iter().find(|dispute| dispute.dispute_id == id)
    }

    /// When the bank releases what is authorized and not captured. `None` if nothing is.
    pub fn authorized_until(&self) -> Option<Timestamp> {
        let is_authorization = |movement: &&Movement| movement.kind == MovementKind::Authorization;
        let latest = self.movements.iter().rev().find(is_authorization);
        let latest = latest.filter(|_| self.status == ChargeStatus::Authorized);
        latest.map(|movement| movement.at.checked_add(AUTHORIZATION_LIFE).unwrap_or(Timestamp::MAX))
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
            authorized_until: self.authorized_until(),
            ending,
            refunds: self.refunds.iter().map(|refund| refund.report(self.charge)).collect(),
            disputes: self.disputes.iter().map(|dispute| dispute.report(self.charge)).collect(),
        }
    }
}

impl RefundResource {
    /// The report in the terms of the port.
    pub fn report(&self, charge: u32) -> RefundReport {
        let outcome = match self.status {
            RefundStatus::Pending => RefundOutcome::Pending,
            RefundStatus::Succeeded => RefundOutcome::Refunded,
            RefundStatus::Failed => RefundOutcome::Failed { reason: self.reason.clone() },
        };
        RefundReport {
            refund_id: self.refund_id,
            charge: Some(charge),
            amount: self.amount,
            reference: self.reference.clone(),
            outcome,
        }
    }
}

impl DisputeResource {
    /// The report in the terms of the port.
    pub fn report(&self, charge: u32) -> DisputeReport {
        DisputeReport {
            charge,
            reference: self.dispute_id.clone(),
            amount: self.amount,
            reason: Some(self.reason.clone()),
            state: self.status,
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

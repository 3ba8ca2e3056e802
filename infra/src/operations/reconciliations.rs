//! The port of reconciliations: what comparisons with the books of the payment provider found.

use async_trait::async_trait;
use domain::{Amount, Currency, OrderId, PaymentId, RefundId, Timestamp};
use serde::{Deserialize, Serialize};

use super::OperationsError;

/// What was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Charge,
    Refund,
    Dispute,
}

/// The sums of one kind in one currency. Amounts are in minor units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sums {
    pub count: u64,
    pub ours: Amount,
    pub theirs: Amount,
}

/// Why the two sides differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Only the provider has it.
    OnlyAtProvider,
    /// Only the provider has it, and its metadata names a payment that this platform does not have.
    UnknownPayment,
    /// Only this platform has it.
    OnlyHere,
    OtherAmount,
    OtherCurrency,
}

impl Kind {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Charge => "charge",
            Self::Refund => "refund",
            Self::Dispute => "dispute",
        }
    }
}

impl Finding {
    /// In words.
    pub fn why(self) -> &'static str {
        match self {
            Self::OnlyAtProvider => "only the provider has it",
            Self::UnknownPayment => "only the provider has it, and this platform has no such payment",
            Self::OnlyHere => "only this platform has it",
            Self::OtherAmount => "the amounts differ",
            Self::OtherCurrency => "the currencies differ",
        }
    }
}

/// A charge, a refund or a dispute that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub kind: Kind,
    pub finding: Finding,
    pub payment_id: PaymentId,
    pub order_id: Option<OrderId>,
    /// The number of the charge.
    pub charge: u32,
    /// The provider's id of the charge, if it is known.
    pub charge_reference: Option<String>,
    pub refund_id: Option<RefundId>,
    /// The provider's id of the refund, of the dispute, or of the charge.
    pub reference: Option<String>,
    /// When the provider made it, or if only this platform has it, when it was recorded.
    pub at: Timestamp,
    /// The provider's currency if it has one.
    pub currency: Currency,
    /// Minor units, as the next one.
    pub ours: Amount,
    pub theirs: Amount,
}

impl Difference {
    /// What the provider has beyond what is recorded here.
    pub fn difference(&self) -> Amount {
        self.theirs.saturating_sub(self.ours)
    }
}

/// A comparison of a period with the books of the provider.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reconciliation {
    pub provider: String,
    /// Inclusive.
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
    /// When the comparison ended.
    pub compared_at: Timestamp,
    pub totals: Vec<(Kind, Currency, Sums)>,
    /// What differs, without what was recorded. At most [`Reconciliation::KEPT_MAX`].
    pub differences: Vec<Difference>,
    pub differences_count: u64,
    /// What differed until it was recorded. At most [`Reconciliation::KEPT_MAX`].
    pub recorded: Vec<Difference>,
    pub recorded_count: u64,
}

impl Reconciliation {
    /// Most differences that are kept of a comparison.
    pub const KEPT_MAX: usize = 500;
    /// Most comparisons that are kept, those of the latest periods.
    pub const PERIODS_MAX: usize = 400;

    pub fn head(&self) -> ReconciliationHead {
        let Self { ref provider, from, to, compared_at, differences_count, recorded_count, .. } = *self;
        let provider = provider.clone();
        ReconciliationHead { provider, from, to, compared_at, differences_count, recorded_count }
    }
}

/// A comparison without what it found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReconciliationHead {
    pub provider: String,
    pub from: Timestamp,
    pub to: Timestamp,
    pub compared_at: Timestamp,
    pub differences_count: u64,
    pub recorded_count: u64,
}

/// Stores the last comparison of each period with each provider.
///
/// Contract, checked by the suite in `tests/tests/reconciliations_contract.rs`: a comparison is durable once the call that
/// stored it has returned, and replaces the earlier one of its provider and the beginning of its period. Only the
/// [`Reconciliation::PERIODS_MAX`] latest periods stay. Times have microseconds.
#[async_trait]
pub trait Reconciliations: Send + Sync + 'static {
    async fn keep(&self, reconciliation: &Reconciliation) -> Result<(), OperationsError>;

    /// At most `limit` comparisons, those of the latest periods first.
    async fn list(&self, limit: usize) -> Result<Vec<ReconciliationHead>, OperationsError>;

    /// The comparison that was made last, or the one made last of the period that begins then.
    async fn latest(&self, from: Option<Timestamp>) -> Result<Option<Reconciliation>, OperationsError>;
}

//! Money that moved: sums over payments by quarter hour and currency.

use async_trait::async_trait;
use domain::{Currency, payment::Payment};
use serde::{Deserialize, Serialize};

use super::{
    ReadModelError, RowPage,
    sums::{PartitionSums, TimeGroup, TimeRange, Totals},
};

/// Key of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct MoneyKey {
    pub currency: Currency,
    /// The quarter hour in which the movement was recorded: see [`quarter_of`](super::quarter_of).
    pub quarter: i64,
}

/// Sums of movements, in minor units. A sum is negative if more was taken back than moved: a refund that failed
/// after it was paid out, a dispute that was won.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoneyTotals {
    pub captured: i128,
    /// Paid out.
    pub refunded: i128,
    /// Taken by disputes that are open or lost.
    pub disputed: i128,
}

impl MoneyTotals {
    /// The columns, in the order of [`MoneyTotals::amounts`].
    pub(super) const COLUMNS: [&'static str; 3] = ["captured", "refunded", "disputed"];

    /// The books of a payment.
    pub fn of_payment(payment: &Payment) -> Self {
        // No money moves for the credit of an exchange.
        if payment.credit().is_some() {
            return Self::default();
        }
        Self {
            captured: payment.captured().minor_units().into(),
            refunded: payment.refunded().minor_units().into(),
            disputed: payment.disputed().minor_units().into(),
        }
    }

    /// What came in and stayed.
    pub fn net(&self) -> i128 {
        self.captured - self.refunded - self.disputed
    }

    /// The movement from `before` to these books.
    pub fn since(&self, before: &Self) -> Self {
        Self {
            captured: self.captured - before.captured,
            refunded: self.refunded - before.refunded,
            disputed: self.disputed - before.disputed,
        }
    }

    pub(super) fn amounts(&self) -> [i128; 3] {
        [self.captured, self.refunded, self.disputed]
    }

    pub(super) fn of([captured, refunded, disputed]: [i128; 3]) -> Self {
        Self { captured, refunded, disputed }
    }
}

impl Totals for MoneyTotals {
    fn add(&mut self, other: &Self) {
        self.captured += other.captured;
        self.refunded += other.refunded;
        self.disputed += other.disputed;
    }
}

/// Movements of the events of one partition.
pub type PartitionMoney = PartitionSums<MoneyKey, MoneyTotals>;

/// Selects the movements to sum.
#[derive(Debug, Clone)]
pub struct MoneyQuery {
    pub currency: Currency,
    pub range: TimeRange,
    /// `None`: the total alone.
    pub group: Option<TimeGroup>,
    /// Continue after the group with this key. The total counts all groups.
    pub after: Option<String>,
}

/// The total and a page of its groups, with keys as those of [`super::Sales`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Money {
    pub total: MoneyTotals,
    /// In ascending order of keys.
    pub groups: RowPage<(String, MoneyTotals)>,
}

#[async_trait]
pub trait MoneyQueries: Send + Sync + 'static {
    /// Sums over all partitions, in at most `limit` groups.
    async fn money(&self, query: &MoneyQuery, limit: usize) -> Result<Money, ReadModelError>;
}

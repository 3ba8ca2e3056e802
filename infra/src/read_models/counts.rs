//! What is counted by time: answered charges by their outcome, and sold units by SKU.

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::Sku;
use serde::{Deserialize, Serialize};

use super::{
    ReadModelError, RowPage,
    sums::{PartitionSums, TimeGroup, TimeRange, Totals},
};

/// Quarter hours of a day in UTC.
const QUARTERS_PER_DAY: i64 = 96;
/// Most codes of failures that a report names.
pub const FAILURES_MAX: usize = 100;

/// What a row counts.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Counted {
    /// Charges that were answered in a quarter hour: with this code of a failure, or approved.
    Charges { failure: Option<String> },
    /// Units on allocated orders that were placed on a day in UTC.
    Sold(Sku),
}

/// Key of a row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CountKey {
    pub counted: Counted,
    /// When the time begins: see [`quarter_of`](super::quarter_of).
    pub start: i64,
}

impl CountKey {
    /// The kind and the name, as they are stored: changing them needs a new schema version.
    pub(super) fn columns(&self) -> (i16, &str) {
        match &self.counted {
            Counted::Charges { failure } => (CHARGES, failure.as_deref().unwrap_or_default()),
            Counted::Sold(sku) => (SOLD, sku.as_str()),
        }
    }
}

pub(super) const CHARGES: i16 = 0;
pub(super) const SOLD: i16 = 1;

/// The failure of a stored name. An approved charge has none.
pub(super) fn charges_of(name: String) -> Counted {
    Counted::Charges { failure: Some(name).filter(|name| !name.is_empty()) }
}

/// The first quarter hour of the day in UTC that `quarter` lies in.
pub fn day_of(quarter: i64) -> i64 {
    quarter.div_euclid(QUARTERS_PER_DAY) * QUARTERS_PER_DAY
}

impl Totals for i64 {
    fn add(&mut self, other: &Self) {
        *self += other;
    }
}

/// Counts of the events of one partition.
pub type PartitionCounts = PartitionSums<CountKey, i64>;

/// Answered charges.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChargeTotals {
    /// Approved and declined ones.
    pub attempts: i64,
    pub declined: i64,
}

impl Totals for ChargeTotals {
    fn add(&mut self, other: &Self) {
        self.attempts += other.attempts;
        self.declined += other.declined;
    }
}

/// Selects the charges to count.
#[derive(Debug, Clone)]
pub struct ChargeQuery {
    pub range: TimeRange,
    /// `None`: the total alone.
    pub group: Option<TimeGroup>,
    /// Continue after the group with this key. The total counts all groups.
    pub after: Option<String>,
}

/// The total, its most frequent failures, and a page of its groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Charges {
    pub total: ChargeTotals,
    /// At most [`FAILURES_MAX`], the most frequent first.
    pub failures: Vec<(String, i64)>,
    /// In ascending order of keys, which are those of [`super::Sales`].
    pub groups: RowPage<(String, ChargeTotals)>,
}

#[async_trait]
pub trait CountQueries: Send + Sync + 'static {
    /// Counts over all partitions, in at most `limit` groups.
    async fn charges(&self, query: &ChargeQuery, limit: usize) -> Result<Charges, ReadModelError>;

    /// The units of each SKU on allocated orders that were placed in `days`, which begin at [`day_of`] and exclude the
    /// last. A SKU without such orders is absent.
    async fn units_sold(&self, skus: &[Sku], days: (i64, i64)) -> Result<BTreeMap<Sku, i64>, ReadModelError>;
}

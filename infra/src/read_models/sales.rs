//! Sales: sums over allocated orders by hour, currency, SKU and country.

pub(super) mod spans;

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{Currency, Sku};
use serde::{Deserialize, Serialize};

use self::spans::month_of;
use super::{Projection, ReadModelError, RowPage, StoredRow};
use crate::event_source::Partition;

/// What sales are summed by, besides the hour and the currency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SalesDimension {
    /// Every order once.
    All,
    /// Each SKU of each order once.
    Sku(Sku),
    /// The order's country as the shop wrote it; empty if the order has none.
    Country(String),
}

/// Key of a sales row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SalesKey {
    pub dimension: SalesDimension,
    pub currency: Currency,
    /// The hour of `placed_at` in UTC, in whole hours since 1970-01-01T00:00Z.
    pub hour: i64,
}

/// Sums over all orders that were ever allocated, by `placed_at`. Money is in minor units. `gross` is
/// quantity x unit price of the lines without adjustments, and is never reduced: cancelled and refunded money
/// has its own columns.
///
/// Money has 128 bits: 1,025 orders of the largest stored amount (2^53 - 1) exceed 64 bits. Counts have 64
/// bits: an order has at most 1,000,000,000 units, so units exceed them after 9,000,000,000 such orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalesTotals {
    pub orders: i64,
    pub lines: i64,
    pub units: i64,
    pub gross: i128,
    pub cancelled: i128,
    pub refunded: i128,
}

impl SalesTotals {
    pub fn add(&mut self, other: &Self) {
        self.orders += other.orders;
        self.lines += other.lines;
        self.units += other.units;
        self.gross += other.gross;
        self.cancelled += other.cancelled;
        self.refunded += other.refunded;
    }
}

/// Sums over the events of one partition, sorted by key. Owners of different partitions never write the same
/// row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSales {
    pub partition: Partition,
    pub sums: Vec<(SalesKey, SalesTotals)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesGroup {
    Hour,
    Day,
    Month,
    Sku,
    Country,
}

/// Selects the sales to sum.
#[derive(Debug, Clone)]
pub struct SalesQuery {
    pub currency: Currency,
    /// Whole hours since the epoch, inclusive.
    pub from_hour: Option<i64>,
    /// Exclusive.
    pub to_hour: Option<i64>,
    /// `None`: the total alone.
    pub group: Option<SalesGroup>,
    /// Continue after the group with this key. The total counts all groups.
    pub after: Option<String>,
}

/// The total and a page of its groups. Keys: `2010-12-01T08:00:00Z`, `2010-12-01`, `2010-12`, a SKU, a country.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sales {
    pub total: SalesTotals,
    /// In ascending order of keys.
    pub groups: RowPage<(String, SalesTotals)>,
}

#[async_trait]
pub trait SalesQueries: Send + Sync + 'static {
    /// Sums over all partitions, in at most `limit` groups.
    async fn sales(&self, query: &SalesQuery, limit: usize) -> Result<Sales, ReadModelError>;
}

/// Checks the stored sums of months against the stored sums of their hours. Feed it all hours first.
#[derive(Debug, Default)]
pub(super) struct MonthCheck {
    expected: BTreeMap<SalesKey, SalesTotals>,
}

impl MonthCheck {
    pub(super) fn add_hour(&mut self, key: &SalesKey, totals: &SalesTotals) {
        let month = SalesKey { hour: month_of(key.hour), ..key.clone() };
        self.expected.entry(month).or_default().add(totals);
    }

    /// The fault of a stored month, if it has one.
    pub(super) fn check_month(&mut self, key: &SalesKey, totals: &SalesTotals) -> Option<StoredRow> {
        if self.expected.remove(key).as_ref() == Some(totals) {
            return None;
        }
        Some(broken_sales(key, "the sum of the month differs from the sum of its hours"))
    }

    /// The months that should be stored and were not checked.
    pub(super) fn missing(self) -> impl Iterator<Item = StoredRow> {
        self.expected.into_keys().map(|key| broken_sales(&key, "the month has no sum"))
    }
}

fn broken_sales(key: &SalesKey, fault: &str) -> StoredRow {
    StoredRow::broken(Projection::Sales, format!("{key:?}"), fault)
}

//! Sales: sums over allocated orders by quarter hour, currency, SKU and country.

pub(super) mod spans;

use std::collections::BTreeMap;

use async_trait::async_trait;
use domain::{Currency, Sku};
use serde::{Deserialize, Serialize};

use self::spans::month_of;
use super::{
    Projection, ReadModelError, RowPage, StoredRow,
    sums::{PartitionSums, TimeGroup, TimeRange, Totals},
};

/// What sales are summed by, besides the time and the currency.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum SalesDimension {
    /// Every order once.
    All,
    /// Each SKU of each order once.
    Sku(Sku),
    /// The order's country as the shop wrote it; empty if the order has none.
    Country(String),
    /// What belongs to no line of an order: shipping, fees and refunds of the whole order.
    NoLine,
}

/// Key of a sales row.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SalesKey {
    pub dimension: SalesDimension,
    pub currency: Currency,
    /// The quarter hour of `placed_at`: see [`quarter_of`](super::quarter_of).
    pub quarter: i64,
}

/// Sums over all orders that were ever allocated, by `placed_at`. Money is in minor units; discounts are
/// negative, `cancelled` and `refunded` are positive. `docs/http.md` defines each sum.
///
/// Money has 128 bits: 1,025 orders of the largest stored amount (2^53 - 1) exceed 64 bits. Counts have 64
/// bits: an order has at most 1,000,000,000 units, so units exceed them after 9,000,000,000 such orders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalesTotals {
    pub orders: i64,
    pub lines: i64,
    pub units: i64,
    /// Quantity x unit price, without the taxes that prices include.
    pub gross: i128,
    pub discounts: i128,
    pub tax: i128,
    pub shipping: i128,
    pub fees: i128,
    /// The worth of what was cancelled or returned before it was paid.
    pub cancelled: i128,
    pub refunded: i128,
}

impl SalesTotals {
    /// The columns of counts, in the order of [`SalesTotals::counts`].
    pub(super) const COUNTS: [&'static str; 3] = ["orders", "lines", "units"];
    /// The columns of money, in the order of [`SalesTotals::money`].
    pub(super) const MONEY: [&'static str; 7] =
        ["gross", "discounts", "tax", "shipping", "fees", "cancelled", "refunded"];

    /// What was sold and neither cancelled nor refunded.
    pub fn net(&self) -> i128 {
        self.gross + self.discounts + self.tax + self.shipping + self.fees - self.cancelled - self.refunded
    }

    pub(super) fn counts(&self) -> [i64; 3] {
        [self.orders, self.lines, self.units]
    }

    pub(super) fn money(&self) -> [i128; 7] {
        let Self {
            orders: _,
            lines: _,
            units: _,
            gross,
            discounts,
            tax,
            shipping,
            fees,
            cancelled,
            refunded,
        } = *self;
        [gross, discounts, tax, shipping, fees, cancelled, refunded]
    }

    pub(super) fn of([orders, lines, units]: [i64; 3], money: [i128; 7]) -> Self {
        let [gross, discounts, tax, shipping, fees, cancelled, refunded] = money;
        Self { orders, lines, units, gross, discounts, tax, shipping, fees, cancelled, refunded }
    }
}

impl Totals for SalesTotals {
    fn add(&mut self, other: &Self) {
        let (mut counts, mut money) = (self.counts(), self.money());
        counts.iter_mut().zip(other.counts()).for_each(|(sum, count)| *sum += count);
        money.iter_mut().zip(other.money()).for_each(|(sum, amount)| *sum += amount);
        *self = Self::of(counts, money);
    }
}

/// Sales of the events of one partition.
pub type PartitionSales = PartitionSums<SalesKey, SalesTotals>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SalesGroup {
    Time(TimeGroup),
    Sku,
    Country,
}

/// Selects the sales to sum.
#[derive(Debug, Clone)]
pub struct SalesQuery {
    pub currency: Currency,
    pub range: TimeRange,
    /// `None`: the total alone.
    pub group: Option<SalesGroup>,
    /// Continue after the group with this key. The total counts all groups.
    pub after: Option<String>,
}

/// The total and a page of its groups. Keys: `2010-12-01T08:00:00Z`, `2010-12-01`, `2010-12`, a SKU, a country. The
/// key of what belongs to no SKU is empty.
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

    /// The currencies that orders were ever allocated in, sorted.
    async fn currencies(&self) -> Result<Vec<Currency>, ReadModelError>;
}

/// Checks the stored sums of months against the stored sums of their quarter hours. Feed it all quarter hours
/// first.
#[derive(Debug, Default)]
pub(super) struct MonthCheck {
    expected: BTreeMap<SalesKey, SalesTotals>,
}

impl MonthCheck {
    pub(super) fn add_quarter(&mut self, key: &SalesKey, totals: &SalesTotals) {
        let month = SalesKey { quarter: month_of(key.quarter), ..key.clone() };
        self.expected.entry(month).or_default().add(totals);
    }

    /// The fault of a stored month, if it has one.
    pub(super) fn check_month(&mut self, key: &SalesKey, totals: &SalesTotals) -> Option<StoredRow> {
        if self.expected.remove(key).as_ref() == Some(totals) {
            return None;
        }
        Some(broken_sales(key, "the sum of the month differs from the sum of its quarter hours"))
    }

    /// The months that should be stored and were not checked.
    pub(super) fn missing(self) -> impl Iterator<Item = StoredRow> {
        self.expected.into_keys().map(|key| broken_sales(&key, "the month has no sum"))
    }
}

fn broken_sales(key: &SalesKey, fault: &str) -> StoredRow {
    StoredRow::broken(Projection::Sales, format!("{key:?}"), fault)
}

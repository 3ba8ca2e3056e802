//! Compares two large sets of rows in constant memory.
//!
//! [`RowsHash`] adds the hashes of rows as they are stored. If the sums are equal, so are the sets.
//!
//! Otherwise [`Digest`] finds where decoded rows differ. Each row has a hash of 128 bits, and its key selects one of
//! a million buckets. A bucket adds the hashes of the expected rows and subtracts those of the stored rows. It ends at
//! 0 if both sets have the same rows there. All hashes have random keys, so no content can be made to collide.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{BuildHasher, Hash, Hasher, RandomState},
    sync::Arc,
};

use domain::{OrderId, PaymentId, Position, Sku};
use infra::read_models::{
    CountKey, Counted, MoneyKey, PartitionSums, Projection, ReadModelError, Rows, SalesKey, StoredRow,
    Totals,
    encoded::{EncodedOrder, EncodedPayment, EncodedRow},
};
use serde::Serialize;
use siphasher::sip128::{Hasher128, SipHasher13};
use uuid::Uuid;

/// 2^20 buckets take 16 MiB.
const BUCKETS: u64 = 1 << 20;

/// The sum of the hashes of encoded rows, in any order.
#[derive(Debug, Clone)]
pub(crate) struct RowsHash {
    /// With random keys.
    hasher: SipHasher13,
    sum: u128,
}

impl RowsHash {
    pub(crate) fn new() -> Self {
        Self { hasher: new_hasher(), sum: 0 }
    }

    /// A sum without rows, which can be compared with this one.
    pub(crate) fn of_other_rows(&self) -> Self {
        Self { hasher: self.hasher, sum: 0 }
    }

    /// `content`: the [`encoded_content`] of the row.
    pub(crate) fn add(&mut self, row: &EncodedRow, content: &[u8]) {
        let kind: u8 = match row {
            EncodedRow::Order(_) => 0,
            EncodedRow::OrderSku(_) => 1,
            EncodedRow::Payment(_) => 2,
            EncodedRow::Plain(row) => match row {
                StoredRow::Stock(_) => 3,
                StoredRow::Reservation(_) => 4,
                StoredRow::OrderStockEvent(_) => 5,
                StoredRow::Order(_) => 6,
                StoredRow::Payment(_) => 7,
                StoredRow::Sales(..) => 8,
                StoredRow::Broken { .. } => 9,
                StoredRow::Money(..) => 10,
                StoredRow::Count(..) => 11,
            },
        };
        let mut hasher = self.hasher;
        hasher.write_u8(kind);
        hasher.write(content);
        self.sum = self.sum.wrapping_add(u128::from(hasher.finish128()));
    }

    pub(crate) fn equals(&self, other: &Self) -> bool {
        self.sum == other.sum
    }
}

fn new_hasher() -> SipHasher13 {
    let (first, second) = Uuid::new_v4().as_u64_pair();
    SipHasher13::new_with_keys(first, second)
}

/// The rows that store `row`.
pub(crate) fn encoded(row: StoredRow) -> Result<Vec<EncodedRow>, ReadModelError> {
    Ok(match row {
        StoredRow::Order(row) => {
            let order = EncodedOrder::of_row(&row)?;
            let mut rows: Vec<_> = order.skus_of(&row).map(EncodedRow::OrderSku).collect();
            rows.push(EncodedRow::Order(order));
            rows
        }
        StoredRow::Payment(row) => vec![EncodedRow::Payment(EncodedPayment::of_row(&row)?)],
        row @ (StoredRow::Stock(_)
        | StoredRow::Reservation(_)
        | StoredRow::OrderStockEvent(_)
        | StoredRow::Sales(..)
        | StoredRow::Money(..)
        | StoredRow::Count(..)
        | StoredRow::Broken { .. }) => vec![EncodedRow::Plain(row)],
    })
}

/// The whole row. Equal content means equal rows.
pub(crate) fn encoded_content(row: &EncodedRow) -> Result<Vec<u8>, ReadModelError> {
    match row {
        EncodedRow::Order(row) => row.to_bytes(),
        EncodedRow::Payment(row) => row.to_bytes(),
        EncodedRow::OrderSku(entry) => Ok(json(entry)),
        EncodedRow::Plain(StoredRow::Sales(key, sum)) => Ok(json(&(key, sum))),
        EncodedRow::Plain(StoredRow::Money(key, sum)) => Ok(json(&(key, sum))),
        EncodedRow::Plain(StoredRow::Count(key, count)) => Ok(json(&(key, count))),
        EncodedRow::Plain(row) => Ok(content(row)),
    }
}

/// The differences between expected and stored rows, by bucket.
#[derive(Debug)]
pub(crate) struct Digest {
    /// With random keys.
    row_hasher: SipHasher13,
    bucket_hasher: RandomState,
    buckets: Vec<u128>,
}

/// The index of a bucket.
pub(crate) type Bucket = usize;

impl Digest {
    pub(crate) fn new() -> Self {
        let buckets = (0..BUCKETS).map(|_| 0).collect();
        Self { row_hasher: new_hasher(), bucket_hasher: RandomState::new(), buckets }
    }

    pub(crate) fn expect(&mut self, row: &StoredRow) {
        self.change(row, u128::wrapping_add);
    }

    pub(crate) fn found(&mut self, row: &StoredRow) {
        self.change(row, u128::wrapping_sub);
    }

    fn change(&mut self, row: &StoredRow, change: fn(u128, u128) -> u128) {
        let Some(key) = RowKey::of(row) else { return };
        let mut hasher = self.row_hasher;
        key.hash(&mut hasher);
        hasher.write(&content(row));
        let bucket = self.bucket(&key);
        self.buckets[bucket] = change(self.buckets[bucket], u128::from(hasher.finish128()));
    }

    pub(crate) fn bucket(&self, key: &RowKey) -> Bucket {
        usize::try_from(self.bucket_hasher.hash_one(key) % BUCKETS).unwrap_or_default()
    }

    /// The buckets in which the expected rows differ from the stored rows.
    pub(crate) fn differing(&self) -> Vec<Bucket> {
        let different = self.buckets.iter().enumerate().filter(|(_, sum)| **sum != 0);
        different.map(|(bucket, _)| bucket).collect()
    }
}

fn json(row: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(row).expect("rows have string keys and no failing serializers")
}

/// The row as JSON. Equal rows have equal content.
fn content(row: &StoredRow) -> Vec<u8> {
    match row {
        StoredRow::Stock(row) => json(row),
        StoredRow::Reservation(row) => json(row),
        StoredRow::OrderStockEvent(event) => json(event),
        StoredRow::Order(row) => json(row),
        StoredRow::Payment(row) => json(row),
        StoredRow::Sales(_, sum) => json(sum),
        StoredRow::Money(_, sum) => json(sum),
        StoredRow::Count(_, count) => json(count),
        StoredRow::Broken { .. } => Vec::new(),
    }
}

/// The rows as they should be stored. Sums are added over partitions, so all sums of a key must be in `rows`.
pub(crate) fn expected_rows(rows: Rows) -> impl Iterator<Item = StoredRow> {
    // Names every field, so new rows do not compile before they are compared. A whole log closes no reservation.
    let Rows {
        stock,
        reservations,
        reservations_closed: _,
        order_stock_events,
        orders,
        payments,
        sales,
        money,
        counts,
    } = rows;
    let orders = orders.into_iter().map(|row| StoredRow::Order(Box::new(Arc::unwrap_or_clone(row))));
    let payments = payments.into_iter().map(|row| StoredRow::Payment(Box::new(Arc::unwrap_or_clone(row))));
    let stock = stock.into_iter().map(StoredRow::Stock);
    let reservations = reservations.into_iter().map(StoredRow::Reservation);
    let events = order_stock_events.into_iter().map(StoredRow::OrderStockEvent);
    let sales = summed(sales).into_iter().map(|(key, sum)| StoredRow::Sales(key, sum));
    let money = summed(money).into_iter().map(|(key, sum)| StoredRow::Money(key, sum));
    let counts = summed(counts).into_iter().map(|(key, count)| StoredRow::Count(key, count));
    let sums = sales.chain(money).chain(counts);
    stock.chain(reservations).chain(events).chain(orders).chain(payments).chain(sums)
}

/// Sums over all partitions.
fn summed<K: Eq + Hash, T: Totals>(of_partitions: Vec<PartitionSums<K, T>>) -> HashMap<K, T> {
    let mut sums: HashMap<K, T> = HashMap::new();
    for (key, sum) in of_partitions.into_iter().flat_map(|partition| partition.sums) {
        sums.entry(key).or_default().add(&sum);
    }
    sums
}

/// The key of a row, over all kinds of rows.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum RowKey {
    Stock(Sku),
    Reservation(Sku, OrderId),
    OrderStockEvent(OrderId, Position),
    Order(OrderId),
    Payment(PaymentId),
    Sales(SalesKey),
    Money(MoneyKey),
    Count(CountKey),
}

impl RowKey {
    /// `None` for a row that cannot be read.
    pub(crate) fn of(row: &StoredRow) -> Option<Self> {
        Some(match row {
            StoredRow::Stock(row) => Self::Stock(row.sku.clone()),
            StoredRow::Reservation(row) => Self::Reservation(row.sku.clone(), row.order_id),
            StoredRow::OrderStockEvent(event) => Self::OrderStockEvent(event.order_id, event.position),
            StoredRow::Order(row) => Self::Order(row.order_id),
            StoredRow::Payment(row) => Self::Payment(row.payment_id),
            StoredRow::Sales(key, _) => Self::Sales(key.clone()),
            StoredRow::Money(key, _) => Self::Money(*key),
            StoredRow::Count(key, _) => Self::Count(key.clone()),
            StoredRow::Broken { .. } => return None,
        })
    }

    pub(crate) fn projection(&self) -> Projection {
        match self {
            Self::Stock(_) | Self::Reservation(..) | Self::OrderStockEvent(..) => Projection::Stock,
            Self::Order(_) => Projection::Orders,
            Self::Payment(_)
            | Self::Money(_)
            | Self::Count(CountKey { counted: Counted::Charges { .. }, .. }) => Projection::Payments,
            Self::Sales(_) | Self::Count(CountKey { counted: Counted::Sold(_), .. }) => Projection::Sales,
        }
    }

    pub(crate) fn describe(&self) -> String {
        let key: &dyn Debug = match self {
            Self::Stock(sku) => sku,
            Self::Reservation(sku, order_id) => &(sku, order_id),
            Self::OrderStockEvent(order_id, position) => &(order_id, position),
            Self::Order(id) => id,
            Self::Payment(id) => id,
            Self::Sales(key) => key,
            Self::Money(key) => key,
            Self::Count(key) => key,
        };
        format!("{key:?}")
    }
}

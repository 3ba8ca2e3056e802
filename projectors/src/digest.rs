//! Compares two large sets of rows in constant memory.
//!
//! Each row has a hash of 128 bits, and its key selects one of a million buckets. A bucket adds the hashes of the
//! expected rows and subtracts those of the stored rows. It ends at 0 if both sets have the same rows there. The
//! hashes have random keys, so no content can be made to collide.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use domain::{OrderId, PaymentId, Position, Sku};
use infra::read_models::{PartitionSales, Projection, Rows, SalesKey, SalesTotals, StoredRow};
use serde::Serialize;

/// 2^20 buckets take 16 MiB.
const BUCKETS: u64 = 1 << 20;

/// The differences between expected and stored rows, by bucket.
#[derive(Debug)]
pub(crate) struct Digest {
    hashers: [RandomState; 2],
    buckets: Vec<u128>,
    /// The expected rows.
    pub(crate) rows: u64,
}

/// The index of a bucket.
pub(crate) type Bucket = usize;

impl Digest {
    pub(crate) fn new() -> Self {
        let buckets = (0..BUCKETS).map(|_| 0).collect();
        Self { hashers: [RandomState::new(), RandomState::new()], buckets, rows: 0 }
    }

    /// `content`: the row's [`content`].
    pub(crate) fn expect(&mut self, row: &StoredRow, content: &[u8]) {
        self.rows += 1;
        self.change(row, content, u128::wrapping_add);
    }

    pub(crate) fn found(&mut self, row: &StoredRow) {
        self.change(row, &content(row), u128::wrapping_sub);
    }

    fn change(&mut self, row: &StoredRow, content: &[u8], change: fn(u128, u128) -> u128) {
        let Some(key) = RowKey::of(row) else { return };
        let [high, low] = self.hashers.each_ref().map(|hasher| hasher.hash_one((&key, content)));
        let bucket = self.bucket(&key);
        let hash = (u128::from(high) << 64) | u128::from(low);
        self.buckets[bucket] = change(self.buckets[bucket], hash);
    }

    pub(crate) fn bucket(&self, key: &RowKey) -> Bucket {
        usize::try_from(self.hashers[0].hash_one(key) % BUCKETS).unwrap_or_default()
    }

    /// The buckets in which the expected rows differ from the stored rows.
    pub(crate) fn differing(&self) -> Vec<Bucket> {
        let different = self.buckets.iter().enumerate().filter(|(_, sum)| **sum != 0);
        different.map(|(bucket, _)| bucket).collect()
    }
}

/// The row as JSON. Equal rows have equal content.
pub(crate) fn content(row: &StoredRow) -> Vec<u8> {
    fn json(row: &impl Serialize) -> Vec<u8> {
        serde_json::to_vec(row).expect("rows have string keys and no failing serializers")
    }
    match row {
        StoredRow::Stock(row) => json(row),
        StoredRow::Reservation(row) => json(row),
        StoredRow::OrderStockEvent(event) => json(event),
        StoredRow::Order(row) => json(row),
        StoredRow::Payment(row) => json(row),
        StoredRow::Sales(_, sum) => json(sum),
        StoredRow::Broken { .. } => Vec::new(),
    }
}

/// The rows as they should be stored. Sums of sales are added over partitions, so all sums of a key must be in
/// `rows`.
pub(crate) fn expected_rows(rows: Rows) -> impl Iterator<Item = StoredRow> {
    // Names every field, so new rows do not compile before they are compared. A whole log closes no reservation.
    let Rows { stock, reservations, reservations_closed: _, order_stock_events, orders, payments, sales } =
        rows;
    let orders = orders.into_iter().map(|row| StoredRow::Order(Box::new(Arc::unwrap_or_clone(row))));
    let payments = payments.into_iter().map(|row| StoredRow::Payment(Arc::unwrap_or_clone(row)));
    let stock = stock.into_iter().map(StoredRow::Stock);
    let reservations = reservations.into_iter().map(StoredRow::Reservation);
    let events = order_stock_events.into_iter().map(StoredRow::OrderStockEvent);
    let sales = summed(sales).into_iter().map(|(key, sum)| StoredRow::Sales(key, sum));
    stock.chain(reservations).chain(events).chain(orders).chain(payments).chain(sales)
}

/// Sums over all partitions.
fn summed(sales: Vec<PartitionSales>) -> HashMap<SalesKey, SalesTotals> {
    let mut sums: HashMap<SalesKey, SalesTotals> = HashMap::new();
    for (key, sum) in sales.into_iter().flat_map(|sales| sales.sums) {
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
            StoredRow::Broken { .. } => return None,
        })
    }

    pub(crate) fn projection(&self) -> Projection {
        match self {
            Self::Stock(_) | Self::Reservation(..) | Self::OrderStockEvent(..) => Projection::Stock,
            Self::Order(_) => Projection::Orders,
            Self::Payment(_) => Projection::Payments,
            Self::Sales(_) => Projection::Sales,
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
        };
        format!("{key:?}")
    }
}

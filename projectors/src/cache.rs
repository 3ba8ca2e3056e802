//! Rows kept in memory between batches. The least recently used rows are evicted first.

use std::{collections::BTreeSet, hash::Hash, mem::size_of, sync::Arc};

use domain::{Decider, OrderId, PaymentId, Sku, order::OrderDecider, payment::PaymentDecider};
use infra::read_models::{Changes, OrderRow, PaymentRow, RowKeys, Rows, StockRow};
use lru::LruCache;

use crate::measured::CacheMeasured;

/// A map that is bounded in bytes: an order may have one line or thousands, and 200 KB of metadata.
struct Bounded<K: Hash + Eq, V> {
    entries: LruCache<K, V>,
    bytes: usize,
    bytes_max: usize,
    bytes_of: fn(&V) -> usize,
    measured: CacheMeasured,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    fn new(row: &str, bytes_max: usize, bytes_of: fn(&V) -> usize) -> Self {
        let measured = CacheMeasured::of(row);
        Self { entries: LruCache::unbounded(), bytes: 0, bytes_max, bytes_of, measured }
    }

    fn insert(&mut self, key: K, value: V) {
        let before = self.bytes;
        self.bytes += (self.bytes_of)(&value);
        if let Some((_, replaced)) = self.entries.push(key, value) {
            self.bytes -= (self.bytes_of)(&replaced);
        }
        while self.bytes > self.bytes_max
            && let Some((_, evicted)) = self.entries.pop_lru()
        {
            self.bytes -= (self.bytes_of)(&evicted);
        }
        self.measured.resized(before, self.bytes);
    }

    /// Returns the cached rows of `keys`, and removes their keys from `keys`.
    fn take_known(&mut self, keys: &mut BTreeSet<K>) -> Vec<V>
    where
        K: Ord,
    {
        let mut known = Vec::new();
        keys.retain(|key| match self.entries.get(key) {
            Some(row) => {
                known.push(row.clone());
                false
            }
            None => true,
        });
        self.measured.hits.increment(known.len() as u64);
        self.measured.misses.increment(keys.len() as u64);
        known
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.measured.resized(std::mem::take(&mut self.bytes), 0);
    }
}

/// Bytes of an entry of the map besides its row, approximately.
const ENTRY_BYTES: usize = 128;

/// The rows of recent batches, as they are stored.
pub(crate) struct Cache {
    stock: Bounded<Sku, StockRow>,
    orders: Bounded<OrderId, Arc<OrderRow>>,
    payments: Bounded<PaymentId, Arc<PaymentRow>>,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("orders", &self.orders.entries.len()).finish_non_exhaustive()
    }
}

impl Cache {
    /// `bytes_max`: of each kind of row.
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            stock: Bounded::new("stock", bytes_max, |row| {
                ENTRY_BYTES + size_of::<StockRow>() + row.sku.as_str().len()
            }),
            orders: Bounded::new("order", bytes_max, |row| {
                ENTRY_BYTES
                    + size_of::<OrderRow>()
                    + OrderDecider::heap_bytes(&row.order)
                    + row.times.heap_bytes()
            }),
            payments: Bounded::new("payment", bytes_max, |row| {
                let payment = PaymentDecider::heap_bytes(&row.payment) + row.refund_times.heap_bytes();
                ENTRY_BYTES + size_of::<PaymentRow>() + payment
            }),
        }
    }

    /// Returns the cached rows of `keys`, and removes their keys from `keys`. The caller loads the rest.
    pub(crate) fn take_known(&mut self, keys: &mut RowKeys) -> Rows {
        Rows {
            stock: self.stock.take_known(&mut keys.stock),
            orders: self.orders.take_known(&mut keys.orders),
            payments: self.payments.take_known(&mut keys.payments),
            ..Rows::default()
        }
    }

    pub(crate) fn keep(&mut self, written: Written) {
        for row in written.0.stock {
            self.stock.insert(row.sku.clone(), row);
        }
        for row in written.0.orders {
            self.orders.insert(row.order_id, row);
        }
        for row in written.0.payments {
            self.payments.insert(row.payment_id, row);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.stock.clear();
        self.orders.clear();
        self.payments.clear();
    }
}

/// The cacheable rows of changes, held until the changes are committed.
pub(crate) struct Written(Rows);

impl Written {
    pub(crate) fn of(changes: &Changes) -> Self {
        let Rows { stock, orders, payments, .. } = &changes.rows;
        let (stock, orders, payments) = (stock.clone(), orders.clone(), payments.clone());
        Self(Rows { stock, orders, payments, ..Rows::default() })
    }
}

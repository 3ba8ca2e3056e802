//! Rows kept in memory between batches. The least recently used rows are evicted first.

use std::{collections::BTreeSet, hash::Hash, sync::Arc};

use domain::{OrderId, PaymentId, Sku};
use infra::read_models::{Changes, OrderRow, PaymentRow, RowKeys, Rows, StockRow};
use lru::LruCache;

/// A bounded map. The bound counts weight, not entries: an order may have one line or thousands.
struct Bounded<K: Hash + Eq, V> {
    entries: LruCache<K, V>,
    weight: usize,
    weight_max: usize,
    weight_of: fn(&V) -> usize,
}

impl<K: Hash + Eq, V: Clone> Bounded<K, V> {
    fn new(weight_max: usize, weight_of: fn(&V) -> usize) -> Self {
        Self { entries: LruCache::unbounded(), weight: 0, weight_max, weight_of }
    }

    fn insert(&mut self, key: K, value: V) {
        self.weight += (self.weight_of)(&value);
        if let Some((_, replaced)) = self.entries.push(key, value) {
            self.weight -= (self.weight_of)(&replaced);
        }
        while self.weight > self.weight_max
            && let Some((_, evicted)) = self.entries.pop_lru()
        {
            self.weight -= (self.weight_of)(&evicted);
        }
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
        known
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.weight = 0;
    }
}

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
    /// `rows_max`: rows of each kind. An order counts once more for each line, a payment for each refund.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            stock: Bounded::new(rows_max, |_| 1),
            orders: Bounded::new(rows_max, |row| 1 + row.order.lines().len()),
            payments: Bounded::new(rows_max, |row| 1 + row.payment.refunds().len()),
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

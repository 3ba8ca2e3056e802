//! Rows kept in memory between batches, the least recently used given up first.

use std::{hash::Hash, sync::Arc};

use domain::{OrderId, PaymentId, Sku};
use infra::read_models::{Changes, OrderRow, PaymentRow, RowKeys, StockRow};
use lru::LruCache;

use crate::fold::Fold;

/// A bounded map. The bound counts weight, not entries: an order may have one line or thousands.
struct Bounded<K: Hash + Eq, V> {
    entries: LruCache<K, V>,
    weight: usize,
    weight_max: usize,
    weight_of: fn(&V) -> usize,
}

impl<K: Hash + Eq, V> Bounded<K, V> {
    fn new(weight_max: usize, weight_of: fn(&V) -> usize) -> Self {
        Self { entries: LruCache::unbounded(), weight: 0, weight_max, weight_of }
    }

    fn insert(&mut self, key: K, value: V) {
        self.weight += (self.weight_of)(&value);
        if let Some((_, replaced)) = self.entries.push(key, value) {
            self.weight -= (self.weight_of)(&replaced);
        }
        while self.weight > self.weight_max
            && let Some((_, given_up)) = self.entries.pop_lru()
        {
            self.weight -= (self.weight_of)(&given_up);
        }
    }

    fn clear(&mut self) {
        self.entries.clear();
        self.weight = 0;
    }
}

/// The rows that batches touched last, as they stand in the read models.
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
    /// `rows_max`: of each kind; an order counts once more for each of its lines.
    pub(crate) fn new(rows_max: usize) -> Self {
        Self {
            stock: Bounded::new(rows_max, |_| 1),
            orders: Bounded::new(rows_max, |row| 1 + row.order.lines().len()),
            payments: Bounded::new(rows_max, |row| 1 + row.payment.refunds().len()),
        }
    }

    /// Moves what it has of `keys` into `fold`, and leaves in `keys` what has to be loaded.
    pub(crate) fn fill(&mut self, fold: &mut Fold, keys: &mut RowKeys) {
        keys.stock.retain(|sku| match self.stock.entries.get(sku) {
            Some(row) => {
                fold.put_stock(row.clone());
                false
            }
            None => true,
        });
        keys.orders.retain(|id| match self.orders.entries.get(id) {
            Some(row) => {
                fold.put_order(Arc::clone(row));
                false
            }
            None => true,
        });
        keys.payments.retain(|id| match self.payments.entries.get(id) {
            Some(row) => {
                fold.put_payment(Arc::clone(row));
                false
            }
            None => true,
        });
    }

    pub(crate) fn keep(&mut self, rows: Written) {
        for row in rows.stock {
            self.stock.insert(row.sku.clone(), row);
        }
        for row in rows.orders {
            self.orders.insert(row.order_id, row);
        }
        for row in rows.payments {
            self.payments.insert(row.payment_id, row);
        }
    }

    pub(crate) fn clear(&mut self) {
        self.stock.clear();
        self.orders.clear();
        self.payments.clear();
    }
}

/// The rows of changes, held back until these are committed.
pub(crate) struct Written {
    stock: Vec<StockRow>,
    orders: Vec<Arc<OrderRow>>,
    payments: Vec<Arc<PaymentRow>>,
}

impl Written {
    pub(crate) fn of(changes: &Changes) -> Self {
        Self {
            stock: changes.stock.clone(),
            orders: changes.orders.clone(),
            payments: changes.payments.clone(),
        }
    }
}

//! One lock per order, first come first served, existing only while somebody holds or awaits it.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use domain::OrderId;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Held = HashMap<OrderId, Arc<AsyncMutex<()>>>;

/// The locks of all orders in work. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OrderLocks {
    held: Arc<Mutex<Held>>,
}

/// Holds an order's lock until dropped.
#[derive(Debug)]
pub struct OrderGuard {
    // Dropped in this order: unlock, then forget the lock if nobody else awaits it.
    _guard: OwnedMutexGuard<()>,
    _place: Place,
}

/// A place in an order's queue.
#[derive(Debug)]
struct Place {
    id: OrderId,
    lock: Arc<AsyncMutex<()>>,
    locks: OrderLocks,
}

impl OrderLocks {
    /// Waits until no one else holds this order. The place in the queue is taken when the future is first polled.
    pub async fn lock(&self, id: OrderId) -> OrderGuard {
        let lock = Arc::clone(self.map().entry(id).or_default());
        let place = Place { id, lock, locks: self.clone() };
        let guard = Arc::clone(&place.lock).lock_owned().await;
        OrderGuard { _guard: guard, _place: place }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.locks.map();
        // Counted under the map's lock, where alone new holders come from: the map's own and this one.
        if Arc::strong_count(&self.lock) == 2 {
            held.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn the_second_holder_waits_and_the_lock_is_forgotten_after_the_last() {
        let locks = OrderLocks::default();
        let id = OrderId(Uuid::from_u128(1));
        let first = locks.lock(id).await;
        let mut second = Box::pin(locks.lock(id));
        assert!(futures::poll!(&mut second).is_pending());
        let other = locks.lock(OrderId(Uuid::from_u128(2))).await;
        drop(first);
        drop(second.await);
        drop(other);
        assert!(locks.map().is_empty());
    }

    #[tokio::test]
    async fn giving_up_while_waiting_leaves_nothing_behind() {
        let locks = OrderLocks::default();
        let id = OrderId(Uuid::from_u128(1));
        let first = locks.lock(id).await;
        let mut second = Box::pin(locks.lock(id));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        drop(first);
        assert!(locks.map().is_empty());
    }
}

//! One lock per order or payment, first come first served, existing only while somebody holds or awaits it.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Held<K> = HashMap<K, Arc<AsyncMutex<()>>>;

/// The locks of all aggregates in work, by their ids. Cheap to clone.
#[derive(Debug)]
pub struct Locks<K: Key> {
    held: Arc<Mutex<Held<K>>>,
}

/// What a lock is named by.
pub trait Key: Copy + Eq + Hash + Debug {}

impl<K: Copy + Eq + Hash + Debug> Key for K {}

/// Holds a lock until dropped.
#[derive(Debug)]
pub struct Guard<K: Key> {
    // Dropped in this order: unlock, then forget the lock if nobody else awaits it.
    _guard: OwnedMutexGuard<()>,
    _place: Place<K>,
}

/// A place in a lock's queue.
#[derive(Debug)]
struct Place<K: Key> {
    id: K,
    lock: Arc<AsyncMutex<()>>,
    locks: Locks<K>,
}

impl<K: Key> Default for Locks<K> {
    fn default() -> Self {
        Self { held: Arc::default() }
    }
}

impl<K: Key> Clone for Locks<K> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held) }
    }
}

impl<K: Key> Locks<K> {
    /// Waits until no one else holds this id. The place in the queue is taken when the future is first polled.
    pub async fn lock(&self, id: K) -> Guard<K> {
        let lock = Arc::clone(self.map().entry(id).or_default());
        let place = Place { id, lock, locks: self.clone() };
        let guard = Arc::clone(&place.lock).lock_owned().await;
        Guard { _guard: guard, _place: place }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, Held<K>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> Drop for Place<K> {
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
    use domain::OrderId;
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn the_second_holder_waits_and_the_lock_is_forgotten_after_the_last() {
        let locks = Locks::default();
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
        let locks = Locks::default();
        let id = OrderId(Uuid::from_u128(1));
        let first = locks.lock(id).await;
        let mut second = Box::pin(locks.lock(id));
        assert!(futures::poll!(&mut second).is_pending());
        drop(second);
        drop(first);
        assert!(locks.map().is_empty());
    }
}

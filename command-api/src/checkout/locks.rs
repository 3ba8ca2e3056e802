//! One fair lock per order or payment, which exists only while it is held or awaited.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Held<K> = HashMap<K, Arc<AsyncMutex<()>>>;

/// The locks of the aggregates in use, by id. Cheap to clone.
#[derive(Debug)]
pub struct Locks<K: Key> {
    held: Arc<Mutex<Held<K>>>,
}

/// The id that names a lock.
pub trait Key: Copy + Eq + Hash + Debug {}

impl<K: Copy + Eq + Hash + Debug> Key for K {}

/// Holds a lock until dropped.
#[derive(Debug)]
pub struct LockGuard<K: Key> {
    // Fields drop in this order: unlock, then remove the lock unless another task awaits it.
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
    /// Waits for the lock of this id. The first poll of the future takes the place in the queue.
    pub async fn lock(&self, id: K) -> LockGuard<K> {
        let lock = Arc::clone(self.map().entry(id).or_default());
        let place = Place { id, lock, locks: self.clone() };
        let guard = Arc::clone(&place.lock).lock_owned().await;
        LockGuard { _guard: guard, _place: place }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, Held<K>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Key> Drop for Place<K> {
    fn drop(&mut self) {
        let mut held = self.locks.map();
        // Two references: the map's and this one. No other can appear, because new ones come from the map,
        // which is locked here.
        if Arc::strong_count(&self.lock) == 2 {
            held.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests;

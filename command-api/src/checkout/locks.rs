//! One fair lock per order or payment, which exists only while it is held or awaited.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::Hash,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    time::timeout,
};

use crate::executor::ExecuteError;

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

/// Another task still holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockBusy;

/// A place in a lock's queue.
#[derive(Debug)]
struct Place<K: Key> {
    id: K,
    lock: Arc<AsyncMutex<()>>,
    locks: Locks<K>,
}

impl From<LockBusy> for ExecuteError {
    fn from(LockBusy: LockBusy) -> Self {
        Self::Busy
    }
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
    /// Waits for the lock of this id, at most `limit`. The first poll of the future takes the place in the
    /// queue.
    pub async fn lock(&self, id: K, limit: Duration) -> Result<LockGuard<K>, LockBusy> {
        let place = self.place(id);
        let guard = timeout(limit, Arc::clone(&place.lock).lock_owned()).await.map_err(|_| LockBusy)?;
        Ok(LockGuard { _guard: guard, _place: place })
    }

    /// Takes the lock of this id only if it is free.
    pub fn try_lock(&self, id: K) -> Result<LockGuard<K>, LockBusy> {
        let place = self.place(id);
        let guard = Arc::clone(&place.lock).try_lock_owned().map_err(|_| LockBusy)?;
        Ok(LockGuard { _guard: guard, _place: place })
    }

    fn place(&self, id: K) -> Place<K> {
        let lock = Arc::clone(self.map().entry(id).or_default());
        Place { id, lock, locks: self.clone() }
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

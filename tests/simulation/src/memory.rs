//! Adapters that keep everything in memory. What a crash leaves is a value of its own ([`Log`], [`Tables`],
//! [`Saved`]); the adapters over it can be made anew as often as a process begins again. Each passes the contract
//! suite of its port in `tests/tests/`.

mod event_store;
mod hazards;
mod log;
mod positions;
mod read_models;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::{
    event_store::{MemoryEventStore, Writers},
    hazards::{Calm, Fate, Hazards, Operation},
    log::Log,
    positions::{MemoryPositions, Saved},
    read_models::MemoryReadModels,
    tables::Tables,
};

/// What outlives the process that writes it.
#[derive(Debug, Default)]
pub struct Durable<T>(Arc<Mutex<T>>);

impl<T> Clone for Durable<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Durable<T> {
    pub fn new(value: T) -> Self {
        Self(Arc::new(Mutex::new(value)))
    }

    /// Never held while anything is awaited.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! In-memory adapters. The state that survives a crash is a separate value ([`Log`], [`Tables`], [`Saved`]);
//! each start of a process opens new adapters over it. Each adapter passes the contract suite of its port in
//! `tests/tests/`.

mod counts;
mod event_store;
mod hazards;
mod lists;
mod log;
mod operations;
mod read_models;
mod tables;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub use self::{
    event_store::{MemoryEventStore, Writers},
    hazards::{Calm, Fate, Hazards, Operation},
    lists::{ListedRows, stock_page},
    log::Log,
    operations::{MemoryOperations, Saved},
    read_models::MemoryReadModels,
    tables::Tables,
};

/// A value that survives the process that writes it.
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

    /// Never hold the guard across an `await`.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

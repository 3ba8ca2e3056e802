//! A store for consumers. Like the database of the projectors, it applies a batch only if the batch follows
//! the stored position.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
};

use domain::Position;
use infra::event_source::{Batch, EventSource, Partition, Reached, SourceUpdate};

#[derive(Default)]
pub struct Ledger(Mutex<Books>);

#[derive(Default)]
struct Books {
    positions: HashMap<Partition, Position>,
    /// Number of applied events per stream.
    streams: HashMap<String, u64>,
    refused: u64,
    /// Events that were applied twice or too early.
    violations: Vec<String>,
}

impl Ledger {
    pub fn position(&self, partition: &Partition) -> Option<Position> {
        self.books().positions.get(partition).copied()
    }

    /// Applies a batch if the position matches. False if another consumer was faster.
    pub fn apply(&self, entry: &Entry) -> bool {
        let mut books = self.books();
        if books.positions.get(&entry.partition).copied() != entry.after {
            books.refused += 1;
            return false;
        }
        books.positions.insert(entry.partition.clone(), entry.position);
        for (stream, revision) in &entry.events {
            let next = books.streams.entry(stream.clone()).or_default();
            let expected = *next;
            *next = revision + 1;
            if expected != *revision {
                books.violations.push(format!("{stream}: got revision {revision}, expected {expected}"));
            }
        }
        true
    }

    pub fn applied(&self) -> u64 {
        self.books().streams.values().sum()
    }

    /// Number of batches that came too late.
    pub fn refused(&self) -> u64 {
        self.books().refused
    }

    pub fn assert_every_event_was_applied_once_and_in_order(&self) {
        assert_eq!(self.books().violations, Vec::<String>::new());
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap()
    }
}

/// The streams and revisions of a batch.
pub struct Entry {
    pub partition: Partition,
    pub after: Option<Position>,
    pub position: Position,
    pub events: Vec<(String, u64)>,
}

impl From<&Batch> for Entry {
    fn from(batch: &Batch) -> Self {
        let events = batch.events.iter().map(|event| (event.stream.to_string(), event.revision)).collect();
        Self { partition: batch.partition.clone(), after: batch.after, position: batch.position, events }
    }
}

/// Consumes like a projector. Never returns.
pub async fn consume(
    mut source: impl EventSource,
    position: impl Fn(&Partition) -> Option<Position>,
    apply: impl Fn(&Entry) -> bool,
) {
    loop {
        match source.next().await.unwrap() {
            SourceUpdate::Assigned(partitions) => {
                for partition in partitions {
                    source.seek(&partition, position(&partition).map(Reached::from));
                }
            }
            SourceUpdate::Revoked(_) => {}
            SourceUpdate::Events(batch) => {
                if !apply(&Entry::from(&batch)) {
                    source.seek(&batch.partition, position(&batch.partition).map(Reached::from));
                }
            }
        }
    }
}

//! The orders and payments of this process, where several processes share the partitions.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::StreamName;
use infra::event_source::{Partition, layout::SourceLayout};

/// The partitions assigned to this process. The sweep and the timers skip streams of other partitions. Cheap
/// to clone.
#[derive(Clone)]
pub(super) struct Share {
    layout: Arc<dyn SourceLayout>,
    partitions: Arc<[Partition]>,
    assigned: Arc<Mutex<HashSet<Partition>>>,
    assignments: Arc<AtomicU64>,
}

impl Share {
    pub fn new(layout: Arc<dyn SourceLayout>) -> Self {
        let partitions = layout.partitions().into();
        Self { layout, partitions, assigned: Arc::default(), assignments: Arc::default() }
    }

    pub fn add(&self, partition: Partition) {
        self.lock().insert(partition);
        self.assignments.fetch_add(1, Ordering::AcqRel);
    }

    /// Rises when a partition is assigned.
    pub fn assignments(&self) -> u64 {
        self.assignments.load(Ordering::Acquire)
    }

    pub fn remove(&self, partitions: &[Partition]) {
        self.lock().retain(|assigned| !partitions.contains(assigned));
    }

    pub fn has(&self, stream: impl Into<StreamName>) -> bool {
        let partition = self.partitions.get(self.layout.index_of(&stream.into()));
        partition.is_some_and(|partition| self.lock().contains(partition))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashSet<Partition>> {
        self.assigned.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

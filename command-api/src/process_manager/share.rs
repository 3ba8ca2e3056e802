//! The orders and payments of this process, where several processes share the partitions.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
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
}

impl Share {
    pub fn new(layout: Arc<dyn SourceLayout>) -> Self {
        let partitions = layout.partitions().into();
        Self { layout, partitions, assigned: Arc::default() }
    }

    pub fn add(&self, partition: Partition) {
        self.lock().insert(partition);
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

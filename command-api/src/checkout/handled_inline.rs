//! The events whose reactions ran inline in an HTTP handler.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
};

use domain::EventId;
use lru::LruCache;

/// Most events kept until the process manager reads them. It runs the reactions of dropped events again,
/// without effect.
const EVENTS_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// A bounded set of event ids. Stays empty in a process without a process manager, which would remove them.
#[derive(Debug, Default)]
pub struct HandledInline {
    /// None until [`HandledInline::enable`]. If the process manager reads an event before the handler inserts
    /// it, its id stays and is later dropped as the oldest.
    events: Mutex<Option<LruCache<EventId, ()>>>,
}

impl HandledInline {
    /// Starts keeping events. Called by the process manager of this process.
    pub fn enable(&self) {
        self.lock().get_or_insert_with(|| LruCache::new(EVENTS_MAX));
    }

    pub fn insert(&self, event: EventId) {
        if let Some(handled) = self.lock().as_mut() {
            handled.put(event, ());
        }
    }

    /// True if the reaction to this event ran inline. Removes the event, so a second call answers false.
    pub fn take(&self, event: EventId) -> bool {
        self.lock().as_mut().is_some_and(|handled| handled.pop(&event).is_some())
    }

    fn lock(&self) -> MutexGuard<'_, Option<LruCache<EventId, ()>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

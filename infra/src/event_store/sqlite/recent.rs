//! The end of the log, in memory: those who follow it find new events there and need not read the file.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Position, RecordedEvent};

/// Whichever comes first.
const EVENTS_MAX: usize = 65_536;
const BYTES_MAX: usize = 32 << 20;

/// The last events committed. Shared by the writer, which adds to them, and by readers.
#[derive(Clone, Default)]
pub(super) struct RecentEvents(Arc<Mutex<Recent>>);

#[derive(Default)]
struct Recent {
    /// Positions follow one another without a gap.
    events: VecDeque<RecordedEvent>,
    bytes: usize,
}

impl fmt::Debug for RecentEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentEvents").field("events", &self.lock().events.len()).finish_non_exhaustive()
    }
}

impl RecentEvents {
    /// At most `limit` events after `after`; none where the first of them is not in memory any more, or not yet.
    pub(super) fn after(&self, after: Option<Position>, limit: usize) -> Option<Vec<RecordedEvent>> {
        let recent = self.lock();
        let oldest = recent.events.front()?.position;
        let skipped = usize::try_from(after.unwrap_or(0).checked_add(1)?.checked_sub(oldest)?).ok()?;
        if skipped >= recent.events.len() {
            return None;
        }
        Some(recent.events.iter().skip(skipped).take(limit).cloned().collect())
    }

    /// Adds what was committed, in order, and lets go of the oldest.
    pub(super) fn extend(&self, committed: impl Iterator<Item = RecordedEvent>) {
        let mut recent = self.lock();
        for event in committed {
            recent.bytes += size(&event);
            recent.events.push_back(event);
        }
        while recent.events.len() > EVENTS_MAX || recent.bytes > BYTES_MAX {
            let Some(oldest) = recent.events.pop_front() else { break };
            recent.bytes -= size(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Recent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn size(event: &RecordedEvent) -> usize {
    event.data.len() + event.metadata.len()
}

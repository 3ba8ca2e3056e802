//! Keeps the end of the log in memory, so that followers read new events without touching the file.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use domain::{Position, RecordedEvent};

/// Beyond either of these bounds the oldest events are evicted.
const EVENTS_MAX: usize = 65_536;
const BYTES_MAX: usize = 32 << 20;

/// The last committed events. The writer adds to them, and the readers of its process share them.
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
    /// At most `limit` events after `after`. `None` if the first of them is no longer or not yet in memory.
    pub(super) fn after(&self, after: Option<Position>, limit: usize) -> Option<Vec<RecordedEvent>> {
        let recent = self.lock();
        let oldest = recent.events.front()?.position;
        let skipped = usize::try_from(after.unwrap_or(0).checked_add(1)?.checked_sub(oldest)?).ok()?;
        if skipped >= recent.events.len() {
            return None;
        }
        Some(recent.events.iter().skip(skipped).take(limit).cloned().collect())
    }

    /// Adds committed events, in order, and evicts the oldest.
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

#[cfg(test)]
mod tests {
    use domain::{EventId, OrderId, Timestamp};
    use uuid::Uuid;

    use super::*;

    fn event(position: Position, bytes: usize) -> RecordedEvent {
        RecordedEvent {
            position,
            stream: OrderId(Uuid::nil()).into(),
            revision: position,
            id: EventId(Uuid::nil()),
            type_name: "order.placed.v2".into(),
            data: vec![b' '; bytes].into(),
            metadata: Arc::from(*b"{}"),
            recorded_at: Timestamp::UNIX_EPOCH,
            damage: None,
        }
    }

    fn positions(events: Option<Vec<RecordedEvent>>) -> Option<Vec<Position>> {
        events.map(|events| events.iter().map(|event| event.position).collect())
    }

    #[test]
    fn events_in_memory_are_returned_from_any_position_on() {
        let recent = RecentEvents::default();
        assert_eq!(positions(recent.after(None, 10)), None);
        // The first event in memory is at position 5, as if the store was opened with four events.
        recent.extend((5..=8).map(|position| event(position, 1)));
        assert_eq!(positions(recent.after(None, 10)), None);
        assert_eq!(positions(recent.after(Some(3), 10)), None);
        assert_eq!(positions(recent.after(Some(4), 10)), Some(vec![5, 6, 7, 8]));
        assert_eq!(positions(recent.after(Some(5), 2)), Some(vec![6, 7]));
        assert_eq!(positions(recent.after(Some(8), 10)), None);
        assert_eq!(positions(recent.after(Some(Position::MAX), 10)), None);
    }

    #[test]
    fn the_oldest_events_are_evicted_by_count_and_by_size() {
        let recent = RecentEvents::default();
        recent.extend((1..=EVENTS_MAX as u64 + 10).map(|position| event(position, 1)));
        assert_eq!(positions(recent.after(Some(9), 10)), None);
        assert_eq!(positions(recent.after(Some(10), 1)), Some(vec![11]));

        let after = EVENTS_MAX as u64 + 10;
        recent.extend([event(after + 1, BYTES_MAX - 100), event(after + 2, 1)].into_iter());
        assert!(recent.lock().bytes <= BYTES_MAX);
        assert_eq!(positions(recent.after(Some(after), 10)), Some(vec![after + 1, after + 2]));
        recent.extend([event(after + 3, 200)].into_iter());
        assert_eq!(positions(recent.after(Some(after), 10)), None);
        assert_eq!(positions(recent.after(Some(after + 1), 10)), Some(vec![after + 2, after + 3]));
    }
}

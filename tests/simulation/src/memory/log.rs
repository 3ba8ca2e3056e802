//! The log of an event store.

use std::{collections::HashMap, sync::Arc};

use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use infra::event_store::{Append, AppendError, Appended, EventMark, ExpectedRevision};
use uuid::Uuid;

/// A read ends with the event that reaches this size, as in the production stores.
const READ_BYTES_MAX: usize = 4 << 20;

/// The appended events in the order of their positions, which start at 1.
#[derive(Debug)]
pub struct Log {
    pub store_id: Uuid,
    events: Vec<RecordedEvent>,
    /// The indexes in `events` of each stream.
    streams: HashMap<StreamName, Vec<usize>>,
    /// The event whose checksum fails, until it is mended. Only readers see the damage.
    damaged: Option<Position>,
}

impl Log {
    pub fn new(store_id: Uuid) -> Self {
        Self { store_id, events: Vec::new(), streams: HashMap::new(), damaged: None }
    }

    /// The events as they were appended.
    pub fn events(&self) -> &[RecordedEvent] {
        &self.events
    }

    /// The events as readers see them.
    pub fn events_as_read(&self) -> impl Iterator<Item = RecordedEvent> + use<'_> {
        self.events.iter().map(|event| self.as_read(event))
    }

    fn as_read(&self, event: &RecordedEvent) -> RecordedEvent {
        if self.damaged != Some(event.position) {
            return event.clone();
        }
        RecordedEvent {
            type_name: "".into(),
            data: [].into(),
            metadata: [].into(),
            damage: Some("the simulation has damaged it".into()),
            ..event.clone()
        }
    }

    /// Damages the event at this index. Returns its position and its stream.
    pub fn damage(&mut self, place: usize) -> (Position, StreamName) {
        let RecordedEvent { position, stream, .. } = &self.events[place];
        self.damaged = Some(*position);
        (*position, stream.clone())
    }

    /// Restores the damaged event. False if there was none.
    pub fn mend(&mut self) -> bool {
        self.damaged.take().is_some()
    }

    pub fn damaged_stream(&self) -> Option<StreamName> {
        let damaged = self.events.iter().find(|event| Some(event.position) == self.damaged);
        damaged.map(|event| event.stream.clone())
    }

    pub fn last_position(&self) -> Option<Position> {
        self.events.last().map(|event| event.position)
    }

    /// The number of events of a stream.
    pub fn len_of(&self, stream: &StreamName) -> usize {
        self.streams.get(stream).map_or(0, Vec::len)
    }

    pub fn stream(&self, stream: &StreamName) -> impl Iterator<Item = &RecordedEvent> + use<'_> {
        self.streams.get(stream).into_iter().flatten().map(|&place| &self.events[place])
    }

    pub fn read_stream(&self, stream: &StreamName, from: Revision, limit: usize) -> Vec<RecordedEvent> {
        let skipped = usize::try_from(from).unwrap_or(usize::MAX);
        self.one_read(self.stream(stream).skip(skipped), limit)
    }

    pub fn read_all(&self, after: Option<Position>, limit: usize) -> Vec<RecordedEvent> {
        let from = self.events.partition_point(|event| Some(event.position) <= after);
        self.one_read(self.events[from..].iter(), limit)
    }

    /// Loses every event after the first `count`.
    pub fn go_back_to(&mut self, count: usize) {
        self.events.truncate(count);
        for places in self.streams.values_mut() {
            places.retain(|place| *place < count);
        }
    }

    /// True if the log has this event.
    pub fn has(&self, mark: &EventMark) -> bool {
        let found = self.read_stream(&mark.stream, mark.revision, 1);
        found.first().map(EventMark::from).as_ref() == Some(mark)
    }

    /// Writes all events of an append or none. Recorded times never go back, as in the production stores.
    pub fn append(&mut self, append: &Append, now: Timestamp) -> Result<Appended, AppendError> {
        let actual = ExpectedRevision::of((self.len_of(&append.stream) as u64).checked_sub(1));
        if append.events.is_empty() {
            let last_revision = append.expected.next().checked_sub(1);
            return Ok(Appended { last_revision, last_position: self.last_position() });
        }
        if append.expected != actual {
            let refused = AppendError::WrongExpectedRevision { expected: append.expected, actual };
            return self.original_outcome(append).ok_or(refused);
        }
        let in_microseconds = Timestamp::from_microsecond(now.as_microsecond()).unwrap_or(now);
        let recorded_at =
            self.events.last().map_or(in_microseconds, |last| last.recorded_at.max(in_microseconds));
        for (revision, event) in (append.expected.next()..).zip(&append.events) {
            let position = self.events.len() as u64 + 1;
            self.streams.entry(append.stream.clone()).or_default().push(self.events.len());
            self.events.push(RecordedEvent {
                position,
                stream: append.stream.clone(),
                revision,
                id: event.id,
                type_name: event.type_name.into(),
                data: event.data.as_slice().into(),
                metadata: Arc::clone(&event.metadata),
                recorded_at,
                damage: None,
            });
        }
        let last = self.events.last();
        Ok(Appended {
            last_revision: last.map(|event| event.revision),
            last_position: last.map(|event| event.position),
        })
    }

    /// The outcome of an earlier attempt of this append. None unless the events after the expected revision
    /// have the same ids.
    fn original_outcome(&self, append: &Append) -> Option<Appended> {
        let first = usize::try_from(append.expected.next()).ok()?;
        let mut found = None;
        let mut stored = self.stream(&append.stream).skip(first);
        for event in &append.events {
            found = Some(stored.next().filter(|stored| stored.id == event.id)?);
        }
        let last = found?;
        Some(Appended { last_revision: Some(last.revision), last_position: Some(last.position) })
    }

    /// At most `limit` events and about [`READ_BYTES_MAX`] bytes.
    fn one_read<'a>(
        &self,
        events: impl Iterator<Item = &'a RecordedEvent>,
        limit: usize,
    ) -> Vec<RecordedEvent> {
        let mut bytes = 0;
        let fits = |event: &&RecordedEvent| {
            let has_room = bytes < READ_BYTES_MAX;
            bytes += event.data.len() + event.metadata.len();
            has_room
        };
        events.take(limit).take_while(fits).map(|event| self.as_read(event)).collect()
    }
}

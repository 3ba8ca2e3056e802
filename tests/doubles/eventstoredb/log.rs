//! The log of the fixture, with the server's rules for concurrency and idempotency.

mod metadata;
mod records;

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{self, Seek, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Buf, Bytes};
use prost::Message;
use serde_json::json;
use tokio::sync::watch;
use uuid::Uuid;

pub use self::{
    metadata::StreamMetadata,
    records::{Proposed, Stored},
};
use self::{
    metadata::{DELETED, METADATA_TYPE, metadata_stream},
    records::{Commit, RECORD_OVERHEAD, RecentIds},
};
use super::messages::Expected;

/// The fixture adds an event `$statsCollected` when the number of events is a multiple of this: servers also
/// write events of their own.
const EVENTS_PER_SYSTEM_EVENT: usize = 50;

/// An append that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub last_revision: u64,
    pub position: u64,
}

/// Why an append or a deletion was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The current revision of the stream.
    WrongVersion(Option<u64>),
    Deleted,
}

#[derive(Debug)]
pub struct Log {
    events: Vec<Stored>,
    /// Indexes into `events`, by revision.
    streams: HashMap<String, Vec<usize>>,
    tombstoned: HashSet<String>,
    metadata: HashMap<String, StreamMetadata>,
    /// Events that the server adds after each append: links of its projections.
    foreign_events: usize,
    recent: RecentIds,
    next_position: u64,
    file: Option<File>,
    length: watch::Sender<usize>,
}

impl Log {
    fn empty() -> Self {
        Self {
            events: Vec::new(),
            streams: HashMap::new(),
            tombstoned: HashSet::new(),
            metadata: HashMap::new(),
            foreign_events: 0,
            recent: RecentIds::default(),
            next_position: 0,
            file: None,
            length: watch::Sender::new(0),
        }
    }

    /// Opens a log in memory, or in a file that may have one already.
    /// The server adds `foreign_events` events of its own after each append.
    pub fn open(path: Option<&Path>, foreign_events: usize) -> io::Result<Self> {
        let mut log = Self { foreign_events, ..Self::empty() };
        if let Some(path) = path {
            let mut file = File::options().create(true).append(true).read(true).open(path)?;
            let mut content = Vec::new();
            io::Read::read_to_end(&mut file, &mut content)?;
            let whole = log.replay(&content);
            file.set_len(whole)?;
            log.file = Some(file);
        }
        Ok(log)
    }

    /// Applies every complete commit, and returns their length in bytes.
    fn replay(&mut self, content: &[u8]) -> u64 {
        let mut rest = content;
        while let Some((length, after)) = rest.split_first_chunk::<4>() {
            let length = u32::from_be_bytes(*length) as usize;
            let Some(commit) = after.get(..length).and_then(|bytes| Commit::decode(bytes).ok()) else {
                break;
            };
            commit.events.into_iter().for_each(|event| self.apply(event));
            rest = after;
            rest.advance(length);
        }
        (content.len() - rest.len()) as u64
    }

    /// The number of events; changes with each append.
    pub fn growth(&self) -> watch::Receiver<usize> {
        self.length.subscribe()
    }

    /// Index of the next event in [`Log::events`].
    pub fn end(&self) -> usize {
        self.events.len()
    }

    /// All events, in order.
    pub fn events(&self) -> &[Stored] {
        &self.events
    }

    /// True if a record begins at this position, or the log ends before it. The server can read from no other
    /// position.
    pub fn begins_at(&self, position: u64) -> bool {
        let index = self.events.partition_point(|event| event.position < position);
        self.events.get(index).is_none_or(|event| event.position == position)
    }

    /// Takes the log back to its first `count` events, as a restored backup does.
    pub fn restore(&mut self, count: usize) {
        let kept: Vec<Stored> = self.events.drain(..).take(count).collect();
        let (file, length, foreign_events) = (self.file.take(), self.length.clone(), self.foreign_events);
        *self = Self { foreign_events, length, ..Self::empty() };
        if let Some(mut file) = file {
            file.set_len(0).and_then(|()| file.rewind()).expect("the log file can be written");
            self.file = Some(file);
        }
        self.commit(kept);
    }

    /// The readable events of a stream from a revision, in order, with its last revision. Only the first `end`
    /// events of the log are read. `None` if the stream does not exist or is deleted.
    pub fn stream(
        &self,
        name: &str,
        from: u64,
        end: usize,
    ) -> Option<(u64, impl DoubleEndedIterator<Item = &Stored>)> {
        let places = self.streams.get(name)?;
        let places = &places[..places.partition_point(|place| *place < end)];
        let first = self.metadata(name).truncate_before;
        if first == DELETED || places.is_empty() {
            return None;
        }
        let from = usize::try_from(from.max(first)).unwrap_or(usize::MAX).min(places.len());
        Some((places.len() as u64 - 1, places[from..].iter().map(|place| &self.events[*place])))
    }

    /// The metadata of a stream; the default if there is none.
    pub fn metadata(&self, stream: &str) -> StreamMetadata {
        self.metadata.get(stream).cloned().unwrap_or_default()
    }

    /// Replaces the metadata of a stream.
    pub fn set_metadata(&mut self, stream: &str, metadata: &serde_json::Value) {
        self.add_server_event(&metadata_stream(stream), METADATA_TYPE, metadata.to_string());
    }

    pub fn is_tombstoned(&self, name: &str) -> bool {
        self.tombstoned.contains(name)
    }

    fn last_revision(&self, name: &str) -> Option<u64> {
        self.streams.get(name)?.len().checked_sub(1).map(|last| last as u64)
    }

    /// Appends, or recognises an earlier append of the same events.
    pub fn append(
        &mut self,
        stream: &str,
        expected: Expected,
        events: &[Proposed],
    ) -> Result<Written, Refusal> {
        if let Some(last_revision) = self.check(stream, expected, events)? {
            let position = self.position(stream, last_revision);
            return Ok(Written { last_revision, position });
        }
        if self.events.len().is_multiple_of(EVENTS_PER_SYSTEM_EVENT) {
            self.add_server_event("$stats-fixture", "$statsCollected", "{}".to_owned());
        }
        let first = self.last_revision(stream).map_or(0, |last| last + 1);
        if self.is_deleted(stream) {
            // The stream is there again. Its revisions go on, and its old events stay unreadable.
            self.set_metadata(stream, &json!({ "$tb": first }));
        }
        let stored: Vec<Stored> =
            (first..).zip(events).map(|(revision, event)| self.stored(stream, revision, event)).collect();
        self.commit(stored);
        let last_revision = self.last_revision(stream).unwrap_or(first);
        let type_name = events.first().map_or("", |event| &event.type_name);
        let category = stream.split('-').next().unwrap_or(stream);
        for link in 0..self.foreign_events {
            let links =
                if link.is_multiple_of(2) { format!("$ce-{category}") } else { format!("$et-{type_name}") };
            self.add_server_event(&links, "$>", format!("{last_revision}@{stream}"));
        }
        Ok(Written { last_revision, position: self.position(stream, last_revision) })
    }

    /// Deletes a stream. An append may create it again, and revisions go on then.
    pub fn delete(&mut self, stream: &str, expected: Expected) -> Result<u64, Refusal> {
        self.check(stream, expected, &[])?;
        let position = self.next_position;
        self.set_metadata(stream, &json!({ "$tb": DELETED }));
        Ok(position)
    }

    /// Ends a stream for good.
    pub fn tombstone(&mut self, stream: &str, expected: Expected) -> Result<u64, Refusal> {
        self.check(stream, expected, &[])?;
        let nothing = server_event("$streamDeleted", Bytes::new());
        let mut end = self.stored(stream, i64::MAX.cast_unsigned(), &nothing);
        end.tombstone = true;
        let position = end.position;
        self.commit(vec![end]);
        Ok(position)
    }

    /// `Some(revision)` if the stream already has these events, up to that revision.
    fn check(&self, stream: &str, expected: Expected, events: &[Proposed]) -> Result<Option<u64>, Refusal> {
        if self.is_tombstoned(stream) {
            return Err(Refusal::Deleted);
        }
        let current = self.last_revision(stream);
        let wrong = Refusal::WrongVersion(current);
        let next = match expected {
            Expected::Any(()) => return self.recognise_recent(stream, events).map_err(|()| wrong),
            Expected::StreamExists(()) if self.is_deleted(stream) => return Err(Refusal::Deleted),
            Expected::StreamExists(()) if current.is_none() => return Err(wrong),
            Expected::StreamExists(()) => {
                return self.recognise_recent(stream, events).map_err(|()| wrong);
            }
            Expected::NoStream(()) => 0,
            Expected::Revision(revision) => revision.saturating_add(1),
        };
        let current_next = current.map_or(0, |revision| revision + 1);
        if next == current_next {
            return Ok(None);
        }
        if next > current_next || events.is_empty() {
            return Err(wrong);
        }
        let mut revision = next;
        for event in events {
            let there = usize::try_from(revision).ok().and_then(|place| self.streams.get(stream)?.get(place));
            if there.is_none_or(|place| self.events[*place].id != event.id.as_bytes()) {
                // A deleted stream is no stream for its clients.
                let is_new = revision == 0 && self.is_deleted(stream);
                return if is_new { Ok(None) } else { Err(wrong) };
            }
            revision += 1;
        }
        Ok(Some(revision - 1))
    }

    /// Handles an append that expects any version: only recent ids are known. If the first id is unknown, the
    /// events are new. If a later one is unknown, this is a different append, and it is refused.
    fn recognise_recent(&self, stream: &str, events: &[Proposed]) -> Result<Option<u64>, ()> {
        let mut last = None;
        for (number, event) in events.iter().enumerate() {
            match self.recent.revision(event.id, stream) {
                Some(revision) => last = Some(revision),
                None if number == 0 => return Ok(None),
                None => return Err(()),
            }
        }
        Ok(last)
    }

    fn position(&self, stream: &str, revision: u64) -> u64 {
        let place = usize::try_from(revision).ok().and_then(|place| self.streams.get(stream)?.get(place));
        place.map_or(0, |place| self.events[*place].position)
    }

    /// True after a deletion, until the next append.
    fn is_deleted(&self, stream: &str) -> bool {
        self.metadata.get(stream).is_some_and(|metadata| metadata.truncate_before == DELETED)
    }

    fn add_server_event(&mut self, stream: &str, type_name: &str, data: String) {
        let event = server_event(type_name, data.into());
        let revision = self.last_revision(stream).map_or(0, |last| last + 1);
        let stored = self.stored(stream, revision, &event);
        self.commit(vec![stored]);
    }

    /// Gives an event its position and revision.
    fn stored(&mut self, stream: &str, revision: u64, event: &Proposed) -> Stored {
        let position = self.next_position;
        self.next_position += RECORD_OVERHEAD + (stream.len() + event.size()) as u64;
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Stored {
            position,
            stream: stream.to_owned(),
            revision,
            id: event.id.as_bytes().to_vec(),
            type_name: event.type_name.clone(),
            content_type: event.content_type.clone(),
            created_ticks: i64::try_from(since_1970.as_nanos() / 100).unwrap_or(i64::MAX),
            data: event.data.clone(),
            metadata: event.metadata.clone(),
            tombstone: false,
        }
    }

    /// Writes to the file first, if there is one. Panics if the disk fails: a test cannot continue then.
    fn commit(&mut self, events: Vec<Stored>) {
        let commit = Commit { events };
        if let Some(file) = &mut self.file {
            let bytes = commit.encode_to_vec();
            let length = u32::try_from(bytes.len()).expect("an append is smaller than 4 GiB");
            let whole = [&length.to_be_bytes()[..], &bytes].concat();
            file.write_all(&whole).and_then(|()| file.sync_data()).expect("the log file can be written");
        }
        commit.events.into_iter().for_each(|event| self.apply(event));
        self.length.send_replace(self.events.len());
    }

    fn apply(&mut self, event: Stored) {
        let bytes = event.stream.len() + event.type_name.len() * 2 + event.data.len() + event.metadata.len();
        self.next_position = self.next_position.max(event.position + RECORD_OVERHEAD + bytes as u64);
        if event.tombstone {
            self.tombstoned.insert(event.stream.clone());
        } else {
            if let Some((stream, metadata)) = metadata::described(&event) {
                self.metadata.insert(stream.to_owned(), metadata);
            }
            if let Ok(id) = Uuid::from_slice(&event.id) {
                self.recent.put(id, &event.stream, event.revision);
            }
            self.streams.entry(event.stream.clone()).or_default().push(self.events.len());
        }
        self.events.push(event);
    }
}

/// An event that the server writes by itself.
fn server_event(type_name: &str, data: Bytes) -> Proposed {
    Proposed {
        id: Uuid::new_v4(),
        type_name: type_name.to_owned(),
        content_type: "application/json".to_owned(),
        data,
        metadata: Bytes::new(),
    }
}

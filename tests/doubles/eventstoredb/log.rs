//! The log of the fixture, with the server's rules for concurrency and idempotency.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    io::{self, Seek, Write},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{Buf, Bytes};
use prost::Message;
use tokio::sync::watch;
use uuid::Uuid;

use super::messages::Expected;

/// The most recent ids that the server remembers (131,072), for appends that expect any version.
const RECENT_IDS_MAX: usize = 8 * 1024 * 1024 / 64;
/// Bytes of a record besides its names and data.
const RECORD_OVERHEAD: u64 = 96;
/// The fixture adds an event `$statsCollected` when the number of events is a multiple of this: servers also
/// write events of their own.
const EVENTS_PER_SYSTEM_EVENT: usize = 50;

/// An event to append.
#[derive(Debug, Clone)]
pub struct Proposed {
    pub id: Uuid,
    pub type_name: String,
    pub content_type: String,
    pub data: Bytes,
    pub metadata: Bytes,
}

impl Proposed {
    /// Bytes that count towards `MaxAppendSize`.
    pub fn size(&self) -> usize {
        self.type_name.len() * 2 + self.data.len() + self.metadata.len()
    }
}

/// An event in the log.
#[derive(Clone, PartialEq, Message)]
pub struct Stored {
    #[prost(uint64, tag = "1")]
    pub position: u64,
    #[prost(string, tag = "2")]
    pub stream: String,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub type_name: String,
    #[prost(string, tag = "6")]
    pub content_type: String,
    /// Ticks of 100 ns since 1970.
    #[prost(int64, tag = "7")]
    pub created_ticks: i64,
    #[prost(bytes = "bytes", tag = "8")]
    pub data: Bytes,
    #[prost(bytes = "bytes", tag = "9")]
    pub metadata: Bytes,
    /// True for the record that ends the stream. It is not an event of the stream.
    #[prost(bool, tag = "10")]
    pub tombstone: bool,
}

/// One append in the file. An incomplete one at the end of the file is dropped when the file is opened.
#[derive(Clone, PartialEq, Message)]
struct Commit {
    #[prost(message, repeated, tag = "1")]
    events: Vec<Stored>,
}

/// An append that was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    pub last_revision: u64,
    pub position: u64,
}

/// Why an append was refused.
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
    recent: RecentIds,
    next_position: u64,
    file: Option<File>,
    length: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct RecentIds {
    /// Stream and revision.
    places: HashMap<Uuid, (String, u64)>,
    order: VecDeque<Uuid>,
}

impl RecentIds {
    fn put(&mut self, id: Uuid, stream: &str, revision: u64) {
        if self.places.insert(id, (stream.to_owned(), revision)).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > RECENT_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    fn revision(&self, id: Uuid, stream: &str) -> Option<u64> {
        self.places.get(&id).filter(|(of, _)| of == stream).map(|(_, revision)| *revision)
    }
}

impl Log {
    fn empty() -> Self {
        Self {
            events: Vec::new(),
            streams: HashMap::new(),
            tombstoned: HashSet::new(),
            recent: RecentIds::default(),
            next_position: 0,
            file: None,
            length: watch::Sender::new(0),
        }
    }

    /// Opens a log in memory, or in a file that may have one already.
    pub fn open(path: Option<&Path>) -> io::Result<Self> {
        let mut log = Self::empty();
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
        let (file, length) = (self.file.take(), self.length.clone());
        *self = Self { length, ..Self::empty() };
        if let Some(mut file) = file {
            file.set_len(0).and_then(|()| file.rewind()).expect("the log file can be written");
            self.file = Some(file);
        }
        self.commit(kept);
    }

    /// The events of a stream, in order; `None` if it does not exist.
    pub fn stream(&self, name: &str) -> Option<impl ExactSizeIterator<Item = &Stored> + DoubleEndedIterator> {
        Some(self.streams.get(name)?.iter().map(|place| &self.events[*place]))
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
            self.add_system_event();
        }
        let first = self.last_revision(stream).map_or(0, |last| last + 1);
        let stored: Vec<Stored> =
            (first..).zip(events).map(|(revision, event)| self.stored(stream, revision, event)).collect();
        self.commit(stored);
        let last_revision = self.last_revision(stream).unwrap_or(first);
        Ok(Written { last_revision, position: self.position(stream, last_revision) })
    }

    /// Ends a stream for good.
    pub fn tombstone(&mut self, stream: &str, expected: Expected) -> Result<u64, Refusal> {
        self.check(stream, expected, &[])?;
        let nothing = Proposed {
            id: Uuid::new_v4(),
            type_name: "$streamDeleted".to_owned(),
            content_type: "application/octet-stream".to_owned(),
            data: Bytes::new(),
            metadata: Bytes::new(),
        };
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
                return Err(wrong);
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

    fn add_system_event(&mut self) {
        let statistics = Proposed {
            id: Uuid::new_v4(),
            type_name: "$statsCollected".to_owned(),
            content_type: "application/json".to_owned(),
            data: Bytes::from_static(b"{}"),
            metadata: Bytes::new(),
        };
        let stream = "$stats-fixture";
        let revision = self.last_revision(stream).map_or(0, |last| last + 1);
        let stored = self.stored(stream, revision, &statistics);
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
            if let Ok(id) = Uuid::from_slice(&event.id) {
                self.recent.put(id, &event.stream, event.revision);
            }
            self.streams.entry(event.stream.clone()).or_default().push(self.events.len());
        }
        self.events.push(event);
    }
}

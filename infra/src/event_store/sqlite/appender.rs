//! Applies one append to the log, within the transaction of its group.

use std::{
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use lru::LruCache;
use rusqlite::{
    CachedStatement, Connection, OptionalExtension, params,
    types::{ToSqlOutput, ValueRef},
};

use super::{
    SqliteEventStoreOptions,
    checksum::StoredFields,
    known_streams::KnownStreams,
    recent::RecentEvents,
    stream_index::{StreamIndex, name_hash},
};
use crate::{
    clock::Clock,
    event_store::{Append, AppendError, Appended, Epoch, ExpectedRevision},
};

const INSERT_STREAM: &str = "INSERT INTO streams (name, name_hash) VALUES (?1, ?2)";
const INSERT_EVENT: &str =
    "INSERT INTO events (position, stream_no, revision, id, type, data, metadata, recorded_at, checksum)
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)";
const SELECT_REVISION: &str = "SELECT max(revision) FROM events WHERE stream_no = ?1";
const SELECT_IDS: &str = "SELECT id, position FROM events WHERE stream_no = ?1 AND revision >= ?2
     ORDER BY revision LIMIT ?3";
const SELECT_TAIL: &str = "SELECT position, recorded_at FROM events ORDER BY position DESC LIMIT 1";

/// The statements of a group, prepared once.
pub(super) struct Statements<'connection> {
    insert_stream: CachedStatement<'connection>,
    insert_event: CachedStatement<'connection>,
    select_revision: CachedStatement<'connection>,
    select_ids: CachedStatement<'connection>,
    connection: &'connection Connection,
}

impl<'connection> Statements<'connection> {
    pub(super) fn prepare(connection: &'connection Connection) -> rusqlite::Result<Self> {
        Ok(Self {
            insert_stream: connection.prepare_cached(INSERT_STREAM)?,
            insert_event: connection.prepare_cached(INSERT_EVENT)?,
            select_revision: connection.prepare_cached(SELECT_REVISION)?,
            select_ids: connection.prepare_cached(SELECT_IDS)?,
            connection,
        })
    }

    fn insert_stream(&mut self, name: &str, hash: i64) -> rusqlite::Result<i64> {
        self.insert_stream.execute(params![name, hash])?;
        Ok(self.connection.last_insert_rowid())
    }

    fn find_head(&mut self, index: &StreamIndex, name: &str) -> rusqlite::Result<Option<StreamHead>> {
        let Some(stream_no) = index.recent().find(self.connection, name)? else { return Ok(None) };
        let revision: i64 = self.select_revision.query_row([stream_no], |row| row.get(0))?;
        Ok(Some(StreamHead { stream_no, revision: revision.cast_unsigned() }))
    }
}

/// The epoch, shared with other threads. Only the writer raises it.
#[derive(Debug, Clone, Default)]
pub(super) struct SharedEpoch(Arc<AtomicU64>);

impl SharedEpoch {
    pub(super) fn load(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }

    fn raise(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

#[derive(Debug, Clone, Copy)]
struct StreamHead {
    stream_no: i64,
    revision: Revision,
}

/// The end of the log.
#[derive(Debug, Clone, Copy, Default)]
struct Tail {
    position: Option<Position>,
    recorded_at_us: i64,
}

/// Applies appends, and keeps in memory the state of the log that they need.
#[derive(Debug)]
pub(super) struct Appender {
    /// As of the open transaction.
    tail: Tail,
    /// As of the last commit.
    committed_tail: Tail,
    heads: LruCache<StreamName, StreamHead>,
    epoch: SharedEpoch,
    known_streams: KnownStreams,
    stream_index: StreamIndex,
    recent_events: RecentEvents,
    /// Events of the open transaction.
    uncommitted: Vec<RecordedEvent>,
    name_buffer: String,
    clock: Clock,
}

impl Appender {
    pub(super) fn new(connection: &Connection, options: SqliteEventStoreOptions) -> rusqlite::Result<Self> {
        let tail = connection
            .query_row(SELECT_TAIL, [], |row| {
                Ok(Tail {
                    position: Some(row.get::<_, i64>(0)?.cast_unsigned()),
                    recorded_at_us: row.get(1)?,
                })
            })
            .optional()?
            .unwrap_or_default();
        let heads = LruCache::new(NonZeroUsize::new(options.cached_streams_max).unwrap_or(NonZeroUsize::MIN));
        Ok(Self {
            tail,
            committed_tail: tail,
            heads,
            epoch: SharedEpoch::default(),
            known_streams: KnownStreams::not_loaded(),
            stream_index: StreamIndex::load(connection, options.unindexed_streams_max)?,
            recent_events: RecentEvents::default(),
            uncommitted: Vec::new(),
            name_buffer: String::new(),
            clock: options.clock,
        })
    }

    pub(super) fn known_streams(&self) -> &KnownStreams {
        &self.known_streams
    }

    pub(super) fn stream_index(&self) -> &StreamIndex {
        &self.stream_index
    }

    pub(super) fn recent_events(&self) -> &RecentEvents {
        &self.recent_events
    }

    pub(super) fn epoch(&self) -> &SharedEpoch {
        &self.epoch
    }

    pub(super) fn committed_position(&self) -> Option<Position> {
        self.committed_tail.position
    }

    /// Applies one append. The outer error means that the transaction is lost. The inner error means that
    /// only this append is refused and has written nothing.
    pub(super) fn apply(
        &mut self,
        statements: &mut Statements<'_>,
        append: &Append,
    ) -> rusqlite::Result<Result<Appended, AppendError>> {
        if append.epoch.is_some_and(|epoch| epoch < self.epoch.load()) {
            return Ok(Err(AppendError::Superseded));
        }
        if append.events.is_empty() {
            return Ok(Ok(self.pass_barrier(append)));
        }
        let outcome = self.append(statements, append)?;
        if outcome.is_err() && append.epoch.is_some() {
            self.epoch.raise();
        }
        Ok(outcome)
    }

    /// Call last in a transaction, so that it counts all new streams of the group.
    pub(super) fn move_streams_into_index(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        self.stream_index.move_some(connection)
    }

    fn pass_barrier(&self, append: &Append) -> Appended {
        Appended { last_revision: append.expected.next().checked_sub(1), last_position: self.tail.position }
    }

    /// Call after a commit: the appends of the group are durable.
    pub(super) fn committed(&mut self) {
        self.committed_tail = self.tail;
        self.stream_index.committed();
        self.recent_events.extend(self.uncommitted.drain(..));
    }

    /// Call after a rollback. Raises the epoch, so that appends that build on the lost ones fail too.
    pub(super) fn rolled_back(&mut self) {
        self.tail = self.committed_tail;
        self.stream_index.rolled_back();
        self.uncommitted.clear();
        self.heads.clear();
        self.epoch.raise();
    }

    fn append(
        &mut self,
        statements: &mut Statements<'_>,
        append: &Append,
    ) -> rusqlite::Result<Result<Appended, AppendError>> {
        let (stream_no, actual) = match self.find_or_create(statements, append)? {
            Stream::New { stream_no } => (stream_no, ExpectedRevision::NoStream),
            Stream::Found(head) => (head.stream_no, ExpectedRevision::Exact(head.revision)),
            Stream::Missing => return Ok(Err(wrong_revision(append, ExpectedRevision::NoStream))),
        };
        if append.expected == actual {
            return self.insert_events(statements, append, stream_no).map(Ok);
        }
        let original = original_outcome(statements, append, stream_no)?;
        Ok(original.ok_or_else(|| wrong_revision(append, actual)))
    }

    /// Finds the stream of an append, in memory or in the file. Creates it if there is none and the append
    /// expects none.
    fn find_or_create(
        &mut self,
        statements: &mut Statements<'_>,
        append: &Append,
    ) -> rusqlite::Result<Stream> {
        if let Some(&head) = self.heads.get(&append.stream) {
            return Ok(Stream::Found(head));
        }
        self.name_buffer.clear();
        std::fmt::Write::write_fmt(&mut self.name_buffer, format_args!("{}", append.stream))
            .expect("writing to a String does not fail");
        let hash = name_hash(&self.name_buffer);
        let found = if self.known_streams.may_contain(hash) {
            statements.find_head(&self.stream_index, &self.name_buffer)?
        } else {
            None
        };
        let Some(head) = found else {
            return match append.expected {
                ExpectedRevision::NoStream => {
                    self.known_streams.add(hash);
                    let stream_no = statements.insert_stream(&self.name_buffer, hash)?;
                    self.stream_index.add(hash, stream_no);
                    Ok(Stream::New { stream_no })
                }
                ExpectedRevision::Exact(_) => Ok(Stream::Missing),
            };
        };
        self.heads.put(append.stream.clone(), head);
        Ok(Stream::Found(head))
    }

    fn insert_events(
        &mut self,
        statements: &mut Statements<'_>,
        append: &Append,
        stream_no: i64,
    ) -> rusqlite::Result<Appended> {
        // The clock may go back; recorded times must not.
        let recorded_at_us = self.clock.now().as_microsecond().max(self.tail.recorded_at_us);
        let recorded_at = Timestamp::from_microsecond(recorded_at_us).unwrap_or(Timestamp::MAX);
        let first_position = self.tail.position.map_or(1, |position| position + 1);
        let rows = (first_position..).zip(append.expected.next()..).zip(&append.events);
        let mut last = (first_position, append.expected.next());
        for ((position, revision), event) in rows {
            let fields = StoredFields {
                position,
                revision,
                recorded_at_us,
                id: event.id.0.as_bytes(),
                type_name: event.type_name,
                data: &event.data,
                metadata: &event.metadata,
            };
            insert_event(&mut statements.insert_event, &append.stream, stream_no, &fields)?;
            self.uncommitted.push(RecordedEvent {
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
            last = (position, revision);
        }
        let (position, revision) = last;
        self.tail = Tail { position: Some(position), recorded_at_us };
        self.heads.put(append.stream.clone(), StreamHead { stream_no, revision });
        Ok(Appended { last_revision: Some(revision), last_position: Some(position) })
    }
}

/// The stream of an append.
enum Stream {
    /// Created in this transaction, for this append.
    New {
        stream_no: i64,
    },
    Found(StreamHead),
    /// The append expects a revision, but there is no such stream.
    Missing,
}

fn wrong_revision(append: &Append, actual: ExpectedRevision) -> AppendError {
    AppendError::WrongExpectedRevision { expected: append.expected, actual }
}

fn insert_event(
    insert: &mut CachedStatement<'_>,
    stream: &StreamName,
    stream_no: i64,
    fields: &StoredFields<'_>,
) -> rusqlite::Result<()> {
    insert.execute(params![
        fields.position.cast_signed(),
        stream_no,
        fields.revision.cast_signed(),
        fields.id,
        fields.type_name,
        json(fields.data),
        json(fields.metadata),
        fields.recorded_at_us,
        fields.checksum(stream),
    ])?;
    Ok(())
}

/// Binds JSON as text, so that the sqlite3 shell shows it readably.
fn json(bytes: &[u8]) -> ToSqlOutput<'_> {
    ToSqlOutput::Borrowed(ValueRef::Text(bytes))
}

/// The outcome of an earlier attempt of the same append, if its events are stored after the expected
/// revision. `None` if other events, or fewer, are stored there.
fn original_outcome(
    statements: &mut Statements<'_>,
    append: &Append,
    stream_no: i64,
) -> rusqlite::Result<Option<Appended>> {
    let first_revision = append.expected.next();
    let count = append.events.len();
    let mut rows = statements.select_ids.query(params![
        stream_no,
        first_revision.cast_signed(),
        i64::try_from(count).unwrap_or(i64::MAX)
    ])?;
    let mut last_position = None;
    for event in &append.events {
        let Some(row) = rows.next()? else { return Ok(None) };
        if row.get_ref(0)?.as_bytes()? != event.id.0.as_bytes() {
            return Ok(None);
        }
        last_position = Some(row.get::<_, i64>(1)?.cast_unsigned());
    }
    Ok(Some(Appended { last_revision: Some(first_revision + count as u64 - 1), last_position }))
}

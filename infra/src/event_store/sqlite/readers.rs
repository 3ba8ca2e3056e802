//! Reads the file, on separate connections and on threads that may block. Checks every event that it returns.

use std::path::Path;

use domain::{Position, RecordedEvent, Revision, StreamName, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, Rows, params};

use super::{
    open,
    rows::{self, COLUMN_AFTER, Stored, UncheckedUpTo, event_columns},
    stream_index::{RecentStreams, find_from_outside},
};
use crate::{event_store::ReadError, sqlite};

/// A read ends with the event that reaches this number of bytes.
const READ_BYTES_MAX: usize = 4 << 20;
/// Events of one part of a read backwards.
const BACK_EVENTS: usize = 64;

const SELECT_STREAM: &str = concat!(
    "SELECT ",
    event_columns!(),
    " FROM events WHERE stream_no = ?1 AND revision >= ?2 ORDER BY revision LIMIT ?3"
);
/// Reads the index only.
const SELECT_LAST_OF: &str = "SELECT max(revision) FROM events WHERE stream_no = ?1";
/// A left join, because an event whose stream is missing is damaged and must not be left out.
const SELECT_ALL: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", name FROM events LEFT JOIN streams USING (stream_no) WHERE position > ?1 ORDER BY position LIMIT ?2"
);
const SELECT_TIME: &str =
    "SELECT position, recorded_at FROM events WHERE position > ?1 ORDER BY position LIMIT 1";
/// These two read no row of the table.
const SELECT_EXISTS: &str = "SELECT EXISTS (SELECT 1 FROM events WHERE position = ?1)";
const SELECT_POSITION: &str = "SELECT position FROM events WHERE stream_no = ?1 AND revision = ?2";
const SELECT_LAST: &str = "SELECT max(position) FROM events";
/// Scans the whole index, which has a copy of the stream and the revision of each event. The plus sign keeps
/// SQLite from using the table.
const SELECT_OWNER: &str = "SELECT name, revision FROM events INDEXED BY sqlite_autoindex_events_1
     JOIN streams USING (stream_no) WHERE +position = ?1";

const ROW_UNREADABLE: &str = "its row cannot be read";

/// The connections that read an event store.
pub(super) type Readers = sqlite::Readers<ReadError>;

pub(super) fn readers(path: &Path, first: Connection) -> Readers {
    sqlite::Readers::new(path, first, |path| Ok(open::open_reader(path)?))
}

pub(super) fn read_stream(
    connection: &Connection,
    recent: Option<&RecentStreams>,
    unchecked: UncheckedUpTo,
    stream: &StreamName,
    from: Revision,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let Some(stream_no) = find(connection, recent, stream)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(SELECT_STREAM)?;
    let rows = statement.query(params![stream_no, signed(from), signed(limit as u64)])?;
    let mut next = from;
    let unreadable = || {
        let position = position_of(connection, stream_no, from).ok()??;
        Some(rows::damaged(position, stream.clone(), from, ROW_UNREADABLE))
    };
    collect(rows, unreadable, |stored, _| {
        if stored.revision != Some(next) {
            return Err(format!("{stream} has no event with revision {next}"));
        }
        let event = stored.event(stream, stream, unchecked);
        let event = event.unwrap_or_else(|why| stored.damaged(stream.clone(), next, why));
        next += 1;
        Ok(event)
    })
}

pub(super) fn last_of(
    connection: &Connection,
    recent: Option<&RecentStreams>,
    unchecked: UncheckedUpTo,
    stream: &StreamName,
) -> Result<Option<RecordedEvent>, ReadError> {
    let Some(stream_no) = find(connection, recent, stream)? else { return Ok(None) };
    let mut statement = connection.prepare_cached(SELECT_LAST_OF)?;
    let last: Option<i64> = statement.query_row([stream_no], |row| row.get(0))?;
    let Some(last) = last.map(i64::cast_unsigned) else { return Ok(None) };
    Ok(read_stream(connection, recent, unchecked, stream, last, 1)?.pop())
}

pub(super) fn read_all(
    connection: &Connection,
    unchecked: UncheckedUpTo,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut statement = connection.prepare_cached(SELECT_ALL)?;
    let rows = statement.query(params![signed(after.unwrap_or(0)), signed(limit as u64)])?;
    // The writer leaves no position out. So a reader never gets an event twice, however pages are damaged.
    let first = after.unwrap_or(0).saturating_add(1);
    let unreadable = || {
        let exists: bool = connection
            .prepare_cached(SELECT_EXISTS)
            .ok()?
            .query_row([signed(first)], |row| row.get(0))
            .ok()?;
        let (stream, revision) = owner(connection, first).filter(|_| exists)?;
        Some(rows::damaged(first, stream, revision, ROW_UNREADABLE))
    };
    let mut next = first;
    collect(rows, unreadable, |stored, name| {
        if stored.position != next {
            return Err(format!("the log has no event at position {next}"));
        }
        next += 1;
        let stream: Option<StreamName> = name.and_then(|name| name.parse().ok());
        let why = match (name, &stream) {
            (Some(name), Some(stream)) => match stored.event(name, stream, unchecked) {
                Ok(event) => return Ok(event),
                Err(why) => why,
            },
            (None, _) => "its stream is missing",
            (Some(_), None) => "the name of its stream is unreadable",
        };
        let (owner, revision) =
            owner(connection, stored.position).or_else(|| Some((stream?, stored.revision?))).ok_or_else(
                || format!("the stream of the event at position {} is unknown: {why}", stored.position),
            )?;
        Ok(stored.damaged(owner, revision, why))
    })
}

/// Reads short parts from the end on, because a read ends with the event that reaches the bound on bytes. Relies on
/// positions without gaps.
pub(super) fn read_back(
    connection: &Connection,
    unchecked: UncheckedUpTo,
    before: Option<Position>,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let end = last_position(connection)?.unwrap_or_default();
    let mut last = before.map_or(end, |before| before.saturating_sub(1).min(end));
    let (mut events, mut bytes) = (Vec::new(), 0);
    while last > 0 && events.len() < limit && bytes < READ_BYTES_MAX {
        let count = BACK_EVENTS.min(limit - events.len());
        let begin = last.saturating_sub(count as u64);
        let part = match read_part(connection, unchecked, begin, last) {
            Err(_) if !events.is_empty() => break,
            part => part?,
        };
        bytes += part.iter().map(|event| event.data.len() + event.metadata.len()).sum::<usize>();
        events.extend(part.into_iter().rev());
        last = begin;
    }
    Ok(events)
}

/// The events after one position, up to another one.
fn read_part(
    connection: &Connection,
    unchecked: UncheckedUpTo,
    mut after: Position,
    last: Position,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut events = Vec::new();
    while after < last {
        let limit = usize::try_from(last - after).unwrap_or(usize::MAX);
        let page = read_all(connection, unchecked, Some(after), limit)?;
        let Some(reached) = page.last() else { break };
        after = reached.position;
        events.extend(page);
    }
    Ok(events)
}

/// The position of an event, from the index.
pub(super) fn position_of(
    connection: &Connection,
    stream_no: i64,
    revision: Revision,
) -> rusqlite::Result<Option<Position>> {
    let mut statement = connection.prepare_cached(SELECT_POSITION)?;
    let position =
        statement.query_row([stream_no, signed(revision)], |row| row.get::<_, i64>(0)).optional()?;
    Ok(position.map(i64::cast_unsigned))
}

/// The stream and the revision of a damaged event, from the index.
fn owner(connection: &Connection, position: Position) -> Option<(StreamName, Revision)> {
    let mut statement = connection.prepare_cached(SELECT_OWNER).ok()?;
    let found =
        statement.query_row([signed(position)], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
    let (name, revision) = found.optional().ok()??;
    Some((name.parse().ok()?, revision.cast_unsigned()))
}

pub(super) fn exist(
    connection: &Connection,
    recent: Option<&RecentStreams>,
    streams: &[StreamName],
) -> Result<Vec<bool>, ReadError> {
    streams.iter().map(|stream| Ok(find(connection, recent, stream)?.is_some())).collect()
}

/// The number of a stream. `recent` is `Some` only in the process that writes.
fn find(
    connection: &Connection,
    recent: Option<&RecentStreams>,
    stream: &StreamName,
) -> rusqlite::Result<Option<i64>> {
    let name = stream.to_string();
    match recent {
        Some(recent) => recent.find(connection, &name),
        None => find_from_outside(connection, &name),
    }
}

pub(super) fn last_position(connection: &Connection) -> Result<Option<Position>, ReadError> {
    let position: Option<i64> = connection.prepare_cached(SELECT_LAST)?.query_row((), |row| row.get(0))?;
    Ok(position.map(i64::cast_unsigned))
}

/// A binary search over the positions: the store numbers its events without large gaps.
pub(super) fn position_before(
    connection: &Connection,
    time: Timestamp,
) -> Result<Option<Position>, ReadError> {
    let mut statement = connection.prepare_cached(SELECT_TIME)?;
    let mut high = last_position(connection)?.unwrap_or_default();
    let (mut before, mut low) = (None, 0);
    while low < high {
        let middle = low + (high - low) / 2;
        let read = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?));
        match statement.query_row(params![signed(middle)], read).optional()? {
            Some((position, recorded_at)) if recorded_at < time.as_microsecond() => {
                (before, low) = (Some(position), position);
            }
            Some(_) | None => high = middle,
        }
    }
    Ok(before)
}

/// SQLite's integers end at `i64::MAX`, so no event has a larger number.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads rows into events until the page is full. `event` gets a row and the column after it, and says what is
/// wrong with the file. A page ends before the place where the file is damaged, so that the next read, which
/// begins there, reports it. `unreadable` gives the first event without its content if SQLite cannot read its
/// row, and `None` if it cannot find the row either.
fn collect(
    mut rows: Rows<'_>,
    unreadable: impl FnOnce() -> Option<RecordedEvent>,
    mut event: impl FnMut(&Stored<'_>, Option<&str>) -> Result<RecordedEvent, String>,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut events = Vec::new();
    let mut bytes = 0;
    while bytes < READ_BYTES_MAX {
        let read = match rows.next() {
            Ok(Some(row)) => Stored::of(row).map_err(ReadError::from).and_then(|stored| {
                let name = row.get_ref(COLUMN_AFTER).ok().and_then(|name| name.as_str().ok());
                event(&stored, name).map_err(|what| ReadError::Corrupt(what.into()))
            }),
            Ok(None) => break,
            Err(error) => Err(error.into()),
        };
        match read {
            Ok(event) => {
                bytes += event.data.len() + event.metadata.len();
                events.push(event);
            }
            Err(error) if events.is_empty() => {
                let is_corrupt = matches!(error, ReadError::Corrupt(_));
                return unreadable().filter(|_| is_corrupt).map(|event| vec![event]).ok_or(error);
            }
            Err(_) => break,
        }
    }
    Ok(events)
}

//! Reads the file, on separate connections and on threads that may block.

use std::path::Path;

use domain::{EventId, Position, RecordedEvent, Revision, StreamName, Timestamp};
use rusqlite::{Connection, Row, Rows, params};
use uuid::Uuid;

use super::{
    open,
    stream_index::{RecentStreams, find_from_outside},
};
use crate::{event_store::ReadError, sqlite};

/// A read ends with the event that reaches this number of bytes.
const READ_BYTES_MAX: usize = 4 << 20;

const SELECT_STREAM: &str = "SELECT position, revision, id, type, data, metadata, recorded_at FROM events
     WHERE stream_no = ?1 AND revision >= ?2 ORDER BY revision LIMIT ?3";
const SELECT_ALL: &str = "SELECT position, revision, id, type, data, metadata, recorded_at, name
     FROM events JOIN streams USING (stream_no) WHERE position > ?1 ORDER BY position LIMIT ?2";
const SELECT_LAST: &str = "SELECT max(position) FROM events";

/// The connections that read an event store.
pub(super) type Readers = sqlite::Readers<ReadError>;

pub(super) fn readers(path: &Path, first: Connection) -> Readers {
    sqlite::Readers::new(path, first, |path| Ok(open::open_reader(path)?))
}

pub(super) fn read_stream(
    connection: &Connection,
    recent: Option<&RecentStreams>,
    stream: &StreamName,
    from: Revision,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let Some(stream_no) = find(connection, recent, stream)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(SELECT_STREAM)?;
    let rows = statement.query(params![stream_no, signed(from), signed(limit as u64)])?;
    collect(rows, |_| Some(stream.clone()))
}

pub(super) fn read_all(
    connection: &Connection,
    after: Option<Position>,
    limit: usize,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut statement = connection.prepare_cached(SELECT_ALL)?;
    let rows = statement.query(params![signed(after.unwrap_or(0)), signed(limit as u64)])?;
    collect(rows, |row| row.get_ref(7).ok()?.as_str().ok()?.parse().ok())
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

/// SQLite's integers end at `i64::MAX`, so no event has a larger number.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn collect(
    mut rows: Rows<'_>,
    stream_of: impl Fn(&Row<'_>) -> Option<StreamName>,
) -> Result<Vec<RecordedEvent>, ReadError> {
    let mut events = Vec::new();
    let mut bytes = 0;
    while bytes < READ_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        let event = recorded_event(row, stream_of(row))?;
        bytes += event.data.len() + event.metadata.len();
        events.push(event);
    }
    Ok(events)
}

fn recorded_event(row: &Row<'_>, stream: Option<StreamName>) -> Result<RecordedEvent, ReadError> {
    let position = row.get::<_, i64>(0)?.cast_unsigned();
    let unreadable = |what: &str| {
        ReadError::Corrupt(format!("{what} of the event at position {position} is unreadable").into())
    };
    let id = row.get_ref(2)?.as_bytes().ok().and_then(|bytes| Uuid::from_slice(bytes).ok());
    let recorded_at = Timestamp::from_microsecond(row.get(6)?).ok();
    Ok(RecordedEvent {
        position,
        stream: stream.ok_or_else(|| unreadable("the stream"))?,
        revision: row.get::<_, i64>(1)?.cast_unsigned(),
        id: EventId(id.ok_or_else(|| unreadable("the id"))?),
        type_name: row.get_ref(3)?.as_str().map_err(|_| unreadable("the type"))?.into(),
        data: row.get_ref(4)?.as_bytes().map_err(|_| unreadable("the data"))?.into(),
        metadata: row.get_ref(5)?.as_bytes().map_err(|_| unreadable("the metadata"))?.into(),
        recorded_at: recorded_at.ok_or_else(|| unreadable("the time"))?,
    })
}

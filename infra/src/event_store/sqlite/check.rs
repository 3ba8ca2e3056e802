//! Looks for damage: at the end of the file at each start, and in the whole file on request.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use domain::{Position, RecordedEvent, Revision};
use rusqlite::{Connection, OptionalExtension, Row};

use super::{
    errors::{SqliteOpenError, shortfall},
    open::{self, beside},
    readers,
    rows::UncheckedUpTo,
    stream_index::{find_from_outside, name_hash},
};
use crate::event_store::ReadError;

/// Events at the end of the log that a start checks.
const TAIL_EVENTS: u64 = 128;
/// Findings that a report describes. It counts the others.
const FINDINGS_MAX: usize = 100;
/// Events per read, and between two reports of progress.
const CHECKED_EVENTS: usize = 10_000;

/// Reads the index and the names of streams only.
const SELECT_EVENT_INDEX: &str = "SELECT position, name, revision
     FROM events INDEXED BY sqlite_autoindex_events_1 LEFT JOIN streams USING (stream_no)";
const SELECT_NEXT_PLACE: &str = "SELECT position, name, revision
     FROM events LEFT JOIN streams USING (stream_no) WHERE position > ?1 ORDER BY position LIMIT 1";
const SELECT_STREAMS: &str =
    "SELECT stream_no, name, name_hash, stream_no <= (SELECT up_to FROM stream_index_progress) FROM streams";
const SELECT_STREAM_INDEX: &str = "SELECT stream_no, name_hash FROM stream_index
     WHERE stream_no <= (SELECT up_to FROM stream_index_progress)";

/// What a check of a whole file has found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CheckReport {
    pub events: u64,
    /// Events of an earlier build, which have no checksum. Only their place in the file is checked.
    pub unchecked: u64,
    /// The first 100 findings; empty if the file is intact.
    pub findings: Vec<String>,
    pub findings_total: u64,
}

impl CheckReport {
    fn add(&mut self, finding: String) {
        self.findings_total += 1;
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(finding);
        }
    }
}

/// Checks a whole file, also while a server writes to it: each event against its checksum, each index against
/// its table, and each page. The memory does not depend on the size of the file. `progress` gets the number of
/// events that are checked, and of all.
pub fn check(path: &Path, mut progress: impl FnMut(u64, u64)) -> Result<CheckReport, SqliteOpenError> {
    let (identity, connection) = open::read_only(path)?;
    let snapshot = connection.unchecked_transaction();
    let snapshot = snapshot.map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
    let mut report = CheckReport::default();
    for step in [
        check_events(&snapshot, identity.unchecked, &mut report, &mut progress),
        check_streams(&snapshot, &mut report),
        check_pages(&snapshot, &mut report),
    ] {
        match step {
            Ok(()) => {}
            // Ends only this step: the others find more.
            Err(ReadError::Corrupt(what) | ReadError::WentBack(what)) => report.add(what.to_string()),
            Err(ReadError::Unavailable(why)) => {
                return Err(SqliteOpenError::Unreadable { path: path.to_owned(), why: why.to_string() });
            }
        }
    }
    Ok(report)
}

/// Checks each event, and that the index has the same events.
fn check_events(
    snapshot: &Connection,
    unchecked: UncheckedUpTo,
    report: &mut CheckReport,
    progress: &mut impl FnMut(u64, u64),
) -> Result<(), ReadError> {
    let end = readers::last_position(snapshot)?.unwrap_or(0);
    report.unchecked = unchecked.0.min(end);
    let (mut stored_sum, mut indexed_sum) = (SetSum::default(), SetSum::default());
    let mut after = None;
    loop {
        let events = match readers::read_all(snapshot, unchecked, after, CHECKED_EVENTS) {
            Ok(events) => events,
            // The first event after `after` cannot be returned. The events behind it can.
            Err(ReadError::Corrupt(what)) => {
                report.add(what.to_string());
                let Some(next) = next_place(snapshot, after)? else { break };
                let position = next.0;
                if position == after.unwrap_or(0) + 1 {
                    stored_sum.add(next);
                    after = Some(position);
                } else {
                    // Events are missing before it.
                    after = Some(position - 1);
                }
                continue;
            }
            Err(error) => return Err(error),
        };
        let Some(last) = events.last() else { break };
        after = Some(last.position);
        for event in &events {
            if let Err(damage) = event.check() {
                report.add(damage.to_string());
            }
            stored_sum.add((event.position, event.stream.to_string(), Some(event.revision)));
        }
        report.events += events.len() as u64;
        progress(report.events, end);
    }
    let mut index = snapshot.prepare(SELECT_EVENT_INDEX)?;
    let mut rows = index.query([])?;
    while let Some(row) = rows.next()? {
        indexed_sum.add(place(row)?);
    }
    if indexed_sum != stored_sum {
        report.add("the index of events by stream and revision differs from the events".to_owned());
    }
    Ok(())
}

/// Where an event stands: its position, the name of its stream, and its revision.
type Place = (Position, String, Option<Revision>);

/// The place of the first event after a position, without its content. Fails if SQLite cannot read the row.
fn next_place(snapshot: &Connection, after: Option<Position>) -> Result<Option<Place>, ReadError> {
    let after = i64::try_from(after.unwrap_or(0)).unwrap_or(i64::MAX);
    Ok(snapshot.prepare_cached(SELECT_NEXT_PLACE)?.query_row([after], place).optional()?)
}

fn place(row: &Row<'_>) -> rusqlite::Result<Place> {
    let name = row.get_ref(1)?.as_str().unwrap_or_default().to_owned();
    let revision = row.get_ref(2)?.as_i64().ok().map(i64::cast_unsigned);
    Ok((row.get::<_, i64>(0)?.cast_unsigned(), name, revision))
}

/// Checks that each stream is found by its name.
fn check_streams(snapshot: &Connection, report: &mut CheckReport) -> Result<(), ReadError> {
    let (mut stored_sum, mut indexed_sum) = (SetSum::default(), SetSum::default());
    let mut streams = snapshot.prepare(SELECT_STREAMS)?;
    let mut rows = streams.query([])?;
    while let Some(row) = rows.next()? {
        let (stream_no, hash) = (row.get::<_, i64>(0)?, row.get_ref(2)?.as_i64().ok());
        let name = row.get_ref(1)?.as_str().ok();
        if name.map(name_hash) != hash {
            let name = name.unwrap_or("unreadable");
            report.add(format!("stream number {stream_no} ({name}) cannot be found by its name"));
        }
        if row.get::<_, bool>(3)? {
            stored_sum.add((stream_no, hash));
        }
    }
    let mut index = snapshot.prepare(SELECT_STREAM_INDEX)?;
    let mut rows = index.query([])?;
    while let Some(row) = rows.next()? {
        indexed_sum.add((row.get_ref(0)?.as_i64().unwrap_or(-1), row.get_ref(1)?.as_i64().ok()));
    }
    if indexed_sum != stored_sum {
        report.add("the index of streams by name differs from the streams".to_owned());
    }
    Ok(())
}

/// Checks the form of each page, also of those that have no events.
fn check_pages(snapshot: &Connection, report: &mut CheckReport) -> Result<(), ReadError> {
    let mut statement = snapshot.prepare(&format!("PRAGMA quick_check({FINDINGS_MAX})"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let finding: String = row.get(0)?;
        if finding != "ok" {
            report.add(finding);
        }
    }
    Ok(())
}

/// Compares two sets that are read in different orders, in constant memory.
#[derive(Debug, Default, PartialEq, Eq)]
struct SetSum(u64);

impl SetSum {
    fn add(&mut self, item: impl Hash) {
        let mut hasher = DefaultHasher::new();
        item.hash(&mut hasher);
        self.0 = self.0.wrapping_add(hasher.finish());
    }
}

/// Checks the end of the file, in a time that does not depend on its size: the file is not truncated, the last
/// event is intact, and each of the last [`TAIL_EVENTS`] events is found at its position and by its stream and
/// revision. A damaged event before the last one is no reason to refuse a start: it stops only its stream.
pub(super) fn check_tail(
    connection: &Connection,
    unchecked: UncheckedUpTo,
    path: &Path,
) -> Result<(), SqliteOpenError> {
    let damaged = |what: String| SqliteOpenError::Damaged { path: path.to_owned(), what };
    let sqlite_error = |error| SqliteOpenError::from_sqlite(path, error);
    let has_log = fs::metadata(beside(path, "-wal")).is_ok_and(|metadata| metadata.len() > 0);
    if !has_log {
        // SQLite does not notice a truncated last page.
        let number = |pragma| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
        let pages = number("page_count").map_err(sqlite_error)?.unsigned_abs();
        let page_bytes = number("page_size").map_err(sqlite_error)?.unsigned_abs();
        if let Some(what) = shortfall(path, pages * page_bytes) {
            return Err(damaged(what));
        }
    }
    let unreadable = |error: ReadError| match error {
        ReadError::Corrupt(what) | ReadError::WentBack(what) => damaged(what.to_string()),
        ReadError::Unavailable(what) => damaged(format!("its end cannot be read: {what}")),
    };
    let last = readers::last_position(connection).map_err(unreadable)?.unwrap_or(0);
    let mut after = last.saturating_sub(TAIL_EVENTS);
    while after < last {
        let page = readers::read_all(connection, unchecked, Some(after), 64).map_err(unreadable)?;
        for event in &page {
            check_in_tail(connection, event, last).map_err(unreadable)?;
        }
        after = page.last().map_or(last, |event| event.position);
    }
    Ok(())
}

fn check_in_tail(connection: &Connection, event: &RecordedEvent, last: Position) -> Result<(), ReadError> {
    let RecordedEvent { position, stream, revision, .. } = event;
    if let Some(why) = &event.damage {
        if *position == last {
            let text = format!(
                "its last event, at position {position} (stream {stream}, revision {revision}), is damaged: {why}"
            );
            return Err(ReadError::Corrupt(text.into()));
        }
        return Ok(());
    }
    let stream_no = find_from_outside(connection, &stream.to_string())?;
    let found =
        stream_no.map(|stream_no| readers::position_of(connection, stream_no, *revision)).transpose()?;
    if found.flatten() != Some(*position) {
        let text =
            format!("an index lacks the event at position {position} (stream {stream}, revision {revision})");
        return Err(ReadError::Corrupt(text.into()));
    }
    Ok(())
}

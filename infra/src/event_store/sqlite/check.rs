//! Looks for damage: at the end of the file at each start, and in the whole file on request.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use domain::{Position, RecordedEvent, StreamName};
use rusqlite::{Connection, ErrorCode, OptionalExtension};

use super::{
    errors::{SqliteOpenError, shortfall},
    open::{self, beside},
    readers,
    rows::{COLUMN_AFTER, Stored, UncheckedUpTo, event_columns},
    stream_index::{find_from_outside, name_hash},
};
use crate::event_store::ReadError;

/// Events at the end of the log that a start checks.
const TAIL_EVENTS: u64 = 128;
/// Findings that a report describes. It counts the others.
const FINDINGS_MAX: usize = 100;
/// Events between two reports of progress.
const PROGRESS_EVENTS: u64 = 10_000;

const SELECT_POSITION: &str = "SELECT position FROM events WHERE stream_no = ?1 AND revision = ?2";
const SELECT_EVENTS: &str = concat!(
    "SELECT ",
    event_columns!(),
    ", name, stream_no FROM events LEFT JOIN streams USING (stream_no) ORDER BY position"
);
/// Reads the index only.
const SELECT_EVENT_INDEX: &str =
    "SELECT position, stream_no, revision FROM events INDEXED BY sqlite_autoindex_events_1";
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
    let mut report = CheckReport::default();
    let checked = connection.unchecked_transaction().and_then(|snapshot| {
        for step in [
            check_events(&snapshot, identity.unchecked, &mut report, &mut progress),
            check_streams(&snapshot, &mut report),
            check_pages(&snapshot, &mut report),
        ] {
            match step {
                // Ends only this step: the others find more.
                Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                    report.add(format!("SQLite cannot read a page: {error}"));
                }
                step => step?,
            }
        }
        Ok(())
    });
    checked.map_err(|error| SqliteOpenError::from_sqlite(path, error))?;
    Ok(report)
}

/// Checks each event, and that the index has the same events.
fn check_events(
    snapshot: &Connection,
    unchecked: UncheckedUpTo,
    report: &mut CheckReport,
    progress: &mut impl FnMut(u64, u64),
) -> rusqlite::Result<()> {
    let total = readers::last_position(snapshot).ok().flatten().unwrap_or(0);
    let mut statement = snapshot.prepare(SELECT_EVENTS)?;
    let mut rows = statement.query([])?;
    let (mut stored_sum, mut next) = (SetSum::default(), 1);
    while let Some(row) = rows.next()? {
        let stored = Stored::of(row)?;
        report.events += 1;
        report.unchecked += u64::from(!stored.has_checksum());
        if stored.position != next {
            report.add(format!("position {} follows position {}", stored.position, next - 1));
        }
        next = stored.position.saturating_add(1);
        let name = row.get_ref(COLUMN_AFTER)?.as_str().ok();
        let outcome = name.ok_or("its stream is missing").and_then(|name| {
            name.parse::<StreamName>().map_err(|_| "the name of its stream is unreadable")?;
            stored.check(name, unchecked)
        });
        if let Err(why) = outcome {
            let (stream, revision) = match readers::owner(snapshot, stored.position) {
                Some((stream, revision)) => (stream.to_string(), Some(revision)),
                None => (name.unwrap_or("unknown").to_owned(), stored.revision),
            };
            let revision = revision.map_or_else(|| "unknown".to_owned(), |revision| revision.to_string());
            report.add(format!(
                "the event at position {} (stream {stream}, revision {revision}) is damaged: {why}",
                stored.position
            ));
        }
        stored_sum.add((stored.position, row.get_ref(COLUMN_AFTER + 1)?.as_i64().ok(), stored.revision));
        if report.events.is_multiple_of(PROGRESS_EVENTS) {
            progress(report.events, total);
        }
    }
    progress(report.events, total);
    let mut indexed_sum = SetSum::default();
    let mut index = snapshot.prepare(SELECT_EVENT_INDEX)?;
    let mut rows = index.query([])?;
    while let Some(row) = rows.next()? {
        let number =
            |column| Ok::<_, rusqlite::Error>(row.get_ref(column)?.as_i64().ok().map(i64::cast_unsigned));
        let position = row.get::<_, i64>(0)?.cast_unsigned();
        indexed_sum.add((position, number(1)?.map(u64::cast_signed), number(2)?));
    }
    if indexed_sum != stored_sum {
        report.add("the index of events by stream and revision differs from the events".to_owned());
    }
    Ok(())
}

/// Checks that each stream is found by its name.
fn check_streams(snapshot: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
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
fn check_pages(snapshot: &Connection, report: &mut CheckReport) -> rusqlite::Result<()> {
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
        ReadError::Corrupt(what) => damaged(what.to_string()),
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
    let found = match find_from_outside(connection, &stream.to_string())? {
        Some(stream_no) => connection
            .prepare_cached(SELECT_POSITION)?
            .query_row((stream_no, revision.cast_signed()), |row| row.get::<_, i64>(0))
            .optional()?,
        None => None,
    };
    if found != Some(position.cast_signed()) {
        let text =
            format!("an index lacks the event at position {position} (stream {stream}, revision {revision})");
        return Err(ReadError::Corrupt(text.into()));
    }
    Ok(())
}

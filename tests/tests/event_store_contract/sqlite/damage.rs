//! Damage to the file: what a start refuses, what reads return, and what a whole check finds.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    sync::Arc,
};

use domain::{EventId, NewEvent, RecordedEvent, StreamName};
use infra::event_store::{
    EventLog, EventStore,
    ExpectedRevision::{self, NoStream},
    ReadError,
    sqlite::{BackupError, CheckReport, SqliteEventLog, SqliteOpenError, backup, check},
};
use tempfile::TempDir;
use uuid::Uuid;

use super::{super::Fixture, SqliteFixture, append, event_of, new_stream, open};

const PAGE_BYTES: usize = 4_096;
/// The first byte of a page that holds rows of a table.
const TABLE_LEAF: u8 = 0x0d;

/// A closed store of about 200 pages, one event on each.
async fn given_file() -> (TempDir, PathBuf) {
    let fixture = SqliteFixture::fresh().await;
    for _ in 0..200 {
        let large = event_of(format!("\"{}\"", "x".repeat(3_000)).into());
        fixture.store().append(append(&new_stream(), NoStream, vec![large])).await.unwrap();
    }
    fixture.into_file()
}

/// A closed store with three streams of eight small events each, in turns.
async fn given_small_file() -> (TempDir, PathBuf, Vec<RecordedEvent>) {
    let fixture = SqliteFixture::fresh().await;
    let streams: Vec<StreamName> = (0..3).map(|_| new_stream()).collect();
    for revision in 0..8 {
        for (number, stream) in streams.iter().enumerate() {
            let event = NewEvent {
                id: EventId(Uuid::new_v4()),
                type_name: "stock.adjusted.v1",
                data: format!("{{\"delta\":{revision},\"of\":{number}}}").into(),
                metadata: Arc::from(format!("{{\"command\":\"adjust-{number}-{revision}\"}}").into_bytes()),
            };
            let expected = ExpectedRevision::of(u64::checked_sub(revision, 1));
            fixture.store().append(append(stream, expected, vec![event])).await.unwrap();
        }
    }
    let events = fixture.store().log().read_all(None, usize::MAX).await.unwrap();
    let (directory, path) = fixture.into_file();
    (directory, path, events)
}

fn found(path: &Path) -> CheckReport {
    check(path, |_, _| {}).unwrap()
}

fn changed(path: &Path, sql: &str) {
    assert_eq!(rusqlite::Connection::open(path).unwrap().execute(sql, []).unwrap(), 1, "{sql}");
}

fn assert_refused(path: &Path, what: &str) {
    let error = open(path).unwrap_err();
    assert!(matches!(error, SqliteOpenError::Damaged { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains(what) && text.contains("events.db") && text.contains("orderly backup"), "{text}");
}

/// Reads the log in pages of three. Fails if a read returns an event twice.
async fn read_to_end(path: &Path) -> Result<Vec<RecordedEvent>, ReadError> {
    let log = SqliteEventLog::open_read_only(path).unwrap();
    let mut events: Vec<RecordedEvent> = Vec::new();
    loop {
        let page = log.read_all(events.last().map(|event| event.position), 3).await?;
        if page.is_empty() {
            return Ok(events);
        }
        let last = events.last().map_or(0, |event| event.position);
        assert!(page[0].position > last, "position {} comes after {last}", page[0].position);
        events.extend(page);
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused() {
    let (_directory, path) = given_file().await;
    let whole = fs::metadata(&path).unwrap().len();
    for length in [whole - 1, whole - 4_096, whole / 2, 1_000, 100] {
        File::options().write(true).open(&path).unwrap().set_len(length).unwrap();
        assert_refused(&path, &format!("truncated to {length} of {whole} bytes"));
    }
    File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    assert_refused(&path, "the file is empty");
}

#[tokio::test]
async fn a_lost_file_is_not_replaced_by_an_empty_one_if_its_write_ahead_log_exists() {
    let (_directory, path) = given_file().await;
    fs::rename(&path, path.with_extension("db-wal")).unwrap();
    assert_refused(&path, "write-ahead log exists");
}

#[tokio::test]
async fn a_damaged_last_event_and_a_missing_late_one_are_refused_at_start() {
    let (_directory, path, events) = given_small_file().await;
    let intact = fs::read(&path).unwrap();
    changed(&path, "UPDATE events SET data = data || ' ' WHERE position = 24");
    assert_refused(&path, "its last event, at position 24 (stream order-");

    fs::write(&path, &intact).unwrap();
    changed(&path, "DELETE FROM events WHERE position = 7");
    assert_refused(&path, "the log has no event at position 7");

    fs::write(&path, &intact).unwrap();
    changed(
        &path,
        &format!("UPDATE streams SET name_hash = name_hash + 1 WHERE name = '{}'", events[9].stream),
    );
    assert_refused(&path, "an index lacks the event at position 1 ");
}

#[tokio::test]
async fn a_start_does_not_read_the_middle_of_the_file() {
    let (_directory, path) = given_file().await;
    changed(&path, "DELETE FROM events WHERE position = 7");
    open(&path).unwrap();
    assert_eq!(found(&path).findings, ["the log has no event at position 7"]);
    let error = read_to_end(&path).await.unwrap_err();
    assert!(error.to_string().contains("the log has no event at position 7"), "{error}");
}

#[tokio::test]
async fn a_damaged_event_loses_its_content_and_the_others_stay_as_they_were() {
    let (_directory, path, events) = given_small_file().await;
    let intact = fs::read(&path).unwrap();
    for change in [
        "data = replace(data, '3', '4')",
        "metadata = metadata || ' '",
        "type = 'stock.received.v1'",
        "id = randomblob(16)",
        "id = x'00'",
        "recorded_at = recorded_at + 1",
        "checksum = checksum + 1",
        "checksum = NULL",
    ] {
        fs::write(&path, &intact).unwrap();
        changed(&path, &format!("UPDATE events SET {change} WHERE position = 11"));
        let store = open(&path).unwrap();
        let log = store.log().read_all(None, usize::MAX).await.unwrap();
        let RecordedEvent { stream, revision, .. } = events[10].clone();
        let of_stream = store.log().read_stream(&stream, 0, 100).await.unwrap();
        for (read, original) in log.iter().zip(&events) {
            if read.position == 11 {
                assert!(
                    read.damage.is_some() && read.decode().is_err() && read.decode_metadata().is_err(),
                    "{change}"
                );
                assert!(read.type_name.is_empty() && read.data.is_empty() && read.metadata.is_empty());
                assert_eq!((&read.stream, read.revision), (&stream, revision));
                assert_eq!(of_stream[usize::try_from(revision).unwrap()], *read);
            } else {
                assert_eq!(read, original, "{change}");
            }
        }
        let expected = format!("the event at position 11 (stream {stream}, revision {revision}) is damaged");
        let report = found(&path);
        assert_eq!(report.findings_total, 1, "{change}: {report:?}");
        assert!(report.findings[0].starts_with(&expected), "{report:?}");
    }
}

/// Byte after byte of one stored event: the types of the columns, stream number, revision, id, type, data,
/// metadata, time, checksum.
#[tokio::test]
async fn each_flipped_bit_of_a_stored_event_is_found_and_stops_only_its_stream() {
    let (directory, path, events) = given_small_file().await;
    let intact = fs::read(&path).unwrap();
    let event = &events[13];
    let id = event.id.0.as_bytes();
    let id_at = intact.windows(16).position(|window| window == id).unwrap();
    let content_bytes = event.type_name.len() + event.data.len() + event.metadata.len();
    // Before the id are a byte with the type of each of nine columns, the stream number and the revision. The
    // time has 8 bytes, and the checksum at least 2: a small number takes fewer than 4.
    let bytes = id_at - 2 - 9..id_at + 16 + content_bytes + 8 + 2;
    for (number, at) in bytes.enumerate() {
        let mut damaged = intact.clone();
        damaged[at] ^= 1 << (number % 8);
        fs::write(&path, &damaged).unwrap();

        let report = found(&path);
        assert!(report.findings_total > 0, "byte {number} of {event:?}");
        let copy = directory.path().join("copy.db");
        assert!(matches!(backup(&path, &copy, |_| {}), Err(BackupError::Damaged(_))), "byte {number}");
        assert!(!copy.exists());
        let read = read_to_end(&path).await.unwrap();
        for (read, original) in read.iter().zip(&events) {
            if read.position == event.position {
                assert!(read.damage.is_some(), "byte {number}: {read:?}");
                assert_eq!((&read.stream, read.revision), (&event.stream, event.revision), "byte {number}");
            } else {
                assert_eq!(read, original, "byte {number}");
            }
        }
        assert_eq!(read.len(), events.len());
    }
}

#[tokio::test]
async fn an_event_whose_row_sqlite_cannot_read_stops_only_its_stream() {
    let fixture = SqliteFixture::fresh().await;
    let stream = new_stream();
    for revision in 0..9 {
        // Too long for one page: the row continues on a chain of pages.
        let large = event_of(format!("\"{}\"", revision.to_string().repeat(20_000)).into());
        let expected = ExpectedRevision::of(u64::checked_sub(revision, 1));
        fixture.store().append(append(&stream, expected, vec![large])).await.unwrap();
        fixture
            .store()
            .append(append(&new_stream(), NoStream, vec![event_of(b"{}".to_vec())]))
            .await
            .unwrap();
    }
    let events = fixture.store().log().read_all(None, usize::MAX).await.unwrap();
    let (_directory, path) = fixture.into_file();
    let mut bytes = fs::read(&path).unwrap();
    // A page of the chain of revision 4. Its first four bytes are the number of the next page.
    let page = (1..bytes.len() / PAGE_BYTES)
        .map(|page| page * PAGE_BYTES)
        .find(|&at| bytes[at + 4..at + PAGE_BYTES].iter().all(|&byte| byte == b'4'))
        .unwrap();
    bytes[page..page + 4].fill(0xff);
    fs::write(&path, &bytes).unwrap();

    let read = read_to_end(&path).await.unwrap();
    assert_eq!(read.len(), events.len());
    for (read, original) in read.iter().zip(&events) {
        if (&read.stream, read.revision) == (&stream, 4) {
            assert!(read.damage.is_some());
            assert_eq!(read.position, original.position);
        } else {
            assert_eq!(read, original);
        }
    }
    let log = SqliteEventLog::open_read_only(&path).unwrap();
    assert_eq!(log.read_stream(&stream, 4, 1).await.unwrap()[0].position, events[8].position);
    assert!(log.read_stream(&stream, 5, 1).await.unwrap()[0].damage.is_none());
    let place = format!("the event at position 9 (stream {stream}, revision 4) is damaged");
    assert!(found(&path).findings.iter().any(|finding| finding.starts_with(&place)));
}

/// Flips the last bit of one character in the name of the first stream, and checks the file.
async fn check_with_a_flipped_bit_in_a_name(character: impl Fn(char) -> bool) -> CheckReport {
    let (_directory, path, events) = given_small_file().await;
    let mut bytes = fs::read(&path).unwrap();
    let name = events[0].stream.to_string();
    let at = bytes.windows(name.len()).position(|window| window == name.as_bytes()).unwrap();
    bytes[at + name.find(character).unwrap()] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let report = found(&path);
    assert!(
        report.findings.iter().any(|finding| finding.contains("cannot be found by its name")),
        "{report:?}"
    );
    report
}

#[tokio::test]
async fn a_flipped_bit_that_makes_the_name_of_a_stream_unreadable_is_found() {
    let report = check_with_a_flipped_bit_in_a_name(|character| character == '-').await;
    assert!(
        report.findings.iter().any(|finding| finding.contains("the name of its stream is unreadable")),
        "{report:?}"
    );
}

#[tokio::test]
async fn a_check_goes_on_behind_events_that_cannot_be_returned() {
    let (_directory, path, events) = given_small_file().await;
    changed(&path, &format!("UPDATE streams SET name = 'nameless' WHERE name = '{}'", events[0].stream));
    changed(&path, "DELETE FROM events WHERE position = 8");
    changed(&path, "UPDATE events SET data = data || ' ' WHERE position = 23");
    let report = found(&path);
    let count = |text: &str| report.findings.iter().filter(|finding| finding.contains(text)).count();
    assert_eq!(count("the name of its stream is unreadable"), 8, "{report:?}");
    assert_eq!(count("the log has no event at position 8"), 1, "{report:?}");
    assert_eq!(count("the event at position 23"), 1, "{report:?}");
    assert_eq!(count("the index of events"), 0, "{report:?}");
    assert_eq!(report.events, 24 - 8 - 1);
}

#[tokio::test]
async fn a_flipped_bit_that_makes_the_name_of_a_stream_another_name_is_found() {
    // Another digit makes another id. The id always has the digit of its version, which is 4.
    let report = check_with_a_flipped_bit_in_a_name(|character| character.is_ascii_digit()).await;
    let damaged = report.findings.iter().filter(|finding| finding.contains(") is damaged"));
    assert_eq!(damaged.count(), 8, "{report:?}");
}

#[tokio::test]
async fn swapped_pages_end_a_read_with_an_error() {
    let (_directory, path) = given_file().await;
    let mut bytes = fs::read(&path).unwrap();
    let leaves: Vec<usize> = (1..bytes.len() / PAGE_BYTES)
        .map(|page| page * PAGE_BYTES)
        .filter(|&at| {
            bytes[at] == TABLE_LEAF && bytes[at..at + PAGE_BYTES].windows(9).any(|text| text == b"xxxxxxxxx")
        })
        .collect();
    let (one, other) = (leaves[leaves.len() - 2], leaves[leaves.len() - 1]);
    let (before, after) = bytes.split_at_mut(other);
    before[one..one + PAGE_BYTES].swap_with_slice(&mut after[..PAGE_BYTES]);
    fs::write(&path, &bytes).unwrap();

    assert!(matches!(read_to_end(&path).await, Err(ReadError::Corrupt(_))));
    assert!(found(&path).findings_total > 0);
    assert!(matches!(open(&path), Err(SqliteOpenError::Damaged { .. })));
}

#[tokio::test]
async fn each_broken_page_is_found_by_a_check_and_by_a_backup() {
    let (directory, path) = given_file().await;
    let intact = fs::read(&path).unwrap();
    let copy = directory.path().join("copy.db");
    for page in 1..intact.len() / PAGE_BYTES {
        let mut broken = intact.clone();
        broken[page * PAGE_BYTES..(page + 1) * PAGE_BYTES].fill(0xff);
        fs::write(&path, &broken).unwrap();
        let is_found = check(&path, |_, _| {}).map_or(true, |report| report.findings_total > 0);
        assert!(is_found, "page {page}");
        assert!(backup(&path, &copy, |_| {}).is_err(), "page {page}");
        assert!(!copy.exists());
    }
    fs::write(&path, &intact).unwrap();
    assert_eq!(found(&path), CheckReport { events: 200, ..CheckReport::default() });
    backup(&path, &copy, |_| {}).unwrap();
}

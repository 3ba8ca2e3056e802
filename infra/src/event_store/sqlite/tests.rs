//! Cases that the contract suite cannot reach: failures within a group, the index of streams, the write-ahead
//! log.

use std::{
    fs::{self, File},
    io::Read,
    path::PathBuf,
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use domain::{EventId, NewEvent, OrderId};
use rusqlite::Connection;
use tempfile::TempDir;

use super::{
    checkpoint::Checkpointer,
    stream_index::{StreamIndex, find_from_outside},
    *,
};
use crate::{
    event_store::{AppendError, Appended, ExpectedRevision},
    sqlite::overlapping_reads::{LongRead, OverlappingReads},
};

type Outcome = Result<Appended, AppendError>;

struct WriterFixture {
    /// Dropping it deletes the file.
    _directory: TempDir,
    path: PathBuf,
    writer: Writer,
    _jobs: mpsc::Sender<PendingAppend>,
}

/// Small, so that the tests reach the bounds.
const OPTIONS: SqliteEventStoreOptions = SqliteEventStoreOptions {
    cached_streams_max: 100,
    unindexed_streams_max: 10,
    page_cache_kib: 1_024,
    clock: Clock::system(),
};

/// A writer over a new store. The tests call it directly, without its thread.
fn writer_fixture(configure: impl FnOnce(&Connection)) -> WriterFixture {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    open::create(&path).unwrap();
    let connection = open::writable(&path, OPTIONS.page_cache_kib).unwrap();
    configure(&connection);
    let checkpointer = Checkpointer::start(open::checkpointing(&path).unwrap()).unwrap();
    let (jobs_sender, jobs) = channel();
    let (writer, _) = Writer::new(connection, checkpointer, jobs, OPTIONS).unwrap();
    WriterFixture { _directory: directory, path, writer, _jobs: jobs_sender }
}

fn new_stream() -> StreamName {
    OrderId(Uuid::new_v4()).into()
}

fn append(stream: &StreamName, expected: ExpectedRevision, bytes: usize) -> Append {
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "order.placed.v2",
        data: vec![b' '; bytes],
        metadata: Arc::from(*b"{}"),
    };
    Append { stream: stream.clone(), expected, events: vec![event], epoch: None }
}

/// Writes one group. Returns the outcomes in the order of the answers.
fn write(writer: &mut Writer, appends: Vec<Append>) -> Vec<Outcome> {
    let (sender, outcomes) = channel();
    let mut group = appends
        .into_iter()
        .map(|append| {
            let sender = sender.clone();
            PendingAppend::new(append, Box::new(move |outcome| sender.send(outcome).unwrap()), true)
        })
        .collect();
    writer.write(&mut group);
    assert!(group.is_empty());
    drain(&outcomes)
}

fn drain(outcomes: &Receiver<Outcome>) -> Vec<Outcome> {
    outcomes.try_iter().collect()
}

fn count(path: &Path, table: &str) -> i64 {
    let reader = open::open_reader(path).unwrap();
    reader.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

#[test]
fn a_group_commits_the_appends_before_and_after_a_refused_one() {
    let mut fixture = writer_fixture(|_| {});
    let (stream, other) = (new_stream(), new_stream());
    let outcomes = write(
        &mut fixture.writer,
        vec![
            append(&stream, ExpectedRevision::NoStream, 10),
            append(&stream, ExpectedRevision::Exact(5), 10),
            append(&stream, ExpectedRevision::Exact(0), 10),
            append(&other, ExpectedRevision::Exact(0), 10),
        ],
    );
    let succeeded: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(succeeded, [true, false, true, false]);
    assert_eq!((count(&fixture.path, "events"), count(&fixture.path, "streams")), (2, 1));
}

#[test]
fn a_group_that_exceeds_the_disk_is_rolled_back_whole_and_the_next_one_can_succeed() {
    let mut fixture = writer_fixture(|connection| {
        connection.pragma_update(None, "max_page_count", 40).unwrap();
    });
    let (stream, other) = (new_stream(), new_stream());
    let writer = &mut fixture.writer;
    write(writer, vec![append(&stream, ExpectedRevision::NoStream, 10)]).remove(0).unwrap();

    let epoch = writer.epoch().load();
    let too_much = vec![
        append(&stream, ExpectedRevision::Exact(0), 10),
        append(&other, ExpectedRevision::NoStream, 10),
        append(&other, ExpectedRevision::Exact(0), 400_000),
        append(&stream, ExpectedRevision::Exact(1), 10),
    ];
    let outcomes = write(writer, too_much);
    assert_eq!(outcomes.len(), 4);
    assert!(
        outcomes.iter().all(|outcome| matches!(outcome, Err(AppendError::Unavailable(_)))),
        "{outcomes:?}"
    );
    assert_eq!((count(&fixture.path, "events"), count(&fixture.path, "streams")), (1, 1));

    assert!(writer.epoch().load() > epoch);
    let decided_before = Append { epoch: Some(epoch), ..append(&other, ExpectedRevision::NoStream, 10) };
    let decided_after = append(&stream, ExpectedRevision::Exact(0), 10);
    let later_outcomes = write(writer, vec![decided_before, decided_after]);
    assert!(matches!(later_outcomes[0], Err(AppendError::Superseded)));
    let appended = later_outcomes[1].as_ref().unwrap();
    assert_eq!((appended.last_revision, appended.last_position), (Some(1), Some(2)));
}

#[test]
fn a_dropped_append_is_answered_with_an_unknown_outcome() {
    let (sender, outcomes) = channel();
    let dropped = append(&new_stream(), ExpectedRevision::NoStream, 10);
    drop(PendingAppend::new(dropped, Box::new(move |outcome| sender.send(outcome).unwrap()), true));
    assert!(matches!(drain(&outcomes)[..], [Err(AppendError::OutcomeUnknown(_))]));
}

/// The first stream whose lookup is wrong, in the writer's process or in another one.
fn misplaced(fixture: &WriterFixture, streams: &[(StreamName, bool)]) -> Option<StreamName> {
    let (reader, recent) = (open::open_reader(&fixture.path).unwrap(), fixture.writer.recent_streams());
    let length = |recent: Option<&RecentStreams>, stream: &StreamName| {
        readers::read_stream(&reader, recent, UncheckedUpTo(0), stream, 0, 9).unwrap().len()
    };
    let is_misplaced = |stream: &StreamName, exists: bool| {
        [Some(&recent), None].into_iter().any(|recent| length(recent, stream) != usize::from(exists))
    };
    streams.iter().find(|(stream, exists)| is_misplaced(stream, *exists)).map(|(stream, _)| stream.clone())
}

#[test]
fn every_committed_stream_is_found_while_it_moves_into_the_index_and_no_rolled_back_one_is() {
    let mut fixture = writer_fixture(|connection| {
        connection.pragma_update(None, "max_page_count", 1_000).unwrap();
    });
    let mut streams = Vec::new();
    for round in 0..60 {
        let is_rolled_back = round % 5 == 4;
        let new: Vec<StreamName> = (0..=round % 7).map(|_| new_stream()).collect();
        let mut group: Vec<Append> =
            new.iter().map(|stream| append(stream, ExpectedRevision::NoStream, 10)).collect();
        if is_rolled_back {
            group.push(append(&new_stream(), ExpectedRevision::NoStream, 5 << 20));
        }
        let outcomes = write(&mut fixture.writer, group);
        assert!(outcomes.iter().all(|outcome| outcome.is_err() == is_rolled_back), "{outcomes:?}");
        streams.extend(new.into_iter().map(|stream| (stream, !is_rolled_back)));
        assert_eq!(misplaced(&fixture, &streams), None, "after round {round}");
    }
    let (indexed, all) = (count(&fixture.path, "stream_index"), count(&fixture.path, "streams"));
    assert!(all > 150 && indexed > all - 30, "{indexed} of {all} streams are in the index");

    // A new writer, as after a restart. There are more streams than its cache holds.
    let WriterFixture { path, .. } = &fixture;
    let connection = open::writable(path, OPTIONS.page_cache_kib).unwrap();
    let checkpointer = Checkpointer::start(open::checkpointing(path).unwrap()).unwrap();
    (fixture.writer, _) = Writer::new(connection, checkpointer, channel().1, OPTIONS).unwrap();
    assert_eq!(misplaced(&fixture, &streams), None, "after the next start");
    for (stream, exists) in &streams {
        let again = append(stream, ExpectedRevision::NoStream, 10);
        let is_new = write(&mut fixture.writer, vec![again])[0].is_ok();
        assert_eq!(is_new, !exists, "{stream}");
    }
    assert_eq!(check(&fixture.path, |_, _| {}).unwrap().findings, Vec::<String>::new());
}

#[test]
fn streams_are_found_after_any_rollback_and_after_any_restart() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    open::create(&path).unwrap();
    let connection = open::writable(&path, OPTIONS.page_cache_kib).unwrap();
    // More streams than one transaction moves.
    let kept_max = 200;
    let mut index = StreamIndex::load(&connection, kept_max).unwrap();
    let (mut kept, mut rolled_back) = (Vec::new(), Vec::new());
    for round in 0..300 {
        let transaction = connection.unchecked_transaction().unwrap();
        let names: Vec<String> = (0..round % 13).map(|_| new_stream().to_string()).collect();
        for name in &names {
            let insert = "INSERT INTO streams (name, name_hash) VALUES (?1, ?2)";
            transaction.execute(insert, rusqlite::params![name, name_hash(name)]).unwrap();
            index.add(name_hash(name), transaction.last_insert_rowid());
        }
        index.move_some(&transaction).unwrap();
        if round % 3 == 2 {
            transaction.rollback().unwrap();
            index.rolled_back();
            rolled_back.extend(names);
        } else {
            transaction.commit().unwrap();
            index.committed();
            kept.extend(names);
        }
        if round % 9 == 8 {
            index = StreamIndex::load(&connection, kept_max).unwrap();
        }
    }
    for (names, exist) in [(&kept, true), (&rolled_back, false)] {
        for name in names {
            assert_eq!(index.recent().find(&connection, name).unwrap().is_some(), exist, "{name}");
            assert_eq!(find_from_outside(&connection, name).unwrap().is_some(), exist, "{name}");
        }
    }
    assert_eq!(check(&path, |_, _| {}).unwrap().findings, Vec::<String>::new());
    let indexed = usize::try_from(count(&path, "stream_index")).unwrap();
    assert!(kept.len() > 1_000 && indexed > kept.len() - 2 * kept_max, "{indexed} of {}", kept.len());
}

#[test]
fn recorded_times_never_go_backwards() {
    let mut fixture = writer_fixture(|connection| {
        // The clock goes back a century between this event and the next.
        connection
            .execute_batch(
                "INSERT INTO events
                 VALUES (1, 99, 0, x'00', 't', '{}', '{}', unixepoch('2120-01-01') * 1000000, NULL)",
            )
            .unwrap();
    });
    write(&mut fixture.writer, vec![append(&new_stream(), ExpectedRevision::NoStream, 10)])
        .remove(0)
        .unwrap();
    let reader = open::open_reader(&fixture.path).unwrap();
    let distinct: i64 =
        reader.query_row("SELECT count(DISTINCT recorded_at) FROM events", [], |row| row.get(0)).unwrap();
    assert_eq!(distinct, 1);
}

#[test]
fn the_write_ahead_log_restarts_under_steady_writes() {
    let mut fixture = writer_fixture(|_| {});
    let log = fixture.path.with_extension("db-wal");
    let deadline = Instant::now() + Duration::from_mins(1);
    let header_of = |path: &Path| {
        let mut header = [0; 32];
        File::open(path).unwrap().read_exact(&mut header).unwrap();
        header
    };
    let mut write_bytes = |bytes| {
        let event = append(&new_stream(), ExpectedRevision::NoStream, bytes);
        write(&mut fixture.writer, vec![event]).remove(0).unwrap();
    };
    write_bytes(20 << 20);
    let first_header = header_of(&log);
    while header_of(&log) == first_header {
        assert!(Instant::now() < deadline, "the write-ahead log grows without a restart");
        // Grow the log beyond the size at which it should restart, then write little until it does.
        let is_large = fs::metadata(&log).unwrap().len() > 80 << 20;
        write_bytes(if is_large { 10 } else { 20 << 20 });
    }
}

/// Without restarts, the log would take all that is written.
#[test]
fn the_write_ahead_log_stays_bounded_while_reads_overlap() {
    const MIB: u64 = 1 << 20;
    let mut fixture = writer_fixture(|_| {});
    let log = fixture.path.with_extension("db-wal");
    let log_bytes = || fs::metadata(&log).unwrap().len();
    let mut write_bytes = |bytes| {
        let event = append(&new_stream(), ExpectedRevision::NoStream, bytes);
        write(&mut fixture.writer, vec![event]).remove(0).unwrap();
    };
    let _reads = OverlappingReads::of(&fixture.path);
    for _ in 0..400 {
        write_bytes(1 << 20);
        // 100 MiB a second at most. The writer restarts the log between the rounds of the checkpointer.
        std::thread::sleep(Duration::from_millis(10));
        assert!(log_bytes() < 256 * MIB, "{} MiB", log_bytes() / MIB);
    }

    // A backup holds the log. Its growth ends with the backup, and the file shrinks again.
    let backup = LongRead::of(&fixture.path);
    for _ in 0..100 {
        write_bytes(1 << 20);
    }
    assert!(log_bytes() > 90 * MIB, "{} MiB", log_bytes() / MIB);
    drop(backup);
    let deadline = Instant::now() + Duration::from_mins(1);
    while log_bytes() > 64 * MIB {
        assert!(Instant::now() < deadline, "{} MiB", log_bytes() / MIB);
        write_bytes(10);
    }
}

/// A store whose writer holds appends back for longer than the test lasts, and the outcomes of its appends.
fn holding_store(directory: &TempDir) -> (SqliteEventStore, impl Fn() -> Done, Receiver<Outcome>) {
    let store = SqliteEventStore::open(&directory.path().join("events.db"), OPTIONS).unwrap();
    let (sender, outcomes) = channel();
    let done = move || -> Done {
        let sender = sender.clone();
        Box::new(move |outcome| sender.send(outcome).unwrap())
    };
    (store, done, outcomes)
}

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn an_append_that_a_caller_waits_for_ends_the_hold_of_those_before_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, done, outcomes) = holding_store(&directory);
    for _ in 0..50 {
        store.submit_unawaited(append(&new_stream(), ExpectedRevision::NoStream, 10), done());
        // Often long enough for the writer to begin its hold.
        std::thread::yield_now();
        store.submit_unawaited(append(&new_stream(), ExpectedRevision::NoStream, 10), done());
        store.submit(append(&new_stream(), ExpectedRevision::NoStream, 10), done());
        for _ in 0..3 {
            outcomes.recv_timeout(PATIENCE).unwrap().unwrap();
        }
    }
}

#[test]
fn closing_ends_a_hold_and_commits_it() {
    let directory = tempfile::tempdir().unwrap();
    let (store, done, outcomes) = holding_store(&directory);
    store.submit_unawaited(append(&new_stream(), ExpectedRevision::NoStream, 10), done());
    let closing = std::thread::spawn(move || store.close());
    outcomes.recv_timeout(PATIENCE).unwrap().unwrap();
    closing.join().unwrap();
}

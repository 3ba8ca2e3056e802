//! The SQLite event store: the contract, and rules of this adapter (one file, one owner, damage, disk,
//! backup).

mod damage;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
};

use async_trait::async_trait;
use domain::StreamName;
use infra::event_store::{
    AppendError, Epoch, EventLog, EventStore,
    ExpectedRevision::{self, Exact, NoStream},
    sqlite::{
        BackupError, BackupProgress, SqliteEventLog, SqliteEventStore, SqliteEventStoreOptions,
        SqliteOpenError, backup,
    },
};
use tempfile::TempDir;

use super::{
    Fixture, append, appending, dependent_appends, event_of, event_store_contract, events, given_stream,
    marks, new_stream, reading,
};

pub struct SqliteFixture {
    directory: TempDir,
    store: Arc<SqliteEventStore>,
}

impl SqliteFixture {
    pub fn close(&self) {
        self.store.close();
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("events.db")
    }

    /// Closes the store. Returns its file.
    fn into_file(self) -> (TempDir, PathBuf) {
        let path = self.path();
        self.close();
        (self.directory, path)
    }
}

#[async_trait]
impl Fixture for SqliteFixture {
    async fn fresh() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(open(&directory.path().join("events.db")).unwrap());
        Self { directory, store }
    }

    async fn reopen(self) -> Self {
        let (directory, path) = self.into_file();
        Self { directory, store: Arc::new(open(&path).unwrap()) }
    }

    fn store(&self) -> Arc<dyn EventStore> {
        Arc::clone(&self.store) as Arc<dyn EventStore>
    }

    async fn reader(&self) -> Arc<dyn EventLog> {
        Arc::new(SqliteEventLog::open_read_only(&self.path()).unwrap())
    }
}

fn open(path: &Path) -> Result<SqliteEventStore, SqliteOpenError> {
    SqliteEventStore::open(path, SqliteEventStoreOptions::default())
}

mod contract {
    use super::*;

    event_store_contract!(SqliteFixture);
}

#[tokio::test]
async fn a_second_owner_is_refused_and_the_error_names_the_lock() {
    let fixture = SqliteFixture::fresh().await;
    let error = open(&fixture.path()).unwrap_err();
    assert!(matches!(error, SqliteOpenError::InUse { .. }));
    assert!(error.to_string().contains("events.db.lock"), "{error}");

    fixture.close();
    open(&fixture.path()).unwrap();
}

#[tokio::test]
async fn the_head_has_an_append_when_it_is_answered() {
    let fixture = SqliteFixture::fresh().await;
    let store = fixture.store();
    for _ in 0..50 {
        let appended = store.append(append(&new_stream(), NoStream, events(2))).await.unwrap();
        assert_eq!(*store.head().borrow(), appended.last_position);
    }
}

#[tokio::test]
async fn closing_finishes_queued_appends_and_refuses_later_ones() {
    let fixture = SqliteFixture::fresh().await;
    let store = fixture.store();
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    for _ in 0..500 {
        let sender = sender.clone();
        let done = move |outcome| drop(sender.send(outcome));
        store.submit(append(&new_stream(), NoStream, events(1)), Box::new(done));
    }
    fixture.close();
    for _ in 0..500 {
        answers.try_recv().expect("close() returns after every answer").unwrap();
    }
    let late = store.append(append(&new_stream(), NoStream, events(1))).await;
    assert!(matches!(late, Err(AppendError::Unavailable(_))));
    assert_eq!(store.log().read_all(None, 1_000).await.unwrap().len(), 500);
    let wal_bytes = fs::metadata(fixture.path().with_extension("db-wal")).map_or(0, |file| file.len());
    assert_eq!(wal_bytes, 0, "closing moves the write-ahead log into the file");
}

#[tokio::test]
async fn a_log_can_be_read_without_a_server_and_the_error_names_a_missing_one() {
    let fixture = SqliteFixture::fresh().await;
    let stream = given_stream(&*fixture.store(), 2).await;
    let (_directory, path) = fixture.into_file();
    let log = SqliteEventLog::open_read_only(&path).unwrap();
    assert_eq!(log.read_stream(&stream, 0, 9).await.unwrap().len(), 2);

    let error = SqliteEventLog::open_read_only(&path.with_extension("old")).unwrap_err();
    assert!(matches!(error, SqliteOpenError::Missing { .. }));
    assert!(error.to_string().contains("events.old"), "{error}");
}

#[tokio::test]
async fn a_foreign_file_is_refused_and_not_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let text = b"Dear diary, ".repeat(1_000);
    fs::write(&path, &text).unwrap();
    assert!(matches!(open(&path), Err(SqliteOpenError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), text);

    fs::remove_file(&path).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE events (position INTEGER PRIMARY KEY)").unwrap();
    drop(other);
    let before = fs::read(&path).unwrap();
    assert!(matches!(open(&path), Err(SqliteOpenError::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[tokio::test]
async fn another_schema_version_is_refused_and_the_error_names_it() {
    let (_directory, path) = SqliteFixture::fresh().await.into_file();
    rusqlite::Connection::open(&path).unwrap().pragma_update(None, "user_version", 9).unwrap();
    let error = open(&path).unwrap_err();
    assert!(matches!(error, SqliteOpenError::OtherSchema { found: 9, .. }));
    assert!(error.to_string().contains("schema version 9"), "{error}");
    assert!(matches!(SqliteEventLog::open_read_only(&path), Err(SqliteOpenError::OtherSchema { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_during_writes_has_every_acknowledged_event_and_a_new_id() {
    let fixture = SqliteFixture::fresh().await;
    let stream = given_stream(&*fixture.store(), 1).await;
    let writer = tokio::spawn(append_until_closed(fixture.store(), stream.clone()));

    let acknowledged = fixture.store().append(append(&new_stream(), NoStream, Vec::new())).await.unwrap();
    let copy = fixture.directory.path().join("copy.db");
    let (source, destination) = (fixture.path(), copy.clone());
    let (made, last_progress) = tokio::task::spawn_blocking(move || {
        let mut last_progress = None;
        let made = backup(&source, &destination, |progress| last_progress = Some(progress)).unwrap();
        (made, last_progress.unwrap())
    })
    .await
    .unwrap();
    fixture.close();
    writer.await.unwrap();

    assert!(matches!(last_progress, BackupProgress::EventsChecked { done, total } if done == total));
    assert_eq!(made.original_id, fixture.store().log().store_id());
    assert_ne!(made.store_id, made.original_id);
    let restored = open(&copy).unwrap();
    assert_eq!(restored.log().store_id(), made.store_id);
    let copied = restored.log().read_all(None, usize::MAX).await.unwrap();
    let last = copied.last().unwrap();
    assert_eq!((made.events, made.last_event), (copied.len() as u64, Some(last.into())));
    assert!(Some(last.position) >= acknowledged.last_position);
    assert_eq!(copied, fixture.store().log().read_all(None, copied.len()).await.unwrap());
    let next = Exact(last.revision);
    restored.append(append(&stream, next, events(1))).await.unwrap();
}

async fn append_until_closed(store: Arc<dyn EventStore>, stream: StreamName) {
    for revision in 0.. {
        if store.append(append(&stream, Exact(revision), events(1))).await.is_err() {
            break;
        }
    }
}

#[tokio::test]
async fn a_backup_overwrites_no_file_and_a_failed_one_leaves_no_file() {
    let fixture = SqliteFixture::fresh().await;
    let copy = fixture.directory.path().join("copy.db");
    fs::write(&copy, "precious").unwrap();
    let error = backup(&fixture.path(), &copy, |_| {}).unwrap_err();
    assert!(matches!(error, BackupError::Exists { .. }));
    assert_eq!(fs::read(&copy).unwrap(), b"precious");

    let nowhere = fixture.directory.path().join("missing/copy.db");
    assert!(matches!(backup(&fixture.path(), &nowhere, |_| {}), Err(BackupError::Io { .. })));
    let missing = fixture.directory.path().join("missing.db");
    let other = fixture.directory.path().join("other.db");
    assert!(matches!(
        backup(&missing, &other, |_| {}),
        Err(BackupError::Source(SqliteOpenError::Missing { .. }))
    ));
    assert!(!other.exists());
}

/// A small file system. Dropping it unmounts it.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Needs root to mount.
    fn mount() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(mount.status.success(), "{}", String::from_utf8_lossy(&mount.stderr));
        Self(directory)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[tokio::test]
#[ignore = "needs root: mounts a small disk; the writer's unit tests fill a bounded file without root"]
async fn a_full_disk_refuses_writes_loses_no_event_and_accepts_writes_again_when_there_is_room() {
    let disk = SmallDisk::mount();
    let path = disk.0.path().join("events.db");
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![1; 2 << 20]).unwrap();
    let store = open(&path).unwrap();
    let stream = new_stream();
    let large = || vec![event_of(format!("\"{}\"", "x".repeat(50_000)).into())];

    let mut acknowledged = 0;
    let mut failures = 0;
    while failures < 5 {
        let expected = ExpectedRevision::of(u64::checked_sub(acknowledged, 1));
        match store.append(append(&stream, expected, large())).await {
            Ok(_) => acknowledged += 1,
            Err(AppendError::Unavailable(_)) => failures += 1,
            Err(other) => panic!("a full disk must not answer {other:?}"),
        }
    }
    assert!(acknowledged > 0);
    assert!(store.epoch() >= Epoch(failures));
    assert_eq!(count(&*store.log()).await, acknowledged, "reads still work");

    fs::remove_file(&ballast).unwrap();
    let next = Exact(acknowledged - 1);
    // A checkpoint that begins now takes the room for some moments.
    let appended = crate::support::eventually("a write is accepted", async || {
        match store.append(append(&stream, next, large())).await {
            Ok(appended) => Some(appended),
            Err(AppendError::Unavailable(_)) => None,
            Err(other) => panic!("a disk with room must not answer {other:?}"),
        }
    })
    .await;
    assert_eq!(appended.last_revision, Some(acknowledged));

    drop(store);
    let reopened = open(&path).unwrap();
    assert_eq!(count(&*reopened.log()).await, acknowledged + 1);
}

/// Reads the log to its end. Returns the number of events.
async fn count(log: &dyn EventLog) -> u64 {
    let (mut after, mut count) = (None, 0);
    while let Some(last) = log.read_all(after, 1_000).await.unwrap().last() {
        (after, count) = (Some(last.position), last.position);
    }
    count
}

//! The threads of a pool of readers.

use std::{
    collections::HashSet,
    path::Path,
    sync::{Arc, Barrier},
    thread::{self, ThreadId},
};

use futures::future::join_all;
use rusqlite::{Connection, OpenFlags};

use super::{READERS_MAX, ReaderError, Readers};

#[derive(Debug, thiserror::Error)]
enum ReadFailure {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
}

fn open(path: &Path) -> Result<Connection, ReadFailure> {
    Ok(Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?)
}

fn readers(dir: &Path) -> Arc<Readers<ReadFailure>> {
    let path = dir.join("file.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE t (n INTEGER); INSERT INTO t VALUES (7)")
        .unwrap();
    Arc::new(Readers::new(&path, open(&path).unwrap(), open))
}

fn number(connection: &Connection) -> Result<(i64, ThreadId), ReadFailure> {
    Ok((connection.query_row("SELECT n FROM t", [], |row| row.get(0))?, thread::current().id()))
}

#[tokio::test]
async fn one_read_after_another_takes_one_thread() {
    let dir = tempfile::tempdir().unwrap();
    let readers = readers(dir.path());
    let mut threads = HashSet::new();
    for _ in 0..200 {
        let (found, thread) = readers.run(number).await.unwrap();
        assert_eq!(found, 7);
        threads.insert(thread);
    }
    assert_eq!(threads.len(), 1);
}

#[tokio::test]
async fn reads_at_the_same_time_take_a_few_threads() {
    let dir = tempfile::tempdir().unwrap();
    let readers = readers(dir.path());
    // So many reads at a time, or this waits forever.
    let together = Arc::new(Barrier::new(READERS_MAX));
    let reads = (0..16 * READERS_MAX).map(|_| {
        let together = Arc::clone(&together);
        readers.run(move |connection| {
            together.wait();
            number(connection)
        })
    });
    let threads: HashSet<ThreadId> = join_all(reads).await.into_iter().map(|read| read.unwrap().1).collect();
    assert_eq!(threads.len(), READERS_MAX);
}

#[tokio::test]
async fn a_read_that_fails_or_panics_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let readers = readers(dir.path());
    for _ in 0..2 * READERS_MAX {
        let failed = readers.run(|connection| Ok(connection.execute_batch("SELECT x FROM missing")?)).await;
        assert!(matches!(failed, Err(ReadFailure::Sqlite(_))), "{failed:?}");
        let panicked = readers.run(|_| -> Result<(), _> { panic!("on purpose") }).await;
        assert!(matches!(panicked, Err(ReadFailure::Reader(ReaderError::Panicked))), "{panicked:?}");
    }
    assert_eq!(readers.run(number).await.unwrap().0, 7);
}

#[tokio::test]
async fn a_read_goes_on_when_its_caller_and_the_pool_are_gone() {
    let dir = tempfile::tempdir().unwrap();
    let readers = readers(dir.path());
    let (begun, begins) = std::sync::mpsc::channel();
    let (goes_on, waits) = std::sync::mpsc::channel::<()>();
    let (ended, ends) = tokio::sync::oneshot::channel();
    let reading = Arc::clone(&readers);
    let caller = tokio::spawn(async move {
        reading
            .run(move |connection| {
                begun.send(()).unwrap();
                waits.recv().unwrap();
                ended.send(number(connection).unwrap().0).unwrap();
                Ok(())
            })
            .await
    });
    tokio::task::spawn_blocking(move || begins.recv().unwrap()).await.unwrap();
    caller.abort();
    drop((caller.await, readers));
    goes_on.send(()).unwrap();
    assert_eq!(ends.await.unwrap(), 7);
}

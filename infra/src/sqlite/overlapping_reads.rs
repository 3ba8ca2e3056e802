//! Reads of a file that overlap all the time, as those of many callers do.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

/// Four threads that read until this is dropped. Each read lasts for 20 to 30 ms.
pub(crate) struct OverlappingReads {
    end: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl OverlappingReads {
    pub fn of(path: &Path) -> Self {
        let end = Arc::new(AtomicBool::new(false));
        let read = |number: u64| {
            let (path, end) = (path.to_owned(), Arc::clone(&end));
            thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    let read = LongRead::of(&path);
                    thread::sleep(Duration::from_millis(20 + 3 * number));
                    drop(read);
                }
            })
        };
        let threads = (0..4).map(read).collect();
        Self { end, threads }
    }
}

impl Drop for OverlappingReads {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            assert!(thread.join().is_ok() || thread::panicking());
        }
    }
}

/// A read that lasts until this is dropped, as a backup does.
pub(crate) struct LongRead(Connection);

impl LongRead {
    pub fn of(path: &Path) -> Self {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        connection.execute_batch("BEGIN").unwrap();
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(())).unwrap();
        Self(connection)
    }
}

impl Drop for LongRead {
    fn drop(&mut self) {
        self.0.execute_batch("COMMIT").unwrap();
    }
}

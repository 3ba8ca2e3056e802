//! Moving the write-ahead log into the file without holding the writer up.
//!
//! SQLite by itself does this within a commit, once the log has grown enough, and that one commit takes 100 to
//! 300 ms. Here a thread of its own moves pages while the writer goes on; the writer does only the last few, since
//! the log can begin anew only when all of it has been moved and nobody appends.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
};

use rusqlite::Connection;

/// Unmoved pages that are worth a round of the thread: 16 MiB.
const ROUND_PAGES_MIN: u64 = 4_096;
/// Unmoved pages that the writer may move itself: some 10 ms.
const INLINE_PAGES_MAX: u64 = 2_048;
/// From this size on the log should begin anew: 64 MiB.
const LOG_PAGES_SOFT_MAX: u64 = 16_384;
/// At this size the writer moves everything, whatever it takes: 512 MiB.
const LOG_PAGES_HARD_MAX: u64 = 131_072;

/// The thread and its signal.
pub(super) struct Checkpointer {
    signal: SyncSender<()>,
    thread: JoinHandle<()>,
}

/// Size of the write-ahead log, in pages.
struct LogSize {
    total: u64,
    moved: u64,
}

impl Checkpointer {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (signal, signals) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("event-store-checkpointer".to_owned())
            .spawn(move || run(&connection, &signals))?;
        Ok(Self { signal, thread })
    }

    /// To be called by the writer between transactions.
    pub(super) fn after_commit(&self, writer: &Connection) -> rusqlite::Result<()> {
        let log = checkpoint(writer, "NOOP")?;
        let unmoved = log.total.saturating_sub(log.moved);
        let finish = log.total >= LOG_PAGES_SOFT_MAX && unmoved <= INLINE_PAGES_MAX;
        if finish || log.total >= LOG_PAGES_HARD_MAX {
            checkpoint(writer, "PASSIVE")?;
        } else if unmoved >= ROUND_PAGES_MIN || log.total >= LOG_PAGES_SOFT_MAX {
            self.request();
        }
        Ok(())
    }

    /// Asks for a round; does nothing if one is asked for already.
    pub(super) fn request(&self) {
        // Full: a round is coming. Disconnected: the thread has panicked, and the writer checkpoints at the hard limit.
        let _ = self.signal.try_send(());
    }

    /// Ends the thread, then moves the whole log and empties it.
    pub(super) fn finish(self, writer: &Connection) {
        drop(self.signal);
        if self.thread.join().is_err() {
            tracing::error!("The event store's checkpointer had panicked");
        }
        if let Err(error) = checkpoint(writer, "TRUNCATE") {
            tracing::warn!(%error, "The event store's write-ahead log is left to the next start");
        }
    }
}

fn run(connection: &Connection, signals: &Receiver<()>) {
    while signals.recv().is_ok() {
        if let Err(error) = checkpoint(connection, "PASSIVE") {
            tracing::warn!(%error, "The event store's write-ahead log could not be moved; it grows until it can");
        }
    }
}

fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<LogSize> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    // -1 where another checkpoint is running.
    let pages = |number: i64| u64::try_from(number).unwrap_or(0);
    statement.query_row([], |row| Ok(LogSize { total: pages(row.get(1)?), moved: pages(row.get(2)?) }))
}

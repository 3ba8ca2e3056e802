//! Moves the write-ahead log into the file without blocking the writer.
//!
//! By default, SQLite does this within a commit once the log has grown enough, and that commit takes 100 to
//! 300 ms. Here a separate thread moves pages while the writer continues. The writer moves only the last few
//! pages, because SQLite restarts the log only when all of it is moved and there is no concurrent append.

use std::{
    io,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread::JoinHandle,
    time::Duration,
};

use rusqlite::Connection;

use crate::{
    log_limit::LogLimit,
    sqlite::{LogRestarts, checkpoint},
};

/// Unmoved pages at which the thread starts a round: 16 MiB.
const ROUND_PAGES_MIN: u64 = 4_096;
/// Most unmoved pages that the writer moves itself: 8 MiB, about 10 ms.
const INLINE_PAGES_MAX: u64 = 2_048;
/// Size at which the writer restarts the log: 64 MiB.
const LOG_PAGES_SOFT_MAX: u64 = 16_384;
/// After a restart, the file of the log keeps at most this size.
pub(super) const LOG_BYTES_KEPT: i64 = 64 << 20;
/// At this size the writer moves everything and blocks as long as that takes: 512 MiB.
const LOG_PAGES_HARD_MAX: u64 = 131_072;

/// The thread that moves pages, and its signal.
pub(super) struct Checkpointer {
    signal: SyncSender<()>,
    thread: JoinHandle<()>,
    restarts: LogRestarts,
}

impl Checkpointer {
    pub(super) fn start(connection: Connection) -> io::Result<Self> {
        let (signal, signals) = sync_channel(1);
        let thread = std::thread::Builder::new()
            .name("event-store-checkpointer".to_owned())
            .spawn(move || run(&connection, &signals))?;
        Ok(Self { signal, thread, restarts: LogRestarts::new() })
    }

    /// The writer calls this between transactions.
    pub(super) fn after_commit(&mut self, writer: &Connection) -> rusqlite::Result<()> {
        let log = checkpoint(writer, "NOOP")?;
        let unmoved = log.total.saturating_sub(log.moved);
        let finish = log.total >= LOG_PAGES_SOFT_MAX && unmoved <= INLINE_PAGES_MAX;
        if finish || log.total >= LOG_PAGES_HARD_MAX {
            self.restarts.restart(writer)?;
        } else if unmoved >= ROUND_PAGES_MIN || log.total >= LOG_PAGES_SOFT_MAX {
            self.request();
        }
        Ok(())
    }

    /// Requests a round. Has no effect if a round is already requested.
    pub(super) fn request(&self) {
        // Full: a round is already requested. Disconnected: the thread has panicked; the writer then
        // checkpoints itself at the hard limit.
        let _ = self.signal.try_send(());
    }

    /// Stops the thread, then moves the whole log and empties it.
    pub(super) fn finish(self, writer: &Connection) {
        drop(self.signal);
        if self.thread.join().is_err() {
            tracing::error!(
                "The checkpointer of the event store has panicked; the writer empties the write-ahead log"
            );
        }
        if let Err(error) = checkpoint(writer, "TRUNCATE") {
            tracing::warn!(%error, "Cannot empty the write-ahead log of the event store; the next start does it");
        }
    }
}

fn run(connection: &Connection, signals: &Receiver<()>) {
    while signals.recv().is_ok() {
        if let Err(error) = checkpoint(connection, "PASSIVE") {
            report(&error);
        }
    }
}

/// Logs that a checkpoint has failed. On a full disk each one fails.
pub(super) fn report(error: &rusqlite::Error) {
    static FAILURES: LogLimit = LogLimit::new(Duration::from_secs(1));
    if let Some(omitted) = FAILURES.pass() {
        tracing::warn!(
            %error,
            lines.omitted = omitted,
            "Cannot checkpoint the write-ahead log of the event store; it grows until a checkpoint works"
        );
    }
}

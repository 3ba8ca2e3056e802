//! Moves pages from the write-ahead log of a file into the file, and bounds the log.

use std::time::{Duration, Instant};

use rusqlite::Connection;

/// What a checkpoint has found in the write-ahead log, in pages of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogSize {
    pub total: u64,
    /// Pages that are already in the file.
    pub moved: u64,
    /// Reads under way keep the log from being restarted.
    is_held: bool,
}

/// Runs a checkpoint of this mode: <https://www.sqlite.org/pragma.html#pragma_wal_checkpoint>.
pub(crate) fn checkpoint(connection: &Connection, mode: &str) -> rusqlite::Result<LogSize> {
    let mut statement = connection.prepare_cached(&format!("PRAGMA wal_checkpoint({mode})"))?;
    // SQLite reports -1 if another checkpoint is running.
    let pages = |number: i64| u64::try_from(number).unwrap_or(0);
    statement.query_row([], |row| {
        Ok(LogSize { total: pages(row.get(1)?), moved: pages(row.get(2)?), is_held: row.get(0)? })
    })
}

/// Restarts the write-ahead log of a file that is always read.
///
/// A commit restarts the log if no read uses it at that moment. Reads that overlap all the time leave no such moment, and
/// the log would grow for ever. [`LogRestarts::restart`] waits for the reads under way. Reads that begin meanwhile use the
/// file alone, and do not hold the log.
#[derive(Debug)]
pub(crate) struct LogRestarts {
    /// No commit waits for reads before this time.
    waits_from: Instant,
    /// The pause after the next wait for a longer read.
    pause: Duration,
}

/// The longest wait for reads under way.
const WAIT: Duration = Duration::from_millis(100);
/// The pause after a wait for a longer read, doubled each time: a backup of an hour delays one commit a minute.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// The time limit of a new connection of rusqlite.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

impl LogRestarts {
    pub fn new() -> Self {
        Self { waits_from: Instant::now(), pause: PAUSE_MIN }
    }

    /// Moves all pages and lets the next commit begin at the start of the log, or moves what long reads allow. `writer`
    /// commits nothing meanwhile, so move most pages before.
    pub fn restart(&mut self, writer: &Connection) -> rusqlite::Result<()> {
        if Instant::now() < self.waits_from {
            return checkpoint(writer, "PASSIVE").map(drop);
        }
        writer.busy_timeout(WAIT)?;
        let restarted = checkpoint(writer, "RESTART");
        writer.busy_timeout(BUSY_TIMEOUT)?;
        if restarted?.is_held {
            self.waits_from = Instant::now() + self.pause;
            self.pause = (self.pause * 2).min(PAUSE_MAX);
        } else {
            self.pause = PAUSE_MIN;
        }
        Ok(())
    }
}

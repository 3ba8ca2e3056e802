//! Finds streams by name.
//!
//! Every order creates two streams with random names. An index that is updated at once writes one page per
//! new stream. So the writer keeps new streams in memory and moves many at a time into the index, in the
//! order of its keys: one page write then covers many streams. The table `streams` has every stream at once.
//! After a crash, the store reads from it the streams that the index lacks.

use std::{
    collections::BTreeSet,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, OptionalExtension, params};
use sha2::{Digest, Sha256};

const SELECT_UNINDEXED: &str = "SELECT name_hash, stream_no FROM streams
     WHERE stream_no > (SELECT up_to FROM stream_index_progress)";
const INSERT: &str = "INSERT OR IGNORE INTO stream_index (name_hash, stream_no) VALUES (?1, ?2)";
const SET_PROGRESS: &str = "UPDATE stream_index_progress SET up_to = ?1";
const SELECT_IF_NAMED: &str = "SELECT stream_no FROM streams WHERE stream_no = ?1 AND name = ?2";
const SELECT_INDEXED: &str = "SELECT stream_no FROM streams
     WHERE stream_no IN (SELECT stream_no FROM stream_index WHERE name_hash = ?1) AND name = ?2";
const SELECT_ANYWHERE: &str = "SELECT stream_no FROM streams
     WHERE stream_no IN (SELECT stream_no FROM stream_index WHERE name_hash = ?1) AND name = ?2
     UNION ALL
     SELECT stream_no FROM streams
     WHERE stream_no > (SELECT up_to FROM stream_index_progress) AND name_hash = ?1 AND name = ?2
     LIMIT 1";

/// Streams that a group moves at least. A group with many new streams moves twice as many as it adds, so that
/// the move ends.
const MOVED_MIN: usize = 64;

/// The key of a stream in the index: the first 48 bits of the SHA-256 of its name.
pub(super) fn name_hash(name: &str) -> i64 {
    let digest = Sha256::digest(name);
    digest[..6].iter().fold(0, |hash, &byte| hash << 8 | i64::from(byte))
}

/// Hash of the name, and number of the stream.
type Entry = (i64, i64);

/// Streams that the index may lack. The writer and the readers of its process share them.
#[derive(Clone, Default)]
pub(super) struct RecentStreams(Arc<Mutex<BTreeSet<Entry>>>);

impl fmt::Debug for RecentStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecentStreams").field("streams", &self.lock().len()).finish()
    }
}

impl RecentStreams {
    /// The number of a stream; `None` if it does not exist.
    pub(super) fn find(&self, connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
        let hash = name_hash(name);
        // Keep this order: memory first, then the index. The writer removes a stream from memory only after
        // the index has it.
        let candidates: Vec<Entry> =
            self.lock().range((hash, i64::MIN)..=(hash, i64::MAX)).copied().collect();
        let mut select = connection.prepare_cached(SELECT_IF_NAMED)?;
        for (_, stream_no) in candidates {
            if let Some(found) = select.query_row(params![stream_no, name], |row| row.get(0)).optional()? {
                return Ok(Some(found));
            }
        }
        connection.prepare_cached(SELECT_INDEXED)?.query_row(params![hash, name], |row| row.get(0)).optional()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// [`RecentStreams::find`] for other processes than the writer's: scans the table for streams that the index
/// lacks.
pub(super) fn find_from_outside(connection: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    connection
        .prepare_cached(SELECT_ANYWHERE)?
        .query_row(params![name_hash(name), name], |row| row.get(0))
        .optional()
}

/// Used by the writer only: streams in memory, and streams on the way into the index.
///
/// 1. [`StreamIndex::add`] puts a new stream into memory.
/// 2. When memory holds `kept_max` streams, [`StreamIndex::committed`] begins to move all of them.
/// 3. With each later group, [`StreamIndex::move_some`] inserts some of them into the index.
/// 4. After the commit of the last insert, [`StreamIndex::committed`] removes them from memory.
#[derive(Debug)]
pub(super) struct StreamIndex {
    recent: RecentStreams,
    /// A move begins when this many streams are in memory.
    kept_max: usize,
    /// Streams that the open transaction has created.
    added: Vec<Entry>,
    moving: Moving,
}

/// Streams on the way into the index, in the order of its keys.
#[derive(Debug, Default)]
struct Moving {
    entries: Vec<Entry>,
    /// Entries that are in the index, as of the open transaction.
    moved: usize,
    /// Entries that are in the index, as of the last commit.
    moved_durably: usize,
}

impl Moving {
    /// The number of the last stream in the index once all entries are moved.
    fn up_to(&self) -> Option<i64> {
        self.entries.iter().map(|(_, stream_no)| *stream_no).max()
    }
}

impl StreamIndex {
    pub(super) fn load(connection: &Connection, kept_max: usize) -> rusqlite::Result<Self> {
        let recent = RecentStreams::default();
        let mut select = connection.prepare(SELECT_UNINDEXED)?;
        let mut rows = select.query([])?;
        while let Some(row) = rows.next()? {
            recent.lock().insert((row.get(0)?, row.get(1)?));
        }
        Ok(Self { recent, kept_max, added: Vec::new(), moving: Moving::default() })
    }

    pub(super) fn recent(&self) -> &RecentStreams {
        &self.recent
    }

    /// Records a stream that the open transaction creates.
    pub(super) fn add(&mut self, name_hash: i64, stream_no: i64) {
        self.recent.lock().insert((name_hash, stream_no));
        self.added.push((name_hash, stream_no));
    }

    /// Moves some streams into the index, as part of the open transaction.
    pub(super) fn move_some(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        let moving = &mut self.moving;
        if moving.moved == moving.entries.len() {
            return Ok(());
        }
        let count = MOVED_MIN.max(2 * self.added.len());
        let mut insert = connection.prepare_cached(INSERT)?;
        for (name_hash, stream_no) in moving.entries.iter().skip(moving.moved).take(count) {
            insert.execute([name_hash, stream_no])?;
        }
        moving.moved = moving.entries.len().min(moving.moved + count);
        if moving.moved == moving.entries.len()
            && let Some(up_to) = moving.up_to()
        {
            connection.prepare_cached(SET_PROGRESS)?.execute([up_to])?;
        }
        Ok(())
    }

    /// Call after a commit: added and moved streams are durable.
    pub(super) fn committed(&mut self) {
        self.added.clear();
        self.moving.moved_durably = self.moving.moved;
        if self.moving.moved < self.moving.entries.len() {
            return;
        }
        let mut recent = self.recent.lock();
        for entry in mem::take(&mut self.moving).entries {
            recent.remove(&entry);
        }
        if recent.len() >= self.kept_max {
            self.moving.entries = recent.iter().copied().collect();
        }
    }

    /// Call after a rollback: added and moved streams are undone.
    pub(super) fn rolled_back(&mut self) {
        let mut recent = self.recent.lock();
        for entry in self.added.drain(..) {
            recent.remove(&entry);
        }
        self.moving.moved = self.moving.moved_durably;
    }
}

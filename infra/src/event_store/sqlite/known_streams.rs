//! Proves from memory that a stream does not exist.
//!
//! Every order starts by checking whether its stream exists, and nearly always it does not. A Bloom filter of
//! fixed size answers that from memory. Only its rare false positives cost a read of the file.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use domain::StreamName;
use fastbloom::AtomicBloomFilter;
use rusqlite::Connection;

use super::name_hash;

/// 16 MiB, never grows. With ten million streams, 0.3 % of the lookups of new streams are needless.
const FILTER_BITS: usize = 1 << 27;
const HASHES: u32 = 5;
const SELECT_HASHES: &str = "SELECT name_hash FROM stream_index UNION ALL SELECT name_hash FROM streams
     WHERE stream_no > (SELECT up_to FROM stream_index_progress)";

/// The filter. The writer adds to it and the readers of its process query it.
#[derive(Clone)]
pub(super) struct KnownStreams {
    filter: Arc<AtomicBloomFilter>,
    /// False while streams of the file may be missing. Then the filter proves nothing.
    is_loaded: Arc<AtomicBool>,
}

impl fmt::Debug for KnownStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownStreams").finish_non_exhaustive()
    }
}

impl KnownStreams {
    pub(super) fn not_loaded() -> Self {
        let filter = AtomicBloomFilter::with_num_bits(FILTER_BITS).hashes(HASHES);
        Self { filter: Arc::new(filter), is_loaded: Arc::default() }
    }

    /// Adds the names of all streams of the file: scans the index, and in the table only the streams that it
    /// lacks. Runs beside the writer, which adds its own new streams; so a start does not wait for it.
    pub(super) fn load(
        &self,
        connection: &Connection,
        is_stopping: impl Fn() -> bool,
    ) -> rusqlite::Result<()> {
        let mut statement = connection.prepare(SELECT_HASHES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if is_stopping() {
                return Ok(());
            }
            self.add(row.get(0)?);
        }
        self.is_loaded.store(true, Ordering::Release);
        Ok(())
    }

    /// Call before the stream is committed. A rolled back stream stays in the filter and costs only needless
    /// lookups.
    pub(super) fn add(&self, name_hash: i64) {
        self.filter.insert(&name_hash);
    }

    /// False: there is no such stream. True: there may be one.
    pub(super) fn may_contain(&self, name_hash: i64) -> bool {
        !self.is_loaded.load(Ordering::Acquire) || self.filter.contains(&name_hash)
    }

    /// True: there is no such stream. False: there may be one.
    pub(super) fn lacks(&self, stream: &StreamName) -> bool {
        !self.may_contain(name_hash(&stream.to_string()))
    }
}

//! Which streams surely do not exist, known without a read.
//!
//! Every order begins with the question whether its stream exists, and the answer is nearly always no. A Bloom
//! filter of fixed size answers that from memory; only its rare "perhaps" is looked up in the file.

use std::{fmt, sync::Arc};

use fastbloom::AtomicBloomFilter;
use rusqlite::Connection;

/// 16 MiB: with ten million streams, three of a thousand new ones are looked up in vain. Never grows.
const FILTER_BITS: usize = 1 << 27;
const HASHES: u32 = 5;
const SELECT_HASHES: &str = "SELECT name_hash FROM stream_index UNION ALL SELECT name_hash FROM streams
     WHERE stream_no > (SELECT up_to FROM stream_index_progress)";

/// Shared by the writer, which adds to it, and by whoever asks.
#[derive(Clone)]
pub(super) struct KnownStreams {
    filter: Arc<AtomicBloomFilter>,
}

impl fmt::Debug for KnownStreams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KnownStreams").finish_non_exhaustive()
    }
}

impl KnownStreams {
    /// Reads the hashes of all names, from their index alone.
    pub(super) fn load(connection: &Connection) -> rusqlite::Result<Self> {
        let filter = AtomicBloomFilter::with_num_bits(FILTER_BITS).hashes(HASHES);
        let known = Self { filter: Arc::new(filter) };
        let mut statement = connection.prepare(SELECT_HASHES)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            known.add(row.get(0)?);
        }
        Ok(known)
    }

    /// Before the stream is committed: one that is rolled back is looked up in vain, and that is all.
    pub(super) fn add(&self, name_hash: i64) {
        self.filter.insert(&name_hash);
    }

    /// False: there is no such stream. True: there may be one.
    pub(super) fn may_contain(&self, name_hash: i64) -> bool {
        self.filter.contains(&name_hash)
    }
}

//! The checksum of a stored event: CRC-32 over everything that is stored of it.
//!
//! Files contain these checksums: never change how one is computed.

use std::fmt::{self, Display, Write};

use crc32fast::Hasher;
use domain::{Position, Revision};

/// Everything that is stored of an event, except its stream.
#[derive(Debug, Clone, Copy)]
pub(super) struct StoredFields<'a> {
    pub position: Position,
    pub revision: Revision,
    pub recorded_at_us: i64,
    pub id: &'a [u8],
    pub type_name: &'a str,
    pub data: &'a [u8],
    pub metadata: &'a [u8],
}

impl StoredFields<'_> {
    /// Covers the name of the stream, not its number: so it also covers the row that gives the number its
    /// name. Signed, because SQLite then stores it in 4 bytes.
    pub(super) fn checksum(&self, stream: impl Display) -> i32 {
        let mut hasher = Hasher::new();
        hasher.update(&self.position.to_le_bytes());
        hasher.update(&self.revision.to_le_bytes());
        hasher.update(&self.recorded_at_us.to_le_bytes());
        // The lengths keep a byte from moving between neighbours unnoticed.
        for field in [self.id, self.type_name.as_bytes(), self.data, self.metadata] {
            hasher.update(&(field.len() as u64).to_le_bytes());
            hasher.update(field);
        }
        let mut sink = Sink(hasher);
        write!(sink, "{stream}").expect("the sink accepts every text");
        sink.0.finalize().cast_signed()
    }
}

/// Hashes formatted text without a buffer.
struct Sink(Hasher);

impl Write for Sink {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.update(text.as_bytes());
        Ok(())
    }
}

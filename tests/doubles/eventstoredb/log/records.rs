//! What the log holds: events, appends, and the ids of recent events.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

/// The most recent ids that the server remembers (131,072), for appends that expect any version.
const RECENT_IDS_MAX: usize = 8 * 1024 * 1024 / 64;
/// Bytes of a record besides its names and data.
pub const RECORD_OVERHEAD: u64 = 96;

/// An event to append.
#[derive(Debug, Clone)]
pub struct Proposed {
    pub id: Uuid,
    pub type_name: String,
    pub content_type: String,
    pub data: Bytes,
    pub metadata: Bytes,
}

impl Proposed {
    /// Bytes that count towards `MaxAppendSize`.
    pub fn size(&self) -> usize {
        self.type_name.len() * 2 + self.data.len() + self.metadata.len()
    }
}

/// An event in the log.
#[derive(Clone, PartialEq, Message)]
pub struct Stored {
    #[prost(uint64, tag = "1")]
    pub position: u64,
    #[prost(string, tag = "2")]
    pub stream: String,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(bytes = "vec", tag = "4")]
    pub id: Vec<u8>,
    #[prost(string, tag = "5")]
    pub type_name: String,
    #[prost(string, tag = "6")]
    pub content_type: String,
    /// Ticks of 100 ns since 1970.
    #[prost(int64, tag = "7")]
    pub created_ticks: i64,
    #[prost(bytes = "bytes", tag = "8")]
    pub data: Bytes,
    #[prost(bytes = "bytes", tag = "9")]
    pub metadata: Bytes,
    /// True for the record that ends the stream. It is not an event of the stream.
    #[prost(bool, tag = "10")]
    pub tombstone: bool,
}

/// One append in the file. An incomplete one at the end of the file is dropped when the file is opened.
#[derive(Clone, PartialEq, Message)]
pub struct Commit {
    #[prost(message, repeated, tag = "1")]
    pub events: Vec<Stored>,
}

#[derive(Debug, Default)]
pub struct RecentIds {
    /// Stream and revision.
    places: HashMap<Uuid, (String, u64)>,
    order: VecDeque<Uuid>,
}

impl RecentIds {
    pub fn put(&mut self, id: Uuid, stream: &str, revision: u64) {
        if self.places.insert(id, (stream.to_owned(), revision)).is_none() {
            self.order.push_back(id);
        }
        if self.order.len() > RECENT_IDS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
    }

    pub fn revision(&self, id: Uuid, stream: &str) -> Option<u64> {
        self.places.get(&id).filter(|(of, _)| of == stream).map(|(_, revision)| *revision)
    }
}

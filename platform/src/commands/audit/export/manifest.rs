//! `manifest.json`: what an export contains, so that a reader can check it.

use std::collections::BTreeMap;

use domain::{Position, Timestamp};
use projectors::as_of::Faults;
use serde::Serialize;
use uuid::Uuid;

use super::table::FileEntry;

/// Changes when a reader of the files must change.
const FORMAT: u32 = 1;

/// Sums of columns by group: of a currency, of an event type, or of all rows.
pub(super) type Sums = BTreeMap<String, BTreeMap<&'static str, i128>>;

/// The events of an export.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Period {
    /// Inclusive. `None`: the begin of the log.
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Timestamp,
}

/// What an export contains.
#[derive(Debug, Serialize)]
pub struct Manifest {
    format: u32,
    orderly: &'static str,
    store_id: Uuid,
    #[serde(flatten)]
    period: Period,
    /// Position of the last event before `to`.
    position: Option<Position>,
    pub files: Vec<FileEntry>,
    /// Streams whose later events could not be folded. Their rows are missing.
    faults: u64,
    described_faults: Vec<String>,
}

impl Manifest {
    pub fn new(
        store_id: Uuid,
        period: Period,
        position: Option<Position>,
        files: Vec<FileEntry>,
        faults: &Faults,
    ) -> Self {
        let (orderly, described_faults) = (env!("CARGO_PKG_VERSION"), faults.described.clone());
        Self {
            format: FORMAT,
            orderly,
            store_id,
            period,
            position,
            files,
            faults: faults.count,
            described_faults,
        }
    }
}

//! What the page of audits asks of the whole log, and what it gets.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
};

use async_trait::async_trait;
use domain::Timestamp;
use tempfile::TempDir;

/// Reads the whole log. The platform answers with the code of `orderly audit`.
#[async_trait]
pub trait Auditor: fmt::Debug + Send + Sync {
    /// Compares every row of the read models with the log.
    async fn verify(&self, progress: &Progress) -> Result<Verified, String>;

    /// The sums with the events recorded up to an instant.
    async fn totals(&self, at: Timestamp, progress: &Progress) -> Result<TotalsThen, String>;

    /// Writes the files of an export.
    async fn export(&self, wanted: &ExportWanted, progress: &Progress) -> Result<Exported, String>;
}

/// How far a run is.
#[derive(Debug, Default)]
pub struct Progress(Mutex<(u64, u64)>);

impl Progress {
    /// Events that were read, and events to read.
    pub fn set(&self, done: u64, of: u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (done, of);
    }

    pub(super) fn get(&self) -> (u64, u64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug)]
pub struct Verified {
    /// Such as "12 rows compared with the log up to position 30".
    pub summary: String,
    /// The first differences.
    pub findings: Vec<String>,
    /// Differences, those that are left out included.
    pub findings_total: usize,
    /// What is wrong, and what to do. Empty if every row equals the log.
    pub faults: Vec<String>,
}

/// Sums over all orders, payments and SKUs. Amounts are in minor units.
#[derive(Debug)]
pub struct TotalsThen {
    /// Events that they count.
    pub events: u64,
    /// Number of orders by status.
    pub orders: Vec<(String, i128)>,
    pub currencies: Vec<CurrencySums>,
    /// SKUs with at least one event, and their units.
    pub skus: i128,
    pub on_hand: i128,
    pub reserved: i128,
    /// What the sums lack, because it cannot be read.
    pub fault: Option<String>,
}

/// Sums of one currency.
#[derive(Debug)]
pub struct CurrencySums {
    pub currency: String,
    pub orders: i128,
    pub total: i128,
    pub owed: i128,
    pub captured: i128,
    pub refunded: i128,
    pub disputed: i128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    Csv,
    Jsonl,
}

impl ExportFormat {
    pub(super) const ALL: [Self; 2] = [Self::Csv, Self::Jsonl];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// The events to export.
#[derive(Debug, Clone, Copy)]
pub struct ExportWanted {
    /// Inclusive. `None`: from the begin of the log.
    pub from: Option<Timestamp>,
    /// Exclusive.
    pub to: Timestamp,
    pub format: ExportFormat,
}

/// The files of an export. Dropping it deletes them.
#[derive(Debug)]
pub struct Exported {
    pub directory: TempDir,
    pub files: Vec<ExportedFile>,
    /// What the files lack, because it cannot be read.
    pub fault: Option<String>,
}

/// A file in the directory of an export.
#[derive(Debug)]
pub struct ExportedFile {
    pub name: String,
    /// `None` for the manifest.
    pub rows: Option<u64>,
    pub bytes: u64,
    /// `None` for the manifest, which has those of the others.
    pub sha256: Option<String>,
}

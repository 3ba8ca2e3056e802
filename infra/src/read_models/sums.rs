//! Sums by time, as reports show them.

use domain::Timestamp;
use jiff::tz::TimeZone;

use crate::event_source::Partition;

/// The finest span of sums. All time zones of today have offsets of whole quarter hours, so local days are whole.
pub const QUARTER_SECONDS: i64 = 900;

/// The quarter hour that an instant lies in, in whole quarter hours since 1970-01-01T00:00Z.
pub fn quarter_of(instant: Timestamp) -> i64 {
    instant.as_second().div_euclid(QUARTER_SECONDS)
}

/// True if a quarter hour begins at this instant.
pub fn starts_quarter(instant: Timestamp) -> bool {
    instant.as_second().rem_euclid(QUARTER_SECONDS) == 0 && instant.subsec_nanosecond() == 0
}

/// Sums that can be added.
pub trait Totals: Copy + Default + PartialEq {
    fn add(&mut self, other: &Self);
}

/// Sums over the events of one partition, sorted by key. Owners of different partitions never write the same
/// row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionSums<K, T> {
    pub partition: Partition,
    pub sums: Vec<(K, T)>,
}

/// A group of time, by the clock of a time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeGroup {
    Hour,
    Day,
    Month,
}

/// The time that a report covers, in quarter hours since the epoch.
#[derive(Debug, Clone)]
pub struct TimeRange {
    /// Inclusive.
    pub from: Option<i64>,
    /// Exclusive.
    pub to: Option<i64>,
    /// The zone whose hours, days and months are summed.
    pub zone: TimeZone,
}

impl Default for TimeRange {
    fn default() -> Self {
        Self { from: None, to: None, zone: TimeZone::UTC }
    }
}

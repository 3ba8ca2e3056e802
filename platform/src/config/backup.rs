//! Settings of the backups that `serve` makes.

use std::{ops::RangeInclusive, time::Duration};

use backups::{Keep, Place};
use clap::Args;

use super::parse_duration;

/// From 10 seconds to 31 days.
const EVERY: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(31 * 24);

/// Backups by a schedule, of the process that owns the embedded files.
#[derive(Debug, Clone, Args)]
pub struct BackupSettings {
    /// Where the process makes backups by itself: a directory, or `s3://BUCKET/FOLDER` with the credentials of the
    /// variables `AWS_…` [default: none are made]
    #[arg(long, env = "ORDERLY_BACKUP_URL", value_name = "URL")]
    pub backup_url: Option<Place>,

    /// Time from one backup to the next, for example `6h`.
    #[arg(
        long,
        env = "ORDERLY_BACKUP_EVERY",
        value_name = "DURATION",
        default_value = "24h",
        value_parser = |text: &str| parse_duration(text, &EVERY)
    )]
    pub backup_every: Duration,

    /// Number of backups of this log that are kept, or time for which they are, for example `30d`. The newest one is
    /// always kept.
    #[arg(long, env = "ORDERLY_BACKUP_KEEP", value_name = "NUMBER|DURATION", default_value = "14")]
    pub backup_keep: Keep,
}

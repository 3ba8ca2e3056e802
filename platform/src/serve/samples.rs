//! Measurements that nothing counts: the sizes of files, the lag of the followers of the log, and the orders that are
//! stuck. They are read when `/metrics` is asked, and the first two every 10 s for the page of the system.

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use domain::Timestamp;
use infra::{
    event_store::ReadError,
    measurements::{
        Counter, DATA_DIR_FREE_BYTES, DATA_DIR_SIZE_BYTES, FOLLOWER_LAG_EVENTS, FOLLOWER_LAG_SECONDS, Gauge,
        MEASUREMENT_FAILURES, SQLITE_DATABASE_BYTES, SQLITE_WAL_BYTES, STUCK_ORDERS, number,
    },
    operations::OperationsError,
    read_models::{Queries, ReadModelError, WaitFilter, WaitKind},
};
use jiff::SignedDuration;
use tokio::{task, time};

use super::{
    ServeConfig,
    followers::{Followers, Lag},
};
use crate::{
    config::{EventStoreUrl, ReadModelsUrl, Role},
    stores::Views,
};

/// Time limit for each kind of measurement.
const READ_MAX: Duration = Duration::from_secs(2);
/// An order that waits for longer is stuck, as in `/v1/orders/stuck`.
const STUCK_AFTER: SignedDuration = SignedDuration::from_secs(60);
/// The most waits that are counted.
const STUCK_MAX: usize = 1_000;

/// What this process can measure.
pub(super) struct Samples {
    files: Arc<Files>,
    followers: Option<Followers>,
    stuck: Option<StuckOrders>,
    failures: Failures,
}

struct Failures {
    disk: Counter,
    lag: Counter,
    stuck_orders: Counter,
}

/// Why a measurement cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SampleError {
    #[error("the files cannot be read: {0}")]
    Files(#[from] io::Error),
    #[error(transparent)]
    Log(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error(transparent)]
    Operations(#[from] OperationsError),
    #[error("no answer within {} s", READ_MAX.as_secs())]
    TooSlow,
}

impl Samples {
    pub(super) fn new(config: &ServeConfig, followers: Option<Followers>, views: Option<&Views>) -> Self {
        // The process that serves `/v1/orders/stuck`, because the read is not free.
        let views = views.filter(|_| config.roles.has(Role::QueryApi));
        Self {
            files: Arc::new(Files::of(config)),
            followers,
            stuck: views.map(|views| StuckOrders::new(Arc::clone(&views.queries))),
            failures: Failures {
                disk: MEASUREMENT_FAILURES.with(["disk"]),
                lag: MEASUREMENT_FAILURES.with(["lag"]),
                stuck_orders: MEASUREMENT_FAILURES.with(["stuck_orders"]),
            },
        }
    }

    /// Sets the gauges. A gauge that cannot be read keeps its value, and the failure counts.
    pub(super) async fn read(&self) {
        tokio::join!(
            self.read_cheap(),
            within_limit("stuck_orders", self.read_stuck_orders(), &self.failures.stuck_orders),
        );
    }

    /// Sets the gauges that are read at small cost: the sizes of files and the lag.
    pub(super) async fn read_cheap(&self) {
        tokio::join!(
            within_limit("disk", self.read_files(), &self.failures.disk),
            within_limit("lag", self.read_lag(), &self.failures.lag),
        );
    }

    async fn read_files(&self) -> Result<(), SampleError> {
        let files = Arc::clone(&self.files);
        // A file system on another machine may hang.
        let reading = task::spawn_blocking(move || files.read());
        Ok(reading.await.map_err(io::Error::other)??)
    }

    async fn read_lag(&self) -> Result<(), SampleError> {
        let Some(followers) = &self.followers else { return Ok(()) };
        for Lag { follower, events, oldest } in followers.lags().await? {
            let age = oldest.map(|recorded_at| Timestamp::now().duration_since(recorded_at).as_secs_f64());
            FOLLOWER_LAG_EVENTS.with([&follower]).set(number(events));
            FOLLOWER_LAG_SECONDS.with([&follower]).set(age.unwrap_or(0.0).max(0.0));
        }
        Ok(())
    }

    async fn read_stuck_orders(&self) -> Result<(), SampleError> {
        match &self.stuck {
            Some(stuck) => stuck.read().await,
            None => Ok(()),
        }
    }
}

async fn within_limit(
    measurement: &'static str,
    reading: impl Future<Output = Result<(), SampleError>>,
    failures: &Counter,
) {
    let read = time::timeout(READ_MAX, reading).await.unwrap_or(Err(SampleError::TooSlow));
    if let Err(error) = read {
        failures.increment(1);
        tracing::warn!(measurement, %error, "Cannot read a measurement; its last values stay");
    }
}

/// The files of this process.
struct Files {
    data_dir: PathBuf,
    free: Gauge,
    size: Gauge,
    databases: Vec<DatabaseFile>,
}

struct DatabaseFile {
    path: PathBuf,
    write_ahead_log: PathBuf,
    bytes: Gauge,
    log_bytes: Gauge,
}

impl Files {
    fn of(config: &ServeConfig) -> Self {
        let mut databases = vec![
            DatabaseFile::new("operations", config.data_dir.join("operations.db")),
            DatabaseFile::new("sandbox", config.data_dir.join("sandbox.db")),
        ];
        if let EventStoreUrl::Sqlite(path) = &config.event_store {
            databases.push(DatabaseFile::new("event_store", path.clone()));
        }
        if let ReadModelsUrl::Sqlite(path) = &config.read_models {
            databases.push(DatabaseFile::new("read_models", path.clone()));
        }
        let (free, size) = (DATA_DIR_FREE_BYTES.with([]), DATA_DIR_SIZE_BYTES.with([]));
        Self { data_dir: config.data_dir.clone(), free, size, databases }
    }

    /// Skips files that this process does not have.
    fn read(&self) -> io::Result<()> {
        if self.data_dir.is_dir() {
            let disk = rustix::fs::statvfs(&self.data_dir)?;
            self.free.set(number(disk.f_bavail.saturating_mul(disk.f_frsize)));
            self.size.set(number(disk.f_blocks.saturating_mul(disk.f_frsize)));
        }
        for database in &self.databases {
            if let Some(bytes) = file_size(&database.path)? {
                database.bytes.set(number(bytes));
                database.log_bytes.set(number(file_size(&database.write_ahead_log)?.unwrap_or(0)));
            }
        }
        Ok(())
    }
}

impl DatabaseFile {
    fn new(name: &str, path: PathBuf) -> Self {
        let mut write_ahead_log = OsString::from(&path);
        write_ahead_log.push("-wal");
        Self {
            path,
            write_ahead_log: write_ahead_log.into(),
            bytes: SQLITE_DATABASE_BYTES.with([name]),
            log_bytes: SQLITE_WAL_BYTES.with([name]),
        }
    }
}

/// `None` if there is no such file.
fn file_size(path: &Path) -> io::Result<Option<u64>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata.len())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The orders that wait too long for an automatic step.
struct StuckOrders {
    queries: Arc<dyn Queries>,
    gauges: [(WaitKind, Gauge); 4],
}

impl StuckOrders {
    fn new(queries: Arc<dyn Queries>) -> Self {
        let gauge = |kind| {
            let reason = match kind {
                WaitKind::Allocation => "allocation",
                WaitKind::Expiry => "expiry",
                WaitKind::Release => "release",
                WaitKind::Provider => "provider",
            };
            (kind, STUCK_ORDERS.with([reason]))
        };
        Self { queries, gauges: WaitKind::ALL.map(gauge) }
    }

    async fn read(&self) -> Result<(), SampleError> {
        let since_before = Timestamp::now().checked_sub(STUCK_AFTER).unwrap_or(Timestamp::MIN);
        let waits = self.queries.waits(&WaitFilter { since_before, after: None }, STUCK_MAX).await?.items;
        for (kind, gauge) in &self.gauges {
            gauge.set(number(waits.iter().filter(|wait| wait.kind == *kind).count()));
        }
        Ok(())
    }
}

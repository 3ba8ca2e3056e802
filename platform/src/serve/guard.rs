//! Guards the event log of a process: compares it with every position that the process has stored, before the
//! first role starts.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use infra::{
    clock::Clock,
    event_source::Reached,
    event_store::EventLog,
    health::Health,
    log_guard::LogGuard,
    operations::SavedPosition,
    read_models::{CheckpointRow, ProjectionQueries, ReadModels},
};

use domain::RecordedEvent;
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;

use super::{
    ServeConfig, StartError,
    parts::{ReadSide, WriteSide},
};
use crate::{
    config::EventStoreUrl,
    stores::{self, Views},
};

/// Difference between the time of a new event and the clock of this machine that is reported.
const AHEAD_MAX: SignedDuration = SignedDuration::from_mins(5);
/// How often a query API tries to open the log while it cannot.
const OPENED_EVERY: Duration = Duration::from_secs(5);
/// The name of the condition in [`Health`].
const EVENT_TIMES: &str = "event_times";

/// Opens the guard of this process and puts it before its stores. `None` if no role of the process needs the
/// log at its start.
pub(super) async fn open(
    config: &ServeConfig,
    health: &Health,
    write_side: &mut Option<WriteSide>,
    log: &mut Option<Arc<dyn EventLog>>,
) -> Result<Option<LogGuard>, StartError> {
    let Some(unguarded) = log.take() else { return Ok(None) };
    // Only a process that writes needs its data directory.
    let data_dir = write_side.is_some().then_some(config.data_dir.as_path());
    let guard = LogGuard::open(unguarded, data_dir, health.clone()).await?;
    if let Some(write_side) = write_side {
        write_side.events.store = guard.store(Arc::clone(&write_side.events.store));
    }
    *log = Some(guard.log());
    Ok(Some(guard))
}

/// Compares the log with the checkpoints of the read models that this process writes, and with the positions of
/// all reactors.
pub(super) async fn compare(
    config: &ServeConfig,
    guard: &LogGuard,
    read_side: &ReadSide,
) -> Result<(), StartError> {
    let store_id = guard.store_id();
    if let Some(models) = &read_side.models {
        compare_read_models(guard, &**models, &read_side.views).await?;
    }
    let views = Some(&read_side.views);
    let positions = stores::open_operations(&config.read_models, views, &config.data_dir)?.positions;
    for SavedPosition { reactor, partition, reached } in positions.saved(store_id).await? {
        guard.expect(&reactor, &partition, &reached).await?;
    }
    Ok(())
}

async fn compare_read_models(
    guard: &LogGuard,
    models: &dyn ReadModels,
    views: &Views,
) -> Result<(), StartError> {
    // Rows of another log are refused by name.
    models.bind(guard.store_id()).await?;
    compare_checkpoints(guard, &*views.projections).await
}

async fn compare_checkpoints(
    guard: &LogGuard,
    projections: &dyn ProjectionQueries,
) -> Result<(), StartError> {
    for row in projections.checkpoints().await? {
        let CheckpointRow { projection, partition, position: Some(position), last_event, .. } = row else {
            continue;
        };
        let reader = format!("the read model of {projection}");
        guard.expect(&reader, &partition, &Reached { position, last_event }).await?;
    }
    Ok(())
}

/// Watches the log for a query API that runs without other roles, so that its `/readyz` shows that its rows are of
/// events that are lost. That API serves its rows while the event store is down, so this waits until the log can be
/// opened.
pub(super) async fn watch_for_queries(
    event_store: EventStoreUrl,
    projections: Arc<dyn ProjectionQueries>,
    health: Health,
    shutdown: CancellationToken,
) {
    let open = async || {
        let guard = LogGuard::open(stores::open_log(&event_store).await?, None, health.clone()).await?;
        compare_checkpoints(&guard, &*projections).await?;
        Ok::<_, StartError>(guard)
    };
    loop {
        match open().await {
            Ok(guard) => return guard.watch(|_| {}, shutdown).await,
            Err(error) => {
                tracing::debug!(%error, "Cannot compare the read models with the event log; retrying later");
            }
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(OPENED_EVERY)).await.is_none() {
            return;
        }
    }
}

/// Reports events whose times are ahead of the clock of this machine. An embedded store keeps times in order, so
/// it gives new events the time of such an event until the clock reaches it. A server uses its own clock.
pub(super) struct EventTimes {
    clock: Clock,
    health: Health,
    is_reported: AtomicBool,
}

impl EventTimes {
    pub fn new(clock: Clock, health: Health) -> Self {
        Self { clock, health, is_reported: AtomicBool::new(false) }
    }

    /// Compares the last event of the log.
    pub fn compare(&self, last: &RecordedEvent) {
        let ahead = last.recorded_at.duration_since(self.clock.now());
        let is_ahead = ahead > AHEAD_MAX;
        let was_reported = self.is_reported.swap(is_ahead, Ordering::Relaxed);
        if is_ahead && !was_reported {
            let seconds = ahead.as_secs();
            tracing::error!(
                event.recorded_at = %last.recorded_at, clock.ahead_s = seconds,
                "The last event of the log is ahead of the clock of this machine; due times that follow from such events \
                 are as late"
            );
            let detail = format!(
                "the last event was recorded at {}, {seconds} s ahead of the clock of this machine. Check the clocks of \
                 this machine and of the event store",
                last.recorded_at
            );
            self.health.degraded(EVENT_TIMES, detail);
        } else if !is_ahead && was_reported {
            self.health.resolve(EVENT_TIMES);
        }
    }
}

//! Projects live: folds batches of events as they arrive, and commits rows and checkpoint together.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use domain::{Position, RecordedEvent, StreamName};
use infra::{
    event_source::{Batch, EventSource, Partition, SourceUpdate},
    event_store::{EventLog, ReadError},
    read_models::{BindError, Changes, Generation, ReadModelError, ReadModels},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Cache, Written},
    event::DecodedEvent,
    fold::{Fold, keys_of},
    retry::{self, RetryError},
};

/// Memory and batching of a projector.
#[derive(Debug, Clone, Copy)]
pub struct ProjectorOptions {
    /// Rows of each kind in the cache; an order counts once more for each line. About 300 bytes each.
    pub cached_rows_max: usize,
    /// Minimum time between the commits of small batches. Rows that several events touch are then written
    /// once, which leaves more of the processor to commands.
    pub commit_every: Duration,
}

impl Default for ProjectorOptions {
    fn default() -> Self {
        Self { cached_rows_max: 50_000, commit_every: Duration::from_millis(10) }
    }
}

/// How often requests for a retry are polled while a stream is parked.
const RETRY_REQUESTS_POLLED_EVERY: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After a batch of at least this many events, the runner takes the next one without a pause.
const BATCH_LARGE: usize = 500;
/// Batches up to this size are folded on the async worker: a blocking thread would cost more than the fold.
const FOLDED_IN_PLACE_MAX: usize = 32;

/// Projects the partitions that its source assigns to it.
pub struct Runner<S> {
    source: S,
    log: Arc<dyn EventLog>,
    models: Arc<dyn ReadModels>,
    owned: HashMap<Partition, Owned>,
    cache: Cache,
    commit_every: Duration,
    /// Earliest time at which the next batch is taken.
    next_batch_at: Instant,
    pause: Option<Duration>,
}

impl<S> fmt::Debug for Runner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("owned", &self.owned)
            .field("cache", &self.cache)
            .field("pause", &self.pause)
            .finish_non_exhaustive()
    }
}

/// A partition that is assigned to this runner.
#[derive(Debug, Default)]
struct Owned {
    /// Generation of the cached rows. `None` until it was read.
    generation: Option<Generation>,
    position: Option<Position>,
    parked: HashSet<StreamName>,
}

/// Why projecting pauses.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error("the fold has panicked: {0}")]
    Fold(#[from] tokio::task::JoinError),
}

impl From<RetryError> for Interruption {
    fn from(error: RetryError) -> Self {
        match error {
            RetryError::Read(error) => Self::Read(error),
            RetryError::ReadModels(error) => Self::ReadModels(error),
        }
    }
}

impl<S: EventSource> Runner<S> {
    /// `log` holds the events that `source` delivers. Retries read it.
    pub fn new(
        source: S,
        log: Arc<dyn EventLog>,
        models: Arc<dyn ReadModels>,
        options: ProjectorOptions,
    ) -> Self {
        let cache = Cache::new(options.cached_rows_max);
        Self {
            source,
            log,
            models,
            owned: HashMap::new(),
            cache,
            commit_every: options.commit_every,
            next_batch_at: Instant::now(),
            pause: None,
        }
    }

    /// Projects until `shutdown`, and finishes the running batch. Retries with back-off while a store cannot
    /// be reached. Fails only if the rows come from another log.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), BindError> {
        if !self.bind(&shutdown).await? {
            return Ok(());
        }
        let mut poll = tokio::time::interval(RETRY_REQUESTS_POLLED_EVERY);
        poll.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let any_parked = self.owned.values().any(|owned| !owned.parked.is_empty());
            let outcome = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = poll.tick(), if any_parked => self.retry_parked().await,
                update = next_update(&mut self.source, self.next_batch_at) => match update {
                    Ok(update) => self.handle(update).await,
                    Err(error) => Err(error.into()),
                },
            };
            match outcome {
                Ok(()) => self.note_success(),
                Err(Interruption::ReadModels(ReadModelError::CheckpointMoved)) => {
                    tracing::info!("Another projector has moved the checkpoint; continuing from there");
                    self.start_over(&shutdown).await;
                }
                Err(interruption) => {
                    self.note_failure(&interruption);
                    self.start_over(&shutdown).await;
                }
            }
        }
    }

    /// False if `shutdown` came first.
    async fn bind(&mut self, shutdown: &CancellationToken) -> Result<bool, BindError> {
        loop {
            match self.models.bind(self.log.store_id()).await {
                Ok(()) => return Ok(true),
                Err(BindError::ReadModels(error)) => self.note_failure(&error.into()),
                Err(error @ BindError::OtherLog { .. }) => return Err(error),
            }
            if !self.wait(shutdown).await {
                return Ok(false);
            }
        }
    }

    async fn handle(&mut self, update: SourceUpdate) -> Result<(), Interruption> {
        match update {
            SourceUpdate::Assigned(partitions) => {
                for partition in partitions {
                    // Inserted first: if its position cannot be read now, start_over reads it later.
                    self.owned.insert(partition.clone(), Owned::default());
                    self.resume(&partition).await?;
                }
                Ok(())
            }
            SourceUpdate::Revoked(partitions) => {
                self.owned.retain(|partition, _| !partitions.contains(partition));
                self.cache.clear();
                Ok(())
            }
            SourceUpdate::Events(batch) => self.project(batch).await,
        }
    }

    /// Reads the checkpoint of a partition, and moves the source there.
    async fn resume(&mut self, partition: &Partition) -> Result<(), Interruption> {
        let generation = Some(self.models.generation().await?);
        let position = self.models.checkpoint(partition).await?;
        let parked = self.models.parked().await?.into_iter().filter(|row| row.partition == *partition);
        let parked = parked.map(|row| row.stream).collect();
        self.owned.insert(partition.clone(), Owned { generation, position, parked });
        self.source.seek(partition, position);
        Ok(())
    }

    /// Drops everything in memory after a failure, waits, and reads what was committed.
    async fn start_over(&mut self, shutdown: &CancellationToken) {
        self.cache.clear();
        let partitions: Vec<Partition> = self.owned.keys().cloned().collect();
        loop {
            if self.pause.is_some() && !self.wait(shutdown).await {
                return;
            }
            let mut resumed = Ok(());
            for partition in &partitions {
                resumed = resumed.and(self.resume(partition).await);
            }
            match resumed {
                Ok(()) => return,
                Err(interruption) => self.note_failure(&interruption),
            }
        }
    }

    async fn project(&mut self, batch: Batch) -> Result<(), Interruption> {
        let Batch { partition, after, events, position } = batch;
        let Some(owned) = self.owned.get_mut(&partition) else { return Ok(()) };
        let begun = Instant::now();
        let large = events.len() >= BATCH_LARGE;
        if after != owned.position {
            // The source fetched this batch before the last seek.
            self.source.seek(&partition, owned.position);
            return Ok(());
        }
        let events = decode(events).await?;
        let mut fold = Fold::batch(partition, owned.parked.clone());
        let mut keys = keys_of(&events);
        fold.put_rows(self.cache.take_known(&mut keys));
        fold.put_rows(self.models.load(keys).await?);
        let changes = fold_batch(fold, events, after, position).await?;
        let changes = Changes { generation: owned.generation, ..changes };
        for parked in &changes.parked {
            tracing::error!(
                stream = %parked.stream, event.id = %parked.event_id, revision = parked.revision,
                reason = parked.reason,
                "Cannot project an event; its stream is parked until `orderly projections retry`"
            );
        }
        let newly_parked: Vec<StreamName> = changes.parked.iter().map(|row| row.stream.clone()).collect();
        let written = Written::of(&changes);
        self.models.commit(changes).await?;
        self.cache.keep(written);
        self.next_batch_at = if large { begun } else { begun + self.commit_every };
        owned.position = Some(position);
        owned.parked.extend(newly_parked);
        Ok(())
    }

    async fn retry_parked(&mut self) -> Result<(), Interruption> {
        let partitions: Vec<Partition> = self.owned.keys().cloned().collect();
        for partition in partitions {
            let settled = retry::apply_requests(self.log.as_ref(), self.models.as_ref(), &partition).await?;
            if !settled.is_empty() {
                // The cached rows of these streams are stale.
                self.cache.clear();
                self.resume(&partition).await?;
            }
        }
        Ok(())
    }

    fn note_failure(&mut self, interruption: &Interruption) {
        if self.pause.is_none() {
            tracing::warn!(error = %interruption, "Projecting is interrupted; retrying");
        }
        self.pause = Some(self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX)));
    }

    fn note_success(&mut self) {
        if self.pause.take().is_some() {
            tracing::info!("Projecting has resumed");
        }
    }

    /// Waits for the back-off. False if `shutdown` came first.
    async fn wait(&self, shutdown: &CancellationToken) -> bool {
        let pause = self.pause.unwrap_or(PAUSE_MIN);
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}

/// Cancel safe, because the source is.
async fn next_update(source: &mut impl EventSource, not_before: Instant) -> Result<SourceUpdate, ReadError> {
    tokio::time::sleep_until(not_before).await;
    source.next().await
}

async fn decode(events: Vec<RecordedEvent>) -> Result<Vec<DecodedEvent>, Interruption> {
    let in_place = events.len() <= FOLDED_IN_PLACE_MAX;
    let decode = move || events.into_iter().map(DecodedEvent::from).collect();
    Ok(if in_place { decode() } else { tokio::task::spawn_blocking(decode).await? })
}

async fn fold_batch(
    mut fold: Fold,
    events: Vec<DecodedEvent>,
    from: Option<Position>,
    to: Position,
) -> Result<Changes, Interruption> {
    let in_place = events.len() <= FOLDED_IN_PLACE_MAX;
    let run = move || {
        for event in &events {
            fold.apply(event, 0);
        }
        let log_position = events.last().map(|event| event.position);
        Changes { log_position, ..fold.into_changes(from, Some(to)) }
    };
    Ok(if in_place { run() } else { tokio::task::spawn_blocking(run).await? })
}

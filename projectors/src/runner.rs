//! Projects live: takes events as they come, folds them in batches, commits rows and checkpoint together.

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
    fold::{Decoded, Fold, keys_of},
    retry::{self, RetryError},
};

/// How the runner may use memory.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Rows of each kind kept in memory; an order counts once more for each line. About 300 bytes each.
    pub cached_rows_max: usize,
    /// How long after a commit the next small batch is taken. Rows that several events touch are then written
    /// once, which leaves more of the processor to whoever takes orders.
    pub commit_every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { cached_rows_max: 50_000, commit_every: Duration::from_millis(10) }
    }
}

/// How long a parked stream waits for somebody who asked for a retry to be heard.
const RETRY_REQUESTS_POLLED_EVERY: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// A batch of this many events gains nothing by waiting for more.
const BATCH_LARGE: usize = 500;
/// Up to this many events, folding takes less time than a thread to fold on.
const FOLDED_IN_PLACE_MAX: usize = 32;

/// Projects the partitions that its source assigns to it.
pub struct Runner<S> {
    source: S,
    log: Arc<dyn EventLog>,
    models: Arc<dyn ReadModels>,
    owned: HashMap<Partition, Owned>,
    cache: Cache,
    commit_every: Duration,
    /// Before this, only a large batch is worth a commit.
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

/// A partition of ours.
#[derive(Debug, Default)]
struct Owned {
    /// Of the rows in the cache; none before the first were read.
    generation: Option<Generation>,
    position: Option<Position>,
    parked: HashSet<StreamName>,
}

/// Why the work stopped for a moment.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error("the fold has failed: {0}")]
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
    /// `log` is read when a parked stream is retried; it holds the events that `source` delivers.
    pub fn new(source: S, log: Arc<dyn EventLog>, models: Arc<dyn ReadModels>, options: Options) -> Self {
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

    /// Projects until `shutdown`; the batch under way is finished. While a store cannot be reached it waits and
    /// tries again. Fails only where the rows come from another log.
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
                delivery = next_delivery(&mut self.source, self.next_batch_at) => match delivery {
                    Ok(delivery) => self.take(delivery).await,
                    Err(error) => Err(error.into()),
                },
            };
            match outcome {
                Ok(()) => self.note_success(),
                Err(Interruption::ReadModels(ReadModelError::CheckpointMoved)) => {
                    tracing::info!("Another projector has moved the checkpoint; going on from there");
                    self.start_over(&shutdown).await;
                }
                Err(interruption) => {
                    self.note_failure(&interruption);
                    self.start_over(&shutdown).await;
                }
            }
        }
    }

    /// False when told to stop meanwhile.
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

    async fn take(&mut self, delivery: SourceUpdate) -> Result<(), Interruption> {
        match delivery {
            SourceUpdate::Assigned(partitions) => {
                for partition in partitions {
                    // Owned from now on, even if its position cannot be read yet.
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

    /// Reads where a partition stands, and has its events come from there.
    async fn resume(&mut self, partition: &Partition) -> Result<(), Interruption> {
        let generation = Some(self.models.generation().await?);
        let position = self.models.checkpoint(partition).await?;
        let parked = self.models.parked().await?.into_iter().filter(|row| row.partition == *partition);
        let parked = parked.map(|row| row.stream).collect();
        self.owned.insert(partition.clone(), Owned { generation, position, parked });
        self.source.seek(partition, position);
        Ok(())
    }

    /// After a failure nothing in memory is trusted: what was committed is read again. Waits first.
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
            // Fetched before the partition was last sought.
            self.source.seek(&partition, owned.position);
            return Ok(());
        }
        let events = decode(events).await?;
        let mut fold = Fold::batch(partition, owned.parked.clone());
        let mut keys = keys_of(&events);
        self.cache.fill(&mut fold, &mut keys);
        fold.put_rows(self.models.load(keys).await?);
        let changes = fold_batch(fold, events, after, position).await?;
        let changes = Changes { generation: owned.generation, ..changes };
        for parked in &changes.parked {
            tracing::error!(
                stream = %parked.stream, event.id = %parked.event_id, revision = parked.revision,
                reason = parked.reason,
                "An event cannot be projected; its stream is parked. Once the cause is gone: `orderly projections retry`"
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
                // The rows of these streams are newer than the cached ones.
                self.cache.clear();
                self.resume(&partition).await?;
            }
        }
        Ok(())
    }

    fn note_failure(&mut self, interruption: &Interruption) {
        if self.pause.is_none() {
            tracing::warn!(error = %interruption, "Projection is interrupted; trying again until it goes on");
        }
        self.pause = Some(self.pause.map_or(PAUSE_MIN, |pause| (pause * 2).min(PAUSE_MAX)));
    }

    fn note_success(&mut self) {
        if self.pause.take().is_some() {
            tracing::info!("Projection goes on");
        }
    }

    /// False when told to stop meanwhile.
    async fn wait(&self, shutdown: &CancellationToken) -> bool {
        let pause = self.pause.unwrap_or(PAUSE_MIN);
        shutdown.run_until_cancelled(tokio::time::sleep(pause)).await.is_some()
    }
}

/// Cancel safe, as the source is.
async fn next_delivery(
    source: &mut impl EventSource,
    not_before: Instant,
) -> Result<SourceUpdate, ReadError> {
    tokio::time::sleep_until(not_before).await;
    source.next().await
}

async fn decode(events: Vec<RecordedEvent>) -> Result<Vec<Decoded>, Interruption> {
    let in_place = events.len() <= FOLDED_IN_PLACE_MAX;
    let decode = move || events.into_iter().map(Decoded::from).collect();
    Ok(if in_place { decode() } else { tokio::task::spawn_blocking(decode).await? })
}

async fn fold_batch(
    mut fold: Fold,
    events: Vec<Decoded>,
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

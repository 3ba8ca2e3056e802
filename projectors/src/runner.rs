//! Projects live: folds batches of events as they arrive, and commits rows and checkpoint together.

mod batch;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
    time::Duration,
};

use domain::{Position, StreamName};
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate},
    event_store::{EventLog, ReadError},
    health::Health,
    read_models::{BindError, Changes, Generation, ParkedStream, Progress, ReadModelError, ReadModels},
    traces::{EventSpans, Kind},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::batch::{DecodedBatches, JoinedBatches};
use crate::{
    cache::{Cache, Written},
    fold::{Fold, keys_of},
    measured::Measured,
    resume::Examined,
    retry::{self, RetryError},
};

/// Memory and batching of a projector.
#[derive(Debug, Clone, Copy)]
pub struct ProjectorOptions {
    /// Bytes of each kind of row in the cache, approximately.
    pub cached_bytes_max: usize,
    /// Minimum time between the commits of small batches. Rows that several events touch are then written
    /// once, which leaves more of the processor to commands.
    pub commit_every: Duration,
}

impl Default for ProjectorOptions {
    fn default() -> Self {
        Self { cached_bytes_max: 16 << 20, commit_every: Duration::from_millis(10) }
    }
}

/// The name under which parked streams are reported to [`Health`].
const PARKED_STREAMS: &str = "parked_streams";
/// How often requests for a retry are polled while a stream is parked.
const RETRY_REQUESTS_POLLED_EVERY: Duration = Duration::from_millis(500);
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// With at least this many events, the runner adds no further batch to a commit, and takes the next one without a
/// pause.
const COMMIT_LARGE: usize = 500;

/// Projects the partitions that its source assigns to it.
pub struct Runner<S> {
    source: S,
    log: Arc<dyn EventLog>,
    models: Arc<dyn ReadModels>,
    owned: HashMap<Partition, Owned>,
    cache: Cache,
    health: Health,
    commit_every: Duration,
    /// Earliest time at which the next batch is taken.
    next_batch_at: Instant,
    /// An update that arrived with the last batches, and is handled next.
    arrived: Option<Result<SourceUpdate, ReadError>>,
    pause: Option<Duration>,
    measured: Measured,
    /// True while operators are shown parked streams, of this runner or of another one.
    shows_parked: bool,
    examined: Examined,
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
    reached: Option<Reached>,
    parked: HashSet<StreamName>,
}

impl Owned {
    fn position(&self) -> Option<Position> {
        self.reached.as_ref().map(|reached| reached.position)
    }
}

/// Why projecting pauses.
#[derive(Debug, thiserror::Error)]
enum Interruption {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    ReadModels(#[from] ReadModelError),
    #[error("decoding or folding has failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

impl Interruption {
    fn is_of_one_row(&self) -> bool {
        matches!(self, Self::ReadModels(error) if error.is_of_one_row())
    }
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
        let cache = Cache::new(options.cached_bytes_max);
        Self {
            source,
            log,
            models,
            owned: HashMap::new(),
            cache,
            health: Health::default(),
            commit_every: options.commit_every,
            next_batch_at: Instant::now(),
            arrived: None,
            pause: None,
            measured: Measured::new(),
            shows_parked: false,
            examined: Examined::default(),
        }
    }

    /// Reports parked streams to `health`.
    pub fn with_health(self, health: Health) -> Self {
        Self { health, ..self }
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
            let outcome = tokio::select! {
                biased;
                () = shutdown.cancelled() => return Ok(()),
                _ = poll.tick(), if self.shows_parked => self.retry_parked().await,
                update = next_update(&mut self.source, &mut self.arrived, self.next_batch_at) => match update {
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
        let reached = self.models.checkpoint(partition).await?;
        let parked = self.models.parked().await?;
        self.report_parked(&parked);
        let parked = streams_of(partition, &parked);
        self.owned.insert(partition.clone(), Owned { generation, reached: reached.clone(), parked });
        self.source.seek(partition, reached);
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

    /// Projects a batch, and the batches that have arrived with it, in one commit.
    async fn project(&mut self, batch: Batch) -> Result<(), Interruption> {
        let begun = Instant::now();
        let mut batches = vec![batch];
        while batches.iter().map(|batch| batch.events.len()).sum::<usize>() < COMMIT_LARGE {
            match self.source.arrived() {
                Some(Ok(SourceUpdate::Events(batch))) => batches.push(batch),
                other => {
                    self.arrived = other;
                    break;
                }
            }
        }
        let joined = self.join(batches)?;
        if joined.progress.is_empty() {
            return Ok(());
        }
        let first_recorded_at = joined.events.iter().map(|event| event.recorded_at).min();
        let spans = EventSpans::begin("project", &Kind::Consumer, "projectors", &joined.events);
        let mut batches = joined.decode().await?;
        let applied = self.apply_or_refuse(&mut batches).await;
        spans.end(applied.as_ref().err().map(|error| error as &dyn fmt::Display));
        applied?;
        let events = batches.events.len();
        self.measured.committed(events, first_recorded_at);
        self.next_batch_at = if events >= COMMIT_LARGE { begun } else { begun + self.commit_every };
        Ok(())
    }

    /// Joins batches, sorted by partition.
    fn join(&mut self, mut batches: Vec<Batch>) -> Result<JoinedBatches, Interruption> {
        batches.sort_by(|one, other| one.partition.cmp(&other.partition));
        let mut joined = JoinedBatches::default();
        for batch in batches {
            let Some(owned) = self.owned.get(&batch.partition) else { continue };
            let before = joined.progress.last().filter(|before| before.partition == batch.partition);
            if batch.after != before.map_or(owned.position(), |before| before.to) {
                // The source fetched this batch before the last seek.
                self.source.seek(&batch.partition, owned.reached.clone());
            } else if joined.generation.is_some() && joined.generation != owned.generation {
                // The rows were rebuilt after the position of one partition was read, and before that of the other.
                return Err(ReadModelError::CheckpointMoved.into());
            } else {
                joined.generation = owned.generation;
                joined.add(batch);
            }
        }
        Ok(joined)
    }

    /// Folds batches, and commits their rows. Parks the streams whose rows the database refuses.
    async fn apply_or_refuse(&mut self, batches: &mut DecodedBatches) -> Result<(), Interruption> {
        match self.apply(batches).await {
            Err(error) if error.is_of_one_row() => {
                self.find_refused(batches).await?;
                self.apply(batches).await
            }
            outcome => outcome,
        }
    }

    /// Folds batches, and commits their rows.
    async fn apply(&mut self, batches: &DecodedBatches) -> Result<(), Interruption> {
        let changes = self.changes(batches, batches.events.len()).await?;
        self.commit(changes).await
    }

    /// Finds the events of refused batches whose rows the database refuses. Rehearses ever shorter prefixes of
    /// the events; the shortest one that is refused ends with such an event. Nothing is written, so the batches
    /// are committed as a whole or not at all, and their checkpoints refuse a second owner.
    async fn find_refused(&mut self, batches: &mut DecodedBatches) -> Result<(), Interruption> {
        let mut accepted = 0;
        while accepted < batches.events.len()
            && let Some(refusal) = self.rehearse(batches, batches.events.len()).await?
        {
            let (mut end, mut reason) = (batches.events.len(), refusal.to_string());
            while end - accepted > 1 {
                let middle = accepted + (end - accepted) / 2;
                match self.rehearse(batches, middle).await? {
                    None => accepted = middle,
                    Some(refusal) => (end, reason) = (middle, refusal.to_string()),
                }
            }
            batches.refused.insert(accepted, reason);
            if let Some(refusal) = self.rehearse(batches, end).await? {
                // The event is not the cause. The batches are retried later.
                return Err(refusal.into());
            }
            accepted = end;
        }
        Ok(())
    }

    /// Returns why the database refuses a row of the first `end` events; `None` if it accepts them.
    async fn rehearse(
        &mut self,
        batches: &DecodedBatches,
        end: usize,
    ) -> Result<Option<ReadModelError>, Interruption> {
        let rehearsed = match self.changes(batches, end).await {
            Ok(changes) => self.models.rehearse(changes).await.map_err(Interruption::from),
            Err(error) => Err(error),
        };
        match rehearsed {
            Ok(()) => Ok(None),
            Err(Interruption::ReadModels(error)) if error.is_of_one_row() => Ok(Some(error)),
            Err(error) => Err(error),
        }
    }

    /// The changes of the first `end` events of batches, with the checkpoints after all of them.
    async fn changes(&mut self, batches: &DecodedBatches, end: usize) -> Result<Changes, Interruption> {
        let partitions = || batches.progress.iter().map(|progress| &progress.partition);
        let parked =
            partitions().flat_map(|partition| self.owned[partition].parked.iter().cloned()).collect();
        let mut keys = keys_of(batches.applicable(end, &parked));
        let mut fold = Fold::batches(partitions().cloned().collect(), parked);
        fold.put_rows(self.cache.take_known(&mut keys));
        fold.put_rows(self.models.load(keys).await?);
        Ok(batches.fold(fold, end).await?)
    }

    async fn commit(&mut self, changes: Changes) -> Result<(), Interruption> {
        let progress = changes.progress.clone();
        let parked = changes.parked.clone();
        let written = Written::of(&changes);
        let begun = Instant::now();
        self.models.commit(changes).await?;
        self.measured.commits.record(begun.elapsed());
        self.cache.keep(written);
        for row in &parked {
            tracing::error!(
                stream = %row.stream, event.id = %row.event_id, revision = row.revision, reason = row.reason,
                "Cannot project an event, and parked its stream: `orderly projections list` shows it"
            );
        }
        for Progress { partition, to, last_event, .. } in progress {
            let Some(owned) = self.owned.get_mut(&partition) else { continue };
            let known = owned.reached.take().and_then(|reached| reached.last_event);
            let last_event = last_event.or(known);
            owned.reached = to.map(|position| Reached { position, last_event });
            owned.parked.extend(streams_of(&partition, &parked));
        }
        let parked: HashSet<StreamName> = parked.into_iter().map(|row| row.stream).collect();
        if !parked.is_empty() {
            let all = self.models.parked().await?;
            self.examined.note(all.iter().filter(|row| parked.contains(&row.stream)));
            self.report_parked(&all);
        }
        Ok(())
    }

    /// Shows operators the parked streams of all projectors.
    fn report_parked(&mut self, parked: &[ParkedStream]) {
        self.shows_parked = !parked.is_empty();
        self.measured.set_parked(parked);
        match parked.len() {
            0 => self.health.resolve(PARKED_STREAMS),
            count => {
                let detail = format!("{count} streams are parked: see `orderly projections list`");
                self.health.degraded(PARKED_STREAMS, detail);
            }
        }
    }

    async fn retry_parked(&mut self) -> Result<(), Interruption> {
        let partitions: Vec<Partition> = self.owned.keys().cloned().collect();
        let mut parked = self.models.parked().await?;
        for partition in partitions {
            let (log, models) = (self.log.as_ref(), self.models.as_ref());
            self.examined.request_retries(log, models, &partition, &parked).await?;
            let settled = retry::apply_requests(log, models, &partition).await?;
            // `orderly projections retry` may have resumed a stream itself.
            parked = models.parked().await?;
            self.examined.note(parked.iter().filter(|row| settled.contains(&row.stream)));
            let parked = streams_of(&partition, &parked);
            if !settled.is_empty() || parked != self.owned[&partition].parked {
                // The cached rows of these streams are stale.
                self.cache.clear();
                self.resume(&partition).await?;
            }
        }
        // Another projector may have resumed the last stream that this one shows.
        self.report_parked(&parked);
        Ok(())
    }

    fn note_failure(&mut self, interruption: &Interruption) {
        self.measured.failures.increment(1);
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
async fn next_update(
    source: &mut impl EventSource,
    arrived: &mut Option<Result<SourceUpdate, ReadError>>,
    not_before: Instant,
) -> Result<SourceUpdate, ReadError> {
    tokio::time::sleep_until(not_before).await;
    match arrived.take() {
        Some(update) => update,
        None => source.next().await,
    }
}

fn streams_of(partition: &Partition, parked: &[ParkedStream]) -> HashSet<StreamName> {
    parked.iter().filter(|row| row.partition == *partition).map(|row| row.stream.clone()).collect()
}

//! Projects live: folds batches of events as they arrive, and commits rows and checkpoint together.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use domain::{Position, RecordedEvent, StreamName};
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate},
    event_store::{EventLog, EventMark, ReadError},
    health::Health,
    read_models::{BindError, Changes, Generation, ParkedStream, ReadModelError, ReadModels},
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cache::{Cache, Written},
    event::{DecodedEvent, Poison},
    fold::{Fold, keys_of},
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
        Self { cached_bytes_max: 64 << 20, commit_every: Duration::from_millis(10) }
    }
}

/// The name under which parked streams are reported to [`Health`].
const PARKED_STREAMS: &str = "parked_streams";
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
    health: Health,
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
    reached: Option<Reached>,
    parked: HashSet<StreamName>,
}

impl Owned {
    fn position(&self) -> Option<Position> {
        self.reached.as_ref().map(|reached| reached.position)
    }
}

/// A batch of a source, decoded.
struct DecodedBatch {
    partition: Partition,
    events: Arc<Vec<DecodedEvent>>,
    /// Position of the partition once all events are applied.
    position: Position,
}

impl DecodedBatch {
    /// The checkpoint once the events up to `end` are applied. The events of a Kafka batch do not have their
    /// offsets, so there it moves with the last event only.
    fn checkpoint(&self, owned: &Owned, end: usize) -> Option<Position> {
        match end.checked_sub(1) {
            _ if end == self.events.len() => Some(self.position),
            Some(last) if self.partition == Partition::whole_log() => Some(self.events[last].position),
            Some(_) | None => owned.position(),
        }
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
            pause: None,
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

    async fn project(&mut self, batch: Batch) -> Result<(), Interruption> {
        let Batch { partition, after, events, position } = batch;
        let Some(owned) = self.owned.get(&partition) else { return Ok(()) };
        let begun = Instant::now();
        let large = events.len() >= BATCH_LARGE;
        if after != owned.position() {
            // The source fetched this batch before the last seek.
            self.source.seek(&partition, owned.reached.clone());
            return Ok(());
        }
        let batch = DecodedBatch { partition, events: Arc::new(decode(events).await?), position };
        match self.apply(&batch, 0..batch.events.len()).await {
            Err(error) if error.is_of_one_row() => self.isolate(&batch).await?,
            outcome => outcome?,
        }
        self.next_batch_at = if large { begun } else { begun + self.commit_every };
        Ok(())
    }

    /// Folds some events of a batch, and commits their rows.
    async fn apply(&mut self, batch: &DecodedBatch, range: Range<usize>) -> Result<(), Interruption> {
        let owned = &self.owned[&batch.partition];
        let (from, to) = (owned.position(), batch.checkpoint(owned, range.end));
        let mut fold = Fold::batch(batch.partition.clone(), owned.parked.clone());
        let mut keys = keys_of(&batch.events[range.clone()]);
        fold.put_rows(self.cache.take_known(&mut keys));
        fold.put_rows(self.models.load(keys).await?);
        let changes = fold_events(fold, &batch.events, range, from, to).await?;
        self.commit(changes).await
    }

    /// Applies a batch with a row that the database refuses. Halves the batch until the event that leads to
    /// this row stands alone, and parks its stream. With Kafka, commits without the last event leave the
    /// checkpoint, but not the position in the log, where it was: after a crash the batch comes again, and its
    /// first events are skipped by their revision. Until the last commit, the checkpoint does not refuse a
    /// second projector of the partition.
    async fn isolate(&mut self, batch: &DecodedBatch) -> Result<(), Interruption> {
        let mut begin = 0;
        loop {
            // The events of `begin..end` were refused together.
            let mut end = batch.events.len();
            while end - begin > 1 {
                let middle = begin + (end - begin) / 2;
                match self.apply(batch, begin..middle).await {
                    Ok(()) => begin = middle,
                    Err(error) if error.is_of_one_row() => end = middle,
                    Err(error) => return Err(error),
                }
            }
            match self.apply(batch, begin..end).await {
                Err(Interruption::ReadModels(error)) if error.is_of_one_row() => {
                    self.park_refused(batch, begin, &error).await?;
                }
                outcome => outcome?,
            }
            begin = end;
            if begin == batch.events.len() {
                return Ok(());
            }
            match self.apply(batch, begin..batch.events.len()).await {
                Err(error) if error.is_of_one_row() => {}
                outcome => return outcome,
            }
        }
    }

    /// Parks the stream of the event at `index`. The database refuses this too if the event is not the cause;
    /// the batch is then retried as a whole.
    async fn park_refused(
        &mut self,
        batch: &DecodedBatch,
        index: usize,
        refusal: &ReadModelError,
    ) -> Result<(), Interruption> {
        let owned = &self.owned[&batch.partition];
        let (from, to) = (owned.position(), batch.checkpoint(owned, index + 1));
        let mut fold = Fold::batch(batch.partition.clone(), owned.parked.clone());
        fold.park(&batch.events[index], 0, &Poison::Refused(refusal.to_string()));
        let last_event = Some(EventMark::from(&batch.events[index]));
        self.commit(Changes { last_event, ..fold.into_changes(from, to) }).await
    }

    async fn commit(&mut self, changes: Changes) -> Result<(), Interruption> {
        let (partition, position) = (changes.partition.clone(), changes.to);
        let last_event = changes.last_event.clone();
        let generation = self.owned.get(&partition).and_then(|owned| owned.generation);
        let changes = Changes { generation, ..changes };
        let parked = changes.parked.clone();
        let written = Written::of(&changes);
        self.models.commit(changes).await?;
        self.cache.keep(written);
        for row in &parked {
            tracing::error!(
                stream = %row.stream, event.id = %row.event_id, revision = row.revision, reason = row.reason,
                "Cannot project an event; its stream is parked until `orderly projections retry`"
            );
        }
        let any_parked = !parked.is_empty();
        if let Some(owned) = self.owned.get_mut(&partition) {
            let known = owned.reached.take().and_then(|reached| reached.last_event);
            let last_event = last_event.or(known);
            owned.reached = position.map(|position| Reached { position, last_event });
            owned.parked.extend(parked.into_iter().map(|row| row.stream));
        }
        if any_parked {
            self.report_parked(&self.models.parked().await?);
        }
        Ok(())
    }

    /// Shows operators the parked streams of all projectors.
    fn report_parked(&self, parked: &[ParkedStream]) {
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
        for partition in partitions {
            let settled = retry::apply_requests(self.log.as_ref(), self.models.as_ref(), &partition).await?;
            // `orderly projections retry` may have resumed a stream itself.
            let parked = streams_of(&partition, &self.models.parked().await?);
            if !settled.is_empty() || parked != self.owned[&partition].parked {
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

async fn fold_events(
    mut fold: Fold,
    events: &Arc<Vec<DecodedEvent>>,
    range: Range<usize>,
    from: Option<Position>,
    to: Option<Position>,
) -> Result<Changes, Interruption> {
    let in_place = range.len() <= FOLDED_IN_PLACE_MAX;
    let events = Arc::clone(events);
    let run = move || {
        for event in &events[range.clone()] {
            fold.apply(event, 0);
        }
        let last_event = events[range].last().map(EventMark::from);
        Changes { last_event, ..fold.into_changes(from, to) }
    };
    Ok(if in_place { run() } else { tokio::task::spawn_blocking(run).await? })
}

fn streams_of(partition: &Partition, parked: &[ParkedStream]) -> HashSet<StreamName> {
    parked.iter().filter(|row| row.partition == *partition).map(|row| row.stream.clone()).collect()
}

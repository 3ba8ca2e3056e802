//! Follows the log and queues a delivery for each event and each subscription that wants it.
//!
//! One subscription with a full queue, and one order that cannot be read, stop neither the follower nor the
//! other subscriptions and orders: see [`crate::queue`] and [`crate::history`].
//!
//! While no subscription exists, the follower reads one batch a second, and skips to the end of the log.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{Position, Timestamp};
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate, layout::SourceLayout},
    event_store::ReadError,
    operations::{
        OperationsError,
        webhooks::{EnqueueBatch, EnqueueOutcome, SUBSCRIPTIONS_MAX},
    },
};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{Webhooks, catch_up::CatchUp, history, queue::FreePlaces};

/// Events older than this are not queued; only a replay sends them. Finished deliveries are kept at least one
/// day longer. So a follower that reads old events again, from a restored log or another bus, finds their
/// deliveries and sends nothing twice.
pub(crate) const EVENT_AGE_MAX: Duration = Duration::from_hours(29 * 24);
/// The longest delay before a position without deliveries is saved.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);
/// The time between two batches while no subscription exists.
const PAUSE_WITHOUT_SUBSCRIPTIONS: Duration = Duration::from_secs(1);
/// The time until a failed read or write is repeated.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Queues deliveries; see the module. Created by [`Webhooks::follower`].
pub struct WebhookFollower {
    pub(crate) webhooks: Webhooks,
    pub(crate) source: Box<dyn EventSource>,
    pub(crate) layout: Arc<dyn SourceLayout>,
    /// The shortest time between two batches.
    pub(crate) batch_every: Duration,
    pub(crate) free_places: FreePlaces,
}

impl std::fmt::Debug for WebhookFollower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebhookFollower").finish_non_exhaustive()
    }
}

/// The follower's positions in one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
struct PartitionPositions {
    saved: Option<Reached>,
    /// The last position read. No event between `saved` and here needs a delivery.
    reached: Option<Reached>,
}

impl PartitionPositions {
    fn at(reached: Option<Reached>) -> Self {
        Self { saved: reached.clone(), reached }
    }

    fn saved_position(&self) -> Option<Position> {
        self.saved.as_ref().map(|saved| saved.position)
    }
}

/// What became of a batch.
#[derive(Debug)]
enum Queued {
    /// No subscription exists.
    NoSubscription,
    /// No subscription wants an event of the batch.
    Nothing,
    Deliveries(EnqueueOutcome),
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] OperationsError),
}

impl WebhookFollower {
    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let catch_up = CatchUp(self.webhooks.clone());
        tokio::join!(self.follow(&shutdown), catch_up.run(&shutdown));
    }

    async fn follow(&mut self, shutdown: &CancellationToken) {
        let mut positions: HashMap<Partition, PartitionPositions> = HashMap::new();
        let mut saving = time::interval(SAVE_INTERVAL);
        saving.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut next_batch_at = time::Instant::now();
        let mut seek_at: Option<time::Instant> = None;
        loop {
            let source = &mut self.source;
            let update = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = saving.tick() => {
                    self.save(&mut positions).await;
                    continue;
                }
                () = time::sleep_until(seek_at.unwrap_or(next_batch_at)), if seek_at.is_some() => {
                    seek_at = None;
                    self.seek_again(&positions);
                    continue;
                }
                update = async {
                    time::sleep_until(next_batch_at).await;
                    source.next().await
                } => update,
            };
            let outcome = match update {
                Ok(SourceUpdate::Assigned(partitions)) => {
                    self.assign(&mut positions, &partitions, shutdown).await;
                    Ok(())
                }
                Ok(SourceUpdate::Revoked(partitions)) => {
                    self.save(&mut positions).await;
                    positions.retain(|partition, _| !partitions.contains(partition));
                    Ok(())
                }
                Ok(SourceUpdate::Events(batch)) => {
                    let now = time::Instant::now();
                    let pause = self.queue_batch(&mut positions, batch).await;
                    next_batch_at = now + *pause.as_ref().unwrap_or(&self.batch_every);
                    pause.map(drop)
                }
                Err(error) => {
                    // A source may not read the partition that failed until it is sought again. The other
                    // partitions continue until then, unless the source fails each time.
                    let now = time::Instant::now();
                    next_batch_at = if seek_at.is_some() { now + RETRY_PAUSE } else { now };
                    seek_at.get_or_insert(now + RETRY_PAUSE);
                    tracing::warn!(%error, "Cannot read new events for webhooks; retrying");
                    continue;
                }
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "Cannot queue webhooks for new events; retrying");
                pause(shutdown).await;
            }
        }
        self.save(&mut positions).await;
    }

    async fn assign(
        &mut self,
        positions: &mut HashMap<Partition, PartitionPositions>,
        partitions: &[Partition],
        shutdown: &CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            match self.resume(partitions).await {
                Ok(resumed) => {
                    for (partition, reached) in partitions.iter().zip(resumed) {
                        self.source.seek(partition, reached.clone());
                        positions.insert(partition.clone(), PartitionPositions::at(reached));
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "Cannot read the position of the webhooks; retrying");
                    pause(shutdown).await;
                }
            }
        }
    }

    /// Reads every partition again after the last position read.
    fn seek_again(&mut self, positions: &HashMap<Partition, PartitionPositions>) {
        for (partition, known) in positions {
            self.source.seek(partition, known.reached.clone());
        }
    }

    /// The positions from which to follow these partitions. Reads the ends of the partitions first, so a
    /// subscription made meanwhile misses no later event.
    async fn resume(&self, partitions: &[Partition]) -> Result<Vec<Option<Reached>>, FollowError> {
        let ends = self.ends().await?;
        let store = &self.webhooks.store;
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let end = ends.get(partition).copied().flatten();
            let reached = store.resume(self.webhooks.log.store_id(), partition, end).await?;
            if let Some(mark) = reached.as_ref().and_then(|reached| reached.last_event.as_ref()) {
                self.webhooks.log.expect(mark).await?;
            }
            positions.push(reached);
        }
        Ok(positions)
    }

    async fn ends(&self) -> Result<HashMap<Partition, Option<Position>>, ReadError> {
        let last_positions = self.layout.last_positions().await?;
        Ok(self.layout.partitions().into_iter().zip(last_positions).collect())
    }

    /// Continues each partition at its end, unless a subscription was made meanwhile. Reads the ends first, as
    /// [`WebhookFollower::resume`] does.
    async fn skip_to_end(
        &mut self,
        positions: &mut HashMap<Partition, PartitionPositions>,
    ) -> Result<(), FollowError> {
        let ends = self.ends().await?;
        if !self.webhooks.store.subscriptions(None, 1).await?.is_empty() {
            return Ok(());
        }
        for (partition, known) in positions {
            let end = ends.get(partition).copied().flatten();
            if end > known.reached.as_ref().map(|reached| reached.position) {
                known.reached = end.map(Reached::from);
                self.source.seek(partition, known.reached.clone());
            }
        }
        Ok(())
    }

    /// Queues the deliveries of a batch. After a failure, or if another follower has moved the position,
    /// reads the partition again from the stored position. Returns the time until the next batch.
    async fn queue_batch(
        &mut self,
        positions: &mut HashMap<Partition, PartitionPositions>,
        batch: Batch,
    ) -> Result<Duration, FollowError> {
        let Some(known) = positions.get_mut(&batch.partition) else { return Ok(self.batch_every) };
        match self.enqueue(&batch, known.saved_position()).await {
            Ok(Queued::NoSubscription) => {
                known.reached = Some(batch.reached());
                self.skip_to_end(positions).await?;
                Ok(PAUSE_WITHOUT_SUBSCRIPTIONS)
            }
            Ok(Queued::Nothing) => {
                known.reached = Some(batch.reached());
                Ok(self.batch_every)
            }
            Ok(Queued::Deliveries(EnqueueOutcome::Written { added })) => {
                *known = PartitionPositions::at(Some(batch.reached()));
                if added > 0 {
                    self.webhooks.due.notify_one();
                }
                Ok(self.batch_every)
            }
            Ok(Queued::Deliveries(EnqueueOutcome::Overtaken)) => {
                self.free_places.forget();
                let resumed = self.resume(std::slice::from_ref(&batch.partition)).await?;
                let reached = resumed.into_iter().next().flatten();
                *known = PartitionPositions::at(reached.clone());
                self.source.seek(&batch.partition, reached);
                Ok(self.batch_every)
            }
            Err(error) => {
                known.reached.clone_from(&known.saved);
                self.source.seek(&batch.partition, known.saved.clone());
                Err(error)
            }
        }
    }

    async fn enqueue(&mut self, batch: &Batch, saved: Option<Position>) -> Result<Queued, FollowError> {
        let webhooks = &self.webhooks;
        let Webhooks { store, log, clock, .. } = webhooks;
        // Read after the events, so that the list includes every subscription that was made before an event.
        let subscriptions = store.subscriptions(None, SUBSCRIPTIONS_MAX).await?;
        if subscriptions.is_empty() {
            return Ok(Queued::NoSubscription);
        }
        let oldest = clock.now().checked_sub(EVENT_AGE_MAX).unwrap_or(Timestamp::MIN);
        let plan = self.free_places.plan(webhooks, &batch.events, &subscriptions, oldest).await?;
        if plan.queued.is_empty() && plan.skipped.is_empty() {
            return Ok(Queued::Nothing);
        }
        let deliveries = history::deliveries(&**log, plan.queued).await?;
        let enqueued = EnqueueBatch {
            store_id: log.store_id(),
            partition: batch.partition.clone(),
            after: saved,
            reached: batch.reached(),
            deliveries,
            skipped: plan.skipped,
        };
        Ok(Queued::Deliveries(store.enqueue(&enqueued, clock.now()).await?))
    }

    /// Saves the positions of partitions whose last events needed no delivery.
    async fn save(&mut self, positions: &mut HashMap<Partition, PartitionPositions>) {
        let Webhooks { store, log, clock, .. } = &self.webhooks;
        for (partition, known) in positions {
            let Some(reached) = known.reached.clone().filter(|_| known.reached != known.saved) else {
                continue;
            };
            let batch = EnqueueBatch {
                store_id: log.store_id(),
                partition: partition.clone(),
                after: known.saved_position(),
                reached: reached.clone(),
                deliveries: Vec::new(),
                skipped: Vec::new(),
            };
            match store.enqueue(&batch, clock.now()).await {
                Ok(EnqueueOutcome::Written { .. }) => known.saved = Some(reached),
                // The next batch detects it and reads the new position. No delivery is lost until then.
                Ok(EnqueueOutcome::Overtaken) => {}
                Err(error) => {
                    tracing::warn!(%error, "Cannot save the position of the webhooks; retrying");
                }
            }
        }
    }
}

async fn pause(shutdown: &CancellationToken) {
    tokio::select! {
        () = shutdown.cancelled() => {}
        () = time::sleep(RETRY_PAUSE) => {}
    }
}

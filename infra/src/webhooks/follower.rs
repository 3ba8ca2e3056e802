//! Follows the log, and writes down which subscription is owed which event.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{Position, Timestamp};
use tokio::{sync::Notify, time};
use tokio_util::sync::CancellationToken;

use super::history;
use crate::{
    clock::Clock,
    event_source::{Batch, EventSource, Partition, SourceUpdate, layout::SourceLayout},
    event_store::{EventLog, ReadError},
    operations::{
        OperationsError,
        webhooks::{Enqueue, Enqueued, Webhooks},
    },
};

/// The name that its positions are kept under.
pub(crate) const REACTOR: &str = "webhooks";
/// The most subscriptions there are.
pub const SUBSCRIPTIONS_MAX: usize = 50;

/// Events recorded longer ago are sent by a replay alone. Deliveries are kept for longer than that when they have ended, so
/// whoever reads the log again from further back, be it restored or on another bus, meets the delivery of every event it
/// would send.
pub(super) const OWED_FOR: Duration = Duration::from_hours(29 * 24);
/// How long the position may stay behind while nobody is owed anything.
const SAVE_INTERVAL: Duration = Duration::from_secs(5);
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// What the follower works with.
pub struct Follower {
    pub source: Box<dyn EventSource>,
    pub layout: Arc<dyn SourceLayout>,
    pub log: Arc<dyn EventLog>,
    pub store: Arc<dyn Webhooks>,
    /// Told when something is due.
    pub due: Arc<Notify>,
    pub clock: Clock,
    /// From one batch of events to the next.
    pub batch_every: Duration,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Follower").finish_non_exhaustive()
    }
}

/// How far a partition has been followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Standing {
    saved: Option<Position>,
    /// Nobody is owed anything between `saved` and here.
    reached: Option<Position>,
}

#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] OperationsError),
}

impl Follower {
    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut standings: HashMap<Partition, Standing> = HashMap::new();
        let mut saving = time::interval(SAVE_INTERVAL);
        saving.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut next_batch_at = time::Instant::now();
        loop {
            let source = &mut self.source;
            let delivery = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = saving.tick() => {
                    self.save(&mut standings).await;
                    continue;
                }
                delivery = async {
                    time::sleep_until(next_batch_at).await;
                    source.next().await
                } => delivery,
            };
            let outcome = match delivery {
                Ok(SourceUpdate::Assigned(partitions)) => {
                    self.assign(&mut standings, &partitions, &shutdown).await;
                    Ok(())
                }
                Ok(SourceUpdate::Revoked(partitions)) => {
                    self.save(&mut standings).await;
                    standings.retain(|partition, _| !partitions.contains(partition));
                    Ok(())
                }
                Ok(SourceUpdate::Events(batch)) => {
                    next_batch_at = time::Instant::now() + self.batch_every;
                    self.take(&mut standings, batch).await
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "Webhooks cannot follow the events; trying again");
                pause(&shutdown).await;
            }
        }
        self.save(&mut standings).await;
    }

    async fn assign(
        &mut self,
        standings: &mut HashMap<Partition, Standing>,
        partitions: &[Partition],
        shutdown: &CancellationToken,
    ) {
        while !shutdown.is_cancelled() {
            match self.resume(partitions).await {
                Ok(positions) => {
                    for (partition, position) in partitions.iter().zip(positions) {
                        self.source.seek(partition, position);
                        standings.insert(partition.clone(), Standing { saved: position, reached: position });
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "It is not known where webhooks go on; trying again");
                    pause(shutdown).await;
                }
            }
        }
    }

    /// Where these partitions go on. The ends are read first: who subscribes after that is told of all that comes after
    /// them.
    async fn resume(&self, partitions: &[Partition]) -> Result<Vec<Option<Position>>, FollowError> {
        let ends = self.layout.last_positions().await?;
        let ends: HashMap<Partition, Option<Position>> =
            self.layout.partitions().into_iter().zip(ends).collect();
        let mut positions = Vec::with_capacity(partitions.len());
        for partition in partitions {
            let end = ends.get(partition).copied().flatten();
            positions.push(self.store.resume(self.log.store_id(), partition, end).await?);
        }
        Ok(positions)
    }

    /// Writes down who is owed the events of a batch. After a failure, or when somebody else has come further, the
    /// partition is read again from where the store says.
    async fn take(
        &mut self,
        standings: &mut HashMap<Partition, Standing>,
        batch: Batch,
    ) -> Result<(), FollowError> {
        let Some(standing) = standings.get_mut(&batch.partition) else { return Ok(()) };
        match self.enqueue(&batch, standing.saved).await {
            Ok(None) => {
                standing.reached = Some(batch.position);
                Ok(())
            }
            Ok(Some(Enqueued::Written { added })) => {
                *standing = Standing { saved: Some(batch.position), reached: Some(batch.position) };
                if added > 0 {
                    self.due.notify_one();
                }
                Ok(())
            }
            Ok(Some(Enqueued::Overtaken)) => {
                let position = self.resume(std::slice::from_ref(&batch.partition)).await?;
                let position = position.into_iter().next().flatten();
                *standing = Standing { saved: position, reached: position };
                self.source.seek(&batch.partition, position);
                Ok(())
            }
            Err(error) => {
                standing.reached = standing.saved;
                self.source.seek(&batch.partition, standing.saved);
                Err(error)
            }
        }
    }

    /// `None` where nobody is owed anything.
    async fn enqueue(&self, batch: &Batch, saved: Option<Position>) -> Result<Option<Enqueued>, FollowError> {
        // Read after the events were: whoever subscribed before an event was recorded is among them.
        let subscriptions = self.store.subscriptions(None, SUBSCRIPTIONS_MAX).await?;
        let owed_since = self.clock.now().checked_sub(OWED_FOR).unwrap_or(Timestamp::MIN);
        let deliveries = history::deliveries(&*self.log, &batch.events, &subscriptions, |one, event| {
            event.recorded_at >= owed_since && one.wants(&event.type_name, event.position)
        });
        let deliveries = deliveries.await?;
        if deliveries.is_empty() {
            return Ok(None);
        }
        let enqueue = Enqueue {
            store_id: self.log.store_id(),
            partition: batch.partition.clone(),
            after: saved,
            position: batch.position,
            deliveries,
        };
        Ok(Some(self.store.enqueue(&enqueue, self.clock.now()).await?))
    }

    /// Keeps how far partitions were followed in which nobody was owed anything lately.
    async fn save(&mut self, standings: &mut HashMap<Partition, Standing>) {
        for (partition, standing) in standings {
            let Some(position) = standing.reached.filter(|_| standing.reached != standing.saved) else {
                continue;
            };
            let enqueue = Enqueue {
                store_id: self.log.store_id(),
                partition: partition.clone(),
                after: standing.saved,
                position,
                deliveries: Vec::new(),
            };
            match self.store.enqueue(&enqueue, self.clock.now()).await {
                Ok(Enqueued::Written { .. }) => standing.saved = Some(position),
                // The next batch finds out where the other is; there is nothing to lose until then.
                Ok(Enqueued::Overtaken) => {}
                // Not saved is only read again later.
                Err(error) => tracing::warn!(%error, "The position of the webhooks was not saved"),
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

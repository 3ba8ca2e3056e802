//! Reads the log batch by batch, starts the reactions, and saves how far they have come.

use std::{sync::Arc, time::Duration};

use infra::{
    event_source::{EventSource, Partition, SourceUpdate},
    event_store::ReadError,
    operations::Positions,
};
use tokio::{
    sync::mpsc,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::{
    ProcessManager, pause,
    progress::{BatchId, Progress},
    reactions::Reactions,
    share::Share,
};
use crate::checkout::Checkout;

/// The name under which positions are stored.
const REACTOR: &str = "process-manager";
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// Pause after a failed read of the log or of a position.
const READ_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Follows the partitions that are assigned to this process.
pub(super) struct Follower {
    checkout: Checkout,
    source: Box<dyn EventSource>,
    positions: Arc<dyn Positions>,
    share: Share,
    reactions: Reactions,
    /// Receives the batch of each reaction that became durable.
    finished: mpsc::UnboundedReceiver<BatchId>,
    /// One entry per assigned partition: one with the direct source, several with Kafka.
    progress: Vec<Progress>,
    batch_every: Duration,
    next_batch_at: Instant,
    shutdown: CancellationToken,
}

impl Follower {
    pub fn new(manager: ProcessManager, share: Share, shutdown: CancellationToken) -> Self {
        let ProcessManager { checkout, source, positions, batch_every, .. } = manager;
        let (sender, finished) = mpsc::unbounded_channel();
        let reactions = Reactions::new(checkout.clone(), sender, shutdown.clone());
        Self {
            checkout,
            source,
            positions,
            share,
            reactions,
            finished,
            progress: Vec::new(),
            batch_every,
            next_batch_at: Instant::now(),
            shutdown,
        }
    }

    /// Follows the log until shutdown.
    pub async fn follow(&mut self) {
        let mut saving = time::interval(SAVE_INTERVAL);
        saving.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            let update = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                Some(batch) = self.finished.recv() => {
                    self.mark_finished(&batch);
                    continue;
                }
                _ = saving.tick() => {
                    self.save().await;
                    self.reactions.reap();
                    continue;
                }
                update = next_update(&mut *self.source, self.next_batch_at) => update,
            };
            match update {
                Ok(update) => self.handle(update).await,
                Err(error) => {
                    tracing::warn!(%error, "Cannot read the event log; the process manager retries");
                    pause(&self.shutdown, READ_RETRY_PAUSE).await;
                }
            }
        }
    }

    /// Waits for the reactions under way and saves the final positions.
    pub async fn finish(&mut self) {
        self.reactions.wait_for_all().await;
        while let Ok(batch) = self.finished.try_recv() {
            self.mark_finished(&batch);
        }
        self.save().await;
    }

    async fn handle(&mut self, update: SourceUpdate) {
        match update {
            SourceUpdate::Assigned(partitions) => {
                self.assign(partitions).await;
                for progress in &self.progress {
                    self.share.add(progress.partition().clone());
                }
            }
            SourceUpdate::Revoked(partitions) => {
                self.share.remove(&partitions);
                self.save().await;
                self.progress.retain(|progress| !partitions.contains(progress.partition()));
            }
            SourceUpdate::Events(batch) => {
                let of_batch = |progress: &&mut Progress| *progress.partition() == batch.partition;
                let Some(progress) = self.progress.iter_mut().find(of_batch) else { return };
                self.next_batch_at = Instant::now() + self.batch_every;
                self.reactions.start(batch, progress).await;
            }
        }
    }

    async fn assign(&mut self, partitions: Vec<Partition>) {
        let store_id = self.checkout.store().log().store_id();
        for partition in partitions {
            let position = loop {
                match self.positions.load(REACTOR, store_id, &partition).await {
                    Ok(position) => break position,
                    Err(error) => {
                        tracing::warn!(%error, "Cannot read the position of the process manager; retrying");
                    }
                }
                pause(&self.shutdown, READ_RETRY_PAUSE).await;
                if self.shutdown.is_cancelled() {
                    return;
                }
            };
            self.source.seek(&partition, position);
            self.progress.retain(|progress| *progress.partition() != partition);
            self.progress.push(Progress::new(partition, position));
        }
    }

    async fn save(&mut self) {
        let store_id = self.checkout.store().log().store_id();
        for progress in &mut self.progress {
            let Some(position) = progress.unsaved() else { continue };
            match self.positions.save(REACTOR, store_id, progress.partition(), position).await {
                Ok(()) => progress.note_saved(position),
                // The next save writes it. A crash before that only repeats reactions.
                Err(error) => {
                    tracing::warn!(%error, "Cannot save the position of the process manager; retrying");
                }
            }
        }
    }

    fn mark_finished(&mut self, batch: &BatchId) {
        let of_batch = |progress: &&mut Progress| *progress.partition() == batch.partition;
        if let Some(progress) = self.progress.iter_mut().find(of_batch) {
            progress.finish_reaction(batch.number);
        }
    }
}

/// Waits until `not_before`, then for the source. Cancel safe, as [`EventSource::next`] is.
async fn next_update(source: &mut dyn EventSource, not_before: Instant) -> Result<SourceUpdate, ReadError> {
    time::sleep_until(not_before).await;
    source.next().await
}

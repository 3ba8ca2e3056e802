//! Reads the log batch by batch, queues the reactions, and saves how far they have come.

use std::{sync::Arc, time::Duration};

use domain::{
    PaymentId, RecordedEvent, StreamName, checkout::payment_event_asks_provider, payment::PaymentEventKind,
};
use infra::{
    event_source::{Batch, EventSource, Partition, SourceUpdate},
    event_store::ReadError,
    operations::Positions,
};
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    ProcessManager,
    progress::{BatchId, Progress},
    queues::{QueuedReaction, Queues},
    reactor::{Reactor, may_react},
    share::Share,
};
use crate::checkout::Trigger;

/// The name under which positions are stored.
pub const REACTOR: &str = "process-manager";
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
/// Pause after a failed read of the log or of a position.
const READ_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Follows the partitions that are assigned to this process.
pub(super) struct Follower {
    reactor: Reactor,
    source: Box<dyn EventSource>,
    positions: Arc<dyn Positions>,
    share: Share,
    queues: Queues,
    /// Requests of new payment events to the provider.
    asking: JoinSet<()>,
    /// One entry per assigned partition: one with the direct source, several with Kafka.
    progress: Vec<Progress>,
    /// Numbers the batches, over all partitions.
    batches: u64,
    batch_every: Duration,
    next_batch_at: Instant,
    /// When the partitions are sought again, after a failed read.
    seek_again_at: Option<Instant>,
    shutdown: CancellationToken,
}

impl Follower {
    pub fn new(manager: ProcessManager, reactor: Reactor, share: Share, shutdown: CancellationToken) -> Self {
        let ProcessManager { source, positions, batch_every, .. } = manager;
        Self {
            queues: Queues::new(reactor.clone()),
            reactor,
            source,
            positions,
            share,
            asking: JoinSet::new(),
            progress: Vec::new(),
            batches: 0,
            batch_every,
            next_batch_at: Instant::now(),
            seek_again_at: None,
            shutdown,
        }
    }

    /// Follows the log until shutdown, then waits for the reactions under way and saves the positions.
    pub async fn run(mut self) {
        self.follow().await;
        for batch in self.queues.finish_running().await {
            self.mark_finished(&batch);
        }
        while self.asking.join_next().await.is_some() {}
        self.save().await;
    }

    async fn follow(&mut self) {
        let mut saving = time::interval(SAVE_INTERVAL);
        saving.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            let seek_again_at = self.seek_again_at.unwrap_or_else(Instant::now);
            let update = tokio::select! {
                biased;
                () = self.shutdown.cancelled() => return,
                _ = saving.tick() => {
                    self.save_or_read_again().await;
                    self.reap();
                    self.queues.measure();
                    continue;
                }
                batch = self.queues.next_finished() => {
                    self.mark_finished(&batch);
                    continue;
                }
                () = time::sleep_until(seek_again_at), if self.seek_again_at.is_some() => {
                    self.seek_again();
                    continue;
                }
                update = next_update(&mut *self.source, self.next_batch_at), if self.queues.has_room() => update,
            };
            match update {
                Ok(update) => self.handle(update).await,
                Err(error) => self.note_failed_read(&error),
            }
        }
    }

    async fn handle(&mut self, update: SourceUpdate) {
        match update {
            SourceUpdate::Assigned(partitions) => {
                // The processes that had these partitions may have parked reactions.
                self.reactor.expect_parked();
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
                self.next_batch_at = Instant::now() + self.batch_every;
                self.begin(&batch);
            }
        }
    }

    async fn assign(&mut self, partitions: Vec<Partition>) {
        let store_id = self.store_id();
        for partition in partitions {
            let saved = loop {
                match self.positions.load(REACTOR, store_id, &partition).await {
                    Ok(saved) => break saved,
                    Err(error) => {
                        tracing::warn!(%error, "Cannot read the position of the process manager; retrying");
                    }
                }
                let pause = time::sleep(READ_RETRY_PAUSE);
                if self.shutdown.run_until_cancelled(pause).await.is_none() {
                    return;
                }
            };
            self.source.seek(&partition, saved.clone());
            self.progress.retain(|progress| *progress.partition() != partition);
            self.progress.push(Progress::new(partition, saved));
        }
    }

    /// Queues the reactions to a batch.
    fn begin(&mut self, batch: &Batch) {
        let of_batch = |progress: &&mut Progress| *progress.partition() == batch.partition;
        let Some(progress) = self.progress.iter_mut().find(of_batch) else { return };
        self.batches += 1;
        progress.begin(self.batches, batch.reached());
        let mut asks = Vec::new();
        for event in &batch.events {
            if self.reactor.checkout.handled_inline().take(event.id) {
                continue;
            }
            asks.extend(asks_provider(event));
            if !may_react(event) {
                continue;
            }
            progress.add_reaction();
            let batch = BatchId { partition: batch.partition.clone(), number: self.batches };
            self.queues.push(QueuedReaction { event: event.clone(), batch });
        }
        progress.finish_reading();
        for payment in asks {
            self.ask_provider(payment);
        }
    }

    /// After a failed read, a source may deliver no further events of a partition until the consumer seeks
    /// it. Other partitions continue meanwhile, unless their reads fail too.
    fn note_failed_read(&mut self, error: &ReadError) {
        let now = Instant::now();
        if self.seek_again_at.is_some() {
            self.next_batch_at = now + READ_RETRY_PAUSE;
            return;
        }
        tracing::warn!(%error, "Cannot read the event log; the process manager retries");
        self.seek_again_at = Some(now + READ_RETRY_PAUSE);
    }

    fn seek_again(&mut self) {
        self.seek_again_at = None;
        for progress in &self.progress {
            self.source.seek(progress.partition(), progress.read());
        }
    }

    /// Saves the positions. Returns the partitions whose stored position is not the one that was saved last.
    async fn save(&mut self) -> Vec<Partition> {
        let store_id = self.store_id();
        let mut moved = Vec::new();
        for progress in &mut self.progress {
            let Some(reached) = progress.unsaved() else { continue };
            let (partition, known) = (progress.partition().clone(), progress.saved());
            match self.positions.save(REACTOR, store_id, &partition, known, &reached).await {
                Ok(true) => progress.note_saved(reached),
                Ok(false) => moved.push(partition),
                // The next save writes it. A crash before that only repeats reactions.
                Err(error) => {
                    tracing::warn!(%error, "Cannot save the position of the process manager; retrying");
                }
            }
        }
        moved
    }

    /// Saves the positions, and reads partitions again whose stored position is another one: another process manager has
    /// moved it, or the database lost its last commits, and with them reactions that were parked.
    async fn save_or_read_again(&mut self) {
        let moved = self.save().await;
        if moved.is_empty() {
            return;
        }
        tracing::warn!(
            partitions = moved.len(),
            "The stored position of the process manager has changed; reading again from there"
        );
        self.reactor.expect_parked();
        self.assign(moved).await;
    }

    fn mark_finished(&mut self, batch: &BatchId) {
        let of_batch = |progress: &&mut Progress| *progress.partition() == batch.partition;
        if let Some(progress) = self.progress.iter_mut().find(of_batch) {
            progress.finish_reaction(batch.number);
        }
    }

    /// Sends the request of a payment event to the provider in a separate task, so that a slow provider
    /// delays no order. The timers retry it if all places are taken or the call fails.
    fn ask_provider(&mut self, payment: PaymentId) {
        let checkout = &self.reactor.checkout;
        if checkout.provider().is_none() {
            return;
        }
        let Some(asking) = checkout.try_ask_provider(payment, Trigger::NewRequest) else { return };
        self.asking.spawn(async move {
            if let Err(error) = asking.await {
                tracing::warn!(payment.id = %payment, %error,
                    "Cannot record the answer of the payment provider; asking again later");
            }
        });
    }

    /// Frees the memory of ended requests to the provider. The timers repeat one that panicked.
    fn reap(&mut self) {
        while self.asking.try_join_next().is_some() {}
    }

    fn store_id(&self) -> Uuid {
        self.reactor.checkout.store().log().store_id()
    }
}

/// The payment that the provider must act on after this event.
fn asks_provider(event: &RecordedEvent) -> Option<PaymentId> {
    let StreamName::Payment(payment) = event.stream else { return None };
    let kind = PaymentEventKind::of_type_name(&event.type_name);
    kind.is_some_and(payment_event_asks_provider).then_some(payment)
}

/// Waits until `not_before`, then for the source. Cancel safe, as [`EventSource::next`] is.
async fn next_update(source: &mut dyn EventSource, not_before: Instant) -> Result<SourceUpdate, ReadError> {
    time::sleep_until(not_before).await;
    source.next().await
}

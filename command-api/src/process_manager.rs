//! The process manager: follows the log and runs the reaction to every event that has one.
//!
//! Reactions of one order run one at a time, in the order of its stream; different orders run side by side. The
//! position saved is the one before the first batch with a reaction that is not durable yet, so a crash repeats
//! reactions and never skips one. It is kept apart from projection checkpoints: a rebuild replays no reaction.

mod progress;
mod share;
mod sweep;
mod timers;

use std::{sync::Arc, time::Duration};

use domain::{
    DecodeError, Event, EventId, OrderId, PaymentId, RecordedEvent, StreamName, Timestamp,
    checkout::{
        order_event_has_reaction, payment_event_asks_provider, payment_event_has_reaction, react_to_order,
    },
    order::{OrderEvent, OrderEventKind},
    payment::{PaymentEvent, PaymentEventKind},
};
use infra::{
    event_source::{Batch, Delivery, EventSource, Partition, layout::SourceLayout},
    event_store::ReadError,
    operations::Positions,
    read_models::Queries,
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
    time,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::{
    progress::{BatchId, Progress},
    share::Share,
    timers::Timers,
};
use crate::{
    checkout::{Checkout, Occasion},
    executor::ExecuteError,
};

/// The name its positions are kept under.
const REACTOR: &str = "process-manager";
/// Reactions under way at once.
const REACTIONS_MAX: usize = 256;
const SAVE_INTERVAL: Duration = Duration::from_millis(500);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

/// What the process manager works with.
pub struct ProcessManager {
    pub checkout: Checkout,
    pub source: Box<dyn EventSource>,
    pub positions: Arc<dyn Positions>,
    /// How the source divides the log: where several processes share its partitions, each looks after the orders and
    /// payments in its own.
    pub layout: Arc<dyn SourceLayout>,
    /// Where sweep and timers find their candidates.
    pub queries: Arc<dyn Queries>,
    /// From one batch of events to the next. Whoever places an order runs its first reactions inline, and has nearly
    /// always finished when its events are looked at here a moment later; taken up at once, each would cost a task
    /// that waits.
    pub batch_every: Duration,
}

impl std::fmt::Debug for ProcessManager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProcessManager").finish_non_exhaustive()
    }
}

impl ProcessManager {
    /// Runs until `shutdown`, then lets the reactions under way finish.
    pub async fn run(mut self, shutdown: CancellationToken) {
        self.checkout.handled_inline().enable();
        let share = Share::new(Arc::clone(&self.layout));
        let sweeping = tokio::spawn(sweep::run(
            self.checkout.clone(),
            Arc::clone(&self.queries),
            share.clone(),
            shutdown.child_token(),
        ));
        let timers = Timers::new(self.checkout.clone(), Arc::clone(&self.queries), share.clone());
        let timing = tokio::spawn(timers.run(shutdown.child_token()));
        let mut reactions = Reactions {
            checkout: self.checkout.clone(),
            permits: Arc::new(Semaphore::new(REACTIONS_MAX)),
            tasks: JoinSet::new(),
            batches: 0,
            shutdown: shutdown.clone(),
        };
        // One partition at a time is enough for the direct source; Kafka brings several.
        let mut progress: Vec<Progress> = Vec::new();
        let (finished, mut finishing) = mpsc::unbounded_channel::<BatchId>();
        let mut saving = time::interval(SAVE_INTERVAL);
        saving.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        let mut next_batch_at = time::Instant::now();
        loop {
            let delivery = tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                Some(batch) = finishing.recv() => {
                    mark_finished(&mut progress, &batch);
                    continue;
                }
                _ = saving.tick() => {
                    self.save(&mut progress).await;
                    reactions.reap();
                    continue;
                }
                delivery = next_delivery(&mut *self.source, next_batch_at) => delivery,
            };
            match delivery {
                Ok(Delivery::Assigned(partitions)) => {
                    self.assign(&mut progress, partitions, &shutdown).await;
                    for one in &progress {
                        share.add(one.partition().clone());
                    }
                }
                Ok(Delivery::Revoked(partitions)) => {
                    share.remove(&partitions);
                    self.save(&mut progress).await;
                    progress.retain(|one| !partitions.contains(one.partition()));
                }
                Ok(Delivery::Events(batch)) => {
                    let Some(one) = progress.iter_mut().find(|one| *one.partition() == batch.partition)
                    else {
                        continue;
                    };
                    next_batch_at = time::Instant::now() + self.batch_every;
                    reactions.start(batch, one, &finished).await;
                }
                Err(error) => {
                    tracing::warn!(%error, "the process manager cannot read events; trying again");
                    pause(&shutdown, Duration::from_secs(1)).await;
                }
            }
        }
        while reactions.tasks.join_next().await.is_some() {}
        while let Ok(batch) = finishing.try_recv() {
            mark_finished(&mut progress, &batch);
        }
        self.save(&mut progress).await;
        for task in [sweeping, timing] {
            if let Err(error) = task.await {
                tracing::error!(%error, "the sweep or the timers ended unexpectedly");
            }
        }
    }

    async fn assign(
        &mut self,
        progress: &mut Vec<Progress>,
        partitions: Vec<Partition>,
        shutdown: &CancellationToken,
    ) {
        let store_id = self.checkout.store().store_id();
        for partition in partitions {
            let position = loop {
                match self.positions.load(REACTOR, store_id, &partition).await {
                    Ok(position) => break position,
                    Err(error) => tracing::warn!(%error, "the position cannot be read; trying again"),
                }
                pause(shutdown, Duration::from_secs(1)).await;
                if shutdown.is_cancelled() {
                    return;
                }
            };
            self.source.seek(&partition, position);
            progress.retain(|one| *one.partition() != partition);
            progress.push(Progress::new(partition, position));
        }
    }

    async fn save(&self, progress: &mut [Progress]) {
        let store_id = self.checkout.store().store_id();
        for one in progress {
            let Some(position) = one.unsaved() else { continue };
            match self.positions.save(REACTOR, store_id, one.partition(), position).await {
                Ok(()) => one.note_saved(position),
                // Not saved is only repeated later.
                Err(error) => tracing::warn!(%error, "the process manager's position was not saved"),
            }
        }
    }
}

/// Cancel safe, as the source is.
async fn next_delivery(
    source: &mut dyn EventSource,
    not_before: time::Instant,
) -> Result<Delivery, ReadError> {
    time::sleep_until(not_before).await;
    source.next().await
}

fn mark_finished(progress: &mut [Progress], batch: &BatchId) {
    if let Some(one) = progress.iter_mut().find(|one| *one.partition() == batch.partition) {
        one.finish_reaction(batch.number);
    }
}

async fn pause(shutdown: &CancellationToken, duration: Duration) {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => {}
        () = time::sleep(duration) => {}
    }
}

/// An event that may have a reaction, and what the reaction is looked up by.
#[allow(clippy::large_enum_variant, reason = "one for each reaction under way, and those are few")]
enum Cause {
    Order(OrderId, OrderEvent),
    Payment(PaymentId, PaymentEvent),
}

struct Job {
    cause: Cause,
    event: EventId,
    correlation_id: Uuid,
    recorded_at: Timestamp,
}

struct Reactions {
    checkout: Checkout,
    permits: Arc<Semaphore>,
    tasks: JoinSet<()>,
    /// Batches so far.
    batches: u64,
    shutdown: CancellationToken,
}

impl Reactions {
    async fn start(
        &mut self,
        batch: Batch,
        progress: &mut Progress,
        finished: &mpsc::UnboundedSender<BatchId>,
    ) {
        self.batches += 1;
        let number = self.batches;
        progress.begin(number, batch.position);
        for recorded in &batch.events {
            self.ask_provider(recorded);
            if !may_react(recorded) || self.checkout.handled_inline().take(recorded.id) {
                continue;
            }
            let job = match job(recorded) {
                Ok(Some(job)) => job,
                Ok(None) => continue,
                Err(error) => {
                    let RecordedEvent { stream, revision, .. } = recorded;
                    tracing::error!(%stream, revision, %error, "an event cannot be read: its reaction waits for a version that can");
                    progress.add_reaction();
                    continue;
                }
            };
            let permit = Arc::clone(&self.permits).acquire_owned().await;
            let Ok(permit) = permit else { return };
            progress.add_reaction();
            let id = BatchId { partition: batch.partition.clone(), number };
            self.spawn(job, permit, (finished.clone(), id));
        }
        progress.finish_reading();
    }

    /// Has the provider asked for what a payment wants of it. Nobody waits for that, lest a slow provider hold up every
    /// order: where it cannot be done now, the timers see to it.
    fn ask_provider(&mut self, recorded: &RecordedEvent) {
        let StreamName::Payment(payment) = recorded.stream else { return };
        if self.checkout.provider().is_none() || !asks_provider(&recorded.type_name) {
            return;
        }
        let Some(attending) = self.checkout.try_attend(payment, Occasion::Now) else { return };
        self.tasks.spawn(async move {
            if let Err(error) = attending.await {
                tracing::warn!(payment.id = %payment, %error, "what the payment provider says could not be recorded; it is asked again");
            }
        });
    }

    fn spawn(
        &mut self,
        job: Job,
        permit: OwnedSemaphorePermit,
        done: (mpsc::UnboundedSender<BatchId>, BatchId),
    ) {
        let (checkout, shutdown) = (self.checkout.clone(), self.shutdown.clone());
        // Boxed and polled once here: an order's reactions take their places in its queue in stream order.
        let mut queued = match &job.cause {
            Cause::Order(id, _) => {
                let (locks, id) = (checkout.locks.clone(), *id);
                Some(Box::pin(async move { locks.lock(id).await }))
            }
            Cause::Payment(..) => None,
        };
        let ready = queued.as_mut().and_then(|queued| {
            use futures::FutureExt;
            queued.now_or_never()
        });
        self.tasks.spawn(async move {
            let guard = match (ready, queued) {
                (Some(guard), _) => Some(guard),
                (None, Some(queued)) => Some(queued.await),
                (None, None) => None,
            };
            if react_until_done(&checkout, &job, &shutdown).await {
                let (finished, batch) = done;
                drop(finished.send(batch));
            }
            drop(guard);
            drop(permit);
        });
    }

    fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "a reaction ended unexpectedly; it is repeated after a restart");
            }
        }
    }
}

fn job(recorded: &RecordedEvent) -> Result<Option<Job>, DecodeError> {
    let cause = match (recorded.decode()?, &recorded.stream) {
        (Event::Order(event), StreamName::Order(id)) => Cause::Order(*id, event),
        (Event::Payment(event), StreamName::Payment(id)) => Cause::Payment(*id, event),
        _ => return Ok(None),
    };
    let correlation_id = recorded.decode_metadata()?.correlation_id;
    Ok(Some(Job { cause, event: recorded.id, correlation_id, recorded_at: recorded.recorded_at }))
}

/// Whether a reaction may follow this event.
///
/// An unknown type of an order stands in for one: a newer version wrote it, and its reaction waits for that version.
fn may_react(recorded: &RecordedEvent) -> bool {
    match recorded.stream {
        StreamName::Stock(_) => false,
        StreamName::Order(_) => {
            OrderEventKind::of_type_name(&recorded.type_name).is_none_or(order_event_has_reaction)
        }
        StreamName::Payment(_) => {
            PaymentEventKind::of_type_name(&recorded.type_name).is_some_and(payment_event_has_reaction)
        }
    }
}

/// Whether the provider must act after an event of this type.
fn asks_provider(payment_event: &str) -> bool {
    PaymentEventKind::of_type_name(payment_event).is_some_and(payment_event_asks_provider)
}

/// Repeats the reaction until it is durable; false if a shutdown came first.
async fn react_until_done(checkout: &Checkout, job: &Job, shutdown: &CancellationToken) -> bool {
    let mut wait = Duration::from_millis(10);
    loop {
        let error = match react(checkout, job).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        if shutdown.is_cancelled() {
            return false;
        }
        tracing::warn!(event = %job.event, recorded_at = %job.recorded_at, %error, "a reaction failed; trying again");
        pause(shutdown, wait).await;
        wait = (wait * 2).min(RETRY_PAUSE_MAX);
    }
}

async fn react(checkout: &Checkout, job: &Job) -> Result<(), ExecuteError> {
    match &job.cause {
        Cause::Order(id, event) => {
            // The handler that placed the order may have finished while this waited for the lock.
            if checkout.handled_inline().take(job.event) {
                return Ok(());
            }
            let order = checkout.order(*id).await?.state;
            let reaction = react_to_order(*id, event, &order);
            checkout.run(*id, reaction, job.event, job.correlation_id).await
        }
        Cause::Payment(id, event) => {
            checkout.react_to_payment(*id, event, job.event, job.correlation_id).await
        }
    }
}

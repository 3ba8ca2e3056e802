//! The reactions under way: one task each, repeated until durable.

use std::{sync::Arc, time::Duration};

use domain::{
    DecodeError, Event, EventId, OrderId, PaymentId, RecordedEvent, StreamName, Timestamp,
    checkout::{
        order_event_has_reaction, payment_event_asks_provider, payment_event_has_reaction, react_to_order,
        react_to_receipt,
    },
    order::{OrderEvent, OrderEventKind},
    payment::{PaymentEvent, PaymentEventKind},
    receipt::ReceiptEvent,
};
use futures::FutureExt;
use infra::event_source::Batch;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    pause,
    progress::{BatchId, Progress},
};
use crate::{
    checkout::{Checkout, Trigger},
    executor::ExecuteError,
};

/// Reactions under way at once.
const REACTIONS_MAX: usize = 256;
/// A failed reaction is repeated after this pause, doubled each time up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_millis(10);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);

pub(super) struct Reactions {
    checkout: Checkout,
    permits: Arc<Semaphore>,
    tasks: JoinSet<()>,
    /// Numbers the batches, over all partitions.
    batches: u64,
    /// Sends the batch of each reaction that became durable.
    finished: mpsc::UnboundedSender<BatchId>,
    shutdown: CancellationToken,
}

/// An event whose reaction is to run.
struct Job {
    cause: Cause,
    event_id: EventId,
    correlation_id: Uuid,
    recorded_at: Timestamp,
}

/// The event that causes the commands of a reaction.
#[allow(clippy::large_enum_variant, reason = "at most REACTIONS_MAX exist")]
enum Cause {
    Order(OrderId, OrderEvent),
    Payment(PaymentId, PaymentEvent),
    Receipt(ReceiptEvent),
}

impl Reactions {
    pub fn new(
        checkout: Checkout,
        finished: mpsc::UnboundedSender<BatchId>,
        shutdown: CancellationToken,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(REACTIONS_MAX));
        Self { checkout, permits, tasks: JoinSet::new(), batches: 0, finished, shutdown }
    }

    /// Starts the reactions to a batch. Waits while [`REACTIONS_MAX`] are under way.
    pub async fn start(&mut self, batch: Batch, progress: &mut Progress) {
        self.batches += 1;
        let number = self.batches;
        progress.begin(number, batch.position);
        for recorded in &batch.events {
            if self.checkout.handled_inline().take(recorded.id) {
                continue;
            }
            self.ask_provider(recorded);
            if !may_react(recorded) {
                continue;
            }
            let job = match Job::of(recorded) {
                Ok(Some(job)) => job,
                Ok(None) => continue,
                Err(error) => {
                    let RecordedEvent { stream, revision, id, .. } = recorded;
                    tracing::error!(event.id = %id, stream = %stream, revision, %error,
                        "Cannot decode an event; its reaction is postponed until a newer version runs");
                    // Never finished, so the saved position stays before this event.
                    progress.add_reaction();
                    continue;
                }
            };
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            progress.add_reaction();
            self.spawn(job, permit, BatchId { partition: batch.partition.clone(), number });
        }
        progress.finish_reading();
    }

    /// Logs the reactions that panicked, and frees their memory.
    pub fn reap(&mut self) {
        while let Some(ended) = self.tasks.try_join_next() {
            if let Err(error) = ended {
                tracing::error!(%error, "A reaction panicked; a restart repeats it");
            }
        }
    }

    pub async fn wait_for_all(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }

    /// Sends the request of a payment event to the provider in a separate task, so that a slow provider
    /// delays no order. The timers retry it if all places are taken or the call fails.
    fn ask_provider(&mut self, recorded: &RecordedEvent) {
        let StreamName::Payment(payment) = recorded.stream else { return };
        if self.checkout.provider().is_none() || !asks_provider(&recorded.type_name) {
            return;
        }
        let Some(asking) = self.checkout.try_ask_provider(payment, Trigger::NewRequest) else { return };
        self.tasks.spawn(async move {
            if let Err(error) = asking.await {
                tracing::warn!(payment.id = %payment, %error,
                    "Cannot record the answer of the payment provider; asking again later");
            }
        });
    }

    fn spawn(&mut self, job: Job, permit: OwnedSemaphorePermit, batch: BatchId) {
        let (checkout, shutdown) = (self.checkout.clone(), self.shutdown.clone());
        let finished = self.finished.clone();
        // Polled once here, not in the task: an order's reactions enter its queue in stream order.
        let mut locking = match &job.cause {
            Cause::Order(id, _) => {
                let (locks, id) = (checkout.locks.clone(), *id);
                Some(Box::pin(async move { locks.lock(id).await }))
            }
            Cause::Payment(..) | Cause::Receipt(_) => None,
        };
        let locked = locking.as_mut().and_then(FutureExt::now_or_never);
        self.tasks.spawn(async move {
            let guard = match (locked, locking) {
                (Some(guard), _) => Some(guard),
                (None, Some(locking)) => Some(locking.await),
                (None, None) => None,
            };
            if react_until_durable(&checkout, &job, &shutdown).await {
                // Fails only if the process manager has ended; a restart then repeats the reaction.
                drop(finished.send(batch));
            }
            drop(guard);
            drop(permit);
        });
    }
}

impl Job {
    /// None for events of stock.
    fn of(recorded: &RecordedEvent) -> Result<Option<Self>, DecodeError> {
        let cause = match (recorded.decode()?, &recorded.stream) {
            (Event::Order(event), StreamName::Order(id)) => Cause::Order(*id, event),
            (Event::Payment(event), StreamName::Payment(id)) => Cause::Payment(*id, event),
            (Event::Receipt(event), StreamName::Receipt(_)) => Cause::Receipt(event),
            _ => return Ok(None),
        };
        let correlation_id = recorded.decode_metadata()?.correlation_id;
        let (event_id, recorded_at) = (recorded.id, recorded.recorded_at);
        Ok(Some(Self { cause, event_id, correlation_id, recorded_at }))
    }
}

/// True if a reaction may follow the event. An order event of an unknown type was written by a newer version,
/// and the type of a damaged event is lost: their reactions are postponed, not skipped.
fn may_react(recorded: &RecordedEvent) -> bool {
    match recorded.stream {
        StreamName::Stock(_) => false,
        StreamName::Receipt(_) => true,
        StreamName::Order(_) | StreamName::Payment(_) if recorded.damage.is_some() => true,
        StreamName::Order(_) => {
            OrderEventKind::of_type_name(&recorded.type_name).is_none_or(order_event_has_reaction)
        }
        StreamName::Payment(_) => {
            PaymentEventKind::of_type_name(&recorded.type_name).is_some_and(payment_event_has_reaction)
        }
    }
}

/// True if the provider must act after a payment event of this type.
fn asks_provider(type_name: &str) -> bool {
    PaymentEventKind::of_type_name(type_name).is_some_and(payment_event_asks_provider)
}

/// Repeats the reaction until it is durable; false if a shutdown came first.
async fn react_until_durable(checkout: &Checkout, job: &Job, shutdown: &CancellationToken) -> bool {
    let mut wait = RETRY_PAUSE_MIN;
    loop {
        let error = match react(checkout, job).await {
            Ok(()) => return true,
            Err(error) => error,
        };
        if shutdown.is_cancelled() {
            return false;
        }
        tracing::warn!(event.id = %job.event_id, event.recorded_at = %job.recorded_at, %error,
            "A reaction failed; retrying");
        pause(shutdown, wait).await;
        wait = (wait * 2).min(RETRY_PAUSE_MAX);
    }
}

async fn react(checkout: &Checkout, job: &Job) -> Result<(), ExecuteError> {
    match &job.cause {
        Cause::Order(id, event) => {
            // The handler that placed the order may have finished while this task waited for the lock.
            if checkout.handled_inline().take(job.event_id) {
                return Ok(());
            }
            let order = checkout.order(*id).await?.state;
            let reaction = react_to_order(*id, event, &order);
            checkout.run(*id, reaction, job.event_id, job.correlation_id).await
        }
        Cause::Payment(id, event) => {
            checkout.react_to_payment(*id, event, job.event_id, job.correlation_id).await
        }
        Cause::Receipt(event) => {
            checkout.send_all(react_to_receipt(event), job.event_id, job.correlation_id).await
        }
    }
}

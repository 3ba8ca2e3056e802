//! Runs the checkout policy of the domain: sends the commands that follow an event.
//!
//! The HTTP handlers run reactions inline, so that the answer to an order shows whether its stock is reserved.
//! The process manager runs every reaction that a crash or a failure cut off. Both take the order's lock
//! first, so reactions of one order run one at a time. Both derive the same command ids, so a reaction that
//! runs twice has one effect.

mod authorization;
mod due;
mod exchanging;
mod handled_inline;
mod locks;
mod placing;
mod provider;
mod reserving;
mod sweep;

use std::{ops::Deref, sync::Arc, time::Duration};

use domain::{
    CommandContext, Decider, Event, EventId, OrderId, PaymentId, Revision,
    checkout::{Reaction, Step, payment_event_asks_provider, react_to_payment},
    decider::Versioned,
    exchange::ExchangeDecider,
    order::{Order, OrderDecider},
    payment::{Payment, PaymentDecider, PaymentEvent},
    receipt::ReceiptDecider,
    stock::StockDecider,
};
use futures::future::join_all;
use infra::{clock::Clock, event_store::EventStore, health::Health, snapshots::SnapshotStore};
use uuid::Uuid;

use self::provider::AttendedProvider;
pub use self::{
    authorization::RunOut,
    handled_inline::HandledInline,
    locks::{LockBusy, LockGuard, Locks},
    placing::{PlacedOrder, PlacedOutcome},
    provider::{PROVIDER_CALLS_MAX, ProviderStatus, Trigger},
};
use crate::{
    executor::{
        ATTEMPTS_MAX, ExecuteError, Executed, Executor, ExecutorOptions, Flow, Outcome, UnreadableStreams,
        pause_before_attempt,
    },
    pages::Pages,
};

/// The most payment events of one command whose reactions run inline: one report of a provider with some refunds and
/// disputes, and the refunds and voids that a closed payment then requests. The process manager reacts to the others.
const EVENTS_OF_A_COMMAND_MAX: Revision = 16;

/// Time limit of a request or reaction that waits for the lock of an order or payment.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);

/// Decides and records every command. Cheap to clone: each request does it.
#[derive(Clone, Debug)]
pub struct Checkout(Arc<Parts>);

impl Deref for Checkout {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The executors of all aggregates, and the locks, stores and provider that reactions share.
#[derive(Clone, Debug)]
pub struct Parts {
    pub orders: Executor<OrderDecider>,
    pub stock: Executor<StockDecider>,
    pub payments: Executor<PaymentDecider>,
    pub receipts: Executor<ReceiptDecider>,
    pub exchanges: Executor<ExchangeDecider>,
    /// Reactions of one order run one at a time.
    pub locks: Locks<OrderId>,
    provider: Option<AttendedProvider>,
    pub clock: Clock,
    store: StoreHandle,
    handled: Arc<HandledInline>,
}

#[derive(Clone)]
struct StoreHandle(Arc<dyn EventStore>);

impl std::fmt::Debug for StoreHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("StoreHandle")
    }
}

/// The bounds of the executor of stock. Its cache is three times as large as the others: stock has 38 to 75
/// bytes for each open reservation, and the SKUs of all open orders are in use. A stock that is not in memory costs
/// some milliseconds for each order.
fn options_of_stock(options: ExecutorOptions) -> ExecutorOptions {
    ExecutorOptions { cache_bytes_max: 3 * options.cache_bytes_max, ..options }
}

impl Checkout {
    /// `options`: of each kind of aggregate. Stock may use three times the memory.
    pub fn start(
        store: &Arc<dyn EventStore>,
        snapshots: Option<&Arc<SnapshotStore>>,
        clock: Clock,
        health: &Health,
        options: ExecutorOptions,
    ) -> Self {
        let unreadable = UnreadableStreams::reported_to(health.clone());
        Self(Arc::new(Parts {
            // Streams of orders, payments, receipts and exchanges are short: reading them is cheaper than snapshots.
            orders: Executor::start(store, None, &unreadable, options),
            stock: Executor::start(store, snapshots, &unreadable, options_of_stock(options)),
            payments: Executor::start(store, None, &unreadable, options),
            receipts: Executor::start(store, None, &unreadable, options),
            exchanges: Executor::start(store, None, &unreadable, options),
            locks: Locks::default(),
            provider: None,
            clock,
            store: StoreHandle(Arc::clone(store)),
            handled: Arc::default(),
        }))
    }

    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store.0
    }

    /// The events whose reactions ran inline; the process manager skips them.
    pub fn handled_inline(&self) -> &HandledInline {
        &self.handled
    }

    /// Waits for the lock of an order, at most [`LOCK_WAIT_MAX`].
    pub async fn lock_order(&self, id: OrderId) -> Result<LockGuard<OrderId>, ExecuteError> {
        Ok(self.locks.lock(id, LOCK_WAIT_MAX).await?)
    }

    /// The durable state of an order.
    pub async fn order(&self, id: OrderId) -> Result<Versioned<Order>, ExecuteError> {
        self.orders.read(&id, |order, revision| Versioned { state: order.clone(), revision }).await
    }

    /// The id of the OrderPlaced event of an order that an earlier request placed.
    pub async fn recorded_placing(&self, id: OrderId) -> Result<EventId, ExecuteError> {
        let first = self.store().log().read_stream(&id.into(), 0, 1).await?;
        first.first().map(|event| event.id).ok_or(ExecuteError::Conflict)
    }

    /// Runs a reaction of the policy; returns when all of it is durable. The caller holds the order's lock.
    pub async fn run(
        &self,
        order_id: OrderId,
        reaction: Reaction,
        cause: EventId,
        correlation_id: Uuid,
    ) -> Result<(), ExecuteError> {
        match reaction {
            Reaction::None => Ok(()),
            Reaction::Reserve(units) => {
                let (units, placed) = (&units, cause);
                let order = PlacedOrder { id: order_id, units, placed, correlation_id, is_new: false };
                for attempt in 1..=ATTEMPTS_MAX {
                    let flow = Flow::begin(&**self.store());
                    match self.run_placed(order, flow).await {
                        Err(ExecuteError::Superseded | ExecuteError::Conflict) => {
                            pause_before_attempt(attempt + 1).await;
                        }
                        outcome => return outcome.map(drop),
                    }
                }
                Err(ExecuteError::Conflict)
            }
            Reaction::Send(steps) => self.send_all(steps, cause, correlation_id).await,
        }
    }

    /// Sends the commands of a reaction, in any order; returns when all of them are durable.
    pub async fn send_all(
        &self,
        steps: Vec<Step>,
        cause: EventId,
        correlation_id: Uuid,
    ) -> Result<(), ExecuteError> {
        let sending = steps.into_iter().map(|step| self.send(step, cause, correlation_id));
        // A stream that fails delays no command to another one.
        let failures = join_all(sending).await.into_iter().filter_map(Result::err);
        // A failure that may end by itself comes first, because it is retried sooner.
        match failures.min_by_key(|error| matches!(error, ExecuteError::Unreadable(_))) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Runs the reaction to a payment event, decided on the present state of the payment.
    pub async fn react_to_payment(
        &self,
        id: PaymentId,
        event: &PaymentEvent,
        cause: EventId,
        correlation_id: Uuid,
    ) -> Result<(), ExecuteError> {
        let event = event.clone();
        let reaction = move |payment: &Payment, _| (payment.order_id(), react_to_payment(&event, payment));
        match self.payments.read(&id, reaction).await? {
            (None, _) | (_, Reaction::None) => Ok(()),
            (Some(order_id), reaction) => {
                let _guard = self.lock_order(order_id).await?;
                self.run(order_id, reaction, cause, correlation_id).await
            }
        }
    }

    /// Runs the reactions to the payment events of one command, so that the order includes them. `last` is
    /// the revision of the last event. If this fails or is not called, the process manager runs them.
    ///
    /// `is_attended`: the caller also asks the provider for what these events request. Otherwise the process
    /// manager asks it.
    pub async fn react_to_command(
        &self,
        id: PaymentId,
        context: &CommandContext,
        last: Revision,
        is_attended: bool,
    ) -> Result<(), ExecuteError> {
        let first = last.saturating_sub(EVENTS_OF_A_COMMAND_MAX - 1);
        let (log, stream) = (self.store().log(), id.into());
        let mut pages = Pages::of(&*log, &stream, first..=last);
        while let Some(page) = pages.next().await? {
            for recorded in page {
                let is_of_this_command = recorded.decode_metadata()?.command_id == context.id;
                let Event::Payment(event) = recorded.decode()? else { continue };
                if !is_of_this_command {
                    continue;
                }
                self.react_to_payment(id, &event, recorded.id, context.correlation_id).await?;
                if is_attended || !payment_event_asks_provider(event.kind()) {
                    self.handled.insert(recorded.id);
                }
            }
        }
        Ok(())
    }

    /// Sends one command of a reaction. A refusal is final: it is logged and not retried.
    async fn send(&self, step: Step, cause: EventId, correlation_id: Uuid) -> Result<(), ExecuteError> {
        let (target, name) = (step.target(), step.command_name());
        let context = CommandContext::reaction(cause, correlation_id, &target, name);
        let refusal = match step {
            Step::Stock(sku, command) => {
                refusal_of(self.stock.execute_reaction(&sku, command, &context).await?)
            }
            Step::Payment(id, command) => {
                refusal_of(self.payments.execute_reaction(&id, command, &context).await?)
            }
            Step::Exchange(id, command) => {
                refusal_of(self.exchanges.execute_reaction(&id, command, &context).await?)
            }
            Step::Order(id, command) => {
                refusal_of(self.orders.execute_reaction(&id, command, &context).await?)
            }
        };
        if let Some(refusal) = refusal {
            tracing::warn!(stream = %target, command = name, cause.id = %cause, refusal,
                "A command of a reaction was refused; it is not retried");
        }
        Ok(())
    }
}

fn refusal_of<A: Decider>(executed: Executed<A>) -> Option<String> {
    match executed.outcome {
        Outcome::Refused(refusal) => Some(refusal.to_string()),
        Outcome::Recorded
        | Outcome::Unchanged
        | Outcome::Duplicate { .. }
        | Outcome::KeyReused
        | Outcome::PreconditionFailed => None,
    }
}

#[cfg(test)]
mod tests;

//! Runs the checkout policy of the domain: sends the commands that follow an event.
//!
//! The HTTP handlers run reactions inline, so that the answer to an order shows whether its stock is reserved.
//! The process manager runs every reaction that a crash or a failure cut off. Both take the order's lock
//! first, so reactions of one order run one at a time. Both derive the same command ids, so a reaction that
//! runs twice has one effect.

mod due;
mod handled_inline;
mod locks;
mod placing;
mod provider;
mod reserving;
mod sweep;

use std::sync::Arc;

use domain::{
    CommandContext, CommandId, Decider, Event, EventId, OrderId, PaymentId, Revision,
    checkout::{Reaction, Step, payment_event_asks_provider, react_to_payment},
    decider::Versioned,
    order::{Order, OrderDecider},
    payment::{PaymentDecider, PaymentEvent},
    receipt::ReceiptDecider,
    stock::StockDecider,
};
use futures::future::try_join_all;
use infra::{
    clock::Clock,
    event_store::{EventStore, ReadError},
    snapshots::SnapshotStore,
};
use uuid::Uuid;

use self::provider::AttendedProvider;
pub use self::{
    handled_inline::HandledInline,
    locks::{LockGuard, Locks},
    placing::{PlacedOrder, PlacedOutcome},
    provider::{ProviderStatus, Trigger},
};
use crate::executor::{
    ATTEMPTS_MAX, ExecuteError, Executed, Executor, ExecutorOptions, Flow, Outcome, pause_before_attempt,
};

/// The most payment events that one command records: one report of a provider, and the refunds and voids that
/// a closed payment then requests.
const EVENTS_OF_A_COMMAND_MAX: Revision = 8;

/// The executors of all aggregates, and the locks, stores and provider that reactions share. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Checkout {
    pub orders: Executor<OrderDecider>,
    pub stock: Executor<StockDecider>,
    pub payments: Executor<PaymentDecider>,
    pub receipts: Executor<ReceiptDecider>,
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

impl Checkout {
    pub fn start(
        store: &Arc<dyn EventStore>,
        snapshots: Option<&Arc<SnapshotStore>>,
        clock: Clock,
        options: ExecutorOptions,
    ) -> Self {
        Self {
            // Streams of orders, payments and receipts are short: reading them is cheaper than snapshots.
            orders: Executor::start(store, None, options),
            stock: Executor::start(store, snapshots, options),
            payments: Executor::start(store, None, options),
            receipts: Executor::start(store, None, options),
            locks: Locks::default(),
            provider: None,
            clock,
            store: StoreHandle(Arc::clone(store)),
            handled: Arc::default(),
        }
    }

    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store.0
    }

    /// The events whose reactions ran inline; the process manager skips them.
    pub fn handled_inline(&self) -> &HandledInline {
        &self.handled
    }

    /// The durable state of an order.
    pub async fn order(&self, id: OrderId) -> Result<Versioned<Order>, ExecuteError> {
        self.orders.read(&id, |order, revision| Versioned { state: order.clone(), revision }).await
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
        try_join_all(sending).await.map(drop)
    }

    /// Runs the reaction to a payment event, decided on the present state of the payment.
    pub async fn react_to_payment(
        &self,
        id: PaymentId,
        event: &PaymentEvent,
        cause: EventId,
        correlation_id: Uuid,
    ) -> Result<(), ExecuteError> {
        let payment = self.payments.read(&id, |payment, _| payment.clone()).await?;
        let Some(order_id) = payment.order_id() else { return Ok(()) };
        match react_to_payment(event, &payment) {
            Reaction::None => Ok(()),
            reaction => {
                let _guard = self.locks.lock(order_id).await;
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
        let limit = usize::try_from(EVENTS_OF_A_COMMAND_MAX).unwrap_or(usize::MAX);
        let read = self.store().log().read_stream(&id.into(), first, limit).await;
        for recorded in read.map_err(|error| unavailable(&error))? {
            let is_of_this_command = recorded.decode_metadata()?.command_id == context.id;
            let Event::Payment(event) = recorded.decode()? else { continue };
            if is_of_this_command {
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

/// Maps every failed read to `Unavailable`, also a corrupt event: reactions are repeated until the store is
/// repaired.
fn unavailable(error: &ReadError) -> ExecuteError {
    ExecuteError::Unavailable(error.to_string().into())
}

/// The id of the OrderPlaced event of a placing command.
pub fn placed_event(command: CommandId) -> EventId {
    EventId::of_command(command, 0)
}

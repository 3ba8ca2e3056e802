//! Runs the checkout policy of the domain: sends the commands that follow an event.
//!
//! Used twice: inline by the HTTP handlers, so that checkout learns at once whether stock is held, and by the
//! process manager for everything that was cut off. Both take the order's lock first, so the reactions of one
//! order run one at a time; both derive the same command ids, so whatever ran twice counts once.

mod due;
mod locks;
mod provider;

use std::{
    collections::BTreeMap,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};

use domain::{
    CommandContext, CommandId, Decider, DecodeError, Event, EventId, OrderId, PaymentId, Revision, Sku,
    checkout::{Reaction, Step, payment_request, react_to_payment, reservations, settle},
    decider::Versioned,
    order::{Order, OrderDecider, OrderStateSummary, Shortage},
    payment::{PaymentDecider, PaymentEvent},
    stock::{StockCommand, StockDecider, StockRefusal},
};
use futures::future::{join_all, try_join_all};
use infra::{
    clock::Clock,
    event_store::{Epoch, EventStore},
    payment_provider::PaymentProvider,
    snapshots::SnapshotStore,
};
use lru::LruCache;
use tokio::sync::Semaphore;
use uuid::Uuid;

pub(crate) use self::provider::short;
pub use self::{
    locks::{Guard, Locks},
    provider::{Attention, Occasion, PROVIDER_CALLS_MAX},
};
use crate::executor::{
    ATTEMPTS_MAX, ExecuteError, Executed, Executor, ExecutorOptions, Lane, Mode, Outcome, Wait,
    pause_before_attempt,
};

/// Events handled inline that the process manager has not come across yet; it looks for itself at older ones.
const HANDLED_MAX: NonZeroUsize = NonZeroUsize::new(100_000).expect("not zero");

/// No command records more events of a payment: what a provider reports, and what a closed payment asks for then.
const EVENTS_OF_A_COMMAND_MAX: Revision = 8;

/// The executors of all aggregates and what ties them together. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Checkout {
    pub orders: Executor<OrderDecider>,
    pub stock: Executor<StockDecider>,
    pub payments: Executor<PaymentDecider>,
    /// The reactions of one order run one at a time.
    pub locks: Locks<OrderId>,
    /// The provider is asked one thing at a time for each payment.
    payment_locks: Locks<PaymentId>,
    provider: Option<ProviderHandle>,
    provider_places: Arc<Semaphore>,
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

#[derive(Clone)]
struct ProviderHandle(Arc<dyn PaymentProvider>);

impl std::fmt::Debug for ProviderHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ProviderHandle").field(&self.0.name()).finish()
    }
}

/// How the reaction to OrderPlaced ended.
#[derive(Debug, Clone)]
pub struct Settled {
    pub order: OrderStateSummary,
    pub order_revision: Option<Revision>,
    /// Whether this run settled the order, rather than one before it.
    pub by_this_run: bool,
}

impl Checkout {
    pub fn start(
        store: &Arc<dyn EventStore>,
        snapshots: Option<&Arc<SnapshotStore>>,
        clock: Clock,
        options: ExecutorOptions,
    ) -> Self {
        Self {
            // Orders and payments have short streams: reading them back is cheaper than snapshots of them.
            orders: Executor::start(store, None, options),
            stock: Executor::start(store, snapshots, options),
            payments: Executor::start(store, None, options),
            locks: Locks::default(),
            payment_locks: Locks::default(),
            provider: None,
            provider_places: Arc::new(Semaphore::new(PROVIDER_CALLS_MAX)),
            clock,
            store: StoreHandle(Arc::clone(store)),
            handled: Arc::default(),
        }
    }

    /// With a provider that can be asked for money.
    pub fn with_provider(self, provider: Arc<dyn PaymentProvider>) -> Self {
        Self { provider: Some(ProviderHandle(provider)), ..self }
    }

    pub fn provider(&self) -> Option<&Arc<dyn PaymentProvider>> {
        self.provider.as_ref().map(|handle| &handle.0)
    }

    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.store.0
    }

    /// Events whose reactions were run inline, so that the process manager need not run them again.
    pub fn handled_inline(&self) -> &HandledInline {
        &self.handled
    }

    /// The order as it durably stands.
    pub async fn order(&self, id: OrderId) -> Result<Versioned<Order>, ExecuteError> {
        self.orders.read(&id, |order, revision| Versioned { state: order.clone(), revision }).await
    }

    /// The reaction to OrderPlaced, from the reservations to the payment request, submitted step by step
    /// without waiting where the store allows that; returns when the last step is durable.
    ///
    /// All steps run in `epoch`: had an earlier one failed, a later one is refused rather than built upon it.
    /// The caller holds the order's lock.
    pub async fn run_placed(
        &self,
        order_id: OrderId,
        units: &BTreeMap<Sku, u32>,
        placed: EventId,
        correlation_id: Uuid,
        epoch: Epoch,
    ) -> Result<Settled, ExecuteError> {
        let submitted =
            Mode { lane: Lane::Reaction, wait: Wait::Submitted, epoch: Some(epoch), new_stream: false };
        let shortages = self.reserve(order_id, units, placed, correlation_id, submitted).await?;
        let nothing_held = shortages.len() == units.len();

        let command = settle(order_id, shortages);
        let context = reaction::<OrderDecider>(&order_id, &command, placed, correlation_id);
        let settling = EventId::of_command(context.id, 0);
        let settled = self.orders.submit(&order_id, command, context, submitted).await?;
        let by_this_run = matches!(settled.outcome, Outcome::Recorded);

        let order = settled.summary;
        let last = Mode { wait: Wait::Durable, ..submitted };
        match payment_request(order_id, &order) {
            Some((payment_id, request)) => {
                let context = reaction::<PaymentDecider>(&payment_id, &request, settling, correlation_id);
                let request_mode = Mode { new_stream: by_this_run, ..last };
                self.payments.submit(&payment_id, request, context, request_mode).await?;
            }
            // Nothing to pay, or rejected: wait for the order's own last append.
            None => self.orders.read(&order_id, |_, _| ()).await?,
        }
        if self.store().epoch() != epoch {
            return Err(ExecuteError::Superseded);
        }
        if by_this_run {
            self.handled.insert(placed);
            // What a rejected order holds is released by the reaction to its rejection.
            if !order.status.is_final() || nothing_held {
                self.handled.insert(settling);
            }
        }
        Ok(Settled { order, order_revision: settled.revision, by_this_run })
    }

    /// Holds the units of every SKU; the shortages tell what could not be held.
    async fn reserve(
        &self,
        order_id: OrderId,
        units: &BTreeMap<Sku, u32>,
        cause: EventId,
        correlation_id: Uuid,
        mode: Mode,
    ) -> Result<Vec<Shortage>, ExecuteError> {
        let reserving = units.iter().map(async |(sku, &quantity)| {
            let command = StockCommand::Reserve { order_id, quantity };
            let context = reaction::<StockDecider>(sku, &command, cause, correlation_id);
            let executed = self.stock.submit(sku, command, context, mode).await?;
            match executed.outcome {
                Outcome::Refused(StockRefusal::Insufficient { requested, available }) => {
                    Ok(Some(Shortage { sku: sku.clone(), requested, available }))
                }
                Outcome::Refused(refusal) => {
                    tracing::error!(order.id = %order_id, %sku, %refusal, "a reservation was refused unexpectedly");
                    let available = executed.summary.available();
                    Ok(Some(Shortage { sku: sku.clone(), requested: quantity, available }))
                }
                _ => Ok(None),
            }
        });
        let outcomes: Vec<Result<Option<Shortage>, ExecuteError>> = join_all(reserving).await;
        outcomes.into_iter().filter_map(Result::transpose).collect()
    }

    /// Runs a reaction that the policy decided on; returns when all of it is durable.
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
                for attempt in 1..=ATTEMPTS_MAX {
                    let epoch = self.store().epoch();
                    match self.run_placed(order_id, &units, cause, correlation_id, epoch).await {
                        Err(ExecuteError::Superseded | ExecuteError::Conflict) => {
                            pause_before_attempt(attempt + 1).await;
                        }
                        outcome => return outcome.map(drop),
                    }
                }
                Err(ExecuteError::Conflict)
            }
            Reaction::Send(steps) => {
                let sending = steps.into_iter().map(|step| self.send(step, cause, correlation_id));
                try_join_all(sending).await.map(drop)
            }
        }
    }

    /// The reaction to an event of a payment, against the payment and the order as they now stand.
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

    /// Runs the reactions to what a command recorded on a payment, up to its event at `last`, so that the order knows of
    /// it. Where this fails, or nobody calls it, the process manager sees to it.
    pub async fn react_to_command(
        &self,
        id: PaymentId,
        context: &CommandContext,
        last: Revision,
    ) -> Result<(), ExecuteError> {
        let first = last.saturating_sub(EVENTS_OF_A_COMMAND_MAX - 1);
        let limit = usize::try_from(EVENTS_OF_A_COMMAND_MAX).unwrap_or(usize::MAX);
        let recorded = self.store().read_stream(&id.into(), first, limit).await;
        let recorded = recorded.map_err(|error| ExecuteError::Unavailable(error.to_string().into()))?;
        let unreadable = |error: DecodeError| ExecuteError::Unreadable(error.to_string().into());
        for event in recorded {
            let is_of_this_command = event.decode_metadata().map_err(unreadable)?.command_id == context.id;
            let Event::Payment(decoded) = event.decode().map_err(unreadable)? else { continue };
            if is_of_this_command {
                self.react_to_payment(id, &decoded, event.id, context.correlation_id).await?;
                self.handled.insert(event.id);
            }
        }
        Ok(())
    }

    /// Sends one command of a reaction. A refusal is final here: it is reported, since nobody is asked again.
    pub async fn send(&self, step: Step, cause: EventId, correlation_id: Uuid) -> Result<(), ExecuteError> {
        let (target, name) = (step.target(), step.command_name());
        let context = CommandContext::reaction(cause, correlation_id, &target, name);
        let refusal = match step {
            Step::Stock(sku, command) => {
                refusal_of(self.stock.execute(&sku, command, &context, Mode::REACTION).await?)
            }
            Step::Payment(id, command) => {
                refusal_of(self.payments.execute(&id, command, &context, Mode::REACTION).await?)
            }
            Step::Order(id, command) => {
                refusal_of(self.orders.execute(&id, command, &context, Mode::REACTION).await?)
            }
        };
        if let Some(refusal) = refusal {
            tracing::warn!(stream = %target, command = name, cause = %cause, refusal, "a reaction was refused");
        }
        Ok(())
    }

    /// Gives back what an ended order still holds. Each send is a command of its own (it names the revision
    /// that the stock stands at), because the one before it may have come too early.
    pub async fn sweep_ended(&self, order_id: OrderId) -> Result<(), ExecuteError> {
        let _guard = self.locks.lock(order_id).await;
        let order = self.order(order_id).await?;
        if !order.state.status().is_final() {
            return Ok(());
        }
        for step in domain::checkout::releases(order_id, &order.state) {
            let Step::Stock(sku, command) = step else { continue };
            let held = self.stock.read(&sku, move |stock, revision| {
                stock.reservation(order_id).filter(|held| !held.released).and(revision)
            });
            let Some(revision) = held.await? else { continue };
            let cause = EventId(Uuid::new_v5(&order_id.0, &revision.to_be_bytes()));
            let target = sku.clone().into();
            let context = CommandContext::reaction(cause, order_id.0, &target, "stock.release");
            self.stock.execute(&sku, command, &context, Mode::REACTION).await?;
            tracing::info!(order.id = %order_id, %sku, "released a reservation that its ended order still held");
        }
        Ok(())
    }

    /// Finishes an order that is still `placed`.
    pub async fn sweep_placed(&self, order_id: OrderId) -> Result<(), ExecuteError> {
        let _guard = self.locks.lock(order_id).await;
        let order = self.order(order_id).await?.state;
        if order.status() != domain::order::OrderStatus::Placed {
            return Ok(());
        }
        let first = self.store().read_stream(&order_id.into(), 0, 1).await;
        let first = first.map_err(|error| ExecuteError::Unavailable(error.to_string().into()))?;
        let Some(placed) = first.first() else { return Ok(()) };
        let metadata = placed.decode_metadata();
        let metadata = metadata.map_err(|error| ExecuteError::Unreadable(error.to_string().into()))?;
        let reaction = Reaction::Reserve(reservations(&order));
        self.run(order_id, reaction, placed.id, metadata.correlation_id).await
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

/// The context of a reaction's command to the aggregate `id`.
fn reaction<A: Decider>(
    id: &A::Id,
    command: &A::Command,
    cause: EventId,
    correlation_id: Uuid,
) -> CommandContext {
    CommandContext::reaction(cause, correlation_id, &id.clone().into(), A::command_name(command))
}

/// See [`Checkout::handled_inline`].
#[derive(Debug, Default)]
pub struct HandledInline {
    /// None while nobody takes them out. A race may leave an event in: it is the first to be dropped.
    events: Mutex<Option<LruCache<EventId, ()>>>,
}

impl HandledInline {
    /// Starts keeping events: somebody in this process takes them out again.
    pub fn enable(&self) {
        self.lock().get_or_insert_with(|| LruCache::new(HANDLED_MAX));
    }

    pub fn insert(&self, event: EventId) {
        if let Some(handled) = self.lock().as_mut() {
            handled.put(event, ());
        }
    }

    /// Whether the reaction to this event was run inline; asked once per event.
    pub fn take(&self, event: EventId) -> bool {
        self.lock().as_mut().is_some_and(|handled| handled.pop(&event).is_some())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<LruCache<EventId, ()>>> {
        self.events.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of the OrderPlaced event of a placing command.
pub fn placed_event(command: CommandId) -> EventId {
    EventId::of_command(command, 0)
}

//! Histories for benchmarks and tests: the domain decides the events of orders, and they go directly into an event store.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, OnceLock},
};

use domain::{
    CommandContext, CommandId, Decider, Event, EventId, Idempotency, OrderId, PaymentId, Sku, StreamName,
    checkout::{self, Reaction, Step},
    decider::Versioned,
    envelope::seal,
    order::{Order, OrderCommand, OrderDecider, Shortage},
    payment::{Payment, PaymentCommand, PaymentDecider},
    stock::{Stock, StockCommand, StockDecider, StockRefusal},
};
use infra::event_store::{Append, AppendError, EventStore, ExpectedRevision};
use tokio::sync::oneshot;

use super::Failure;

/// Runs orders through the deciders and the checkout policy, as command API and process manager do.
pub struct History<'a> {
    append: Box<dyn FnMut(Append) + Send + 'a>,
    events: u64,
    stocks: HashMap<Sku, Versioned<Stock>>,
}

/// An order under way, with the events whose reactions have not run yet.
pub struct Sale {
    pub order_id: OrderId,
    pub order: Versioned<Order>,
    pub payment: Versioned<Payment>,
    /// Begins the idempotency key of each command.
    key: String,
    commands: u32,
    unreacted: VecDeque<(EventId, Event)>,
}

impl Sale {
    pub fn new(key: String) -> Self {
        Self {
            order_id: OrderId::of_command(request_context(&key).id),
            order: Versioned { state: Order::default(), revision: None },
            payment: Versioned { state: Payment::default(), revision: None },
            key,
            commands: 0,
            unreacted: VecDeque::new(),
        }
    }

    fn next_context(&mut self) -> CommandContext {
        self.commands += 1;
        request_context(&format!("{}/{}", self.key, self.commands))
    }
}

impl<'a> History<'a> {
    pub fn new(append: impl FnMut(Append) + Send + 'a) -> Self {
        Self { append: Box::new(append), events: 0, stocks: HashMap::new() }
    }

    pub fn receive(&mut self, sku: &Sku, quantity: u32) {
        let receive = StockCommand::Receive { quantity, reference: None };
        let context = request_context(&format!("receive {sku}"));
        self.send_stock(sku, receive, &context).expect("the first receipt is within the limit");
    }

    /// Runs a caller's command to the order, and every reaction that follows.
    pub fn order(&mut self, sale: &mut Sale, command: OrderCommand) {
        let step = Step::Order(sale.order_id, command);
        self.run(sale, step);
    }

    /// Runs a caller's command to the order. Its reactions are left to the process manager.
    pub fn order_alone(&mut self, sale: &mut Sale, command: OrderCommand) {
        let context = sale.next_context();
        self.send(sale, Step::Order(sale.order_id, command), &context);
    }

    /// Runs a caller's command to the payment of the order, and every reaction that follows.
    pub fn payment(&mut self, sale: &mut Sale, command: PaymentCommand) {
        let step = Step::Payment(PaymentId::of_order(sale.order_id), command);
        self.run(sale, step);
    }

    fn run(&mut self, sale: &mut Sale, step: Step) {
        let context = sale.next_context();
        self.send(sale, step, &context);
        while let Some((cause, event)) = sale.unreacted.pop_front() {
            let reaction = match &event {
                Event::Order(event) => checkout::react_to_order(sale.order_id, event, &sale.order.state),
                Event::Payment(event) => checkout::react_to_payment(event, &sale.payment.state),
                Event::Stock(_) | Event::Receipt(_) | Event::Exchange(_) => Reaction::None,
            };
            let steps = match reaction {
                Reaction::None => Vec::new(),
                Reaction::Reserve(units) => {
                    let shortages = self.reserve(sale.order_id, units, cause, &context);
                    vec![Step::Order(sale.order_id, checkout::settle(sale.order_id, shortages))]
                }
                Reaction::Send(steps) => steps,
            };
            for step in steps {
                let context = reaction_context(cause, &context, &step);
                self.send(sale, step, &context);
            }
        }
    }

    fn reserve(
        &mut self,
        order_id: OrderId,
        units: impl IntoIterator<Item = (Sku, u32)>,
        cause: EventId,
        context: &CommandContext,
    ) -> Vec<Shortage> {
        let mut shortages = Vec::new();
        for (sku, quantity) in units {
            let reserve = StockCommand::Reserve { order_id, quantity };
            let context = reaction_context(cause, context, &Step::Stock(sku.clone(), reserve.clone()));
            if let Err(StockRefusal::Insufficient { requested, available }) =
                self.send_stock(&sku, reserve, &context)
            {
                shortages.push(Shortage { sku, requested, available });
            }
        }
        shortages
    }

    fn send(&mut self, sale: &mut Sale, step: Step, context: &CommandContext) {
        match step {
            Step::Stock(sku, command) => {
                self.send_stock(&sku, command, context).expect("reserved units can be shipped and released");
            }
            Step::Order(id, command) => {
                let events = self.execute::<OrderDecider>(&mut sale.order, id.into(), command, context);
                let events = events.expect("the fate allows this command");
                sale.unreacted.extend(events.into_iter().map(|(id, event)| (id, Event::Order(event))));
            }
            Step::Exchange(..) => {}
            Step::Payment(id, command) => {
                let events = self.execute::<PaymentDecider>(&mut sale.payment, id.into(), command, context);
                let events = events.expect("the fate allows this command");
                sale.unreacted.extend(events.into_iter().map(|(id, event)| (id, Event::Payment(event))));
            }
        }
    }

    fn send_stock(
        &mut self,
        sku: &Sku,
        command: StockCommand,
        context: &CommandContext,
    ) -> Result<(), StockRefusal> {
        let unknown = Versioned { state: Stock::default(), revision: None };
        let mut stock = self.stocks.remove(sku).unwrap_or(unknown);
        let outcome = self.execute::<StockDecider>(&mut stock, sku.clone().into(), command, context);
        self.stocks.insert(sku.clone(), stock);
        outcome.map(drop)
    }

    fn execute<A: Decider>(
        &mut self,
        aggregate: &mut Versioned<A::State>,
        stream: StreamName,
        command: A::Command,
        context: &CommandContext,
    ) -> Result<Vec<(EventId, A::Event)>, A::Refusal> {
        let name = A::command_name(&command);
        let mut decided = A::decide(&aggregate.state, command)?;
        if decided.is_empty() {
            return Ok(Vec::new());
        }
        for event in &mut decided {
            A::evolve(&mut aggregate.state, event);
            A::complete(event, &aggregate.state);
        }
        let expected = ExpectedRevision::of(aggregate.revision);
        let events = seal::<A>(context, name, &decided);
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        aggregate.revision = Some(expected.next() + events.len() as u64 - 1);
        self.events += events.len() as u64;
        (self.append)(Append { stream, expected, events, epoch: None });
        Ok(ids.into_iter().zip(decided).collect())
    }
}

/// Writes a history into an event store.
pub struct HistoryWriter {
    pub history: History<'static>,
    store: Arc<dyn EventStore>,
    failed: Arc<OnceLock<AppendError>>,
    earlier_chunk: Option<oneshot::Receiver<()>>,
}

impl HistoryWriter {
    /// Orders of a chunk.
    pub const CHUNK_ORDERS: u64 = 200;

    pub fn new(store: &Arc<dyn EventStore>) -> Self {
        let failed = Arc::new(OnceLock::new());
        let (appending, failing) = (Arc::clone(store), Arc::clone(&failed));
        let history = History::new(move |append: Append| {
            let failed = Arc::clone(&failing);
            let done = move |outcome| {
                if let Err(error) = outcome {
                    // Keeps the first failure: it causes all later ones.
                    let _ = failed.set(error);
                }
            };
            appending.submit(append, Box::new(done));
        });
        Self { history, store: Arc::clone(store), failed, earlier_chunk: None }
    }

    /// Waits until the chunk before this one is durable, so memory holds two chunks at most.
    pub async fn end_chunk(&mut self) -> Result<(), Failure> {
        if let Some(chunk) = self.earlier_chunk.replace(chunk_end(&*self.store)) {
            chunk.await?;
        }
        Ok(())
    }

    /// Waits until all events are durable, and returns their number.
    pub async fn finish(mut self) -> Result<u64, Failure> {
        self.end_chunk().await?;
        if let Some(chunk) = self.earlier_chunk.take() {
            chunk.await?;
        }
        match self.failed.get() {
            Some(error) => Err(error.clone().into()),
            None => Ok(self.history.events),
        }
    }
}

/// Resolves when every append submitted before is durable.
fn chunk_end(store: &dyn EventStore) -> oneshot::Receiver<()> {
    let (sender, receiver) = oneshot::channel();
    let barrier = Append {
        stream: OrderId(uuid::Uuid::nil()).into(),
        expected: ExpectedRevision::NoStream,
        events: Vec::new(),
        epoch: None,
    };
    let done = move |_| {
        // The receiver is gone if the benchmark was interrupted.
        let _ = sender.send(());
    };
    store.submit(barrier, Box::new(done));
    receiver
}

/// The context of an external command with this idempotency key.
fn request_context(key: &str) -> CommandContext {
    let id = CommandId::of_request("", "POST", "/bench", key);
    let idempotency = Idempotency { key: key.to_owned(), fingerprint: "0".repeat(64), schema: 1 };
    CommandContext::external(id, idempotency)
}

/// The context of a step that a reaction to `cause` sends.
fn reaction_context(cause: EventId, context: &CommandContext, step: &Step) -> CommandContext {
    CommandContext::reaction(cause, context.correlation_id, &step.target(), step.command_name())
}

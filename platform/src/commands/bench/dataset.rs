//! A generated history of any length: orders placed, paid, shipped, cancelled and rejected. The domain
//! decides the events, and they go directly into an event store.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::{Arc, OnceLock},
};

use domain::{
    Amount, CancellationId, CommandContext, CommandId, Decider, Event, EventId, Idempotency, NewEvent,
    OrderId, PaymentId, ShipmentId, Sku, StreamName, Timestamp,
    checkout::{self, Reaction, Step},
    decider::Versioned,
    envelope::seal,
    order::{
        CancelReason, NewCancellation, NewLine, Order, OrderCommand, OrderDecider, PaymentTerms, PlaceOrder,
        Shortage,
    },
    payment::{Payment, PaymentCommand, PaymentDecider},
    stock::{Stock, StockCommand, StockDecider, StockRefusal},
};
use infra::event_store::{Append, EventStore, ExpectedRevision};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::setup::{BenchSetup, open_event_store};
use crate::{commands::Failure, progress::ProgressDisplay};

/// 2026-01-01T00:00Z, the time of the first order.
const BEGIN_S: i64 = 1_767_225_600;
/// One order every 30 s, so a longer history has more days and not busier days.
const ORDER_EVERY_S: i64 = 30;
const UNITS_PER_SKU: u32 = 1_000_000_000;
const SOLD_OUT: &str = "SOLD-OUT";
/// Orders of a chunk. The generator waits until the previous chunk is durable, so memory holds two chunks at
/// most.
const CHUNK_ORDERS: u64 = 200;
const SAMPLE_ORDERS: u64 = 2_000;
pub const CURRENCY: &str = "GBP";
const COUNTRIES: [&str; 5] = ["United Kingdom", "Germany", "France", "EIRE", "Netherlands"];

/// A history in the event store of a data directory.
pub struct Dataset {
    pub directory: TempDir,
    pub orders: u64,
    pub events: u64,
    /// Orders evenly spread over the history: all orders of a short one, about 2,000 of a long one.
    pub sample: Vec<OrderId>,
}

impl Dataset {
    pub const SKUS: usize = 1_000;
    /// One order of this many is cancelled.
    pub const ORDERS_PER_CANCELLED: u64 = 20;
    /// Orders have one to four lines, 2.5 on average.
    pub const LINES_PER_TWO_ORDERS: u64 = 5;

    pub async fn make(bench: &BenchSetup, orders: u64) -> Result<Self, Failure> {
        let directory = bench.new_directory()?;
        let opened = open_event_store(&directory).await?;
        let store = Arc::clone(&opened.store);
        let failed = Arc::new(OnceLock::new());
        let mut history = History::new(|append: Append| {
            let failed = Arc::clone(&failed);
            let done = move |outcome| {
                if let Err(error) = outcome {
                    // Keeps the first failure: it causes all later ones.
                    let _ = failed.set(error);
                }
            };
            store.submit(append, Box::new(done));
        });
        history.receive_stock();
        let progress = ProgressDisplay::start("orders written", orders);
        let mut sample = Vec::new();
        let mut earlier_chunk = None;
        for number in 0..orders {
            let order_id = history.add_order(number, Fate::of(number));
            if number % (orders / SAMPLE_ORDERS).max(1) == 0 {
                sample.push(order_id);
            }
            let done = number + 1;
            if done % CHUNK_ORDERS == 0 || done == orders {
                if let Some(chunk) = earlier_chunk.replace(chunk_end(&*store)) {
                    chunk.await?;
                }
                progress.set(done, orders);
            }
        }
        if let Some(chunk) = earlier_chunk {
            chunk.await?;
        }
        let events = history.events;
        drop(history);
        if let Some(error) = failed.get() {
            return Err(error.clone().into());
        }
        drop(store);
        opened.close().await;
        Ok(Self { directory, orders, events, sample })
    }

    /// The time at which order `number` is placed.
    pub fn placed_at(number: u64) -> Timestamp {
        let seconds = ORDER_EVERY_S * i64::try_from(number).expect("a history has fewer than 2^63 orders");
        Timestamp::from_second(BEGIN_S + seconds).expect("a history is shorter than 7,000 years")
    }

    /// Each customer has ten orders, a hundred orders apart.
    pub fn customer(number: u64) -> String {
        format!("customer-{}", number / 1_000 * 100 + number % 100)
    }

    pub fn sku(number: usize) -> String {
        format!("SKU-{:04}", number % Self::SKUS)
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

/// The events of one order with one line: placed, stock reserved, allocated, payment requested.
pub fn events_of_one_order() -> Vec<NewEvent> {
    let mut appended = Vec::new();
    let mut history = History::new(|append: Append| appended.push(append));
    history.receive_stock();
    history.add_order(0, Fate::Unpaid);
    drop(history);
    let of_order = appended.into_iter().skip(Dataset::SKUS).flat_map(|append| append.events);
    of_order.collect()
}

/// All appends of a short history. The receipts of stock come first.
#[cfg(test)]
pub fn history_of(orders: u64) -> Vec<Append> {
    let mut appended = Vec::new();
    let mut history = History::new(|append: Append| appended.push(append));
    history.receive_stock();
    for number in 0..orders {
        history.add_order(number, Fate::of(number));
    }
    drop(history);
    appended
}

/// The last state of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Cancelled,
    /// One of its SKUs is sold out.
    Rejected,
    Unpaid,
    Paid,
    Shipped,
}

impl Fate {
    /// Of twenty orders one is cancelled, one rejected, three stay unpaid, three stay paid and twelve are
    /// shipped.
    fn of(number: u64) -> Self {
        match number % 20 {
            0 => Self::Cancelled,
            1 => Self::Rejected,
            2..=4 => Self::Unpaid,
            5..=7 => Self::Paid,
            _ => Self::Shipped,
        }
    }
}

/// Runs orders through the deciders and the checkout policy, as command API and process manager do.
struct History<S> {
    append: S,
    events: u64,
    stocks: HashMap<Sku, Versioned<Stock>>,
}

/// An order under way, with the events whose reactions have not run yet.
struct OrderInProgress {
    order_id: OrderId,
    order: Versioned<Order>,
    payment: Versioned<Payment>,
    unreacted: VecDeque<(EventId, Event)>,
}

impl<S: FnMut(Append)> History<S> {
    fn new(append: S) -> Self {
        Self { append, events: 0, stocks: HashMap::new() }
    }

    fn receive_stock(&mut self) {
        for number in 0..Dataset::SKUS {
            let sku = sku(&Dataset::sku(number));
            let receive = StockCommand::Receive { quantity: UNITS_PER_SKU, reference: None };
            let context = request_context(&format!("receive {sku}"));
            self.send_stock(&sku, receive, &context).expect("the first receipt is within the limit");
        }
    }

    /// Adds all events of one order and returns its id.
    fn add_order(&mut self, number: u64, fate: Fate) -> OrderId {
        let context = request_context(&format!("order {number}"));
        let order_id = OrderId::of_command(context.id);
        let mut sale = OrderInProgress {
            order_id,
            order: Versioned { state: Order::default(), revision: None },
            payment: Versioned { state: Payment::default(), revision: None },
            unreacted: VecDeque::new(),
        };
        let place = OrderCommand::Place(Box::new(new_order(order_id, number, fate)));
        self.run(&mut sale, Step::Order(order_id, place), &context);
        let payment_id = PaymentId::of_order(order_id);
        let mut run = |step: Step| {
            let context = request_context(&format!("{} {number}", step.command_name()));
            self.run(&mut sale, step, &context);
        };
        if fate == Fate::Cancelled {
            let cancel = OrderCommand::Cancel(NewCancellation::of_the_rest(
                CancellationId(order_id.0),
                CancelReason::Requested,
            ));
            run(Step::Order(order_id, cancel));
        }
        if matches!(fate, Fate::Paid | Fate::Shipped) {
            let (amount, reference) = (None, None);
            run(Step::Payment(
                payment_id,
                PaymentCommand::Authorize { amount, reference: reference.clone() },
            ));
            run(Step::Payment(payment_id, PaymentCommand::Capture { amount, reference }));
        }
        if fate == Fate::Shipped {
            let shipment_id = ShipmentId::of_command(context.id);
            let (lines, carrier, tracking_number) = (None, None, None);
            let now = Dataset::placed_at(number);
            run(Step::Order(
                order_id,
                OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now },
            ));
        }
        order_id
    }

    /// Runs an external command and every reaction that follows.
    fn run(&mut self, sale: &mut OrderInProgress, step: Step, context: &CommandContext) {
        self.send(sale, step, context);
        while let Some((cause, event)) = sale.unreacted.pop_front() {
            let reaction = match &event {
                Event::Order(event) => checkout::react_to_order(sale.order_id, event, &sale.order.state),
                Event::Payment(event) => checkout::react_to_payment(event, &sale.payment.state),
                Event::Stock(_) | Event::Receipt(_) | Event::Exchange(_) => Reaction::None,
            };
            let steps = match reaction {
                Reaction::None => Vec::new(),
                Reaction::Reserve(units) => {
                    let shortages = self.reserve(sale.order_id, units, cause, context);
                    vec![Step::Order(sale.order_id, checkout::settle(sale.order_id, shortages))]
                }
                Reaction::Send(steps) => steps,
            };
            for step in steps {
                let context = reaction_context(cause, context, &step);
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

    fn send(&mut self, sale: &mut OrderInProgress, step: Step, context: &CommandContext) {
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
        let decided = A::decide(&aggregate.state, command)?;
        if decided.is_empty() {
            return Ok(Vec::new());
        }
        let expected = ExpectedRevision::of(aggregate.revision);
        let events = seal::<A>(context, name, &decided);
        let ids: Vec<EventId> = events.iter().map(|event| event.id).collect();
        for event in &decided {
            A::evolve(&mut aggregate.state, event);
        }
        aggregate.revision = Some(expected.next() + events.len() as u64 - 1);
        self.events += events.len() as u64;
        (self.append)(Append { stream, expected, events, epoch: None });
        Ok(ids.into_iter().zip(decided).collect())
    }
}

/// One to four lines with different SKUs.
fn new_order(order_id: OrderId, number: u64, fate: Fate) -> PlaceOrder {
    let seed = usize::try_from(number).expect("order numbers fit in usize");
    let line = |line: usize| NewLine {
        sku: sku(&Dataset::sku(seed * 7_919 + line * 131)),
        quantity: 1 + (number % 5) as u32,
        unit_price: Amount::new(100 + (number % 900).cast_signed()).expect("the amount is small"),
        stocked: true,
        adjustments: Vec::new(),
    };
    let mut lines: Vec<NewLine> = (0..=seed % 4).map(line).collect();
    if fate == Fate::Rejected {
        lines.push(NewLine { sku: sku(SOLD_OUT), ..line(0) });
    }
    PlaceOrder {
        order_id,
        customer_id: Some(Dataset::customer(number)),
        currency: CURRENCY.parse().expect("the currency is valid"),
        country: Some(COUNTRIES[seed % COUNTRIES.len()].to_owned()),
        lines,
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: None,
        metadata: BTreeMap::new(),
        placed_at: Dataset::placed_at(number),
        now: Dataset::placed_at(number),
        payment_due_at: None,
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    }
}

fn sku(text: &str) -> Sku {
    Sku::new(text).expect("the SKU is valid")
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

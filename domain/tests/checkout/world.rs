//! An in-memory event store that answers commands as the executor does and checks every event.

use std::collections::{BTreeMap, HashSet};

use domain::{
    CommandId, Decider, Event, EventId, ExchangeId, OrderId, PaymentId, ReturnId, ShipmentId, Sku,
    StreamName,
    checkout::{self, Step},
    decider::Versioned,
    exchange::{Exchange, ExchangeDecider, ExchangeEvent, ExchangeRequested},
    order::{Order, OrderDecider, OrderEvent},
    payment::{Payment, PaymentDecider},
    stock::{Stock, StockDecider, StockEvent, StockRefusal},
};

#[derive(Debug)]
pub struct Stream<A: Decider> {
    pub state: A::State,
    command_ids: HashSet<CommandId>,
}

impl<A: Decider> Default for Stream<A> {
    fn default() -> Self {
        Self { state: A::State::default(), command_ids: HashSet::new() }
    }
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// The command was executed before.
    Recorded,
    /// The command caused this many events.
    Done(usize),
    /// The only refusal that checkout expects.
    Insufficient {
        requested: u32,
        available: u32,
    },
    Refused(String),
}

impl Answer {
    /// Why the command was refused. None if it was executed.
    pub fn refusal(self) -> Option<String> {
        match self {
            Self::Recorded | Self::Done(_) => None,
            Self::Insufficient { requested, available } => Some(format!("{requested} of {available}")),
            Self::Refused(refusal) => Some(refusal),
        }
    }
}

#[derive(Debug)]
pub struct Logged {
    pub stream: StreamName,
    pub id: EventId,
    pub event: Event,
}

#[derive(Debug, Default)]
pub struct World {
    stocks: BTreeMap<Sku, Stream<StockDecider>>,
    orders: BTreeMap<OrderId, Stream<OrderDecider>>,
    payments: BTreeMap<PaymentId, Stream<PaymentDecider>>,
    exchanges: BTreeMap<ExchangeId, Stream<ExchangeDecider>>,
    pub log: Vec<Logged>,
    reserved: HashSet<(OrderId, Sku)>,
    shipped: HashSet<(ShipmentId, Sku)>,
    unshipped: HashSet<(ShipmentId, Sku)>,
    returned: HashSet<(ReturnId, Sku)>,
}

impl World {
    /// Answers as the executor does: a command id that the stream remembers is not executed again.
    pub fn send(&mut self, step: Step, id: CommandId) -> Answer {
        match step {
            Step::Stock(sku, command) => {
                let stream = self.stocks.entry(sku.clone()).or_default();
                match decide(stream, id, command) {
                    Decided::Recorded => Answer::Recorded,
                    Decided::Refused(StockRefusal::Insufficient { requested, available }) => {
                        Answer::Insufficient { requested, available }
                    }
                    Decided::Refused(refusal) => Answer::Refused(refusal.to_string()),
                    Decided::Events(events) => self.append(&sku.into(), id, events, Event::Stock),
                }
            }
            Step::Order(order_id, command) => {
                let stream = self.orders.entry(order_id).or_default();
                match decide(stream, id, command) {
                    Decided::Recorded => Answer::Recorded,
                    Decided::Refused(refusal) => Answer::Refused(refusal.to_string()),
                    Decided::Events(events) => self.append(&order_id.into(), id, events, Event::Order),
                }
            }
            Step::Exchange(exchange_id, command) => {
                let stream = self.exchanges.entry(exchange_id).or_default();
                match decide(stream, id, command) {
                    Decided::Recorded => Answer::Recorded,
                    Decided::Refused(refusal) => Answer::Refused(refusal.to_string()),
                    Decided::Events(events) => self.append(&exchange_id.into(), id, events, Event::Exchange),
                }
            }
            Step::Payment(payment_id, command) => {
                let stream = self.payments.entry(payment_id).or_default();
                match decide(stream, id, command) {
                    Decided::Recorded => Answer::Recorded,
                    Decided::Refused(refusal) => Answer::Refused(refusal.to_string()),
                    Decided::Events(events) => self.append(&payment_id.into(), id, events, Event::Payment),
                }
            }
        }
    }

    /// The state of an exchange, with its first event.
    pub fn exchange(&self, id: ExchangeId) -> Option<(Exchange, &ExchangeRequested)> {
        let first = self.log.iter().find(|logged| logged.stream == id.into())?;
        let Event::Exchange(ExchangeEvent::Requested(requested)) = &first.event else { return None };
        Some((self.exchanges.get(&id)?.state, requested))
    }

    pub fn exchanges(&self) -> impl Iterator<Item = ExchangeId> {
        self.exchanges.keys().copied()
    }

    /// True if an exchange is to place this order.
    pub fn asks_for_order(&self, id: OrderId) -> bool {
        let mut logged = self.log.iter().map(|logged| &logged.event);
        logged.any(|event| matches!(event, Event::Exchange(ExchangeEvent::Requested(new)) if new.order.order_id == id))
    }

    /// An order with the revision of its last event.
    pub fn versioned_order(&self, id: OrderId) -> Versioned<Order> {
        let events = self.log.iter().filter(|logged| logged.stream == id.into()).count() as u64;
        Versioned { state: self.order(id), revision: events.checked_sub(1) }
    }

    pub fn orders(&self) -> impl Iterator<Item = (OrderId, &Order)> {
        self.orders.iter().map(|(id, stream)| (*id, &stream.state)).filter(|(_, order)| order.exists())
    }

    pub fn order(&self, id: OrderId) -> Order {
        self.orders.get(&id).map(|stream| stream.state.clone()).unwrap_or_default()
    }

    pub fn payment(&self, id: PaymentId) -> Payment {
        self.payments.get(&id).map(|stream| stream.state.clone()).unwrap_or_default()
    }

    pub fn stocks(&self) -> impl Iterator<Item = (&Sku, &Stock)> {
        self.stocks.iter().map(|(sku, stream)| (sku, &stream.state))
    }

    pub fn stock(&self, sku: &Sku) -> Stock {
        self.stocks.get(sku).map(|stream| stream.state.clone()).unwrap_or_default()
    }

    /// The units of a SKU that the stock stream records as shipped for, and returned from, an order.
    pub fn units(&self, sku: &Sku, order: OrderId) -> (u32, u32) {
        let (mut shipped, mut returned) = (0, 0);
        for logged in self.log.iter().filter(|logged| logged.stream == sku.clone().into()) {
            match &logged.event {
                Event::Stock(StockEvent::Shipped(event)) if event.order_id == order => {
                    shipped += event.quantity;
                }
                Event::Stock(StockEvent::Unshipped(event)) if event.order_id == order => {
                    shipped -= event.quantity;
                }
                Event::Stock(StockEvent::Returned(event)) if event.order_id == order => {
                    returned += event.quantity;
                }
                _ => {}
            }
        }
        (shipped, returned)
    }

    fn append<E>(
        &mut self,
        stream: &StreamName,
        command: CommandId,
        events: Vec<E>,
        wrap: fn(E) -> Event,
    ) -> Answer {
        let count = events.len();
        for (index, event) in (0..).zip(events) {
            let event = wrap(event);
            self.inspect(stream, &event);
            self.log.push(Logged { stream: stream.clone(), id: EventId::of_command(command, index), event });
        }
        Answer::Done(count)
    }

    /// Checks what must hold at every prefix of the log. The event is already folded.
    fn inspect(&mut self, stream: &StreamName, event: &Event) {
        match (stream, event) {
            (StreamName::Stock(sku), Event::Stock(event)) => self.inspect_stock(sku, event),
            (StreamName::Order(id), Event::Order(OrderEvent::Allocated(_))) => {
                for (sku, quantity) in checkout::reservations(&self.order(*id)) {
                    let held = self.stock(&sku).reservation(*id).map(|held| held.quantity);
                    assert_eq!(held, Some(quantity), "allocated without a reservation of {sku}");
                }
            }
            _ => {}
        }
    }

    fn inspect_stock(&mut self, sku: &Sku, event: &StockEvent) {
        let levels = self.stock(sku).levels();
        assert!(levels.reserved <= levels.on_hand, "{sku} is oversold");
        match event {
            StockEvent::Reserved(event) => {
                let first = self.reserved.insert((event.order_id, sku.clone()));
                assert!(first, "{sku} was reserved twice for one order");
            }
            StockEvent::Released(event) => {
                let order = self.order(event.order_id);
                match event.cancellation_id {
                    None => assert!(order.status().is_final(), "{sku} was released too early"),
                    Some(id) => {
                        let cancellations = order.cancellations().iter();
                        let known = cancellations.filter(|record| record.cancellation_id == id);
                        let parts = known
                            .flat_map(|record| &record.lines)
                            .filter(|part| is_of(&order, part.line, sku));
                        assert_eq!(parts.map(|part| part.quantity).sum::<u32>(), event.quantity);
                    }
                }
            }
            StockEvent::Shipped(event) => {
                let first = self.shipped.insert((event.shipment_id, sku.clone()));
                assert!(first, "{sku} was shipped twice for one shipment");
                let order = self.order(event.order_id);
                let shipment = order.shipments().iter().find(|part| part.shipment_id == event.shipment_id);
                let parts = &shipment.expect("the order has shipped").lines;
                let units = parts.iter().filter(|part| is_of(&order, part.line, sku));
                assert_eq!(units.map(|part| part.quantity).sum::<u32>(), event.quantity);
            }
            StockEvent::Returned(event) => {
                let first = self.returned.insert((event.return_id, sku.clone()));
                assert!(first, "{sku} was returned twice for one return");
                let order = self.order(event.order_id);
                let record = order.returns().iter().find(|record| record.return_id == event.return_id);
                let parts = &record.expect("the order has recorded the return").lines;
                let units = parts.iter().filter(|part| part.restock && is_of(&order, part.line, sku));
                assert_eq!(units.map(|part| part.quantity).sum::<u32>(), event.quantity);
            }
            StockEvent::Unshipped(event) => {
                let first = self.unshipped.insert((event.shipment_id, sku.clone()));
                assert!(first, "{sku} was put back twice for one shipment");
            }
            StockEvent::Received(_) | StockEvent::Adjusted(_) => {}
        }
    }
}

fn is_of(order: &Order, line: u32, sku: &Sku) -> bool {
    order.line(line).is_some_and(|line| line.stocked && line.sku == *sku)
}

enum Decided<A: Decider> {
    Recorded,
    Refused(A::Refusal),
    Events(Vec<A::Event>),
}

fn decide<A: Decider>(stream: &mut Stream<A>, id: CommandId, command: A::Command) -> Decided<A> {
    if stream.command_ids.contains(&id) {
        return Decided::Recorded;
    }
    let remembered = A::deduplicated_by_command_id(A::command_name(&command));
    match A::decide(&stream.state, command) {
        Err(refusal) => Decided::Refused(refusal),
        Ok(events) => {
            for event in &events {
                A::evolve(&mut stream.state, event);
            }
            // A decision without events stores no command id.
            if remembered && !events.is_empty() {
                stream.command_ids.insert(id);
            }
            Decided::Events(events)
        }
    }
}

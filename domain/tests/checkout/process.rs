//! A model of the process manager: which command it sends when, and what it forgets in a crash.

use std::collections::{BTreeMap, VecDeque};

use domain::{
    CommandContext, CommandId, Event, EventId, ExchangeId, OrderId, Sku, StreamName,
    checkout::{self, ExchangeView, Reaction, Step},
    order::Shortage,
    stock::StockCommand,
};
use uuid::Uuid;

use crate::world::{Answer, World};

/// Follows the log and runs its reactions, one command at a time. Reactions to one stream run in the order of
/// the stream; reactions to different streams run in any order.
#[derive(Debug, Default, Clone)]
pub struct Process {
    /// Durable: the reactions to all events before this place of the log are done.
    checkpoint: usize,
    /// The place up to which the log was read since the last start.
    read: usize,
    lanes: BTreeMap<StreamName, Lane>,
    sweeping: Vec<Step>,
}

#[derive(Debug, Default, Clone)]
struct Lane {
    /// Places in the log. The reaction to the first one is running.
    queue: VecDeque<usize>,
    running: Option<Work>,
}

#[derive(Debug, Clone)]
enum Work {
    Reserve {
        order_id: OrderId,
        left: Vec<(Sku, u32)>,
        shortages: Vec<Shortage>,
    },
    Send(Vec<Step>),
    /// Decides each step of an exchange on what the ones before have left. Other commands come between the decision
    /// and the step.
    Exchange {
        id: ExchangeId,
        next: Option<Box<Work>>,
    },
}

impl Process {
    /// A process whose checkpoint is the end of the log: it skips the events so far.
    pub fn behind(world: &World) -> Self {
        Self { checkpoint: world.log.len(), read: world.log.len(), ..Self::default() }
    }

    /// Another process that starts where this one would start after a crash.
    pub fn successor(&self) -> Self {
        Self { checkpoint: self.checkpoint, read: self.checkpoint, ..Self::default() }
    }

    /// Loses everything in memory and starts again at the checkpoint.
    pub fn crash(&mut self) {
        *self = self.successor();
    }

    /// Makes durable the place before which every reaction is done.
    pub fn save_checkpoint(&mut self) {
        let under_way = self.lanes.values().flat_map(|lane| lane.queue.iter().copied());
        self.checkpoint = self.checkpoint.max(under_way.min().unwrap_or(self.read));
    }

    /// Schedules the releases of ended orders with open reservations, and the reactions of orders still
    /// placed.
    pub fn sweep(&mut self, world: &World) {
        for (_, stock) in world.stocks() {
            for order_id in stock.open_reservations().keys() {
                let order = world.order(*order_id);
                if order.status().is_final() {
                    self.sweeping.extend(checkout::releases(*order_id, &order));
                }
            }
        }
        for (place, logged) in world.log.iter().enumerate().take(self.read) {
            if let StreamName::Order(order_id) = logged.stream {
                let is_placed = matches!(logged.event, Event::Order(domain::order::OrderEvent::Placed(_)));
                if is_placed && world.order(order_id).status() == domain::order::OrderStatus::Placed {
                    self.lanes.entry(logged.stream.clone()).or_default().queue.push_back(place);
                }
            }
        }
    }

    pub fn drain(&mut self, world: &mut World) {
        while self.advance(world, 0) {}
    }

    /// Makes one step: begins a reaction, sends one command or ends a reaction. `pick` chooses among the
    /// possible steps. Returns false if there is none.
    pub fn advance(&mut self, world: &mut World, pick: usize) -> bool {
        self.read_log(world);
        let busy: Vec<StreamName> = self.lanes.keys().cloned().collect();
        let choices = busy.len() + usize::from(!self.sweeping.is_empty());
        if choices == 0 {
            return false;
        }
        if let Some(stream) = busy.get(pick % choices) {
            self.advance_lane(world, stream, pick);
        } else {
            let step = self.sweeping.swap_remove(pick % self.sweeping.len());
            // A sweep has no causing event, so each of its commands gets an id that no other command has.
            let id = CommandId(Uuid::from_u128(u128::MAX - world.log.len() as u128));
            must_be_done(world, step, id);
        }
        true
    }

    /// [`Process::advance`] for the reactions to one stream.
    pub fn advance_on(&mut self, world: &mut World, stream: impl Into<StreamName>) {
        self.read_log(world);
        self.advance_lane(world, &stream.into(), 0);
    }

    fn read_log(&mut self, world: &World) {
        for (place, logged) in world.log.iter().enumerate().skip(self.read) {
            let has_reaction = match &logged.event {
                // The scenes have no receipts of several SKUs.
                Event::Stock(_) | Event::Receipt(_) => false,
                Event::Order(event) => checkout::order_event_has_reaction(event.kind()),
                Event::Payment(event) => checkout::payment_event_has_reaction(event.kind()),
                Event::Exchange(event) => checkout::exchange_event_has_reaction(event.kind()),
            };
            if has_reaction {
                self.lanes.entry(logged.stream.clone()).or_default().queue.push_back(place);
            }
        }
        self.read = world.log.len();
    }

    fn advance_lane(&mut self, world: &mut World, stream: &StreamName, pick: usize) {
        let lane = self.lanes.get_mut(stream).expect("a lane with something to do");
        let place = *lane.queue.front().expect("lanes are removed when they are empty");
        let cause = world.log[place].id;
        lane.running = match lane.running.take() {
            None => begin(world, place),
            Some(work) => work.proceed(world, cause, pick),
        };
        if lane.running.is_none() {
            lane.queue.pop_front();
            if lane.queue.is_empty() {
                self.lanes.remove(stream);
            }
        }
    }
}

fn begin(world: &World, place: usize) -> Option<Work> {
    let logged = &world.log[place];
    let (order_id, reaction) = match (&logged.stream, &logged.event) {
        (StreamName::Order(id), Event::Order(event)) => {
            (*id, checkout::react_to_order(*id, event, &world.order(*id)))
        }
        (StreamName::Payment(id), Event::Payment(event)) => {
            let payment = world.payment(*id);
            (payment.order_id()?, checkout::react_to_payment(event, &payment))
        }
        (StreamName::Exchange(id), Event::Exchange(_)) => {
            return Some(Work::Exchange { id: *id, next: None });
        }
        _ => return None,
    };
    work_of(order_id, reaction)
}

fn work_of(order_id: OrderId, reaction: Reaction) -> Option<Work> {
    match reaction {
        Reaction::None => None,
        Reaction::Reserve(units) => {
            Some(Work::Reserve { order_id, left: units.into_iter().collect(), shortages: Vec::new() })
        }
        Reaction::Send(steps) if steps.is_empty() => None,
        Reaction::Send(steps) => Some(Work::Send(steps)),
    }
}

impl Work {
    /// Sends one command. Returns the work that is left.
    fn proceed(self, world: &mut World, cause: EventId, pick: usize) -> Option<Self> {
        match self {
            Self::Reserve { order_id, left, shortages } if left.is_empty() => {
                let step = Step::Order(order_id, checkout::settle(order_id, shortages));
                let id = reaction_id(cause, &step);
                must_be_done(world, step, id);
                None
            }
            Self::Reserve { order_id, mut left, mut shortages } => {
                let (sku, quantity) = left.swap_remove(pick % left.len());
                let step = Step::Stock(sku.clone(), StockCommand::Reserve { order_id, quantity });
                let id = reaction_id(cause, &step);
                match world.send(step, id) {
                    Answer::Insufficient { requested, available } => {
                        assert_eq!(world.stock(&sku).levels().available(), available);
                        shortages.push(Shortage { sku, requested, available });
                    }
                    other => assert_eq!(other.refusal(), None, "{sku} for {order_id}"),
                }
                Some(Self::Reserve { order_id, left, shortages })
            }
            Self::Exchange { id, next: None } => {
                let next = next_of_exchange(world, id).map(Box::new);
                next.map(|next| Self::Exchange { id, next: Some(next) })
            }
            Self::Exchange { id, next: Some(next) } => {
                let (exchange, requested) = world.exchange(id).expect("an exchange that was requested");
                let is_over = exchange.outcome().is_some();
                let new_id = requested.order.order_id;
                let next = match *next {
                    // A reservation has the id that the reaction to the placed order gives it.
                    Self::Reserve { .. } => {
                        let placed = world.log.iter().find(|logged| logged.stream == new_id.into());
                        let placed = placed.expect("the new order is placed").id;
                        next.proceed(world, placed, pick)
                    }
                    Self::Send(mut steps) => {
                        let step = steps.pop().expect("a step");
                        let command_id = reaction_id(cause, &step);
                        let refusal = world.send(step.clone(), command_id).refusal();
                        let may_race = is_over || matches!(step, Step::Order(..));
                        assert!(refusal.is_none() || may_race, "{refusal:?} to {step:?}");
                        (!steps.is_empty()).then_some(Self::Send(steps))
                    }
                    Self::Exchange { .. } => None,
                };
                Some(Self::Exchange { id, next: next.map(Box::new) })
            }
            Self::Send(mut left) => {
                let step = left.swap_remove(pick % left.len());
                let id = reaction_id(cause, &step);
                must_be_done(world, step, id);
                (!left.is_empty()).then_some(Self::Send(left))
            }
        }
    }
}

/// The next step of an exchange, on the states as they are now.
fn next_of_exchange(world: &World, exchange_id: ExchangeId) -> Option<Work> {
    let (exchange, requested) = world.exchange(exchange_id)?;
    let first = world.versioned_order(requested.order_id);
    let new_id = requested.order.order_id;
    let new = world.versioned_order(new_id);
    let payment = world.payment(checkout::payment_of_credit(requested));
    let reaction = checkout::react_to_exchange(&ExchangeView {
        exchange_id,
        requested,
        exchange: &exchange,
        first: &first,
        new: &new,
        payment: &payment,
    });
    work_of(new_id, reaction)
}

fn reaction_id(cause: EventId, step: &Step) -> CommandId {
    CommandContext::reaction(cause, Uuid::nil(), &step.target(), step.command_name()).id
}

/// Fails the test if the command is refused: no caller sees the refusal of a reaction, so its work would stay
/// undone.
fn must_be_done(world: &mut World, step: Step, id: CommandId) {
    let sent = format!("{step:?}");
    assert_eq!(world.send(step, id).refusal(), None, "{sent}");
}

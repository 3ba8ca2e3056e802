//! Logs as the platform writes them: commands of customers and staff, and the reactions of the checkout.

use std::collections::{BTreeMap, HashMap, VecDeque};

use domain::{
    Amount, CancellationId, CommandContext, CommandId, Decider, Idempotency, NewEvent, OrderId, PaymentId,
    RecordedEvent, RefundId, ReturnId, ShipmentId, Sku, StreamName, Timestamp,
    checkout::{Reaction, Step, react_to_order, react_to_payment, settle},
    envelope::seal,
    order::{
        Adjustment, CancelReason, LineQuantity, NewCancellation, NewLine, NewReturn, Order, OrderCommand,
        OrderDecider, PaymentTerms, PlaceOrder, ReturnLine, Shortage,
    },
    payment::{Payment, PaymentCommand, PaymentDecider, RefundState},
    shares::AdjustmentKind,
    stock::{Stock, StockCommand, StockDecider, StockRefusal},
};
use proptest::prelude::*;
use uuid::Uuid;

/// A command of a customer or of staff. `order` is an index into [`Story::placed`], taken modulo its length.
/// Refused commands change nothing.
#[derive(Debug, Clone)]
pub enum Act {
    Receive {
        sku: u8,
        quantity: u32,
    },
    Place {
        customer: Option<u8>,
        country: Option<u8>,
        lines: Vec<(u8, u32, i64, bool)>,
        discount: i64,
        tax: i64,
        shipping: i64,
        prices_include_tax: bool,
        hour: i64,
    },
    Capture {
        order: usize,
        amount: Option<i64>,
    },
    Fail {
        order: usize,
    },
    Cancel {
        order: usize,
    },
    Expire {
        order: usize,
    },
    Ship {
        order: usize,
        units: Option<u32>,
    },
    Deliver {
        order: usize,
    },
    Return {
        order: usize,
        refund: Option<i64>,
    },
    Refund {
        order: usize,
        amount: i64,
    },
    SettleRefund {
        order: usize,
        succeeds: bool,
    },
}

/// Any command, roughly as often as in a real shop.
pub fn acts() -> impl Strategy<Value = Vec<Act>> {
    let order = || any::<prop::sample::Index>().prop_map(|index| index.index(1_000));
    let line = (0..4_u8, 1..6_u32, 0..500_i64, prop::bool::weighted(0.9));
    let place = (
        prop::option::of(0..3_u8),
        prop::option::of(0..3_u8),
        prop::collection::vec(line, 1..4),
        (0..100_i64, 0..50_i64, 0..50_i64, any::<bool>()),
        -800..800_i64,
    );
    let place = place.prop_map(|(customer, country, lines, adjustments, hour)| {
        let (discount, tax, shipping, prices_include_tax) = adjustments;
        Act::Place { customer, country, lines, discount, tax, shipping, prices_include_tax, hour }
    });
    let act = prop_oneof![
        3 => (0..4_u8, 1..40_u32).prop_map(|(sku, quantity)| Act::Receive { sku, quantity }),
        6 => place,
        5 => (order(), prop::option::of(1..400_i64)).prop_map(|(order, amount)| Act::Capture { order, amount }),
        1 => order().prop_map(|order| Act::Fail { order }),
        2 => order().prop_map(|order| Act::Cancel { order }),
        1 => order().prop_map(|order| Act::Expire { order }),
        3 => (order(), prop::option::of(1..3_u32)).prop_map(|(order, units)| Act::Ship { order, units }),
        2 => order().prop_map(|order| Act::Deliver { order }),
        2 => (order(), prop::option::of(0..200_i64)).prop_map(|(order, refund)| Act::Return { order, refund }),
        2 => (order(), 1..200_i64).prop_map(|(order, amount)| Act::Refund { order, amount }),
        4 => (order(), prop::bool::weighted(0.8))
            .prop_map(|(order, succeeds)| Act::SettleRefund { order, succeeds }),
    ];
    prop::collection::vec(act, 1..80)
}

/// A growing log, with the current aggregates.
#[derive(Default)]
pub struct Story {
    pub events: Vec<RecordedEvent>,
    pub stock: HashMap<Sku, Stock>,
    pub orders: HashMap<OrderId, Order>,
    pub payments: HashMap<PaymentId, Payment>,
    /// The orders, in the order in which they were placed.
    pub placed: Vec<OrderId>,
    commands: u128,
}

pub fn sku(number: u8) -> Sku {
    Sku::new(&format!("SKU {number}")).unwrap()
}

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

impl Story {
    pub fn of(acts: &[Act]) -> Self {
        let mut story = Self::default();
        for act in acts {
            story.act(act);
        }
        story
    }

    /// A story with every kind of command, so that no kind of row is missing.
    pub fn eventful() -> Self {
        let place = |lines: &[(u8, u32, i64, bool)]| Act::Place {
            customer: Some(1),
            country: Some(1),
            lines: lines.to_vec(),
            discount: 7,
            tax: 5,
            shipping: 4,
            prices_include_tax: false,
            hour: 3,
        };
        let mut story = Self::of(&[
            Act::Receive { sku: 0, quantity: 20 },
            Act::Receive { sku: 1, quantity: 20 },
            place(&[(0, 3, 250, true), (1, 2, 99, true), (0, 1, 200, true), (2, 1, 350, false)]),
            Act::Capture { order: 0, amount: None },
            Act::Ship { order: 0, units: Some(1) },
            Act::Deliver { order: 0 },
            Act::Return { order: 0, refund: Some(101) },
            Act::SettleRefund { order: 0, succeeds: true },
            Act::Cancel { order: 0 },
            place(&[(3, 1, 10, true)]),
            place(&[(0, 2, 100, true)]),
            place(&[(1, 4, 25, true), (0, 1, 1, true)]),
        ]);
        story.act(&Act::Capture { order: 3, amount: Some(40) });
        story
    }

    pub fn act(&mut self, act: &Act) {
        match act {
            Act::Receive { sku: number, quantity } => {
                let receive = StockCommand::Receive { quantity: *quantity, reference: None };
                self.run(Step::Stock(sku(*number), receive));
            }
            Act::Place { .. } => self.place(act),
            Act::Capture { order, amount: part } => {
                let authorize = PaymentCommand::Authorize { amount: None, reference: None };
                self.pay(*order, |_| authorize);
                let part = part.map(amount);
                self.pay(*order, |_| PaymentCommand::Capture { amount: part, reference: None });
            }
            Act::Fail { order } => {
                self.pay(*order, |_| PaymentCommand::Fail { reason: None, retryable: false });
            }
            Act::Cancel { order } => {
                let cancellation =
                    NewCancellation::of_the_rest(CancellationId(self.fresh_id()), CancelReason::Requested);
                self.order(*order, |_| OrderCommand::Cancel(cancellation));
            }
            Act::Expire { order } => self.order(*order, |_| OrderCommand::Expire { now: Timestamp::MAX }),
            Act::Ship { order, units } => self.ship(*order, *units),
            Act::Deliver { order } => {
                self.order(*order, |state| {
                    let open = state.shipments().iter().find(|shipment| !shipment.delivered);
                    let shipment_id = open.map_or(ShipmentId(Uuid::nil()), |shipment| shipment.shipment_id);
                    OrderCommand::Deliver { shipment_id }
                });
            }
            Act::Return { order, refund } => self.take_back(*order, *refund),
            Act::Refund { order, amount: minor_units } => {
                let refund_id = RefundId(self.fresh_id());
                let amount = amount(*minor_units);
                self.order(*order, |_| OrderCommand::Refund {
                    refund_id,
                    amount,
                    lines: Vec::new(),
                    payment_id: None,
                    reason: None,
                });
            }
            Act::SettleRefund { order, succeeds } => self.pay(*order, |payment| {
                let open = payment.refunds().iter().find(|refund| refund.state == RefundState::Requested);
                let refund_id = open.map_or(RefundId(Uuid::nil()), |refund| refund.refund_id);
                if *succeeds {
                    PaymentCommand::RecordRefunded { refund_id, reference: None }
                } else {
                    PaymentCommand::RecordRefundFailed { refund_id, reason: None }
                }
            }),
        }
    }

    fn place(&mut self, act: &Act) {
        let Act::Place { customer, country, lines, discount, tax, shipping, prices_include_tax, hour } = act
        else {
            return;
        };
        let adjustment = |kind, minor_units| Adjustment {
            kind: Some(kind),
            spread: AdjustmentKind::is_spread(kind),
            ..Adjustment::new(kind.as_str(), amount(minor_units))
        };
        let order_id = OrderId(Uuid::new_v5(&Uuid::NAMESPACE_OID, self.fresh_id().as_bytes()));
        let line = |&(number, quantity, price, stocked): &(u8, u32, i64, bool)| NewLine {
            sku: sku(number),
            quantity,
            unit_price: amount(price),
            stocked,
            adjustments: Vec::new(),
        };
        let place = PlaceOrder {
            order_id,
            customer_id: customer.map(|number| format!("customer {number}")),
            currency: "GBP".parse().unwrap(),
            country: country.map(|number| format!("Country {number}")),
            lines: lines.iter().map(line).collect(),
            adjustments: vec![
                adjustment(AdjustmentKind::Discount, -discount),
                adjustment(AdjustmentKind::Tax, *tax),
                adjustment(AdjustmentKind::Shipping, *shipping),
            ],
            prices_include_tax: *prices_include_tax,
            reference: None,
            metadata: BTreeMap::new(),
            placed_at: Timestamp::from_second(1_300_000_000 + hour * 3_600).unwrap(),
            now: Timestamp::from_second(1_300_000_000 + hour * 3_600).unwrap(),
            payment_due_at: Some(Timestamp::from_second(1_400_000_000).unwrap()),
            terms: PaymentTerms::Prepaid,
            captures_in_parts: true,
            payment: None,
            payments: Vec::new(),
        };
        self.run(Step::Order(order_id, OrderCommand::Place(Box::new(place))));
        if self.orders[&order_id].exists() {
            self.placed.push(order_id);
        }
    }

    fn ship(&mut self, order: usize, units: Option<u32>) {
        let shipment_id = ShipmentId(self.fresh_id());
        self.order(order, |state| {
            let open = (1..).zip(state.lines()).find(|(_, line)| line.open() > 0);
            let part = units
                .zip(open)
                .map(|(units, (line, open))| vec![LineQuantity { line, quantity: units.min(open.open()) }]);
            OrderCommand::Ship {
                shipment_id,
                lines: part,
                carrier: None,
                tracking_number: None,
                now: Timestamp::UNIX_EPOCH,
            }
        });
    }

    fn take_back(&mut self, order: usize, refund: Option<i64>) {
        let return_id = ReturnId(self.fresh_id());
        self.order(order, |state| {
            let shipped = (1..).zip(state.lines()).find(|(_, line)| line.shipped > line.returned);
            let line = shipped.map_or(1, |(line, _)| line);
            OrderCommand::Return(NewReturn {
                return_id,
                lines: vec![ReturnLine { line, quantity: 1, restock: line % 2 == 1 }],
                refund_amount: refund.map(amount),
                reason: None,
            })
        });
    }

    fn order(&mut self, order: usize, command: impl FnOnce(&Order) -> OrderCommand) {
        if let Some(&id) = self.placed.get(order % self.placed.len().max(1)) {
            let command = command(&self.orders[&id]);
            self.run(Step::Order(id, command));
        }
    }

    fn pay(&mut self, order: usize, command: impl FnOnce(&Payment) -> PaymentCommand) {
        if let Some(&id) = self.placed.get(order % self.placed.len().max(1)) {
            let id = PaymentId::of_order(id);
            let command = command(self.payments.entry(id).or_default());
            self.run(Step::Payment(id, command));
        }
    }

    fn fresh_id(&mut self) -> Uuid {
        self.commands += 1;
        Uuid::from_u128(self.commands << 64)
    }

    /// Runs a command and all of its reactions.
    fn run(&mut self, step: Step) {
        let mut steps = VecDeque::from([step]);
        while let Some(step) = steps.pop_front() {
            for reaction in self.step(step) {
                match reaction {
                    Reaction::None => {}
                    Reaction::Send(more) => steps.extend(more),
                    Reaction::Reserve(_) => unreachable!("the step itself reserves"),
                }
            }
        }
    }

    /// Runs one command; returns the reactions to its events.
    fn step(&mut self, step: Step) -> Vec<Reaction> {
        match step {
            Step::Stock(sku, command) => {
                let _ = self.record_stock(&sku, command);
                Vec::new()
            }
            Step::Exchange(..) => Vec::new(),
            Step::Order(id, command) => {
                let mut state = self.orders.remove(&id).unwrap_or_default();
                let events = self.record::<OrderDecider>(id, &mut state, command).unwrap_or_default();
                let reactions: Vec<Reaction> =
                    events.iter().map(|event| react_to_order(id, event, &state)).collect();
                self.orders.insert(id, state);
                reactions.into_iter().map(|reaction| self.reserve(id, reaction)).collect()
            }
            Step::Payment(id, command) => {
                let mut state = self.payments.remove(&id).unwrap_or_default();
                let events = self.record::<PaymentDecider>(id, &mut state, command).unwrap_or_default();
                let reactions = events.iter().map(|event| react_to_payment(event, &state)).collect();
                self.payments.insert(id, state);
                reactions
            }
        }
    }

    /// Makes the reservations of a reaction, if it has any; then settles the order by their outcome.
    fn reserve(&mut self, order_id: OrderId, reaction: Reaction) -> Reaction {
        let Reaction::Reserve(units) = reaction else { return reaction };
        let mut shortages = Vec::new();
        for (sku, quantity) in units {
            let reserve = StockCommand::Reserve { order_id, quantity };
            if let Err(StockRefusal::Insufficient { requested, available }) = self.record_stock(&sku, reserve)
            {
                shortages.push(Shortage { sku, requested, available });
            }
        }
        Reaction::Send(vec![Step::Order(order_id, settle(order_id, shortages))])
    }

    fn record_stock(&mut self, sku: &Sku, command: StockCommand) -> Result<(), StockRefusal> {
        let mut state = self.stock.remove(sku).unwrap_or_default();
        let outcome = self.record::<StockDecider>(sku.clone(), &mut state, command).map(drop);
        self.stock.insert(sku.clone(), state);
        outcome
    }

    fn record<A: Decider>(
        &mut self,
        id: A::Id,
        state: &mut A::State,
        command: A::Command,
    ) -> Result<Vec<A::Event>, A::Refusal> {
        let name = A::command_name(&command);
        let events = A::decide(state, command)?;
        for event in &events {
            A::evolve(state, event);
        }
        let idempotency = Idempotency { key: "key".to_owned(), fingerprint: "f".to_owned(), schema: 1 };
        let context = CommandContext::external(CommandId(self.fresh_id()), idempotency);
        for event in seal::<A>(&context, name, &events) {
            self.append(id.clone().into(), event);
        }
        Ok(events)
    }

    pub fn append(&mut self, stream: StreamName, event: NewEvent) {
        let position = self.events.len() as u64 + 1;
        let revision = self.events.iter().filter(|earlier| earlier.stream == stream).count() as u64;
        self.events.push(RecordedEvent {
            position,
            stream,
            revision,
            id: event.id,
            type_name: event.type_name.into(),
            data: event.data.into(),
            metadata: event.metadata.as_ref().into(),
            recorded_at: Timestamp::from_second(1_300_000_000 + position.cast_signed()).unwrap(),
            damage: None,
        });
    }
}

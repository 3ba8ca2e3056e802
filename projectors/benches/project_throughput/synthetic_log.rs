//! A synthetic log: orders of one line, each placed, reserved, allocated, and with a payment requested.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use domain::{
    Amount, CommandContext, CommandId, Decider, EventId, Idempotency, NewEvent, OrderId, PaymentId, Position,
    RecordedEvent, Revision, Sku, StreamName, Timestamp,
    envelope::seal,
    order::{NewLine, OrderCommand, OrderDecider, PaymentTerms, PlaceOrder},
    payment::{PaymentCommand, PaymentDecider},
    stock::{StockCommand, StockDecider},
};
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate},
    event_store::{EventLog, ReadError},
};
use uuid::Uuid;

const SKUS: u64 = 1_000;
const BATCH_EVENTS: usize = 2_000;

pub struct MemoryLog {
    pub events: Vec<RecordedEvent>,
}

#[async_trait]
impl EventLog for MemoryLog {
    async fn read_stream(
        &self,
        _: &StreamName,
        _: Revision,
        _: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        Ok(Vec::new())
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        let from = usize::try_from(after.unwrap_or(0)).expect("positions of a vector fit");
        Ok(self.events.iter().skip(from).take(limit).cloned().collect())
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        Ok(self.events.last().cloned())
    }

    fn store_id(&self) -> Uuid {
        Uuid::from_u128(7)
    }
}

/// Delivers the log in large batches.
pub struct Feed {
    log: Arc<MemoryLog>,
    after: Option<Position>,
    assigned: bool,
    delivered: Arc<AtomicU64>,
}

impl Feed {
    /// Sets `delivered` to the last position when the whole log is delivered.
    pub fn new(log: Arc<MemoryLog>, delivered: Arc<AtomicU64>) -> Self {
        Self { log, after: None, assigned: false, delivered }
    }
}

#[async_trait]
impl EventSource for Feed {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        if !std::mem::replace(&mut self.assigned, true) {
            return Ok(SourceUpdate::Assigned(vec![Partition::whole_log()]));
        }
        let after = self.after;
        let events = self.log.read_all(after, BATCH_EVENTS).await?;
        let Some(position) = events.last().map(|event| event.position) else {
            self.delivered.store(after.unwrap_or(0), Ordering::Release);
            return std::future::pending().await;
        };
        self.after = Some(position);
        Ok(SourceUpdate::Events(Batch { partition: Partition::whole_log(), after, events, position }))
    }

    fn seek(&mut self, _: &Partition, reached: Option<Reached>) {
        self.after = reached.map(|reached| reached.position);
    }
}

pub fn synthetic_log(orders: u64) -> MemoryLog {
    let mut writer = LogWriter { events: Vec::new(), revisions: std::collections::HashMap::new() };
    let mut stock: Vec<_> = (0..SKUS)
        .map(|number| {
            let sku = Sku::new(&format!("SKU-{number:05}")).expect("a SKU");
            (sku, domain::stock::Stock::default())
        })
        .collect();
    for (sku, state) in &mut stock {
        let receive = StockCommand::Receive { quantity: 1_000_000_000, reference: None };
        writer.run::<StockDecider>(sku.clone(), state, receive, 0);
    }
    for number in 0..orders {
        let index = usize::try_from(number.wrapping_mul(2_654_435_761) % SKUS).expect("small");
        let (sku, state) = &mut stock[index];
        place(&mut writer, number, sku, state);
    }
    MemoryLog { events: writer.events }
}

fn place(writer: &mut LogWriter, number: u64, sku: &Sku, stock: &mut domain::stock::Stock) {
    let order_id = OrderId::of_command(CommandId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &number.to_be_bytes())));
    let mut order = domain::order::Order::default();
    let place = PlaceOrder {
        order_id,
        customer_id: Some(format!("customer-{}", number % 20_000)),
        currency: "GBP".parse().expect("a currency"),
        country: Some("United Kingdom".to_owned()),
        lines: vec![NewLine {
            sku: sku.clone(),
            quantity: 1,
            unit_price: Amount::new(255).expect("an amount"),
            stocked: true,
            adjustments: Vec::new(),
        }],
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: Some(format!("bench-{number}")),
        metadata: std::collections::BTreeMap::new(),
        placed_at: time_of(number),
        now: time_of(number),
        payment_due_at: None,
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    };
    let payment_id = PaymentId::of_order(order_id);
    writer.run::<OrderDecider>(order_id, &mut order, OrderCommand::Place(Box::new(place)), number);
    writer.run::<StockDecider>(sku.clone(), stock, StockCommand::Reserve { order_id, quantity: 1 }, number);
    writer.run::<OrderDecider>(order_id, &mut order, OrderCommand::Allocate { payment_id }, number);
    let request = PaymentCommand::Request {
        payment_id,
        order_id,
        amount: order.total(),
        currency: order.currency().expect("placed"),
        charge: None,
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    writer.run::<PaymentDecider>(payment_id, &mut domain::payment::Payment::default(), request, number);
}

/// The time of an order: 500 orders a minute.
fn time_of(number: u64) -> Timestamp {
    Timestamp::from_millisecond(1_700_000_000_000 + i64::try_from(number).expect("small") * 120)
        .expect("a time")
}

struct LogWriter {
    events: Vec<RecordedEvent>,
    revisions: std::collections::HashMap<StreamName, Revision>,
}

impl LogWriter {
    fn run<A: Decider>(&mut self, id: A::Id, state: &mut A::State, command: A::Command, number: u64) {
        let name = A::command_name(&command);
        let events = A::decide(state, command).expect("an accepted command");
        for event in &events {
            A::evolve(state, event);
        }
        let position = self.events.len() as u64;
        let context = CommandContext::external(
            CommandId(Uuid::new_v5(&Uuid::NAMESPACE_URL, &position.to_be_bytes())),
            Idempotency { key: format!("bench-{number}"), fingerprint: "0".repeat(64), schema: 1 },
        );
        let stream: StreamName = id.into();
        for NewEvent { type_name, data, metadata, .. } in seal::<A>(&context, name, &events) {
            let next = self.revisions.entry(stream.clone()).or_default();
            let position = self.events.len() as u64 + 1;
            self.events.push(RecordedEvent {
                position,
                stream: stream.clone(),
                revision: *next,
                id: EventId(Uuid::new_v5(&Uuid::NAMESPACE_DNS, &position.to_be_bytes())),
                type_name: type_name.into(),
                data: data.into(),
                metadata: metadata.as_ref().into(),
                recorded_at: time_of(number),
                damage: None,
            });
            *next += 1;
        }
    }
}

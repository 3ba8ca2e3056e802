//! Projects a made-up log of N orders (default 100,000) of one line into a SQLite file, live and by a rebuild, and
//! prints events per second: `cargo run --release -p projectors --example project_throughput -- N`.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use domain::{
    Amount, CommandContext, CommandId, Decider, EventId, Idempotency, NewEvent, OrderId, PaymentId, Position,
    RecordedEvent, Revision, Sku, StreamName, Timestamp,
    envelope::seal,
    order::{NewLine, OrderCommand, OrderDecider, PlaceOrder},
    payment::{PaymentCommand, PaymentDecider},
    stock::{StockCommand, StockDecider},
};
use infra::{
    event_source::{
        Batch, Delivery, EventSource, Partition,
        layout::{SourceLayout, WholeLog},
    },
    event_store::{EventLog, ReadError},
    read_models::{
        Queries,
        sqlite::{SqliteReadModels, SqliteRebuild},
    },
};
use projectors::{
    rebuild::rebuild,
    runner::{Options, Runner},
    verify::verify,
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const SKUS: u64 = 1_000;
const BATCH_EVENTS: usize = 2_000;

struct MemoryLog {
    events: Vec<RecordedEvent>,
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

    async fn last_position(&self) -> Result<Option<Position>, ReadError> {
        Ok(self.events.last().map(|event| event.position))
    }

    fn store_id(&self) -> Uuid {
        Uuid::from_u128(7)
    }
}

struct Feed {
    log: Arc<MemoryLog>,
    after: Option<Position>,
    assigned: bool,
    delivered: Arc<AtomicU64>,
}

#[async_trait]
impl EventSource for Feed {
    async fn next(&mut self) -> Result<Delivery, ReadError> {
        if !std::mem::replace(&mut self.assigned, true) {
            return Ok(Delivery::Assigned(vec![Partition::whole_log()]));
        }
        let after = self.after;
        let events = self.log.read_all(after, BATCH_EVENTS).await?;
        let Some(position) = events.last().map(|event| event.position) else {
            self.delivered.store(after.unwrap_or(0), Ordering::Release);
            return std::future::pending().await;
        };
        self.after = Some(position);
        Ok(Delivery::Events(Batch { partition: Partition::whole_log(), after, events, position }))
    }

    fn seek(&mut self, _: &Partition, position: Option<Position>) {
        self.after = position;
    }
}

#[tokio::main]
async fn main() {
    let orders = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let log = Arc::new(made_up_log(orders));
    let events = log.events.len();
    println!("{orders} orders, {events} events");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("read-models.db");

    let elapsed = project_live(&log, &path).await;
    print_rate("live", events, orders, elapsed);

    let layout: Arc<dyn SourceLayout> = Arc::new(WholeLog(log.clone()));
    let begun = Instant::now();
    let reader = infra::read_models::sqlite::SqliteQueries::open_read_only(&path).expect("read models");
    let verification = verify(log.as_ref(), &layout, &reader, &|_| {}).await.expect("a verification");
    print_rate("verify", events, orders, begun.elapsed());
    assert_eq!(verification.differences, 0, "{:?}", verification.described.first());

    for (name, target) in [("rebuild", dir.path().join("new.db")), ("rebuild over", path)] {
        let begun = Instant::now();
        let step_ended = |step| {
            if !matches!(step, projectors::rebuild::Step::Folding(_)) {
                println!("  {step:?} after {:?}", begun.elapsed());
            }
        };
        rebuild(log.as_ref(), &layout, &SqliteRebuild::new(&target), &step_ended).await.expect("a rebuild");
        print_rate(name, events, orders, begun.elapsed());
    }
}

async fn project_live(log: &Arc<MemoryLog>, path: &Path) -> Duration {
    let models = Arc::new(SqliteReadModels::open(path).expect("read models"));
    let queries = models.queries();
    let delivered = Arc::new(AtomicU64::new(0));
    let source =
        Feed { log: Arc::clone(log), after: None, assigned: false, delivered: Arc::clone(&delivered) };
    let begun = Instant::now();
    let shutdown = CancellationToken::new();
    let runner = Runner::new(source, log.clone(), models, Options::default());
    let running = tokio::spawn(runner.run(shutdown.clone()));
    let mut changed = queries.changed();
    while delivered.load(Ordering::Acquire) < log.events.len() as u64 {
        // The end of the log is met after its last commit.
        let _ = tokio::time::timeout(Duration::from_millis(10), changed.changed()).await;
    }
    let elapsed = begun.elapsed();
    shutdown.cancel();
    running.await.expect("the runner does not panic").expect("the log is the first one");
    elapsed
}

fn print_rate(name: &str, events: usize, orders: u64, elapsed: Duration) {
    #[allow(clippy::cast_precision_loss, reason = "figures for people")]
    let (events_per_second, us_per_order) =
        (events as f64 / elapsed.as_secs_f64(), elapsed.as_secs_f64() * 1e6 / orders as f64);
    println!("{name}: {events_per_second:.0} events/s, {us_per_order:.1} µs per order, {elapsed:.2?} in all");
}

fn made_up_log(orders: u64) -> MemoryLog {
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
        }],
        adjustments: Vec::new(),
        reference: Some(format!("bench-{number}")),
        metadata: std::collections::BTreeMap::new(),
        placed_at: time_of(number),
        payment_due_at: None,
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
    };
    writer.run::<PaymentDecider>(payment_id, &mut domain::payment::Payment::default(), request, number);
}

/// 500 orders a minute.
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
            });
            *next += 1;
        }
    }
}

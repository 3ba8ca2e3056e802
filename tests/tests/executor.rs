//! The executor without the rest of the platform, over a store that fails on demand.

mod batching;
mod broken_command;
mod durability;
mod isolation;
mod memory;
mod shared_store;

use std::sync::Arc;

use command_api::{
    ExecutorOptions,
    executor::{ExecuteError, Executed, Executor, Outcome, UnreadableStreams},
};
use domain::{
    CommandContext, CommandId, EventId, Idempotency, NewEvent, OrderId, Sku, StreamName,
    stock::{StockCommand, StockDecider},
};
use infra::{
    event_store::{
        Append, EventStore, ExpectedRevision,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    health::Health,
    snapshots::SnapshotStore,
};
use tempfile::TempDir;
use uuid::Uuid;

use crate::support::{FaultyStore, Log};

type Answer = Result<Executed<StockDecider>, ExecuteError>;

/// An event store in a temporary directory.
struct Files {
    dir: TempDir,
    events: Arc<dyn EventStore>,
}

impl Files {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let events =
            SqliteEventStore::open(&dir.path().join("events.db"), SqliteEventStoreOptions::default())
                .unwrap();
        Self { dir, events: Arc::new(events) }
    }

    fn snapshots(&self) -> Arc<SnapshotStore> {
        Arc::new(
            SnapshotStore::open(&self.dir.path().join("snapshots"), self.events.log().store_id()).unwrap(),
        )
    }

    async fn log(&self) -> Log {
        Log::read(&*self.events.log()).await
    }

    /// Appends an event without any check of the domain.
    async fn append_unchecked(
        &self,
        stream: &Sku,
        expected: ExpectedRevision,
        type_name: &'static str,
        data: &str,
    ) {
        self.events.append(append_of_another_writer(stream, expected, type_name, data)).await.unwrap();
    }
}

/// An append by another writer.
fn append_of_another_writer(
    stream: &Sku,
    expected: ExpectedRevision,
    type_name: &'static str,
    data: &str,
) -> Append {
    let metadata = serde_json::json!({
        "command_id": Uuid::new_v4(), "command": "stock.reserve", "correlation_id": Uuid::new_v4(),
    });
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name,
        data: data.as_bytes().to_vec(),
        metadata: metadata.to_string().into_bytes().into(),
    };
    Append { stream: StreamName::from(stream.clone()), expected, events: vec![event], epoch: None }
}

/// Sends stock commands to an executor over a store.
struct Stock {
    executor: Executor<StockDecider>,
    store: Arc<FaultyStore>,
}

impl Stock {
    fn over(store: &Arc<FaultyStore>, options: ExecutorOptions) -> Self {
        Self::with_snapshots(store, None, options)
    }

    fn with_snapshots(
        store: &Arc<FaultyStore>,
        snapshots: Option<&Arc<SnapshotStore>>,
        options: ExecutorOptions,
    ) -> Self {
        let dyn_store: Arc<dyn EventStore> = store.clone();
        let unreadable = UnreadableStreams::reported_to(Health::default());
        Self { executor: Executor::start(&dyn_store, snapshots, &unreadable, options), store: store.clone() }
    }

    async fn receive(&self, sku: &Sku, quantity: u32, key: &str) -> Answer {
        self.run(sku, StockCommand::Receive { quantity, reference: None }, external(sku, key, "receipt"))
            .await
    }

    async fn reserve(&self, sku: &Sku, quantity: u32, order: u128) -> Answer {
        let order_id = OrderId(Uuid::from_u128(order));
        let key = format!("order {order}");
        self.run(sku, StockCommand::Reserve { order_id, quantity }, external(sku, &key, "order")).await
    }

    async fn run(&self, sku: &Sku, command: StockCommand, context: CommandContext) -> Answer {
        self.executor.execute(sku, command, &context).await
    }
}

/// The context of a client's command with this key and content.
fn external(sku: &Sku, key: &str, content: &str) -> CommandContext {
    let id = CommandId::of_request("tests", "POST", sku.as_str(), key);
    let (key, fingerprint) = (key.to_owned(), content.to_owned());
    CommandContext::external(id, Idempotency { key, fingerprint, schema: 1 })
}

fn sku(name: &str) -> Sku {
    Sku::new(name).unwrap()
}

fn is_recorded(answer: &Answer) -> bool {
    answer.as_ref().is_ok_and(|executed| matches!(executed.outcome, Outcome::Recorded))
}

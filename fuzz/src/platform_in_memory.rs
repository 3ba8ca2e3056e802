//! A platform whose APIs are called without sockets.

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use command_api::{Checkout, CommandApi, CommandApiOptions, ExecutorOptions};
use http_body_util::BodyExt;
use infra::{
    clock::Clock,
    event_source::direct::DirectSource,
    event_store::{
        EventStore,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    health::Health,
    operations::sqlite::SqliteOperations,
    read_models::{Queries, ReadModels, sqlite::SqliteReadModels},
};
use projectors::runner::{ProjectorOptions, Runner};
use query_api::{LogAccess, QueryApi, QueryApiOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{runtime::Runtime, time::timeout};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(20);
/// The read models follow within a few milliseconds.
const PROJECTED_MAX: Duration = Duration::from_secs(20);

/// The SKU that orders name.
pub const SKU: &str = "85123A";

pub struct PlatformInMemory {
    runtime: Runtime,
    store: Arc<dyn EventStore>,
    queries: Arc<dyn Queries>,
    command_api: Router,
    query_api: Router,
    stop: CancellationToken,
    _files: TempDir,
}

/// An answer of an API.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("an answer is JSON")
    }
}

impl PlatformInMemory {
    /// `follows`: its read models follow the log.
    pub fn open(follows: bool) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime starts");
        let files = tempfile::tempdir().expect("a directory can be made");
        let path = |name: &str| files.path().join(name);
        let store = SqliteEventStore::open(&path("events.db"), SqliteEventStoreOptions::default());
        let store: Arc<dyn EventStore> = Arc::new(store.expect("an empty store opens"));
        let (clock, health, stop) = (Clock::system(), Health::default(), CancellationToken::new());
        let parked = Arc::new(SqliteOperations::open(&path("operations.db")).expect("an empty file opens"));
        let read_models = SqliteReadModels::open(&path("read-models.db")).expect("empty read models open");
        let queries = Arc::new(read_models.queries());
        let (command_api, query_api) = runtime.block_on(async {
            let options = ExecutorOptions::default();
            let checkout = Checkout::start(&store, None, clock.clone(), &health, options);
            let api = CommandApi::new(checkout, parked, CommandApiOptions::default());
            read_models.bind(store.log().store_id()).await.expect("empty read models belong to no log");
            let (log, options) = (LogAccess::of(store.log()), QueryApiOptions::default());
            let query_api = QueryApi::new(queries.clone(), None, log, clock.clone(), options);
            if follows {
                let source = DirectSource::new(Arc::clone(&store), 1_000);
                let options = ProjectorOptions::default();
                let runner = Runner::new(source, store.log(), Arc::new(read_models), options);
                tokio::spawn(runner.run(stop.clone()));
            }
            (command_api::router(api), query_api::router(query_api))
        });
        let platform = Self { runtime, store, queries, command_api, query_api, stop, _files: files };
        let receipt = json!({"quantity": 900_000_000});
        platform.post(&format!("/v1/stock/{SKU}/receipts"), "stock", receipt.to_string().into_bytes());
        platform
    }

    /// Sends a command with JSON.
    pub fn post(&self, path: &str, key: &str, body: Vec<u8>) -> Answer {
        let request = Request::post(path).header("content-type", "application/json");
        let request = request.header("idempotency-key", key).body(Body::from(body));
        self.send(&self.command_api, request.expect("a request of valid parts"))
    }

    /// Sends a query. `None` if the text is not a URL.
    pub fn get(&self, uri: &[u8]) -> Option<Answer> {
        let request = Request::get(uri).body(Body::empty()).ok()?;
        Some(self.send(&self.query_api, request))
    }

    /// Places an order of ten units.
    pub fn order(&self, key: &str) -> Value {
        let body = json!({"customer_id": "17850", "currency": "GBP", "lines": [
            {"sku": SKU, "quantity": 10, "unit_price": 255}
        ]});
        let answer = self.post("/v1/orders", key, body.to_string().into_bytes());
        assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
        answer.json()
    }

    /// Waits until the read models have every event.
    pub fn wait_for_read_models(&self) {
        let is_there = async {
            let last = self.store.log().last_position().await.expect("the log can be read");
            loop {
                let checkpoints = self.queries.checkpoints().await.expect("the read models can be read");
                if !checkpoints.is_empty() && checkpoints.iter().all(|row| row.log_position >= last) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        self.runtime
            .block_on(async { timeout(PROJECTED_MAX, is_there).await })
            .expect("the read models follow");
    }

    fn send(&self, router: &Router, request: Request<Body>) -> Answer {
        let answering = async {
            let response = match router.clone().oneshot(request).await {
                Ok(response) => response,
                Err(never) => match never {},
            };
            let status = response.status();
            let body = response.into_body().collect().await.expect("a body in memory").to_bytes().to_vec();
            Answer { status, body }
        };
        self.runtime.block_on(async { timeout(ANSWER_MAX, answering).await }).expect("an answer in time")
    }
}

impl Drop for PlatformInMemory {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

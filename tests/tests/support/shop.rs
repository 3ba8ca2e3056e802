//! A platform in the test's process: command API, process manager and projectors over one directory.

use std::{path::Path, sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, header},
};
use command_api::{
    Checkout, CommandApi, CommandApiOptions, ExecutorOptions, ProcessManager, backlog::Backlog,
};
use domain::{Revision, StreamName};
use infra::{
    clock::Clock,
    event_source::{EventSource, Partition, direct::DirectSource, layout::WholeLog},
    event_store::{
        EventStore,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    health::Health,
    http::Gate,
    operations::{
        Positions,
        parked::{ParkedReaction, ParkedReactions},
        sqlite::SqliteOperations,
    },
    payment_provider::PaymentProvider,
    read_models::{OverdueQueries, Queries, ReadModels, sqlite::SqliteReadModels},
    snapshots::SnapshotStore,
};
use projectors::runner::Runner;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::{Answer, FaultyStore, Log, PATIENCE, documented, eventually};

/// The setup of a [`Shop`].
#[derive(Clone)]
pub struct ShopOptions {
    pub executor: ExecutorOptions,
    pub api: CommandApiOptions,
    /// True: the event store has several writing processes, like EventStoreDB.
    pub shared_store: bool,
    pub process_manager: bool,
    /// If false, the read models stay empty, so the sweep and the timers find no work.
    pub projectors: bool,
    pub clock: Clock,
    pub provider: Option<Arc<dyn PaymentProvider>>,
    pub health: Health,
    /// Authenticates the callers of the command API.
    pub gate: Gate,
}

impl Default for ShopOptions {
    fn default() -> Self {
        Self {
            executor: ExecutorOptions::default(),
            api: CommandApiOptions::default(),
            shared_store: false,
            process_manager: true,
            projectors: true,
            clock: Clock::system(),
            provider: None,
            health: Health::default(),
            gate: Gate::open(),
        }
    }
}

pub struct Shop {
    pub store: Arc<FaultyStore>,
    pub checkout: Checkout,
    pub queries: Arc<dyn Queries>,
    /// The queries of the process manager, over the same rows.
    pub overdue: Arc<dyn OverdueQueries>,
    pub health: Health,
    router: Router,
    options: ShopOptions,
    process_manager: Option<Running>,
    projectors: Option<Running>,
    files: Files,
}

/// The state that survives a crash.
struct Files {
    dir: TempDir,
    events: Arc<dyn EventStore>,
}

struct Running {
    task: JoinHandle<()>,
    stop: CancellationToken,
}

impl Running {
    fn start<F: Future<Output = ()> + Send + 'static>(run: impl FnOnce(CancellationToken) -> F) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(run(stop.clone())), stop }
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// A line of an order, as JSON.
pub fn line(sku: &str, quantity: u32, unit_price: i64) -> Value {
    json!({"sku": sku, "quantity": quantity, "unit_price": unit_price})
}

impl Shop {
    pub async fn open() -> Self {
        Self::with(ShopOptions::default()).await
    }

    /// A shop in which only the HTTP handlers run reactions.
    pub async fn without_process_manager() -> Self {
        Self::with(ShopOptions { process_manager: false, ..ShopOptions::default() }).await
    }

    pub async fn with(options: ShopOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let events =
            SqliteEventStore::open(&dir.path().join("events.db"), SqliteEventStoreOptions::default())
                .unwrap();
        Self::start(Files { dir, events: Arc::new(events) }, options).await
    }

    /// A shop over an event store with several writing processes.
    pub async fn over(events: Arc<dyn EventStore>) -> Self {
        Self::over_with(events, ShopOptions::default()).await
    }

    /// [`Shop::over`] with another setup.
    pub async fn over_with(events: Arc<dyn EventStore>, options: ShopOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self::start(Files { dir, events }, ShopOptions { shared_store: true, ..options }).await
    }

    async fn start(files: Files, options: ShopOptions) -> Self {
        let events: Arc<dyn EventStore> = files.events.clone();
        let store =
            if options.shared_store { FaultyStore::shared(events) } else { FaultyStore::owned(events) };
        let dyn_store: Arc<dyn EventStore> = store.clone();
        let snapshots = SnapshotStore::open(&files.path("snapshots"), store.log().store_id()).unwrap();
        let clock = options.clock.clone();
        let (snapshots, health) = (Arc::new(snapshots), options.health.clone());
        let mut checkout = Checkout::start(&dyn_store, Some(&snapshots), clock, &health, options.executor);
        if let Some(provider) = &options.provider {
            checkout = checkout.with_provider(Arc::clone(provider), health.clone());
        }
        let parked = Arc::new(SqliteOperations::open(&files.path("operations.db")).unwrap());
        let api = CommandApi::new(checkout.clone(), parked, options.api).with_health(health.clone());
        let api = api.behind(options.gate.clone());
        let router = command_api::router(api);
        let read_models = SqliteReadModels::open(&files.path("read-models.db")).unwrap();
        read_models.bind(store.log().store_id()).await.unwrap();
        let queries = Arc::new(read_models.queries());
        let projector = Runner::new(
            DirectSource::new(dyn_store.clone(), 1_000),
            dyn_store.log(),
            Arc::new(read_models),
            projectors::runner::ProjectorOptions::default(),
        );
        let projectors =
            options.projectors.then(|| Running::start(|stop| async { projector.run(stop).await.unwrap() }));
        let starts_process_manager = options.process_manager;
        let mut shop = Self {
            store,
            checkout,
            overdue: queries.clone(),
            queries,
            health,
            router,
            options,
            process_manager: None,
            projectors,
            files,
        };
        if starts_process_manager {
            shop.start_process_manager();
        }
        shop
    }

    pub fn start_process_manager(&mut self) {
        let store: Arc<dyn EventStore> = self.store.clone();
        self.start_process_manager_over(Box::new(DirectSource::new(store, 1_000)));
    }

    pub fn start_process_manager_over(&mut self, source: Box<dyn EventSource>) {
        let operations = Arc::new(self.operations());
        let process_manager = ProcessManager {
            checkout: self.checkout.clone(),
            source,
            positions: operations.clone(),
            parked: operations,
            layout: Arc::new(WholeLog(self.store.log())),
            queries: self.overdue.clone(),
            health: self.health.clone(),
            batch_every: Duration::from_millis(10),
        };
        self.process_manager = Some(Running::start(|stop| process_manager.run(stop)));
    }

    /// Stops the process manager: reactions under way finish and the position is saved.
    pub async fn stop_process_manager(&mut self) {
        if let Some(process_manager) = self.process_manager.take() {
            process_manager.end().await;
        }
    }

    /// Waits until the process manager ends without being stopped.
    pub async fn process_manager_ended(&mut self) {
        let running = self.process_manager.take().expect("a running process manager");
        running.task.await.unwrap();
    }

    fn operations(&self) -> SqliteOperations {
        SqliteOperations::open(&self.files.path("operations.db")).unwrap()
    }

    /// The saved position of the process manager: all reactions up to it are durable.
    pub async fn reacted_up_to(&self) -> Option<u64> {
        let (operations, store_id) = (self.operations(), self.store.log().store_id());
        let reached = operations.load("process-manager", store_id, &Partition::whole_log()).await.unwrap();
        reached.map(|reached| reached.position)
    }

    /// Saves a position of the process manager, as if all reactions up to it were durable.
    pub async fn save_reacted_up_to(&self, position: u64) {
        let (operations, store_id) = (self.operations(), self.store.log().store_id());
        let (partition, known) = (Partition::whole_log(), self.reacted_up_to().await);
        let saved =
            operations.save("process-manager", store_id, &partition, known, &position.into()).await.unwrap();
        assert!(saved, "another position was saved meanwhile");
    }

    /// Forgets that reactions of a stream are parked, as if the store had lost it.
    pub async fn lose_parked(&self, stream: StreamName) {
        // Of any stream of a test.
        const LAST: Revision = 1_000;
        let store_id = self.store.log().store_id();
        self.operations().resume(store_id, &stream, LAST).await.unwrap();
    }

    /// The parked reactions.
    pub async fn parked(&self) -> Vec<ParkedReaction> {
        self.operations().list(self.store.log().store_id(), None, 1_000).await.unwrap()
    }

    /// Parks a reaction as another process does.
    pub async fn park(&self, entry: ParkedReaction) {
        self.operations().park(self.store.log().store_id(), &entry).await.unwrap();
    }

    /// Restarts the shop as after `kill -9`: loses all that is in memory or not durable.
    pub async fn crash(self) -> Self {
        let options = self.options.clone();
        self.crash_into(options).await
    }

    /// [`Shop::crash`] with another setup after it.
    pub async fn crash_into(self, options: ShopOptions) -> Self {
        Self::start(self.die().await, options).await
    }

    /// [`Shop::crash`] that also loses the files whose names start with one of `lost`.
    pub async fn crash_without(self, lost: &[&str]) -> Self {
        let options = self.options.clone();
        let files = self.die().await;
        for entry in std::fs::read_dir(files.dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if lost.iter().any(|name| path.file_name().unwrap().to_str().unwrap().starts_with(name)) {
                std::fs::remove_file(path).unwrap();
            }
        }
        Self::start(files, options).await
    }

    async fn die(self) -> Files {
        self.store.die();
        for running in [self.projectors, self.process_manager].into_iter().flatten() {
            running.stop.cancel();
            running.task.abort();
            // Fails, because the task was aborted.
            let _ = running.task.await;
        }
        // Appends that reached the inner store before the crash are durable before the next start reads it.
        self.store.settle().await;
        self.files
    }

    /// Serves commands with a share of new orders refused.
    pub fn with_backlog(mut self, backlog: Backlog) -> Self {
        let parked = Arc::new(SqliteOperations::open(&self.files.path("operations.db")).unwrap());
        let api = CommandApi::new(self.checkout.clone(), parked, self.options.api);
        self.router = command_api::router(api.with_backlog(backlog));
        self
    }

    pub fn router(&self) -> Router {
        self.router.clone()
    }

    /// Sends a request and checks that its operation documents the answer.
    pub async fn send(&self, request: Request<Body>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, stream) = response.into_parts();
        let body = to_bytes(stream, usize::MAX).await.unwrap().to_vec();
        let answer = Answer { status: head.status, headers: head.headers, body };
        documented::COMMAND_API.check(&method, &path, &answer);
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.send(Request::get(path).body(Body::empty()).unwrap()).await
    }

    pub async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.post_with(path, key, body, &[]).await
    }

    pub async fn post_with(
        &self,
        path: &str,
        key: &str,
        body: Value,
        headers: &[(&'static str, &str)],
    ) -> Answer {
        let mut request = Request::post(path)
            .header("idempotency-key", key)
            .header(header::CONTENT_TYPE, "application/json");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.send(request.body(Body::from(body.to_string())).unwrap()).await
    }

    /// Receives stock.
    pub async fn receive(&self, sku: &str, quantity: u32) {
        let path = format!("/v1/stock/{sku}/receipts");
        self.post(&path, &format!("stock {sku}"), json!({"quantity": quantity})).await.expect(201);
    }

    pub async fn place(&self, key: &str, lines: &[Value]) -> Answer {
        self.post("/v1/orders", key, json!({"currency": "GBP", "lines": lines})).await
    }

    /// Authorizes and captures the whole payment of an order that was just placed.
    pub async fn pay(&self, order: &Value) {
        let payment = order["payment_id"].as_str().unwrap();
        for step in ["authorize", "capture"] {
            self.post(&format!("/v1/payments/{payment}/{step}"), step, json!({})).await.expect(200);
        }
    }

    pub async fn log(&self) -> Log {
        Log::read(&*self.files.events.log()).await
    }

    /// Waits until the log meets the condition, at most [`PATIENCE`].
    pub async fn until(&self, what: &str, condition: impl Fn(&Log) -> bool) -> Log {
        let mut head = self.files.events.head();
        let waiting = async {
            loop {
                head.mark_unchanged();
                let log = self.log().await;
                if condition(&log) {
                    return log;
                }
                head.changed().await.unwrap();
            }
        };
        if let Ok(log) = tokio::time::timeout(PATIENCE, waiting).await {
            return log;
        }
        let log = self.log().await;
        let types: Vec<&str> = log.0.iter().map(|event| &*event.type_name).collect();
        panic!("not within {PATIENCE:?}: {what}; the log contains {types:?}")
    }

    /// Waits until the process manager has saved the last position of the log: every reaction is durable.
    pub async fn until_all_reacted(&self) -> Log {
        eventually("every event is reacted to", async || {
            let log = self.log().await;
            let last = log.0.last().map(|event| event.position);
            (self.reacted_up_to().await == last).then_some(log)
        })
        .await
    }

    pub fn events(&self) -> Arc<dyn EventStore> {
        self.files.events.clone()
    }
}

impl Files {
    fn path(&self, name: &str) -> std::path::PathBuf {
        Path::join(self.dir.path(), name)
    }
}

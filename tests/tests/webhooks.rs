//! Webhooks end to end: the API, the follower, the dispatcher, and a real HTTP server as the receiver.

mod addresses;
mod backlog;
mod crashes;
mod delivering;
mod failing;
mod isolation;
mod kafka;
pub mod receiver;
mod replaying;
mod subscriptions;
mod trace_context;
mod unreadable;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Method, Request, header},
};
use command_api::{CommandApi, CommandApiOptions, WebhookAdmin};
use domain::{RecordedEvent, Timestamp};
use infra::{
    clock::Clock,
    event_source::{
        EventSource,
        direct::DirectSource,
        layout::{SourceLayout, WholeLog},
    },
    event_store::EventLog,
    health::Health,
    operations::{
        sqlite::SqliteOperations,
        webhooks::{DeliveryStatus, SubscriptionId, WebhookStore},
    },
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use webhooks::{DispatcherOptions, LaneOptions, RetrySchedule, UrlGuard, Webhooks};

use self::receiver::Receiver;
use crate::support::{Answer, Shop, documented, eventually, line};

const PATH: &str = "/v1/webhook-subscriptions";

/// A shop with webhooks.
pub struct Hooks {
    pub shop: Shop,
    store: Arc<SqliteOperations>,
    /// Followers and dispatchers that start later use its clock and guard.
    webhooks: Webhooks,
    /// The command API with webhooks.
    pub router: Router,
    running: Vec<JoinHandle<()>>,
    directory: TempDir,
}

impl Hooks {
    /// A shop whose follower and dispatcher run. They may send to private addresses.
    pub async fn open() -> Self {
        let mut hooks = Self::stopped(UrlGuard::new(true)).await;
        hooks.start_follower();
        hooks.start_dispatcher();
        hooks
    }

    /// A shop whose follower and dispatcher do not run yet.
    async fn stopped(guard: UrlGuard) -> Self {
        let (shop, directory) = (Shop::open().await, tempfile::tempdir().unwrap());
        let store = Arc::new(SqliteOperations::open(&directory.path().join("operations.db")).unwrap());
        let (log, health) = (shop.events().log(), Health::default());
        let webhooks = Webhooks::new(store.clone(), log, guard, Clock::system(), health);
        let admin = WebhookAdmin { store: store.clone(), service: Arc::new(webhooks.clone()) };
        let api = CommandApi::new(shop.checkout.clone(), store.clone(), CommandApiOptions::default());
        let router = command_api::router(api.with_webhooks(admin));
        Self { shop, store, webhooks, router, running: Vec::new(), directory }
    }

    fn start_follower(&mut self) {
        let events = self.shop.events();
        let layout = Arc::new(WholeLog(events.log()));
        self.start_following(Box::new(DirectSource::new(events, 1_000)), layout);
    }

    fn start_following(&mut self, source: Box<dyn EventSource>, layout: Arc<dyn SourceLayout>) {
        let follower = self.webhooks.follower(source, layout, Duration::ZERO);
        self.running.push(tokio::spawn(follower.run(CancellationToken::new())));
    }

    /// Retries within 20 to 250 ms and gives up after 6 s.
    fn start_dispatcher(&mut self) {
        self.start_sending(dispatcher_options());
    }

    fn start_sending(&mut self, options: DispatcherOptions) {
        let dispatcher = self.webhooks.dispatcher(options).unwrap();
        self.running.push(tokio::spawn(dispatcher.run(CancellationToken::new())));
    }

    /// Aborts follower and dispatcher, like `kill -9`.
    async fn kill(&mut self) {
        for task in self.running.drain(..) {
            task.abort();
            let _ = task.await;
        }
    }

    async fn request(&self, method: Method, path: &str, key: Option<&str>, body: Value) -> Answer {
        let mut request =
            Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let request = request.body(Body::from(body.to_string())).unwrap();
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let (head, body) = self.router.clone().oneshot(request).await.unwrap().into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap().to_vec();
        let answer = Answer { status: head.status, headers: head.headers, body };
        documented::COMMAND_API.check(&method, &path, &answer);
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, None, json!({})).await
    }

    async fn post(&self, path: &str, key: &str, body: Value) -> Answer {
        self.request(Method::POST, path, Some(key), body).await
    }

    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.request(Method::PATCH, path, None, body).await
    }

    /// Subscribes a receiver to some events. Returns the path of the subscription.
    pub async fn subscribe(&self, receiver: &Receiver, event_types: &[&str]) -> String {
        let body = json!({"url": receiver.url(), "event_types": event_types});
        let made = self.post(PATH, &format!("subscribe {}", receiver.url()), body).await.expect(201);
        format!("{PATH}/{}", made["subscription_id"].as_str().unwrap())
    }

    /// Places and pays an order. Returns its id.
    pub async fn paid_order(&self, key: &str) -> String {
        self.shop.receive(key, 10).await;
        let placed = self.shop.place(key, &[line(key, 2, 100)]).await.expect(201);
        self.shop.pay(&placed).await;
        let order = placed["order_id"].as_str().unwrap().to_owned();
        // The capture leads to the last event of the order.
        let events = self.shop.events().log();
        eventually("the order is paid", async || {
            let events = events_of(&*events, &order).await;
            events.iter().any(|event| &*event.type_name == "order.paid.v1").then_some(())
        })
        .await;
        order
    }

    async fn events_of(&self, order: &str) -> Vec<RecordedEvent> {
        events_of(&*self.shop.events().log(), order).await
    }

    /// The delivery log of a subscription, newest first.
    async fn deliveries(&self, subscription: &str) -> Vec<Value> {
        let listed = self.get(&format!("{subscription}/deliveries?limit=200")).await.expect(200);
        listed["items"].as_array().unwrap().clone()
    }

    /// Waits until `count` deliveries have this status.
    pub async fn until(&self, subscription: &str, status: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} are {status}"), async || {
            let mut found = self.deliveries(subscription).await;
            found.retain(|delivery| delivery["status"] == status);
            (found.len() >= count).then_some(found)
        })
        .await
    }

    /// The number of queued deliveries, read from the store.
    async fn queued(&self, subscription: &str) -> usize {
        let id: SubscriptionId = subscription.rsplit('/').next().unwrap().parse().unwrap();
        self.store.deliveries(id, Some(DeliveryStatus::Pending), None, 200).await.unwrap().len()
    }
}

/// The events of an order and its payment, in log order.
async fn events_of(log: &dyn EventLog, order: &str) -> Vec<RecordedEvent> {
    let order: domain::OrderId = order.parse().unwrap();
    let mut events = log.read_stream(&order.into(), 0, 100).await.unwrap();
    events.extend(log.read_stream(&domain::PaymentId::of_order(order).into(), 0, 100).await.unwrap());
    events.sort_by_key(|event| event.position);
    events
}

/// Options that retry within 20 to 250 ms and give up after 6 s.
fn dispatcher_options() -> DispatcherOptions {
    let schedule = RetrySchedule {
        first_pause: Duration::from_millis(20),
        factor: 2,
        pause_max: Duration::from_millis(200),
        jitter: 0.25,
        give_up_after: Duration::from_secs(6),
    };
    let lanes = LaneOptions {
        pause_min: Duration::from_millis(20),
        pause_max: Duration::from_millis(200),
        ..LaneOptions::default()
    };
    DispatcherOptions {
        lanes,
        time_max: Duration::from_millis(500),
        schedule,
        poll_every: Duration::from_millis(10),
        prune_every: Duration::from_millis(50),
        ..DispatcherOptions::default()
    }
}

fn clock_ahead_by_hours(hours: i64) -> Clock {
    Clock::given_by(move || Timestamp::now() + jiff::SignedDuration::from_hours(hours))
}

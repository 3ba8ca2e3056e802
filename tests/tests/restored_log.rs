//! A server of the event store goes back to an earlier state under its old id, as a restored backup does.

use std::{net::SocketAddr, path::Path};

use domain::{Position, StreamName, Timestamp};
use infra::{
    event_store::{
        EventLog,
        eventstoredb::{EventStoreDbLog, EventStoreDbOptions},
    },
    log_guard::Journal,
    operations::{
        parked::{ParkedReaction, ParkedReactions},
        sqlite::SqliteOperations,
    },
};
use platform::{
    commands::repair::{self, RepairCommand, RepairLogOptions},
    config::{EventStoreUrl, Role, ServeOptions},
    serve::{RunningRoles, ServeConfig},
};
use serde_json::{Value, json};
use tests::eventstoredb::{FixtureOptions, Server};

use crate::support::{Configured, eventually};

/// A platform over the server, with its other stores in a directory.
struct Platform {
    cli: Configured,
    http: reqwest::Client,
}

impl Platform {
    fn new(server: &Server, data_dir: &Path) -> Self {
        Self { cli: Configured::over(server.url(), data_dir), http: reqwest::Client::new() }
    }

    async fn start(&self) -> RunningRoles {
        self.cli.start().await
    }

    /// Starts the query API alone, beside the other roles.
    async fn start_query_api(&self) -> RunningRoles {
        let options = ServeOptions { roles: vec![Role::QueryApi], ..self.cli.options.clone() };
        RunningRoles::start(ServeConfig::new(&self.cli.settings, &options).unwrap()).await.unwrap()
    }

    async fn is_ready(&self, address: Option<SocketAddr>) -> bool {
        let url = format!("http://{}/readyz", address.unwrap());
        self.http.get(url).send().await.unwrap().status().is_success()
    }

    async fn post(&self, roles: &RunningRoles, path: &str, key: &str, body: Value) -> (u16, Value) {
        let url = format!("http://{}{path}", roles.command_address.unwrap());
        let sent = self.http.post(url).header("idempotency-key", key).json(&body).send().await.unwrap();
        (sent.status().as_u16(), sent.json().await.unwrap())
    }

    async fn receive(&self, roles: &RunningRoles, sku: &str) {
        let path = format!("/v1/stock/{sku}/receipts");
        let (status, answer) = self.post(roles, &path, sku, json!({"quantity": 100})).await;
        assert_eq!(status, 201, "{answer}");
    }

    /// Places an order and waits until the query API shows it.
    async fn order(&self, roles: &RunningRoles, sku: &str, key: &str) -> StreamName {
        let line = json!({"sku": sku, "quantity": 1, "unit_price": 100});
        let body = json!({"currency": "EUR", "lines": [line]});
        let (status, answer) = self.post(roles, "/v1/orders", key, body).await;
        assert_eq!(status, 201, "{answer}");
        let order = answer["order_id"].as_str().unwrap();
        let url = format!("http://{}/v1/orders/{order}?min_revision=1", roles.query_address.unwrap());
        eventually("the order is shown", async || {
            self.http.get(&url).send().await.unwrap().status().is_success().then_some(())
        })
        .await;
        StreamName::Order(order.parse().unwrap())
    }

    /// Parks the reaction to the first event of each stream.
    async fn park(&self, streams: &[&StreamName]) {
        let log = self.log().await;
        for stream in streams {
            let event = log.read_stream(stream, 0, 1).await.unwrap().remove(0);
            let never: Timestamp = "3000-01-01T00:00:00Z".parse().unwrap();
            let entry = ParkedReaction::new(&event, "it failed", Timestamp::UNIX_EPOCH, never);
            self.parked_reactions().park(log.store_id(), &entry).await.unwrap();
        }
    }

    /// The streams with parked reactions.
    async fn parked(&self) -> Vec<StreamName> {
        let store_id = self.log().await.store_id();
        let entries = self.parked_reactions().list(store_id, None, 10).await.unwrap();
        entries.into_iter().map(|entry| entry.stream).collect()
    }

    fn parked_reactions(&self) -> SqliteOperations {
        SqliteOperations::open(&self.cli.settings.data_dir.join("operations.db")).unwrap()
    }

    async fn log(&self) -> EventStoreDbLog {
        let EventStoreUrl::EventStoreDb(server) = self.cli.settings.event_store() else { unreachable!() };
        EventStoreDbLog::open_read_only(*server, EventStoreDbOptions::default()).await.unwrap()
    }

    /// Waits until the platform has compared its log after an event beyond `position`, which it does once a second.
    async fn until_compared_beyond(&self, position: Position) {
        let store_id = self.log().await.store_id();
        eventually("a comparison of the log", async || {
            let journal = Journal::open(&self.cli.settings.data_dir, store_id).ok()?;
            journal.last().is_some_and(|last| last.position > position).then_some(())
        })
        .await;
    }

    async fn assert_refused(&self, roles: &RunningRoles) {
        assert!(!self.is_ready(roles.command_address).await && !self.is_ready(roles.query_address).await);
        let (status, answer) = self.post(roles, "/v1/stock/A/receipts", "more", json!({"quantity": 1})).await;
        assert_eq!((status, &answer["code"]), (503, &Value::from("log_went_back")), "{answer}");
    }

    async fn repair(&self, yes: bool) {
        let command = RepairCommand::Log(RepairLogOptions { yes });
        if let Err(failure) = repair::run(&self.cli.settings, command).await {
            panic!("{failure}");
        }
    }
}

/// Takes the server back to its first `count` events while the platform runs.
async fn restore(server: &Server, count: usize) {
    server.stop();
    server.restore(count);
    server.accept_connections().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_restored_under_a_running_platform_is_refused_until_it_is_repaired() {
    let server = Server::start(FixtureOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::new(&server, directory.path());
    let roles = platform.start().await;
    platform.receive(&roles, "A").await;
    for number in 0..5 {
        platform.order(&roles, "A", &format!("kept {number}")).await;
    }
    let kept = server.events();
    let last_kept = platform.log().await.last_position().await.unwrap().unwrap();
    for number in 0..5 {
        platform.order(&roles, "A", &format!("lost {number}")).await;
    }
    platform.until_compared_beyond(last_kept).await;

    restore(&server, kept).await;
    // The query API does not need the server, so only the refusal makes it unready.
    eventually("the platform refuses the log", async || {
        (!platform.is_ready(roles.query_address).await).then_some(())
    })
    .await;
    platform.assert_refused(&roles).await;
    roles.stop().await;
    let events = server.events();
    let roles = platform.start().await;
    platform.assert_refused(&roles).await;
    roles.stop().await;
    assert_eq!(server.events(), events, "a refused log gets no event");

    platform.repair(false).await;
    platform.repair(true).await;
    let roles = platform.start().await;
    // The lost orders are placed again under their keys, which the log does not know any more.
    for number in 0..5 {
        platform.order(&roles, "A", &format!("lost {number}")).await;
    }
    platform.order(&roles, "A", "new").await;
    assert!(platform.is_ready(roles.command_address).await && platform.is_ready(roles.query_address).await);
    roles.stop().await;
}

/// The log keeps the cancellation of an order and loses what followed from it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_repair_reactions_whose_effects_were_lost_run_again() {
    let server = Server::start(FixtureOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::new(&server, directory.path());
    let roles = platform.start().await;
    platform.receive(&roles, "A").await;
    let StreamName::Order(order) = platform.order(&roles, "A", "cancelled").await else { unreachable!() };
    let kept = server.events() + 1;
    let path = format!("/v1/orders/{order}/cancel");
    let (status, answer) = platform.post(&roles, &path, "cancel", json!({})).await;
    assert_eq!(status, 200, "{answer}");
    // The release of the stock, and the end of the payment.
    let is_done = async || (server.events() == kept + 2).then_some(());
    eventually("the cancellation has its effects", is_done).await;
    // Until the projectors have read the events that get lost.
    platform.order(&roles, "A", "read").await;

    roles.stop().await;
    restore(&server, kept).await;
    platform.repair(true).await;
    let roles = platform.start().await;
    eventually("the cancellation has its effects again", is_done).await;
    roles.stop().await;
}

/// The lost events are replaced by as many others of the same size, so every position exists again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_server_that_grew_past_the_lost_events_is_refused_at_the_start() {
    let server = Server::start(FixtureOptions::default()).await.unwrap();
    let (directory, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let platform = Platform::new(&server, directory.path());
    let roles = platform.start().await;
    platform.receive(&roles, "A").await;
    let kept = server.events();
    platform.order(&roles, "A", "lost").await;
    roles.stop().await;

    restore(&server, kept).await;
    let other = Platform::new(&server, elsewhere.path());
    let roles = other.start().await;
    for number in 0..5 {
        other.order(&roles, "A", &format!("else {number}")).await;
    }
    roles.stop().await;

    let roles = platform.start().await;
    platform.assert_refused(&roles).await;
    roles.stop().await;
    platform.repair(true).await;
    let roles = platform.start().await;
    platform.order(&roles, "A", "lost").await;
    roles.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_repair_drops_the_parked_reactions_to_lost_events_and_no_other() {
    let server = Server::start(FixtureOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::new(&server, directory.path());
    let roles = platform.start().await;
    platform.receive(&roles, "A").await;
    let left = platform.order(&roles, "A", "left").await;
    let kept = server.events();
    let lost = platform.order(&roles, "A", "lost").await;
    roles.stop().await;
    platform.park(&[&left, &lost]).await;

    restore(&server, kept).await;
    platform.repair(false).await;
    assert_eq!(platform.parked().await.len(), 2);
    platform.repair(true).await;
    assert_eq!(platform.parked().await, [left]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_query_api_alone_reports_that_the_log_lost_events_of_its_rows() {
    let server = Server::start(FixtureOptions::default()).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let platform = Platform::new(&server, directory.path());
    let roles = platform.start().await;
    platform.receive(&roles, "A").await;
    let kept = server.events();
    platform.order(&roles, "A", "lost").await;
    roles.stop().await;

    let running = platform.start_query_api().await;
    assert!(platform.is_ready(running.query_address).await);
    restore(&server, kept).await;
    let started_later = platform.start_query_api().await;
    for roles in [running, started_later] {
        eventually("the query API is not ready", async || {
            (!platform.is_ready(roles.query_address).await).then_some(())
        })
        .await;
        let url = format!("http://{}/v1/stock/A", roles.query_address.unwrap());
        assert!(platform.http.get(&url).send().await.unwrap().status().is_success());
        roles.stop().await;
    }
}

//! The whole platform over one connection to an EventStoreDB that ends connections after 1,024 broken-off reads.

use std::{
    env,
    sync::atomic::{AtomicU64, Ordering},
};

use futures::future::join_all;
use infra::event_store::eventstoredb::{EventStoreDbLog, EventStoreDbOptions};
use platform::commands::audit::{self, AuditCommand};
use serde_json::{Value, json};
use tests::eventstoredb::{FixtureOptions, Server};

use crate::support::{Configured, Log, eventually};

const CLIENTS: u64 = 32;
const SKUS: u64 = 50;
/// Orders before the calls are counted: the first order of a SKU reads its stock.
const FIRST_ORDERS: u64 = 4 * SKUS;
/// Orders and reads of a normal run. `tests/scripts/eventstoredb-long.sh` sets other numbers.
const ORDERS: u64 = 500;
const READS: u64 = 2_000;

fn configured(variable: &str, default: u64) -> u64 {
    env::var(variable).map_or(default, |number| number.parse().expect("a number"))
}

struct Shop {
    http: reqwest::Client,
    commands: String,
    queries: String,
}

impl Shop {
    async fn post(&self, path: &str, key: String, body: Value) -> Value {
        let url = format!("{}{path}", self.commands);
        let answer = self.http.post(url).header("idempotency-key", key).json(&body).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert_eq!(status, 201, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    async fn receive_stock(&self) {
        for number in 0..SKUS {
            let path = format!("/v1/stock/sku-{number}/receipts");
            self.post(&path, format!("stock {number}"), json!({"quantity": 1_000_000})).await;
        }
    }

    /// Places orders of one line at the same time. Returns the id of the last one.
    async fn place(&self, numbers: std::ops::Range<u64>) -> String {
        let next = AtomicU64::new(numbers.start);
        let client = async || {
            let mut last = None;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return last;
                }
                let line = json!({"sku": format!("sku-{}", number % SKUS), "quantity": 1, "unit_price": 100});
                let body = json!({"currency": "EUR", "lines": [line]});
                let placed = self.post("/v1/orders", format!("order {number}"), body).await;
                last = Some(placed["order_id"].as_str().unwrap().to_owned());
            }
        };
        let ids = join_all((0..CLIENTS).map(|_| client())).await;
        ids.into_iter().flatten().last().unwrap()
    }

    /// Reads the timeline of an order, which reads its streams, until the server has answered so many reads more.
    async fn read(&self, server: &Server, order_id: &str, reads: u64) {
        let url = format!("{}/v1/orders/{order_id}/timeline", self.queries);
        eventually("the order is in the read models", async || {
            (self.http.get(&url).send().await.unwrap().status() == 200).then_some(())
        })
        .await;
        let done = || server.calls().stream_reads + server.calls().all_reads;
        let goal = done() + reads;
        let client = async || {
            while done() < goal {
                let answer = self.http.get(&url).send().await.unwrap();
                assert_eq!(answer.status(), 200, "{}", answer.text().await.unwrap());
            }
        };
        join_all((0..CLIENTS).map(|_| client())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_connection_serves_orders_and_reads_without_a_break_and_an_order_takes_few_calls() {
    let orders = configured("ORDERLY_TEST_EVENTSTOREDB_ORDERS", ORDERS);
    let reads = configured("ORDERLY_TEST_EVENTSTOREDB_READS", READS);
    let options =
        FixtureOptions { broken_off_reads_max: Some(1_024), foreign_events: 1, ..FixtureOptions::default() };
    let server = Server::start(options).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let platform = Configured::over(server.url(), directory.path());
    let roles = platform.start().await;
    let shop = Shop {
        http: reqwest::Client::new(),
        commands: format!("http://{}", roles.command_address.unwrap()),
        queries: format!("http://{}", roles.query_address.unwrap()),
    };
    shop.receive_stock().await;
    shop.place(0..FIRST_ORDERS).await;
    let begun = server.calls();
    server.calls_per_event("order.placed.");
    let last = shop.place(FIRST_ORDERS..FIRST_ORDERS + orders).await;
    let per_order = server.calls_per_event("order.placed.");
    shop.read(&server, &last, reads).await;
    let ended = server.calls();
    println!("calls per order: {per_order}\nbegun: {begun}\nended: {ended}");

    assert_eq!(per_order.events as u64, orders);
    assert!(per_order.appends <= 4.1, "{per_order}");
    assert!(per_order.reads() <= 0.3, "{per_order}");
    assert_eq!((ended.connections, ended.subscriptions), (begun.connections, begun.subscriptions));
    assert_eq!(ended.broken_off_reads, 0);

    let log = EventStoreDbLog::open_read_only(server.url().parse().unwrap(), EventStoreDbOptions::default());
    let log = Log::read(&log.await.unwrap()).await;
    assert_eq!(log.orders().len() as u64, FIRST_ORDERS + orders);
    if let Err(differences) = audit::run(&platform.settings, AuditCommand::Verify).await {
        panic!("{differences}");
    }
    roles.stop().await;
}

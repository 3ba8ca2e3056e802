//! The whole platform over three nodes of EventStoreDB that fail under load.

use std::{
    collections::{BTreeMap, HashSet},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    time::Duration,
};

use domain::{
    OrderId, Sku,
    order::{Order, OrderStatus},
};
use futures::future::join_all;
use infra::event_store::eventstoredb::{EventStoreDbLog, EventStoreDbOptions};
use platform::commands::audit::{self, AuditCommand};
use serde_json::{Value, json};
use tests::eventstoredb::{Cluster, FixtureOptions};
use tokio::time::sleep;

use crate::support::{Configured, Log, PATIENCE, eventually};

const CLIENTS: usize = 32;
const SKUS: usize = 4;
/// Units of each SKU: more than the clients order.
const UNITS: u32 = 1_000_000;
const ELECTION_TIME: Duration = Duration::from_millis(200);
/// A leader that was cut off believes so long that it leads beside the next one.
const RESIGNATION_DELAY: Duration = Duration::from_millis(300);
/// Faults of a normal run. `tests/scripts/eventstoredb-faults.sh` sets another number.
const FAULTS: usize = 20;
const FAULTS_VARIABLE: &str = "ORDERLY_TEST_EVENTSTOREDB_FAULTS";

fn sku(number: usize) -> String {
    format!("sku-{number}")
}

/// What the clients saw.
#[derive(Default)]
struct Answers {
    repeated: AtomicU64,
    unavailable: AtomicU64,
    faults_are_over: AtomicBool,
}

struct Client<'a> {
    http: reqwest::Client,
    commands: String,
    answers: &'a Answers,
}

impl Client<'_> {
    /// Posts under one key until the answer is final.
    async fn post(&self, path: &str, key: &str, body: &Value) -> Value {
        let url = format!("{}{path}", self.commands);
        let posting = async {
            loop {
                let sent = self.http.post(&url).header("idempotency-key", key).json(body).send().await;
                let answer = sent.unwrap();
                match answer.status().as_u16() {
                    201 => return answer.json().await.unwrap(),
                    409 | 503 => {
                        self.answers.unavailable.fetch_add(1, Ordering::Relaxed);
                        sleep(Duration::from_millis(20)).await;
                    }
                    other => panic!("{other}: {}", answer.text().await.unwrap()),
                }
            }
        };
        tokio::time::timeout(4 * PATIENCE, posting)
            .await
            .unwrap_or_else(|_| panic!("{key} got no final answer"))
    }

    /// Places orders until the faults are over, and some of them again under their keys. Returns their ids.
    async fn place_orders(&self, client: usize) -> Vec<OrderId> {
        let mut placed = Vec::new();
        while !self.answers.faults_are_over.load(Ordering::Relaxed) {
            let number = placed.len();
            let line = json!({"sku": sku(number % SKUS), "quantity": 1, "unit_price": 100});
            let (key, body) =
                (format!("client {client} order {number}"), json!({"currency": "EUR", "lines": [line]}));
            let answer = self.post("/v1/orders", &key, &body).await;
            if number.is_multiple_of(5) {
                let again = self.post("/v1/orders", &key, &body).await;
                assert_eq!(again["order_id"], answer["order_id"], "{key}");
                self.answers.repeated.fetch_add(1, Ordering::Relaxed);
            }
            placed.push(answer["order_id"].as_str().unwrap().parse().unwrap());
        }
        placed
    }
}

/// Causes one fault after another, and heals each. Returns how often each happened.
async fn disturb(
    cluster: &Cluster,
    faults: usize,
    random: &mut fastrand::Rng,
) -> BTreeMap<&'static str, u64> {
    let mut counts = BTreeMap::new();
    for _ in 0..faults {
        let leader = eventually("a leader", async || cluster.leader()).await;
        let follower = (leader + random.usize(1..3)) % 3;
        let at_leader = cluster.nodes()[leader].faults();
        // The sleeps are the durations of the faults and of the time between them; no condition is awaited.
        let while_it_lasts = sleep(Duration::from_millis(random.u64(10..600)));
        let fault = match random.usize(0..8) {
            0 => {
                cluster.kill(leader);
                while_it_lasts.await;
                cluster.start_again(leader).await.unwrap();
                "leaders killed"
            }
            1 => {
                cluster.kill(follower);
                while_it_lasts.await;
                cluster.start_again(follower).await.unwrap();
                "followers killed"
            }
            2 => {
                cluster.silence(leader);
                while_it_lasts.await;
                cluster.wake(leader);
                "leaders stopped"
            }
            3 => {
                cluster.part(leader);
                while_it_lasts.await;
                cluster.rejoin(leader);
                "leaders cut off"
            }
            4 => {
                at_leader.lose_answers(random.usize(1..5));
                "answers lost"
            }
            5 => {
                at_leader.abort_appends(random.usize(1..20), true);
                "appends aborted and written"
            }
            6 => {
                at_leader.abort_appends(random.usize(1..20), false);
                "appends aborted and not written"
            }
            _ => {
                at_leader.cut_connections();
                "connections cut"
            }
        };
        *counts.entry(fault).or_default() += 1;
        sleep(Duration::from_millis(random.u64(50..300))).await;
    }
    counts
}

fn configured_faults() -> usize {
    std::env::var(FAULTS_VARIABLE).map_or(FAULTS, |number| number.parse().expect("a number of faults"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_order_is_lost_or_doubled_while_nodes_fail() {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let options = FixtureOptions { resignation_delay: RESIGNATION_DELAY, ..FixtureOptions::default() };
    let cluster = Cluster::start(3, ELECTION_TIME, options).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let platform = Configured::over(cluster.url(), directory.path());
    let roles = platform.start().await;
    let answers = Answers::default();
    let commands = format!("http://{}", roles.command_address.unwrap());
    let client = Client { http: reqwest::Client::new(), commands, answers: &answers };
    for number in 0..SKUS {
        let (path, key) = (format!("/v1/stock/{}/receipts", sku(number)), format!("stock {number}"));
        client.post(&path, &key, &json!({"quantity": UNITS})).await;
    }

    let disturbing = async {
        let counts = disturb(&cluster, configured_faults(), &mut fastrand::Rng::with_seed(seed)).await;
        answers.faults_are_over.store(true, Ordering::Relaxed);
        counts
    };
    let placing = join_all((0..CLIENTS).map(|number| client.place_orders(number)));
    let (counts, placed) = tokio::join!(disturbing, placing);
    let placed: Vec<OrderId> = placed.into_iter().flatten().collect();

    let log = EventStoreDbLog::open_read_only(cluster.url().parse().unwrap(), EventStoreDbOptions::default());
    let log = log.await.unwrap();
    let log = eventually("no order is between two states", async || {
        let log = Log::read(&log).await;
        log.loose_reservations().is_empty().then_some(log)
    })
    .await;
    let orders = log.walk_orders();
    assert_eq!(log.orders().len(), orders.len(), "an order was placed twice");
    assert_eq!(orders.len(), placed.len(), "lost orders, or orders of no client");
    for id in &placed {
        let status = orders.get(id).map(Order::status);
        assert_eq!(status, Some(OrderStatus::Allocated), "{id}");
    }
    let stock = log.walk_stock(|_, _, _| {});
    let reserved = (0..SKUS).map(|number| stock[&Sku::new(&sku(number)).unwrap()].levels());
    let reserved: u32 =
        reserved.inspect(|levels| assert_eq!(levels.on_hand, UNITS)).map(|it| it.reserved).sum();
    assert_eq!(reserved as usize, placed.len());
    let ids: HashSet<_> = log.0.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), log.0.len(), "an event was recorded twice");
    if let Err(differences) = audit::run(&platform.settings, AuditCommand::Verify).await {
        panic!("{differences}");
    }
    println!(
        "faults: {counts:?}\norders placed: {}, repeated: {}, answers 409 or 503: {}",
        placed.len(),
        answers.repeated.into_inner(),
        answers.unavailable.into_inner()
    );
    for (number, node) in cluster.nodes().iter().enumerate() {
        println!("calls of node {number}: {}", node.calls());
    }
    roles.stop().await;
}

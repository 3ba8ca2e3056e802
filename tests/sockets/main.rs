//! The sockets of the EventStoreDB adapter have TCP_NODELAY.
//!
//! A process of its own with one test, because each store sets the option on every connection of its process. With a
//! second test, a store of the one could set it for the other.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

#[path = "../tests/support/sockets.rs"]
mod sockets;

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use domain::{EventId, NewEvent, OrderId};
use infra::event_store::{
    Append, EventStore, ExpectedRevision,
    eventstoredb::{EventStoreDb, EventStoreDbOptions},
};
use tests::eventstoredb::{Certificates, Cluster, FixtureOptions, Server};
use tokio::time::sleep;
use uuid::Uuid;

use self::sockets::without_delay;

/// A machine under load is slow.
const PATIENCE: Duration = Duration::from_secs(30);
const RECONNECTIONS: usize = 10;

async fn open(url: &str) -> EventStoreDb {
    let options = EventStoreDbOptions { call_time_max: PATIENCE, ..EventStoreDbOptions::default() };
    EventStoreDb::open(url.parse().unwrap(), options).await.unwrap()
}

/// Appends to a new stream, until an append succeeds.
async fn append(store: &EventStoreDb) {
    let event = NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "order.delivered.v1",
        data: br#"{"shipment_id":"0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f"}"#.to_vec(),
        metadata: Arc::from(*b"{}"),
    };
    let stream = OrderId(Uuid::new_v4()).into();
    let append = Append { stream, expected: ExpectedRevision::NoStream, events: vec![event], epoch: None };
    let begun = Instant::now();
    while store.append(append.clone()).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "no append succeeds");
    }
}

/// Waits until every connection to `peer` has the option, for as long as the store promises.
async fn expect_no_delay(peer: SocketAddr, when: &str) {
    let begun = Instant::now();
    loop {
        let all = without_delay(peer);
        if !all.is_empty() && all.iter().all(|is_set| *is_set) {
            return;
        }
        assert!(begun.elapsed() < Duration::from_secs(5), "{when}: {all:?}");
        sleep(Duration::from_millis(5)).await;
    }
}

async fn at_the_start_and_after_reconnections() {
    let server = Server::start(FixtureOptions::default()).await.unwrap();
    let store = open(server.url()).await;
    expect_no_delay(server.address(), "after the start").await;
    for reconnection in 1..=RECONNECTIONS {
        server.faults().cut_connections();
        append(&store).await;
        expect_no_delay(server.address(), &format!("after reconnection {reconnection}")).await;
    }
}

async fn after_a_failover_with_tls() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Some(Certificates::create(folder.path()).unwrap());
    let options = FixtureOptions { tls, ..FixtureOptions::default() };
    let cluster = Cluster::start(3, Duration::from_millis(200), options).await.unwrap();
    let leader = cluster.leader().unwrap();
    let store = open(cluster.url()).await;
    append(&store).await;
    expect_no_delay(cluster.nodes()[leader].address(), "at the first leader").await;
    cluster.kill(leader);
    append(&store).await;
    let next = cluster.leader().unwrap();
    assert_ne!(next, leader);
    expect_no_delay(cluster.nodes()[next].address(), "after the failover").await;
}

/// A connection to the leader that the library opens by itself, after another node has named it.
async fn at_a_leader_that_a_follower_names() {
    let cluster = Cluster::start(3, Duration::from_millis(200), FixtureOptions::default()).await.unwrap();
    let leader = cluster.leader().unwrap();
    let store = open(cluster.nodes()[(leader + 1) % 3].url()).await;
    append(&store).await;
    expect_no_delay(cluster.nodes()[leader].address(), "at the leader that a follower names").await;
}

async fn appends_do_not_wait_for_delayed_acknowledgements() {
    const APPENDS: usize = 21;
    let options = FixtureOptions { delay_acknowledgements: true, ..FixtureOptions::default() };
    let server = Server::start(options).await.unwrap();
    let store = open(server.url()).await;
    expect_no_delay(server.address(), "with delayed acknowledgements").await;
    let mut times = Vec::new();
    for _ in 0..APPENDS {
        let begun = Instant::now();
        append(&store).await;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    let median = times[APPENDS / 2];
    println!("median of an append: {median:?}");
    assert!(median < Duration::from_millis(30), "{median:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_connection_to_a_server_has_no_delay() {
    at_the_start_and_after_reconnections().await;
    after_a_failover_with_tls().await;
    at_a_leader_that_a_follower_names().await;
    appends_do_not_wait_for_delayed_acknowledgements().await;
}

//! The calls of the EventStoreDB adapter to servers that stay silent, and what repeated calls return.

use std::time::{Duration, Instant};

use infra::event_store::{
    AppendError, EventStore,
    ExpectedRevision::{Exact, NoStream},
    eventstoredb::{EventStoreDb, EventStoreDbOpenError, EventStoreDbOptions},
};
use tests::eventstoredb::{FixtureOptions, Server};
use tokio::net::TcpListener;

use super::{append, events, given_stream, new_stream};
use crate::support::{Network, PATIENCE, eventually};

async fn server() -> Server {
    Server::start(FixtureOptions::default()).await.unwrap()
}

async fn open(server: &Server, call_time_max: Duration) -> EventStoreDb {
    let options = EventStoreDbOptions { call_time_max, ..EventStoreDbOptions::default() };
    EventStoreDb::open(server.url().parse().unwrap(), options).await.unwrap()
}

/// A connection that broke without a trace, as behind a router that forgot it. The library's own test of the
/// connection takes 20 s.
#[tokio::test]
async fn a_silent_connection_is_replaced_after_the_first_call_without_an_answer() {
    let server = server().await;
    let network = Network::before(server.address()).await;
    drop(open(&server, PATIENCE).await);
    let options =
        EventStoreDbOptions { call_time_max: Duration::from_secs(2), ..EventStoreDbOptions::default() };
    let url = format!("esdb://{}?tls=false&discoveryInterval=10", network.address());
    let store = EventStoreDb::open(url.parse().unwrap(), options).await.unwrap();
    let stream = given_stream(&store, 1).await;

    network.fall_silent();
    let sent = append(&stream, Exact(0), events(1));
    assert!(matches!(store.append(sent.clone()).await, Err(AppendError::OutcomeUnknown(_))));
    // The new client has no connection, so nothing is sent.
    let refused = store.append(append(&new_stream(), NoStream, events(1))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");

    network.restore();
    let restored = Instant::now();
    let appended = eventually("an answer", async || store.append(sent.clone()).await.ok()).await;
    assert_eq!(appended.last_revision, Some(1));
    assert!(restored.elapsed() < Duration::from_secs(15), "the silent connection was kept");
}

#[tokio::test]
async fn a_server_that_accepts_connections_and_never_answers_is_reported_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let silent = tokio::spawn(async move {
        let mut connections = Vec::new();
        while let Ok((connection, _)) = listener.accept().await {
            connections.push(connection);
        }
    });
    let options =
        EventStoreDbOptions { call_time_max: Duration::from_millis(300), ..EventStoreDbOptions::default() };
    let url = format!("esdb://{address}?tls=false&discoveryInterval=10");
    let began = Instant::now();
    let error = EventStoreDb::open(url.parse().unwrap(), options).await.unwrap_err();
    assert!(matches!(error, EventStoreDbOpenError::Unreachable { .. }), "{error}");
    assert!(began.elapsed() < PATIENCE);
    silent.abort();
}

#[tokio::test]
async fn a_missing_file_of_the_authority_is_named() {
    let server = server().await;
    let url = |options: &str| format!("esdb://{}?discoveryInterval=10{options}", server.address());
    let config = url("&tlsCAFile=/no/such/ca.pem").parse().unwrap();
    let error = EventStoreDb::open(config, EventStoreDbOptions::default()).await.unwrap_err().to_string();
    assert!(error.contains("tlsCAFile") && error.contains("/no/such/ca.pem"), "{error}");
}

#[tokio::test]
async fn a_repeated_append_has_the_position_of_its_first_attempt() {
    let server = server().await;
    let store = open(&server, PATIENCE).await;
    let sent = append(&new_stream(), NoStream, events(2));
    let first = store.append(sent.clone()).await.unwrap();
    given_stream(&store, 1).await;
    assert_eq!(store.append(sent).await.unwrap(), first);
}

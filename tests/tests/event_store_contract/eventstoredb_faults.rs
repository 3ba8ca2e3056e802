//! What the EventStoreDB adapter makes of the errors of a server: refusals, unknown outcomes, other leaders, missing
//! rights and certificates.

use std::{net::SocketAddr, time::Duration};

use infra::event_store::{
    AppendError, EventStore,
    ExpectedRevision::{Exact, NoStream},
    eventstoredb::{EventStoreDb, EventStoreDbOpenError, EventStoreDbOptions},
};
use serde_json::json;
use tests::eventstoredb::{Certificates, Cluster, FixtureOptions, Server, Unready, User};

use super::{append, events, given_stream, new_stream, without_delay};
use crate::support::{PATIENCE, eventually};

async fn server() -> Server {
    Server::start(FixtureOptions::default()).await.unwrap()
}

async fn open(url: &str) -> Result<EventStoreDb, EventStoreDbOpenError> {
    let options = EventStoreDbOptions { call_time_max: PATIENCE, ..EventStoreDbOptions::default() };
    EventStoreDb::open(url.parse().unwrap(), options).await
}

#[tokio::test]
async fn an_append_that_the_server_aborted_has_an_unknown_outcome_and_is_written_once() {
    for is_written in [true, false] {
        let server = server().await;
        let store = open(server.url()).await.unwrap();
        let sent = append(&new_stream(), NoStream, events(2));
        server.faults().abort_appends(1, is_written);
        let aborted = store.append(sent.clone()).await;
        assert!(matches!(aborted, Err(AppendError::OutcomeUnknown(_))), "{aborted:?}");
        assert_eq!(store.append(sent.clone()).await.unwrap().last_revision, Some(1));
        assert_eq!(store.log().read_stream(&sent.stream, 0, 10).await.unwrap().len(), 2);
    }
}

#[tokio::test]
async fn an_append_that_nodes_refuse_for_want_of_a_leader_is_refused_or_unknown_but_never_lost() {
    let server = server().await;
    let store = open(server.url()).await.unwrap();
    server.faults().refuse_calls(1_000_000, Unready::NotLeader(server.address()));
    let refused = store.append(append(&new_stream(), NoStream, events(1))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    server.faults().refuse_calls(2, Unready::NotLeader(server.address()));
    store.append(append(&new_stream(), NoStream, events(1))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_names_only_a_follower_leads_to_the_leader_and_connections_to_each_leader_have_no_delay() {
    let cluster = Cluster::start(3, Duration::from_millis(200), FixtureOptions::default()).await.unwrap();
    let leader = cluster.leader().unwrap();
    let follower = (leader + 1) % 3;
    let store = open(cluster.nodes()[follower].url()).await.unwrap();
    given_stream(&store, 1).await;
    until_without_delay(cluster.nodes()[leader].address()).await;

    let store = open(cluster.url()).await.unwrap();
    let stream = given_stream(&store, 1).await;
    cluster.kill(leader);
    let next = append(&stream, Exact(0), events(1));
    eventually("an append at the new leader", async || store.append(next.clone()).await.ok()).await;
    until_without_delay(cluster.nodes()[cluster.leader().unwrap()].address()).await;
}

async fn until_without_delay(peer: SocketAddr) {
    eventually("connections without delay", async || {
        let all = without_delay(peer);
        (!all.is_empty() && all.iter().all(|is_set| *is_set)).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_missing_right_a_wrong_password_and_an_encoded_password_are_told_apart() {
    let user = |name: &str, password: &str, is_admin| User {
        name: name.to_owned(),
        password: password.to_owned(),
        is_admin,
    };
    let users = vec![user("admin", "changeit", true), user("orders", "p@ss/word%", false)];
    let server = Server::start(FixtureOptions { users, ..FixtureOptions::default() }).await.unwrap();
    let url = |user: &str| server.url().replace("//", &format!("//{user}@"));

    let wrong = open(&url("orders:wrong")).await.unwrap_err();
    assert!(matches!(wrong, EventStoreDbOpenError::AccessDenied { .. }), "{wrong}");
    let missing = open(&url("orders:p%40ss%2Fword%25")).await.unwrap_err();
    assert!(matches!(missing, EventStoreDbOpenError::MayNotReadAll { .. }), "{missing}");
    let text = missing.to_string();
    assert!(text.contains("$all") && text.contains("orders") && !text.contains("p@ss"), "{text}");

    server.set_metadata("$all", &json!({"$acl": {"$r": ["orders", "$admins"]}}));
    let store = open(&url("orders:p%40ss%2Fword%25")).await.unwrap();
    given_stream(&store, 1).await;
}

#[tokio::test]
async fn a_certificate_is_trusted_by_its_authority_and_otherwise_refused_with_the_reason() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Some(Certificates::create(folder.path()).unwrap());
    let server = Server::start(FixtureOptions { tls, ..FixtureOptions::default() }).await.unwrap();
    given_stream(&open(server.url()).await.unwrap(), 1).await;
    let without_authority = format!("esdb://{}?discoveryInterval=10", server.address());
    let error = open(&without_authority).await.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, EventStoreDbOpenError::Untrusted { .. }), "{text}");
    assert!(text.contains("UnknownIssuer") && text.contains("tlsCAFile"), "{text}");
}

#[tokio::test]
async fn an_append_to_a_stream_whose_events_were_deleted_is_noticed() {
    let server = server().await;
    let store = open(server.url()).await.unwrap();
    let stream = given_stream(&store, 3).await;
    server.set_metadata(&stream.to_string(), &json!({"$tb": i64::MAX}));
    assert!(store.log().read_stream(&stream, 0, 10).await.unwrap().is_empty());
    let noticed = store.append(append(&stream, NoStream, events(1))).await;
    assert!(matches!(noticed, Err(AppendError::StreamDamaged(_))), "{noticed:?}");
}

#[tokio::test]
async fn a_recognised_append_without_a_position_is_answered_without_one() {
    let server = server().await;
    let store = open(server.url()).await.unwrap();
    let sent = append(&new_stream(), NoStream, events(1));
    store.append(sent.clone()).await.unwrap();
    server.faults().hide_positions(1);
    assert_eq!(store.append(sent).await.unwrap().last_position, None);
}

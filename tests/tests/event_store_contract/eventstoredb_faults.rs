//! What the EventStoreDB adapter makes of the errors of a server: refusals, unknown outcomes, other leaders, missing
//! rights and certificates.

use std::time::Duration;

use futures::future::join_all;
use infra::event_store::{
    AppendError, EventStore,
    ExpectedRevision::{Exact, NoStream},
    eventstoredb::{EventStoreDb, EventStoreDbOpenError, EventStoreDbOptions},
};
use serde_json::json;
use tests::eventstoredb::{Cancelled, Cluster, FixtureOptions, Server, Unready};

use super::{append, events, given_stream, new_stream};
use crate::support::{PATIENCE, SecuredEventStoreDb, eventually};

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
async fn a_url_that_names_only_a_follower_leads_to_each_leader() {
    let cluster = Cluster::start(3, Duration::from_millis(200), FixtureOptions::default()).await.unwrap();
    let leader = cluster.leader().unwrap();
    let store = open(cluster.nodes()[(leader + 1) % 3].url()).await.unwrap();
    given_stream(&store, 1).await;

    let store = open(cluster.url()).await.unwrap();
    let stream = given_stream(&store, 1).await;
    cluster.kill(leader);
    let next = append(&stream, Exact(0), events(1));
    eventually("an append at the new leader", async || store.append(next.clone()).await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_cut_off_acknowledges_nothing_beside_the_next_leader() {
    let options = FixtureOptions { resignation_delay: Duration::from_secs(1), ..FixtureOptions::default() };
    let cluster = Cluster::start(3, Duration::from_millis(100), options).await.unwrap();
    let store = open(cluster.url()).await.unwrap();
    let stream = given_stream(&store, 1).await;
    let old = cluster.leader().unwrap();
    cluster.part(old);
    let next = append(&stream, Exact(0), events(1));
    eventually("another leader", async || cluster.leader().filter(|leader| *leader != old)).await;
    let unknown = store.append(next.clone()).await;
    assert!(matches!(unknown, Err(AppendError::OutcomeUnknown(_))), "{unknown:?}");
    let appended = eventually("an append at the next leader", async || store.append(next.clone()).await.ok());
    assert_eq!(appended.await.last_revision, Some(1));
    assert_eq!(store.log().read_stream(&stream, 0, 10).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_a_wrong_password_and_an_encoded_password_are_told_apart() {
    let server = SecuredEventStoreDb::start("orders", "p@ss/word%").await;
    let wrong = open(&server.url("orders:wrong")).await.unwrap_err();
    assert!(matches!(wrong, EventStoreDbOpenError::AccessDenied { .. }), "{wrong}");
    let missing = open(&server.url("orders:p%40ss%2Fword%25")).await.unwrap_err();
    assert!(matches!(missing, EventStoreDbOpenError::MayNotReadAll { .. }), "{missing}");
    let text = missing.to_string();
    assert!(text.contains("$all") && text.contains("orders") && !text.contains("p@ss"), "{text}");

    server.set_metadata("$all", &json!({"$acl": {"$r": ["orders", "$admins"]}})).await;
    let store = open(&server.url("orders:p%40ss%2Fword%25")).await.unwrap();
    given_stream(&store, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_is_trusted_by_its_authority_and_otherwise_refused_with_the_reason() {
    let server = SecuredEventStoreDb::start("orders", "secret").await;
    given_stream(&open(&server.url("admin:changeit")).await.unwrap(), 1).await;
    let error = open(&server.url_without_authority("admin:changeit")).await.unwrap_err();
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

#[tokio::test]
async fn an_append_at_a_node_that_is_not_ready_is_not_taken_for_certainly_written_or_refused() {
    let server = server().await;
    let store = open(server.url()).await.unwrap();
    for why in [Unready::NoLeader, Unready::NotReady, Unready::TooBusy] {
        let sent = append(&new_stream(), NoStream, events(1));
        server.faults().refuse_calls(1, why);
        let unknown = store.append(sent.clone()).await;
        assert!(matches!(unknown, Err(AppendError::OutcomeUnknown(_))), "{why:?}: {unknown:?}");
        let appended = eventually("an append", async || store.append(sent.clone()).await.ok()).await;
        assert_eq!(appended.last_revision, Some(0));
        assert_eq!(store.log().read_stream(&sent.stream, 0, 10).await.unwrap().len(), 1);
    }
}

/// A call ends at its time limit. The server may write its append nevertheless.
#[tokio::test]
async fn an_append_whose_call_ended_before_the_write_is_written_once() {
    let server = server().await;
    drop(open(server.url()).await.unwrap());
    let options =
        EventStoreDbOptions { call_time_max: Duration::from_secs(1), ..EventStoreDbOptions::default() };
    for cancelled in [Cancelled::Written, Cancelled::NotWritten] {
        let store = EventStoreDb::open(server.url().parse().unwrap(), options.clone()).await.unwrap();
        let sent = append(&new_stream(), NoStream, events(2));
        server.faults().delay_appends(Duration::from_millis(1_500), cancelled);
        let unknown = store.append(sent.clone()).await;
        assert!(matches!(unknown, Err(AppendError::OutcomeUnknown(_))), "{cancelled:?}: {unknown:?}");
        server.faults().delay_appends(Duration::ZERO, cancelled);
        let appended = eventually("an append", async || store.append(sent.clone()).await.ok()).await;
        assert_eq!(appended.last_revision, Some(1));
        assert_eq!(store.log().read_stream(&sent.stream, 0, 10).await.unwrap().len(), 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_calls_at_once_than_a_connection_allows_are_all_answered() {
    let server = server().await;
    let store = open(server.url()).await.unwrap();
    let stream = given_stream(&store, 3).await;
    let (log, connections) = (store.log(), server.calls().connections);
    // So that every read that the server has accepted is under way at once.
    server.faults().delay_ends_of_reads(Duration::from_millis(50));
    let reads = join_all((0..500).map(|_| log.read_stream(&stream, 0, 10))).await;
    assert!(reads.into_iter().all(|read| read.unwrap().len() == 3));
    server.faults().delay_ends_of_reads(Duration::ZERO);
    let at_once_max = server.calls().reads_at_once_max;
    assert!((50..=100).contains(&at_once_max), "{at_once_max} reads were under way at once");
    let appends = join_all((0..500).map(|_| store.append(append(&new_stream(), NoStream, events(1))))).await;
    assert!(appends.iter().all(Result::is_ok));
    assert_eq!(server.calls().connections, connections);
}

/// The links of the server's projections stand between the events, and after the last one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_the_server_are_left_out_and_the_end_of_the_log_is_not_searched_behind_them_again() {
    const STREAMS: usize = 5;
    let options = FixtureOptions { foreign_events: 4_000, ..FixtureOptions::default() };
    let server = Server::start(options).await.unwrap();
    let store = open(server.url()).await.unwrap();
    for _ in 0..STREAMS {
        given_stream(&store, 1).await;
    }
    let log = store.log();
    let events = log.read_all(None, 100).await.unwrap();
    assert_eq!(events.len(), 1, "a page ends with its foreign events");
    let mut all = events;
    while let Some(last) = all.last().map(|event| event.position) {
        let page = log.read_all(Some(last), 100).await.unwrap();
        if page.is_empty() {
            break;
        }
        all.extend(page);
    }
    assert_eq!(all.len(), STREAMS);
    store.head().wait_for(|head| *head == all.last().map(|event| event.position)).await.unwrap();
    // The server reports how far it has looked after each 512 events. Without that, ten reads reach the last event.
    eventually("the reader knows the end", async || {
        let begun = server.calls().all_reads;
        assert_eq!(log.last_event().await.unwrap(), all.last().cloned());
        (server.calls().all_reads - begun <= 3).then_some(())
    })
    .await;
}

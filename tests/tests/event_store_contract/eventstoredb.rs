//! The event store in EventStoreDB: the contract, and rules of this adapter (a missing, slow or empty
//! server).

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Position, StreamName};
use futures::future::join_all;
use infra::event_store::{
    Append, AppendError, Appended, EventLog, EventStore,
    ExpectedRevision::{Exact, NoStream},
    eventstoredb::{EventStoreDb, EventStoreDbLog, EventStoreDbOpenError, EventStoreDbOptions},
};
use tests::eventstoredb::{self, Certificates, Cluster, Server};

use super::{
    Fixture, append, appending, dependent_appends, event_of, event_store_contract, events, given_stream,
    marks, new_stream, reading,
};
use crate::support::{EventStoreDbServer, PATIENCE, eventually};

/// The server's largest append, for events of several MiB.
const APPEND_BYTES_MAX: usize = 16 << 20;

struct EventStoreDbFixture {
    server: EventStoreDbServer,
    store: Arc<EventStoreDb>,
}

#[async_trait]
impl Fixture for EventStoreDbFixture {
    async fn fresh() -> Self {
        let options = eventstoredb::FixtureOptions {
            append_bytes_max: APPEND_BYTES_MAX,
            ..eventstoredb::FixtureOptions::default()
        };
        let server = EventStoreDbServer::start(options).await;
        let store = Arc::new(open_at(&server.url()).await);
        Self { server, store }
    }

    /// Restarts the server too.
    async fn reopen(self) -> Self {
        let Self { server, store } = self;
        drop(store);
        server.restart(Duration::ZERO).await;
        let store = Arc::new(open_at(&server.url()).await);
        Self { server, store }
    }

    fn store(&self) -> Arc<dyn EventStore> {
        self.store.clone()
    }

    async fn reader(&self) -> Arc<dyn EventLog> {
        let config = self.server.url().parse().unwrap();
        Arc::new(EventStoreDbLog::open_read_only(config, patient()).await.unwrap())
    }
}

/// A machine under load answers late, so the time limit is long.
fn patient() -> EventStoreDbOptions {
    EventStoreDbOptions { call_time_max: PATIENCE, ..EventStoreDbOptions::default() }
}

pub async fn server() -> Server {
    Server::start(eventstoredb::FixtureOptions::default()).await.unwrap()
}

pub async fn open(server: &Server) -> EventStoreDb {
    open_at(server.url()).await
}

async fn open_at(url: &str) -> EventStoreDb {
    EventStoreDb::open(url.parse().unwrap(), patient()).await.unwrap()
}

/// Retries an append until its outcome is known, as the executor does.
pub async fn until_known(store: &dyn EventStore, append: &Append) -> Appended {
    let outcome = eventually("an answer to the append", async || match store.append(append.clone()).await {
        Ok(appended) => Some(Ok(appended)),
        Err(AppendError::OutcomeUnknown(_) | AppendError::Unavailable(_)) => None,
        Err(error) => Some(Err(error)),
    });
    outcome.await.unwrap()
}

pub async fn length(store: &dyn EventStore, stream: &StreamName) -> usize {
    store.log().read_stream(stream, 0, 1_000).await.unwrap().len()
}

mod contract {
    use super::*;

    event_store_contract!(EventStoreDbFixture);
}

#[tokio::test]
async fn a_server_that_refused_connections_is_used_again_once_it_accepts_them() {
    let server = server().await;
    let store = open(&server).await;
    let stream = given_stream(&store, 1).await;
    server.stop();
    let next = append(&stream, Exact(0), events(2));
    // The first append loses its connection, so its outcome is unknown. Later ones get no connection and are
    // refused.
    assert!(matches!(store.append(next.clone()).await, Err(AppendError::OutcomeUnknown(_))));
    let refused = eventually("a refusal", async || match store.append(next.clone()).await {
        Err(AppendError::Unavailable(why)) => Some(why),
        _ => None,
    });
    assert!(refused.await.contains("EventStoreDB"));
    store.log().read_stream(&stream, 0, 1).await.unwrap_err();

    server.accept_connections().await.unwrap();
    assert_eq!(until_known(&store, &next).await.last_revision, Some(2));
    assert_eq!(length(&store, &stream).await, 3);
}

#[tokio::test]
async fn a_retry_after_a_lost_answer_returns_the_original_outcome() {
    let server = server().await;
    let store = open(&server).await;
    let stream = new_stream();
    server.faults().lose_answers(1);
    let sent = append(&stream, NoStream, events(2));
    assert!(matches!(store.append(sent.clone()).await, Err(AppendError::OutcomeUnknown(_))));
    let appended = until_known(&store, &sent).await;
    let stored = store.log().read_stream(&stream, 0, 10).await.unwrap();
    assert_eq!(stored.len(), 2, "the events are stored once");
    assert_eq!(appended.last_revision, Some(1));
    assert_eq!(appended.last_position, stored.last().map(|event| event.position));
}

#[tokio::test]
async fn an_append_without_an_answer_in_time_has_an_unknown_outcome_until_it_is_retried() {
    let server = server().await;
    // Creates the store with a long time limit before the short one applies.
    drop(open(&server).await);
    let impatient =
        EventStoreDbOptions { call_time_max: Duration::from_secs(2), ..EventStoreDbOptions::default() };
    let store = EventStoreDb::open(server.url().parse().unwrap(), impatient).await.unwrap();
    let stream = given_stream(&store, 1).await;
    server.faults().delay_answers(10 * PATIENCE);
    let sent = append(&stream, Exact(0), events(1));
    assert!(matches!(store.append(sent.clone()).await, Err(AppendError::OutcomeUnknown(_))));
    server.faults().delay_answers(Duration::ZERO);
    assert_eq!(until_known(&store, &sent).await.last_revision, Some(1));
    assert_eq!(length(&store, &stream).await, 2);
}

#[tokio::test]
async fn an_append_that_is_too_large_for_the_server_is_refused() {
    let server = server().await;
    let store = open(&server).await;
    let stream = new_stream();
    let large = event_of(format!("\"{}\"", "x".repeat(2 << 20)).into());
    let refused = store.append(append(&stream, NoStream, vec![large])).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert_eq!(length(&store, &stream).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_reads_every_event_of_other_processes_across_broken_connections_and_server_restarts() {
    const ROUNDS: usize = 30;
    let server = server().await;
    let (here, there) = (Arc::new(open(&server).await), open(&server).await);
    let following = tokio::spawn({
        let here = here.clone();
        async move {
            let mut head = here.head();
            let (mut followed, mut after) = (Vec::new(), None::<Position>);
            while followed.len() < ROUNDS {
                head.wait_for(|head| *head > after).await.unwrap();
                // A failed read is repeated. The position moves only with an event that was read.
                for event in here.log().read_all(after, 10).await.unwrap_or_default() {
                    after = Some(event.position);
                    followed.push(event);
                }
            }
            followed
        }
    });
    for round in 0..ROUNDS {
        match round % 3 {
            0 => server.faults().cut_connections(),
            1 => {
                server.stop();
                server.accept_connections().await.unwrap();
            }
            _ => {}
        }
        until_known(&there, &append(&new_stream(), NoStream, events(1))).await;
    }
    let followed = tokio::time::timeout(PATIENCE, following)
        .await
        .expect("the follower must read every event in time")
        .unwrap();
    let log = eventually("the log", async || here.log().read_all(None, 100).await.ok()).await;
    assert_eq!(followed, log);
    assert_eq!(log.len(), ROUNDS);
}

#[tokio::test]
async fn processes_that_open_a_new_server_concurrently_agree_on_the_store_id() {
    let server = server().await;
    let stores = join_all((0..8).map(|_| open(&server))).await;
    let store_id = stores[0].log().store_id();
    assert!(stores.iter().all(|store| store.log().store_id() == store_id));
    assert_eq!(
        stores[0].log().last_position().await.unwrap(),
        None,
        "the event that stores the id does not count as an event of Orderly"
    );
    assert_ne!(open(&self::server().await).await.log().store_id(), store_id);
}

#[tokio::test]
async fn the_error_for_a_missing_server_or_store_names_the_setting_and_not_the_password() {
    let server = server().await;
    let config = || server.url().replace("//", "//admin:changeit@").parse().unwrap();
    let error = EventStoreDbLog::open_read_only(config(), patient()).await.unwrap_err();
    assert!(matches!(error, EventStoreDbOpenError::NotAStore { .. }), "{error}");
    EventStoreDb::open(config(), patient()).await.unwrap();

    server.stop();
    let error = EventStoreDb::open(config(), patient()).await.unwrap_err();
    assert!(matches!(error, EventStoreDbOpenError::Unreachable { .. }), "{error}");
    let text = format!("{error} {error:?} {:?}", config());
    assert!(text.contains("ORDERLY_EVENT_STORE") && text.contains(&server.address().to_string()), "{text}");
    assert!(!text.contains("changeit"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_with_tls_goes_on_under_another_leader() {
    let folder = tempfile::tempdir().unwrap();
    let tls = Some(Certificates::create(folder.path()).unwrap());
    let options = eventstoredb::FixtureOptions { tls, ..eventstoredb::FixtureOptions::default() };
    let cluster = Cluster::start(3, Duration::from_millis(200), options).await.unwrap();
    let store = open_at(cluster.url()).await;
    let stream = given_stream(&store, 1).await;

    let leader = cluster.leader().expect("a leader");
    cluster.kill(leader);
    assert_eq!(until_known(&store, &append(&stream, Exact(0), events(2))).await.last_revision, Some(2));
    assert_ne!(cluster.leader(), Some(leader));
    assert_eq!(length(&store, &stream).await, 3);
}

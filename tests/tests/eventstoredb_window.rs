//! One subscription feeds all followers of a process from a window in memory.

mod calls;
mod random_stops;

use std::sync::Arc;

use domain::{EventId, NewEvent, OrderId, RecordedEvent, StreamName};
use infra::{
    event_source::{EventSource, Partition, Reached, SourceUpdate, direct::DirectSource},
    event_store::{
        Append, EventMark, EventStore, ExpectedRevision, ReadError,
        eventstoredb::{EventStoreDb, EventStoreDbOptions},
    },
};
use tests::eventstoredb::{FixtureOptions, Server};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::{PATIENCE, eventually};

/// The server's largest append, so that a test can append many events at once.
const APPEND_BYTES_MAX: usize = 16 << 20;

async fn server() -> Server {
    let options = FixtureOptions { append_bytes_max: APPEND_BYTES_MAX, ..FixtureOptions::default() };
    Server::start(options).await.unwrap()
}

async fn open(server: &Server) -> Arc<EventStoreDb> {
    open_with(server, EventStoreDbOptions::default().window_bytes_max).await
}

async fn open_with(server: &Server, window_bytes_max: usize) -> Arc<EventStoreDb> {
    open_store(
        server,
        EventStoreDbOptions { call_time_max: PATIENCE, window_bytes_max, ..Default::default() },
    )
    .await
}

async fn open_store(server: &Server, options: EventStoreDbOptions) -> Arc<EventStoreDb> {
    Arc::new(EventStoreDb::open(server.url().parse().unwrap(), options).await.unwrap())
}

fn event() -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "order.delivered.v1",
        data: br#"{"shipment_id":"0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f"}"#.to_vec(),
        metadata: Arc::from(*b"{}"),
    }
}

fn events_of_new_stream(count: usize) -> Append {
    let stream: StreamName = OrderId(Uuid::new_v4()).into();
    let events = (0..count).map(|_| event()).collect();
    Append { stream, expected: ExpectedRevision::NoStream, events, epoch: None }
}

/// Appends to a new stream. Retries until the outcome is known, as the executor does.
async fn given(store: &EventStoreDb, count: usize) {
    let append = events_of_new_stream(count);
    eventually("an append", async || store.append(append.clone()).await.ok()).await;
}

/// A consumer that stores how far it has read.
struct Follower {
    source: DirectSource,
    read: Vec<RecordedEvent>,
    stored: usize,
}

impl Follower {
    async fn start(store: &Arc<EventStoreDb>, stored: Vec<RecordedEvent>) -> Self {
        let mut source = DirectSource::new(store.clone(), 1_000);
        assert!(matches!(source.next().await, Ok(SourceUpdate::Assigned(_))));
        let mut follower = Self { source, stored: stored.len(), read: stored };
        follower.seek_stored();
        follower
    }

    fn seek_stored(&mut self) {
        self.read.truncate(self.stored);
        let reached = self
            .read
            .last()
            .map(|event| Reached { position: event.position, last_event: Some(EventMark::from(event)) });
        self.source.seek(&Partition::whole_log(), reached);
    }

    /// Waits for one batch.
    async fn batch(&mut self) -> Result<(), ReadError> {
        let update = timeout(PATIENCE, self.source.next()).await.expect("an update must arrive")?;
        let SourceUpdate::Events(batch) = update else { panic!("{update:?}") };
        assert_eq!(batch.after, self.read.last().map(|event| event.position));
        self.read.extend(batch.events);
        Ok(())
    }

    /// Reads until it has `count` events, and stores each batch. After a failure it continues from what it has
    /// stored.
    async fn read_to(&mut self, count: usize) {
        while self.read.len() < count {
            if self.batch().await.is_ok() {
                self.stored = self.read.len();
            } else {
                self.seek_stored();
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Runs on one thread: a loop that never yields would stop the test.
#[tokio::test]
async fn a_subscription_that_the_server_ends_is_replaced() {
    let server = server().await;
    let (here, there) = (open(&server).await, open(&server).await);
    let mut follower = Follower::start(&here, Vec::new()).await;
    for round in 1..=5 {
        server.faults().end_subscriptions();
        given(&there, 1).await;
        follower.read_to(round).await;
    }
}

/// The connection and other calls still work, so only the watch over the subscription notices.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscription_that_falls_silent_is_replaced() {
    let server = server().await;
    let here = open(&server).await;
    let mut follower = Follower::start(&here, Vec::new()).await;
    given(&here, 1).await;
    follower.read_to(1).await;
    let before = server.calls();
    server.faults().hold_subscriptions();
    given(&here, 1).await;
    follower.read_to(2).await;
    let after = server.calls();
    assert_eq!((after.subscriptions, after.connections), (before.subscriptions + 1, before.connections));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_vouches_for_the_end_of_the_log_without_a_call_until_the_log_goes_back() {
    let server = server().await;
    let here = open(&server).await;
    let mut follower = Follower::start(&here, Vec::new()).await;
    given(&here, 3).await;
    follower.read_to(3).await;
    let log = here.log();
    let marks: Vec<_> = follower.read.iter().map(EventMark::from).collect();
    let before = server.calls();
    assert_eq!(log.last_followed(&marks[0]), follower.read.last().cloned());
    assert_eq!(server.calls(), before);

    server.stop();
    server.restore(server.events() - 1);
    server.accept_connections().await.unwrap();
    eventually("the reader notices", async || log.last_followed(&marks[2]).is_none().then_some(())).await;
    eventually("the server is read again", async || match log.expect(&marks[2]).await {
        Err(ReadError::WentBack(_)) => Some(()),
        _ => None,
    })
    .await;
    assert_eq!(log.last_followed(&marks[0]), None);
}

#[tokio::test]
async fn an_outage_reaches_a_follower_that_has_read_everything_and_ends_with_the_outage() {
    let server = server().await;
    let (here, there) = (open(&server).await, open(&server).await);
    given(&there, 1).await;
    let mut follower = Follower::start(&here, Vec::new()).await;
    follower.read_to(1).await;
    server.stop();
    let error = follower.batch().await.unwrap_err();
    assert!(matches!(error, ReadError::Unavailable(_)), "{error}");

    server.accept_connections().await.unwrap();
    given(&there, 1).await;
    follower.seek_stored();
    follower.read_to(2).await;
}

#[tokio::test]
async fn a_log_that_went_back_is_reported_to_a_follower_that_waits() {
    let server = server().await;
    let (here, there) = (open(&server).await, open(&server).await);
    given(&there, 3).await;
    let mut follower = Follower::start(&here, Vec::new()).await;
    follower.read_to(3).await;
    server.stop();
    server.restore(server.events() - 1);
    server.accept_connections().await.unwrap();
    let went_back = eventually("the lost event", async || match follower.batch().await {
        Err(ReadError::WentBack(why)) => Some(why),
        _ => None,
    });
    assert!(went_back.await.contains("no longer has"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_stopped_for_200_000_events_catches_up_and_meets_the_window() {
    const APPENDS: usize = 200;
    const EVENTS: usize = 1_000;
    const WINDOW_BYTES: usize = 1 << 20;
    let server = server().await;
    let (here, there) = (open_with(&server, WINDOW_BYTES).await, open(&server).await);
    let mut follower = Follower::start(&here, Vec::new()).await;
    given(&there, 1).await;
    follower.read_to(1).await;
    for _ in 0..APPENDS {
        given(&there, EVENTS).await;
    }
    follower.read_to(1 + APPENDS * EVENTS).await;
    assert!(follower.read.is_sorted_by(|one, next| one.position < next.position));

    let reads = server.calls().all_reads;
    for more in 1..=20 {
        given(&there, 1).await;
        follower.read_to(1 + APPENDS * EVENTS + more).await;
    }
    assert_eq!(server.calls().all_reads, reads, "a follower that met the window reads the server no more");
}

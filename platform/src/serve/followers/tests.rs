use async_trait::async_trait;
use domain::{EventId, NewEvent, OrderId, StreamName};
use infra::{
    event_source::{Partition, Reached},
    event_store::{
        Append, EventStore, ExpectedRevision,
        sqlite::{SqliteEventStore, SqliteEventStoreOptions},
    },
    operations::sqlite::SqliteOperations,
    read_models::{CheckpointRow, ParkedStream, ReadModelError},
};
use uuid::Uuid;

use super::*;

/// Checkpoints of projections.
struct Checkpoints(Vec<CheckpointRow>);

#[async_trait]
impl ProjectionQueries for Checkpoints {
    async fn checkpoints(&self) -> Result<Vec<CheckpointRow>, ReadModelError> {
        Ok(self.0.clone())
    }

    async fn parked_streams(&self) -> Result<Vec<ParkedStream>, ReadModelError> {
        Ok(Vec::new())
    }

    async fn is_parked(&self, _stream: &StreamName) -> Result<bool, ReadModelError> {
        Ok(false)
    }
}

fn checkpoint(partition: &str, last_event: &EventMark) -> CheckpointRow {
    let position = Some(last_event.position);
    CheckpointRow {
        projection: "orders".to_owned(),
        partition: Partition(partition.to_owned()),
        position,
        log_position: position,
        last_event: Some(last_event.clone()),
        updated_at: None,
    }
}

/// A log of four events, the followers of it, and the marks and times of its events.
struct Fixture {
    _dir: tempfile::TempDir,
    _store: SqliteEventStore,
    log: Arc<dyn EventLog>,
    positions: Arc<SqliteOperations>,
    events: Vec<(EventMark, Timestamp)>,
}

impl Fixture {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteEventStore::open(&dir.path().join("events.db"), SqliteEventStoreOptions::default())
            .unwrap();
        for number in 0..4 {
            let id = EventId(Uuid::from_u128(number));
            let event =
                NewEvent { id, type_name: "t", data: b"{}".to_vec(), metadata: b"{}".as_slice().into() };
            let stream = OrderId(Uuid::from_u128(number)).into();
            let (expected, events) = (ExpectedRevision::NoStream, vec![event]);
            store.append(Append { stream, expected, events, epoch: None }).await.unwrap();
        }
        let log = store.log();
        let events = log.read_all(None, 10).await.unwrap();
        let events = events.iter().map(|event| (event.into(), event.recorded_at)).collect();
        let positions = Arc::new(SqliteOperations::open(&dir.path().join("operations.db")).unwrap());
        Self { _dir: dir, _store: store, log, positions, events }
    }

    /// `reactor` has handled the events up to this one.
    async fn save(&self, reactor: &str, event: usize) {
        let mark = self.events[event].0.clone();
        let reached = Reached { position: mark.position, last_event: Some(mark) };
        let partition = Partition::whole_log();
        self.positions.forget(reactor, &partition).await.unwrap();
        self.positions.save(reactor, self.log.store_id(), &partition, None, &reached).await.unwrap();
    }

    async fn lags(&self, checkpoints: Vec<CheckpointRow>, follow_whole_log: bool) -> Vec<Lag> {
        let (log, positions) = (Arc::clone(&self.log), self.positions.clone());
        let projections = Arc::new(Checkpoints(checkpoints));
        Followers { log, projections, positions, follow_whole_log }.lags().await.unwrap()
    }

    /// A lag whose oldest event is this one.
    fn lag(&self, follower: &str, events: u64, oldest: usize) -> Lag {
        Lag { follower: follower.to_owned(), events, oldest: Some(self.events[oldest].1) }
    }
}

#[tokio::test]
async fn each_follower_is_behind_by_the_events_after_its_last_one() {
    let fixture = Fixture::new().await;
    fixture.save("process-manager", 3).await;
    fixture.save("webhooks", 0).await;
    let lags = fixture.lags(vec![checkpoint("log", &fixture.events[1].0)], true).await;
    let caught_up = Lag { follower: "process-manager".to_owned(), events: 0, oldest: None };
    assert_eq!(lags, [caught_up, fixture.lag("projections", 2, 2), fixture.lag("webhooks", 3, 1)]);
}

#[tokio::test]
async fn projections_without_a_checkpoint_are_behind_by_the_whole_log() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.lags(Vec::new(), true).await, [fixture.lag("projections", 4, 0)]);
}

#[tokio::test]
async fn the_partition_that_is_furthest_ahead_counts_and_webhooks_over_kafka_do_not() {
    let fixture = Fixture::new().await;
    fixture.save("webhooks", 0).await;
    let checkpoints =
        [0, 2, 1].map(|event: usize| checkpoint(&format!("p/{event}"), &fixture.events[event].0));
    assert_eq!(fixture.lags(checkpoints.into(), false).await, [fixture.lag("projections", 1, 3)]);
}

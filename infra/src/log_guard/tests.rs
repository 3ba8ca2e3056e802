use std::sync::{
    Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use domain::{EventId, OrderId, Position, Revision, StreamName, Timestamp};
use tempfile::TempDir;
use uuid::Uuid;

use super::*;

/// A log that a test can take back to an earlier state.
#[derive(Default)]
struct TestLog {
    events: Mutex<Vec<RecordedEvent>>,
    /// True while a reader vouches for the events.
    is_followed: AtomicBool,
    reads: AtomicUsize,
}

impl TestLog {
    /// Adds events with new ids, at the positions 1, 2, 3, …
    fn grow(&self, count: usize) {
        let mut events = self.events.lock().unwrap();
        for _ in 0..count {
            let order = OrderId(Uuid::new_v4());
            let position = events.len() as u64 + 1;
            events.push(RecordedEvent {
                position,
                stream: order.into(),
                revision: 0,
                id: EventId(Uuid::new_v4()),
                type_name: "order.placed.v2".into(),
                data: Arc::from(*b"{}"),
                metadata: Arc::from(*b"{}"),
                recorded_at: Timestamp::UNIX_EPOCH,
                damage: None,
            });
        }
    }

    /// Puts an older copy in place, and appends other events to it.
    fn restore(&self, copied: usize, then: usize) {
        self.events.lock().unwrap().truncate(copied);
        self.grow(then);
    }

    fn reached(&self, position: Position) -> Reached {
        let events = self.events.lock().unwrap();
        let event = events.iter().find(|event| event.position == position).unwrap();
        Reached { position, last_event: Some(event.into()) }
    }
}

#[async_trait]
impl EventLog for TestLog {
    async fn read_stream(
        &self,
        stream: &StreamName,
        from: Revision,
        limit: usize,
    ) -> Result<Vec<RecordedEvent>, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let events = self.events.lock().unwrap();
        let found = events.iter().filter(|event| event.stream == *stream && event.revision >= from);
        Ok(found.take(limit).cloned().collect())
    }

    async fn read_all(&self, after: Option<Position>, limit: usize) -> Result<Vec<RecordedEvent>, ReadError> {
        let events = self.events.lock().unwrap();
        Ok(events.iter().filter(|event| Some(event.position) > after).take(limit).cloned().collect())
    }

    async fn last_event(&self) -> Result<Option<RecordedEvent>, ReadError> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        Ok(self.events.lock().unwrap().last().cloned())
    }

    fn last_followed(&self, mark: &EventMark) -> Option<RecordedEvent> {
        let events = self.events.lock().unwrap();
        let has = |event: &RecordedEvent| EventMark::from(event) == *mark;
        let vouches = self.is_followed.load(Ordering::Relaxed) && events.iter().any(has);
        vouches.then(|| events.last().cloned()).flatten()
    }

    fn store_id(&self) -> Uuid {
        Uuid::from_u128(1)
    }
}

struct Bench {
    log: Arc<TestLog>,
    data_dir: TempDir,
    health: Health,
}

impl Bench {
    fn new(events: usize) -> Self {
        let log = Arc::new(TestLog::default());
        log.grow(events);
        Self { log, data_dir: tempfile::tempdir().unwrap(), health: Health::default() }
    }

    async fn open(&self) -> LogGuard {
        LogGuard::open(self.log.clone(), Some(self.data_dir.path()), self.health.clone()).await.unwrap()
    }

    /// Runs the guard of a process for three seconds of the paused clock.
    async fn run(&self) -> LogGuard {
        let guard = self.open().await;
        let shutdown = CancellationToken::new();
        let watching = tokio::spawn(guard.clone().watch(|_| {}, shutdown.clone()));
        time::sleep(Duration::from_secs(3)).await;
        shutdown.cancel();
        watching.await.unwrap();
        guard
    }

    fn is_able(&self) -> bool {
        self.health.readiness().is_ok()
    }
}

const LOG: fn() -> Partition = Partition::whole_log;

#[tokio::test]
async fn a_lost_event_is_refused_for_good_and_an_event_that_is_there_is_not() {
    let bench = Bench::new(10);
    let (kept, lost) = (bench.log.reached(4), bench.log.reached(8));
    // As many events as before, so the positions alone show nothing.
    bench.log.restore(5, 5);
    let guard = bench.open().await;
    guard.expect("the read models", &LOG(), &kept).await.unwrap();
    assert!(guard.refusal().is_none() && bench.is_able());
    assert!(guard.log().read_all(None, 1).await.is_ok());

    guard.expect("the read models", &LOG(), &lost).await.unwrap();
    let why = guard.refusal().unwrap();
    assert!(why.contains("position 8") && why.contains("the read models"), "{why}");
    assert!(!bench.is_able());
    guard.expect("the read models", &LOG(), &kept).await.unwrap();
    assert_eq!(guard.refusal(), Some(why));
    let refused = guard.log().read_all(None, 1).await;
    assert!(matches!(refused, Err(ReadError::WentBack(_))), "{refused:?}");
}

#[tokio::test]
async fn a_position_without_a_mark_is_compared_with_the_end_of_the_log() {
    let bench = Bench::new(10);
    let guard = bench.open().await;
    guard.expect("webhooks", &LOG(), &Reached::from(10)).await.unwrap();
    // An offset of Kafka.
    guard.expect("webhooks", &Partition("orderly.orders/0".to_owned()), &Reached::from(99)).await.unwrap();
    assert_eq!(guard.refusal(), None);
    guard.expect("webhooks", &LOG(), &Reached::from(11)).await.unwrap();
    assert!(guard.refusal().unwrap().contains("position 11"));
}

#[tokio::test]
async fn a_read_that_finds_the_loss_refuses_all_later_reads() {
    let bench = Bench::new(10);
    let lost = bench.log.reached(8).last_event.unwrap();
    let guard = bench.open().await;
    bench.log.restore(5, 20);
    assert!(guard.log().read_stream(&lost.stream, 0, 1).await.is_ok());
    let refused = guard.log().read_after(&lost, 10).await;
    assert!(matches!(refused, Err(ReadError::WentBack(_))), "{refused:?}");
    let refused = guard.log().read_stream(&lost.stream, 0, 1).await;
    assert!(matches!(refused, Err(ReadError::WentBack(_))), "{refused:?}");
}

#[tokio::test(start_paused = true)]
async fn a_restore_under_a_running_process_is_noticed_without_any_read() {
    let bench = Bench::new(10);
    let guard = bench.open().await;
    let watching = tokio::spawn(guard.clone().watch(|_| {}, CancellationToken::new()));
    time::sleep(Duration::from_secs(3)).await;
    assert_eq!(guard.refusal(), None);
    bench.log.restore(5, 20);
    guard.refused().await;
    watching.await.unwrap();
    assert!(!bench.is_able());
}

#[tokio::test(start_paused = true)]
async fn a_restore_between_two_runs_is_noticed_by_a_process_without_positions() {
    let bench = Bench::new(10);
    assert_eq!(bench.run().await.refusal(), None);
    assert_eq!(bench.run().await.refusal(), None);
    bench.log.restore(5, 20);
    let refused = bench.run().await;
    assert!(refused.refusal().unwrap().contains("position 10"));
    // The refusal does not heal itself: nothing of the new log is noted.
    assert!(bench.open().await.refusal().is_some());
}

#[tokio::test(start_paused = true)]
async fn while_a_reader_follows_the_log_the_guard_reads_nothing() {
    let bench = Bench::new(10);
    bench.run().await;
    bench.log.is_followed.store(true, Ordering::Relaxed);
    let guard = bench.open().await;
    let opened = bench.log.reads.load(Ordering::Relaxed);
    let watching = tokio::spawn(guard.clone().watch(|_| {}, CancellationToken::new()));
    for _ in 0..3 {
        time::sleep(Duration::from_secs(3)).await;
        bench.log.grow(1);
    }
    time::sleep(Duration::from_secs(3)).await;
    assert_eq!(bench.log.reads.load(Ordering::Relaxed), opened);
    let journal = Journal::open(bench.data_dir.path(), Uuid::from_u128(1)).unwrap();
    assert_eq!(journal.last().map(|mark| mark.position), Some(13));

    // The reader is lost, and the log goes back meanwhile.
    bench.log.is_followed.store(false, Ordering::Relaxed);
    bench.log.restore(5, 20);
    guard.refused().await;
    watching.await.unwrap();
}

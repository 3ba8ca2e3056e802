//! Streams that are parked, and their retry.

use std::time::Duration;

use domain::{
    OrderId, Position, Revision, ShipmentId, StreamName,
    decider::StoredEvent,
    order::{OrderDelivered, OrderEvent},
};
use infra::{
    event_source::Partition,
    read_models::{
        Changes, OrderQueries, ParkedStream, Projection, ProjectionQueries, ReadModelError, ReadModels,
    },
};
use projectors::retry::{Retried, retry};
use uuid::Uuid;

use super::{
    Bench, RunningProjector,
    feed::Feed,
    memory_log::MemoryLog,
    story::{Act, Story, sku},
};
use crate::support::eventually;

const NO_PATIENCE: Duration = Duration::ZERO;

/// A log with a damaged event of the first order.
struct DamagedLog {
    bench: Bench,
    story: Story,
    order: OrderId,
    position: Position,
    revision: Revision,
}

impl DamagedLog {
    /// The event cannot be decoded.
    fn unknown_type() -> Self {
        Self::with("order.paid.v1", to_unknown_type)
    }

    /// The event breaks an assertion of the domain.
    fn contradiction() -> Self {
        Self::with("order.delivered.v1", |event| {
            let delivered = OrderDelivered { shipment_id: ShipmentId(Uuid::nil()) };
            event.data = OrderEvent::from(delivered).to_json().into();
        })
    }

    fn with(type_name: &str, damage: impl FnOnce(&mut domain::RecordedEvent)) -> Self {
        let story = Story::eventful();
        let damaged = story.events.iter().find(|event| *event.type_name == *type_name).unwrap();
        let (position, revision) = (damaged.position, damaged.revision);
        let bench = Bench::new(MemoryLog::new(story.events.clone()));
        bench.log.change(position, damage);
        let order = story.placed[0];
        Self { bench, story, order, position, revision }
    }

    fn stream(&self) -> StreamName {
        self.order.into()
    }

    /// Gives the event a type that the runner does not know. For the runner this is the same as an earlier program.
    fn forget_type(&self) {
        self.bench.log.change(self.position, to_unknown_type);
    }

    /// Restores the event. For the runner this is the same as a newer program that can read it.
    fn repair(&self) {
        let repaired = self.story.events.iter().find(|event| event.position == self.position).unwrap();
        self.bench.log.change(self.position, |event| *event = repaired.clone());
    }

    async fn until_resumed(&self) {
        let resumed = async || (!self.bench.is_parked(self.order).await).then_some(());
        eventually("the stream is resumed", resumed).await;
    }

    async fn parked(&self) -> ParkedStream {
        let parked = self.bench.queries.parked_streams().await.unwrap();
        assert_eq!(parked.len(), 1, "{parked:?}");
        parked.into_iter().next().unwrap()
    }
}

fn to_unknown_type(event: &mut domain::RecordedEvent) {
    event.type_name = "order.teleported.v9".into();
}

/// The eventful story, and more events of the order whose stream was parked.
fn longer_story() -> Story {
    let mut story = Story::eventful();
    story.act(&Act::Refund { order: 0, amount: 1 });
    story.act(&Act::SettleRefund { order: 0, succeeds: true });
    story
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_cannot_be_read_parks_its_stream_and_no_other() {
    let damaged_log = DamagedLog::unknown_type();
    let running = damaged_log.bench.run();
    damaged_log.bench.caught_up().await;
    running.stop().await;

    let parked = damaged_log.parked().await;
    assert_eq!((parked.projection, &parked.stream), (Projection::Orders, &damaged_log.stream()));
    assert_eq!((parked.revision, parked.position), (damaged_log.revision, damaged_log.position));
    assert!(parked.reason.contains("order.teleported.v9"), "{}", parked.reason);
    assert!(damaged_log.bench.is_parked(damaged_log.order).await);
    let row = damaged_log.bench.queries.order(damaged_log.order).await.unwrap().unwrap();
    assert_eq!(row.revision, damaged_log.revision - 1);
    let other = damaged_log.story.placed[3];
    assert!(!damaged_log.bench.is_parked(other).await);
    let other_row = damaged_log.bench.queries.order(other).await.unwrap().unwrap();
    assert_eq!(other_row.order, damaged_log.story.orders[&other]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_that_makes_the_fold_panic_leaves_the_row_unchanged() {
    let damaged_log = DamagedLog::contradiction();
    let running = damaged_log.bench.run();
    damaged_log.bench.caught_up().await;
    running.stop().await;
    let parked = damaged_log.parked().await;
    // The panic's text quotes the order. It is in no row and in no output.
    let reason = "the event contradicts the events before it: an assertion of the fold failed";
    assert_eq!(parked.reason, reason);
    let row = damaged_log.bench.queries.order(damaged_log.order).await.unwrap().unwrap();
    assert_eq!(row.revision, damaged_log.revision - 1);
    // A fold of the whole log parks the stream at the same event.
    damaged_log.bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_event_parks_its_stream_and_a_retry_reads_it_from_the_log() {
    let story = Story::eventful();
    let order: StreamName = story.placed[0].into();
    let lost = story.events.iter().find(|event| event.stream == order && event.revision == 2).unwrap();
    let bench = Bench::new(MemoryLog::new(story.events.clone()));
    let feed = Feed::new(&bench.log).withhold(lost.position);
    let running = RunningProjector::start(feed, &bench.log, bench.models.clone());
    bench.caught_up().await;
    let parked = bench.queries.parked_streams().await.unwrap();
    assert!(parked[0].reason.contains("missing"), "{parked:?}");
    assert_eq!((&parked[0].stream, parked[0].revision), (&order, 3));

    assert!(bench.models.request_retry(&order).await.unwrap());
    eventually("the stream is resumed", async || (!bench.is_parked(order.clone()).await).then_some(())).await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_resumes_a_stream_on_request_and_continues_with_it() {
    let damaged_log = DamagedLog::unknown_type();
    let bench = &damaged_log.bench;
    let running = bench.run();
    bench.caught_up().await;
    damaged_log.repair();
    let patience = crate::support::PATIENCE;
    let retried = retry(bench.log.as_ref(), bench.models.as_ref(), &damaged_log.stream(), patience).await;
    assert_eq!(retried.unwrap(), Retried::Resumed);

    bench.log.extend(&longer_story().events);
    bench.caught_up().await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_knows_the_event_resumes_its_stream_and_leaves_the_others_as_they_are() {
    let damaged_log = DamagedLog::unknown_type();
    let bench = &damaged_log.bench;
    // The newer version does not know the last event of this stream either.
    let other: StreamName = damaged_log.story.placed[3].into();
    let last = damaged_log.story.events.iter().rfind(|event| event.stream == other).unwrap();
    bench.log.change(last.position, to_unknown_type);
    let earlier = bench.run();
    bench.caught_up().await;
    earlier.stop().await;
    let mut parked = bench.queries.parked_streams().await.unwrap();
    assert_eq!(parked.len(), 2, "{parked:?}");

    damaged_log.repair();
    let newer = bench.run();
    damaged_log.until_resumed().await;
    newer.stop().await;
    parked.retain(|row| row.stream == other);
    assert_eq!(bench.queries.parked_streams().await.unwrap(), parked);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_version_that_gets_the_partition_back_leaves_a_resumed_stream_alone() {
    let damaged_log = DamagedLog::unknown_type();
    let bench = &damaged_log.bench;
    let earlier = bench.run();
    bench.caught_up().await;
    earlier.stop().await;
    damaged_log.repair();
    let newer = bench.run();
    damaged_log.until_resumed().await;
    newer.stop().await;

    damaged_log.forget_type();
    bench.log.extend(&longer_story().events);
    // It gets the unknown event once more.
    let again = Feed::new(&bench.log).redeliver(1_000);
    let earlier = RunningProjector::start(again, &bench.log, bench.models.clone());
    bench.caught_up().await;
    earlier.stop().await;
    assert!(!bench.is_parked(damaged_log.order).await);
    damaged_log.repair();
    bench.assert_rows_are_those_of_the_log().await;
}

/// Both follow the whole log, and either may commit a batch first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versions_side_by_side_apply_each_event_once_and_leave_no_stream_parked() {
    let damaged_log = DamagedLog::unknown_type();
    let bench = Bench::new(MemoryLog::new(damaged_log.story.events.clone()));
    let start = |log| RunningProjector::start(Feed::new(log).cut(vec![1, 3, 2]), log, bench.models.clone());
    let (earlier, newer) = (start(&damaged_log.bench.log), start(&bench.log));
    bench.caught_up().await;
    let longer = longer_story().events;
    for log in [&damaged_log.bench.log, &bench.log] {
        log.extend(&longer);
    }
    bench.caught_up().await;
    eventually("no stream is parked", async || (!bench.is_parked(damaged_log.order).await).then_some(()))
        .await;
    earlier.stop().await;
    newer.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_runner_the_command_retries_and_parks_again_until_the_cause_is_repaired() {
    let damaged_log = DamagedLog::unknown_type();
    let bench = &damaged_log.bench;
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let (log, models) = (bench.log.as_ref(), bench.models.as_ref());

    let retried = retry(log, models, &damaged_log.stream(), NO_PATIENCE).await.unwrap();
    assert!(
        matches!(&retried, Retried::StillParked(row) if row.revision == damaged_log.revision),
        "{retried:?}"
    );
    assert_eq!(retry(log, models, &sku(0).into(), NO_PATIENCE).await.unwrap(), Retried::NotParked);
    damaged_log.repair();
    assert_eq!(retry(log, models, &damaged_log.stream(), NO_PATIENCE).await.unwrap(), Retried::Resumed);
    assert_eq!(retry(log, models, &damaged_log.stream(), NO_PATIENCE).await.unwrap(), Retried::NotParked);
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_skips_events_of_a_resumed_stream_cannot_commit() {
    let damaged_log = DamagedLog::unknown_type();
    let bench = &damaged_log.bench;
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let head = bench.log.head();
    let skipping = || Changes {
        skipped: vec![(Projection::Orders, damaged_log.stream())],
        ..Changes::none(Partition::whole_log(), head, head)
    };
    bench.models.commit(skipping()).await.unwrap();
    damaged_log.repair();
    retry(bench.log.as_ref(), bench.models.as_ref(), &damaged_log.stream(), NO_PATIENCE).await.unwrap();
    let refused = bench.models.commit(skipping()).await;
    assert!(matches!(refused, Err(ReadModelError::CheckpointMoved)), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_is_committed_once() {
    let damaged_log = DamagedLog::unknown_type();
    let bench = &damaged_log.bench;
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let head = bench.log.head();
    let parked = damaged_log.parked().await;
    let retrying = || Changes {
        retried: vec![parked.clone()],
        parked: vec![parked.clone()],
        ..Changes::none(Partition::whole_log(), head, head)
    };
    let without_request = bench.models.commit(retrying()).await;
    assert!(matches!(without_request, Err(ReadModelError::CheckpointMoved)), "{without_request:?}");
    assert!(bench.models.request_retry(&damaged_log.stream()).await.unwrap());
    bench.models.commit(retrying()).await.unwrap();
    let again = bench.models.commit(retrying()).await;
    assert!(matches!(again, Err(ReadModelError::CheckpointMoved)), "{again:?}");
}

//! Rows that the database refuses: they park their stream, and every other stream continues.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use domain::StreamName;
use infra::{
    event_source::Partition,
    read_models::{ParkedStream, ProjectionQueries, ReadModels},
};
use projectors::retry::{Retried, retry};
use rusqlite::{Connection, types::Value};

use super::{
    Bench, RunningProjector,
    feed::Feed,
    memory_log::MemoryLog,
    paced::{Gate, PacedReadModels},
    story::Story,
};
use crate::support::{PATIENCE, eventually};

/// Makes the database refuse the rows of a stream from a revision on.
fn refusal(stream: &StreamName, revision: u64) -> String {
    let (table, row) = match stream {
        StreamName::Stock(sku) => ("stock", format!("NEW.sku = '{sku}'")),
        StreamName::Order(id) => ("orders", format!("NEW.order_id = x'{}'", id.0.simple())),
        StreamName::Payment(id) => ("payments", format!("NEW.payment_id = x'{}'", id.0.simple())),
        StreamName::Receipt(_) | StreamName::Exchange(_) => unreachable!("no row shows it"),
    };
    let refuse =
        format!("WHEN {row} AND NEW.revision >= {revision} BEGIN SELECT RAISE(ABORT, 'refused'); END");
    format!(
        "CREATE TRIGGER refuse_new BEFORE INSERT ON {table} {refuse};
         CREATE TRIGGER refuse_changed BEFORE UPDATE ON {table} {refuse}"
    )
}

const ACCEPT: &str = "DROP TRIGGER refuse_new; DROP TRIGGER refuse_changed";

async fn parked(bench: &Bench) -> Vec<ParkedStream> {
    bench.queries.parked_streams().await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_row_parks_its_stream_at_its_event_and_no_other() {
    let story = Story::eventful();
    let streams: BTreeSet<&StreamName> = story.events.iter().map(|event| &event.stream).collect();
    assert!(streams.len() > 8, "{streams:?}");
    for stream in streams {
        // A batch writes only the last row of a stream, so the last revision is refused for certain.
        let last =
            story.events.iter().filter(|event| event.stream == *stream).map(|event| event.revision).max();
        for revision in [0, last.unwrap()] {
            let bench = Bench::new(MemoryLog::new(story.events.clone()));
            Connection::open(&bench.path).unwrap().execute_batch(&refusal(stream, revision)).unwrap();
            let running = bench.run();
            bench.caught_up().await;

            let found = parked(&bench).await;
            assert_eq!(found.len(), 1, "{stream} {revision}: {found:#?}");
            assert_eq!((&found[0].stream, found[0].revision), (stream, revision));
            assert!(found[0].reason.contains("refused"), "{}", found[0].reason);
            eventually("the parked stream is reported", async || {
                (running.degraded() == ["parked_streams"]).then_some(())
            })
            .await;
            let verified = bench.verify().await;
            assert_eq!(verified.differences, 0, "{stream} {revision}: {:#?}", verified.described);
            assert_eq!(verified.parked, found);
            running.stop().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_resumes_the_stream_once_the_database_accepts_its_row() {
    let story = Story::eventful();
    let stream: StreamName = story.placed[0].into();
    let bench = Bench::new(MemoryLog::new(story.events.clone()));
    let connection = Connection::open(&bench.path).unwrap();
    connection.execute_batch(&refusal(&stream, 1)).unwrap();
    let running = bench.run();
    bench.caught_up().await;

    let (log, models) = (bench.log.as_ref(), bench.models.as_ref());
    let refused = retry(log, models, &stream, PATIENCE).await.unwrap();
    assert!(matches!(&refused, Retried::StillParked(row) if row.revision == 1), "{refused:?}");
    // The runner goes on after the refused retry, also with the streams of later batches.
    assert_eq!(running.degraded(), ["parked_streams"]);
    connection.execute_batch(ACCEPT).unwrap();
    assert_eq!(retry(log, models, &stream, PATIENCE).await.unwrap(), Retried::Resumed);
    eventually("nothing is parked", async || running.degraded().is_empty().then_some(())).await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_notices_that_another_process_has_resumed_a_stream() {
    let story = Story::eventful();
    let stream: StreamName = story.placed[0].into();
    let bench = Bench::new(MemoryLog::new(story.events.clone()));
    let connection = Connection::open(&bench.path).unwrap();
    connection.execute_batch(&refusal(&stream, 1)).unwrap();
    // Runs no retry: the stream belongs to another partition from its point of view.
    let running =
        RunningProjector::start(Feed::new(&bench.log).cut(vec![7]), &bench.log, bench.models.clone());
    bench.caught_up().await;
    connection.execute_batch(ACCEPT).unwrap();
    let resumed = retry(bench.log.as_ref(), bench.models.as_ref(), &stream, Duration::ZERO).await.unwrap();
    assert_eq!(resumed, Retried::Resumed);
    eventually("nothing is parked", async || running.degraded().is_empty().then_some(())).await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_projector_shows_the_parked_streams_of_another_one_until_they_are_resumed() {
    let story = Story::eventful();
    let stream: StreamName = story.placed[0].into();
    let bench = Bench::new(MemoryLog::new(story.events.clone()));
    let connection = Connection::open(&bench.path).unwrap();
    connection.execute_batch(&refusal(&stream, 1)).unwrap();
    let owner = bench.run();
    bench.caught_up().await;
    let idle = Feed::new(&Arc::new(MemoryLog::new(Vec::new()))).of(Partition("shop.orders/1".to_owned()));
    let other = RunningProjector::start(idle, &bench.log, bench.models.clone());
    eventually("the other projector shows the parked stream", async || {
        (other.degraded() == ["parked_streams"]).then_some(())
    })
    .await;
    connection.execute_batch(ACCEPT).unwrap();
    let resumed = retry(bench.log.as_ref(), bench.models.as_ref(), &stream, PATIENCE).await.unwrap();
    assert_eq!(resumed, Retried::Resumed);
    eventually("no projector shows it", async || {
        (owner.degraded().is_empty() && other.degraded().is_empty()).then_some(())
    })
    .await;
    owner.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stored_row_that_cannot_be_read_parks_its_stream_and_no_other() {
    let story = Story::eventful();
    let bench = Bench::new(MemoryLog::new(story.events[..12].to_vec()));
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let changed = story.events[12..].iter().find_map(|event| match &event.stream {
        StreamName::Order(id) => Some(*id),
        StreamName::Stock(_) | StreamName::Payment(_) | StreamName::Receipt(_) | StreamName::Exchange(_) => {
            None
        }
    });
    let order = changed.unwrap();
    let damage = "UPDATE orders SET body = '{' WHERE order_id = ?1";
    let damaged = Connection::open(&bench.path).unwrap().execute(damage, [order.0]).unwrap();
    assert_eq!(damaged, 1, "the order has no row yet");

    bench.log.extend(&story.events);
    let running = bench.run();
    bench.caught_up().await;
    let found = parked(&bench).await;
    assert_eq!(found.len(), 1, "{found:#?}");
    assert_eq!(found[0].stream, order.into());
    running.stop().await;
}

/// The orders of the eventful story as one partition of a topic, whose checkpoints are offsets. The database refuses
/// the last order.
fn bench_of_one_partition() -> (Bench, Partition) {
    let mut events = Story::eventful().events;
    events.retain(|event| matches!(event.stream, StreamName::Order(_)));
    let refused = events.last().unwrap().stream.clone();
    let bench = Bench::new(MemoryLog::new(events));
    Connection::open(&bench.path).unwrap().execute_batch(&refusal(&refused, 0)).unwrap();
    (bench, Partition("shop.orders/0".to_owned()))
}

async fn reached(bench: &Bench, partition: &Partition) -> Option<u64> {
    bench.models.checkpoint(partition).await.unwrap().map(|reached| reached.position)
}

/// Every stored sum of sales.
fn sales(bench: &Bench) -> Vec<Vec<Value>> {
    let connection = Connection::open(&bench.path).unwrap();
    let mut statement = connection.prepare("SELECT * FROM sales ORDER BY 1, 2, 3, 4, 5").unwrap();
    let columns = statement.column_count();
    let rows = statement.query_map([], |row| (0..columns).map(|column| row.get(column)).collect()).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_owner_of_a_refused_batch_counts_no_sale_twice() {
    let (alone, partition) = bench_of_one_partition();
    let only = RunningProjector::start(
        Feed::new(&alone.log).of(partition.clone()),
        &alone.log,
        alone.models.clone(),
    );
    eventually("one owner projects all", async || {
        (reached(&alone, &partition).await == alone.log.head()).then_some(())
    })
    .await;
    only.stop().await;

    let (bench, partition) = bench_of_one_partition();
    let start = |cut, models: PacedReadModels| {
        let feed = Feed::new(&bench.log).of(partition.clone()).cut(vec![cut]);
        RunningProjector::start(feed, &bench.log, Arc::new(models))
    };
    // The second owner has loaded rows, and is about to commit the first events of the batch.
    let about_to_commit = Gate::default();
    let second = start(3, PacedReadModels::new(&bench.models).before_commit(&about_to_commit));
    about_to_commit.reached().await;
    // The first owner has made its first step at finding the refused row.
    let stepped = Gate::default();
    let first = start(1_000, PacedReadModels::new(&bench.models).after_write(&stepped));
    stepped.reached().await;
    about_to_commit.open();
    eventually("the second owner moves the checkpoint", async || reached(&bench, &partition).await).await;
    stepped.open();
    eventually("both owners project all", async || {
        (reached(&bench, &partition).await == bench.log.head()).then_some(())
    })
    .await;
    first.stop().await;
    second.stop().await;
    assert!(!sales(&alone).is_empty());
    assert_eq!(sales(&bench), sales(&alone));
    assert_eq!(parked(&bench).await.len(), 1);
}

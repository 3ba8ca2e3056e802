//! Rows that the database refuses: they park their stream, and every other stream continues.

use std::{collections::BTreeSet, time::Duration};

use domain::StreamName;
use infra::read_models::{ParkedStream, ProjectionQueries};
use projectors::retry::{Retried, retry};
use rusqlite::Connection;

use super::{Bench, RunningProjector, feed::Feed, memory_log::MemoryLog, story::Story};
use crate::support::PATIENCE;

/// Makes the database refuse the rows of a stream from a revision on.
fn refusal(stream: &StreamName, revision: u64) -> String {
    let (table, row) = match stream {
        StreamName::Stock(sku) => ("stock", format!("NEW.sku = '{sku}'")),
        StreamName::Order(id) => ("orders", format!("NEW.order_id = x'{}'", id.0.simple())),
        StreamName::Payment(id) => ("payments", format!("NEW.payment_id = x'{}'", id.0.simple())),
        StreamName::Receipt(_) => unreachable!("no row shows a receipt"),
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
            assert_eq!(running.degraded(), ["parked_streams"]);
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
    crate::support::eventually("nothing is parked", async || running.degraded().is_empty().then_some(()))
        .await;
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
    crate::support::eventually("nothing is parked", async || running.degraded().is_empty().then_some(()))
        .await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
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
        StreamName::Stock(_) | StreamName::Payment(_) | StreamName::Receipt(_) => None,
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

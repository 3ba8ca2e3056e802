//! Rebuilds of read models in Postgres.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use infra::{
    event_source::Partition,
    read_models::{
        Changes, OrderFilter, OrderQueries, ReadModelError, ReadModels, SalesGroup, SalesQueries, SalesQuery,
        TimeRange,
        audit::{Audit, Rebuild, RebuiltFrom},
        postgres::PostgresRebuild,
    },
};

use super::{Bench, Feed, MemoryLog, Story};
use crate::{
    projectors::story::Act,
    support::{PATIENCE, eventually},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_rebuild_replaces_the_rows_while_projectors_and_queries_run() {
    let mut story = Story::eventful();
    let bench = Bench::new(MemoryLog::new(story.events.clone())).await;
    let running = bench.run(Feed::new(&bench.log).cut(vec![1]));
    bench.caught_up().await;
    let orders = bench.queries.orders(&OrderFilter::default(), 50).await.unwrap();
    assert!(!orders.items.is_empty());
    // The projector still has the old rows in its cache.
    let client = bench.database.client().await;
    client.batch_execute("UPDATE orderly_read_models.stock SET on_hand = on_hand + 100").await.unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (queries, stopped, expected) = (bench.queries.clone(), Arc::clone(&stop), orders.clone());
    // Runs the same prepared statements before, during and after the tables are replaced.
    let asking = tokio::spawn(async move {
        let mut asked = 0;
        let sales = SalesQuery {
            currency: "GBP".parse().unwrap(),
            range: TimeRange::default(),
            group: Some(SalesGroup::Sku),
            after: None,
        };
        let sums = queries.sales(&sales, 50).await.unwrap();
        while !stopped.load(Ordering::Acquire) {
            assert_eq!(queries.orders(&OrderFilter::default(), 50).await.unwrap(), expected);
            assert_eq!(queries.sales(&sales, 50).await.unwrap(), sums);
            asked += 1;
        }
        asked
    });
    for _ in 0..5 {
        bench.rebuild().await;
    }
    stop.store(true, Ordering::Release);
    assert!(asking.await.unwrap() > 5);

    story.act(&Act::Receive { sku: 0, quantity: 5 });
    bench.log.extend(&story.events);
    bench.caught_up().await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn changes_folded_before_a_rebuild_are_refused_after_it() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events)).await;
    bench.rebuild().await;
    let before = bench.models.generation().await.unwrap();
    let head = bench.log.head();
    bench.rebuild().await;
    let next = head.map(|position| position + 1);
    let changes = Changes { generation: Some(before), ..Changes::none(Partition::whole_log(), head, next) };
    let refused = bench.models.commit(changes).await;
    assert!(matches!(refused, Err(ReadModelError::CheckpointMoved)), "{refused:?}");
    bench.assert_rows_are_those_of_the_log().await;

    // A program that does not know the schema version of the new rows stops too.
    let newer = "UPDATE orderly_read_models.log SET schema_version = schema_version + 1";
    bench.database.client().await.batch_execute(newer).await.unwrap();
    let refused = bench.models.generation().await;
    assert!(matches!(refused, Err(ReadModelError::Corrupt(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_second_rebuild_is_refused_and_an_abandoned_one_leaves_no_rows() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events)).await;
    let target = PostgresRebuild::new(bench.connected.clone());
    let finished = async || target.begin().await?.finish(RebuiltFrom::default()).await;
    let staged = finished().await.unwrap();
    let refused = target.begin().await;
    assert!(matches!(refused, Err(ReadModelError::Unavailable(_))), "{:?}", refused.map(drop));
    drop(staged);
    let client = bench.database.client().await;
    eventually("the staged rows are gone", async || {
        let row = client.query_one("SELECT to_regnamespace('orderly_rebuild') IS NULL", &[]).await.unwrap();
        row.get::<_, bool>(0).then_some(())
    })
    .await;
    eventually("the next rebuild may begin", async || target.begin().await.ok()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_rebuild_waits_for_a_verification_and_lets_commits_pass_meanwhile() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events)).await;
    bench.rebuild().await;
    let stored = bench.queries.stored().await.unwrap();
    let rebuilding = bench.rebuild();
    let stock = Partition("shop.stock/0".to_owned());
    let client = bench.database.client().await;
    let other_work = async {
        const WAITS: &str = "SELECT EXISTS (SELECT FROM pg_locks
             WHERE NOT granted AND relation = 'orderly_read_models.log'::regclass)";
        eventually("the rebuild waits", async || {
            client.query_one(WAITS, &[]).await.unwrap().get::<_, bool>(0).then_some(())
        })
        .await;
        for position in 0..5 {
            let from = (position > 0).then(|| position - 1);
            let commit = bench.models.commit(Changes::none(stock.clone(), from, Some(position)));
            tokio::time::timeout(PATIENCE, commit).await.expect("commits pass").unwrap();
        }
        let reached = bench.models.checkpoint(&stock).await.unwrap();
        assert_eq!(reached.map(|reached| reached.position), Some(4));
        drop(stored);
    };
    tokio::join!(rebuilding, other_work);
    // The rebuilt rows have no checkpoint of that partition.
    assert_eq!(bench.models.checkpoint(&stock).await.unwrap(), None);
    bench.assert_rows_are_those_of_the_log().await;
}

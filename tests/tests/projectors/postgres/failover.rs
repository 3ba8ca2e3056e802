//! A standby that lacks the last commits becomes the primary. Nothing is restarted.

use std::time::Duration;

use futures::future::join_all;
use infra::{
    event_source::Partition,
    operations::{Positions, postgres::PostgresOperations},
    read_models::{ProjectionQueries, Queries},
};

use super::{Bench, Feed, MemoryLog, Story, TestDatabase, eventually, story};
use crate::support::Standby;

/// Connections in the pool when the primary changes.
const CONNECTIONS: usize = 8;

/// A primary and its standby, and read models over the addresses of both.
struct Pair {
    primary: Standby,
    standby: Standby,
    bench: Bench,
    story: Story,
}

impl Pair {
    async fn start() -> Self {
        let database = TestDatabase::create().await;
        // The server of the tests is shared, so its copy is the primary here.
        let primary = Standby::of(&database).await;
        primary.promote();
        let standby = primary.standby(&database);
        let both = format!("{},{}", primary.address(), standby.address());
        let url = database.url().replace(&database.address().to_string(), &both);
        let story = Story::eventful();
        let bench = Bench::at(MemoryLog::new(story.events[..10].to_vec()), database, &url).await;
        Self { primary, standby, bench, story }
    }

    /// The checkpoint that a server has.
    async fn checkpoint_at(&self, server: &Standby) -> Option<i64> {
        let client = server.client(&self.bench.database).await;
        let select = "SELECT max(position) FROM orderly_read_models.checkpoints";
        client.query_one(select, &[]).await.ok()?.get(0)
    }

    /// Lets the standby miss the commits of ten more events, and fills the pool with connections to the primary.
    async fn fall_behind(&self) {
        let replicated = self.checkpoint_at(&self.primary).await;
        eventually("the standby has the first events", async || {
            (self.checkpoint_at(&self.standby).await == replicated).then_some(())
        })
        .await;
        self.standby.stop_following(&self.bench.database).await;
        self.bench.log.extend(&self.story.events[..20]);
        self.bench.caught_up().await;
        let reads = (0..CONNECTIONS).map(|_| self.bench.queries.checkpoints());
        assert!(join_all(reads).await.iter().all(Result::is_ok));
        assert!(self.checkpoint_at(&self.standby).await < self.checkpoint_at(&self.primary).await);
    }
}

async fn goes_on(mut pair: Pair, demote: impl AsyncFnOnce(&mut Pair)) {
    let operations = PostgresOperations::new(pair.bench.connected.clone());
    let (log, partition) = (uuid::Uuid::from_u128(1), Partition::whole_log());
    assert!(operations.save("pm", log, &partition, None, &5.into()).await.unwrap());
    let running = pair.bench.run(Feed::new(&pair.bench.log).cut(vec![1, 3, 2]));
    pair.bench.caught_up().await;
    pair.fall_behind().await;
    assert!(operations.save("pm", log, &partition, Some(5), &9.into()).await.unwrap());

    demote(&mut pair).await;
    pair.standby.promote();
    pair.bench.log.extend(&pair.story.events);
    pair.bench.caught_up().await;
    running.stop().await;
    pair.bench.assert_rows_are_those_of_the_log().await;
    let head = pair.bench.log.head().map(u64::cast_signed);
    assert_eq!(pair.checkpoint_at(&pair.standby).await, head);

    // The process manager reads the events again whose parked reactions may be lost.
    let saved = eventually("the store answers", async || {
        operations.save("pm", log, &partition, Some(9), &12.into()).await.ok()
    })
    .await;
    assert!(!saved);
    assert_eq!(operations.load("pm", log, &partition).await.unwrap(), Some(5.into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn projectors_continue_at_a_standby_that_lacks_the_last_commits_of_a_crashed_primary() {
    goes_on(Pair::start().await, async |pair| pair.primary.stop()).await;
}

/// The primary answers reads and keeps its connections, so only its refusals tell that it is none any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn projectors_leave_a_primary_that_was_made_read_only_under_its_connections() {
    goes_on(Pair::start().await, async |pair| {
        pair.primary.make_read_only(&pair.bench.database).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn callers_that_wait_for_a_revision_hear_of_the_commits_of_the_new_primary() {
    let pair = Pair::start().await;
    let running = pair.bench.run(Feed::new(&pair.bench.log));
    pair.bench.caught_up().await;
    let mut changes = pair.bench.queries.changes_of(&story::sku(1).into());
    let mut woken = async || tokio::time::timeout(Duration::from_millis(300), changes.next()).await.is_ok();
    let mut is_woken_by = async |server: &Standby| {
        while woken().await {}
        let client = server.client(&pair.bench.database).await;
        client.execute("SELECT pg_notify('orderly_read_models', 'stock-SKU 1')", &[]).await.unwrap();
        woken().await.then_some(())
    };
    eventually("it listens to the primary", async || is_woken_by(&pair.primary).await).await;

    pair.primary.make_read_only(&pair.bench.database).await;
    pair.standby.promote();
    // A new listener wakes all callers once, without a commit.
    for _ in 0..3 {
        eventually("it listens to the new primary", async || is_woken_by(&pair.standby).await).await;
    }
    running.stop().await;
}

/// Such a connection could never write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_standby_is_refused_where_a_primary_is_needed() {
    let pair = Pair::start().await;
    let url = pair.standby.url_of(&pair.bench.database);
    let refused = infra::postgres::Database::connect(url.parse().unwrap()).await.unwrap_err();
    assert!(refused.to_string().contains("does not allow writes"), "{refused}");
}

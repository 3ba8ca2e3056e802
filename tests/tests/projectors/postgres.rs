//! Projectors over Postgres read models: failures that only a separate database process can cause.

mod failover;
mod rebuilding;
mod starting;
mod verification;

use std::{sync::Arc, time::Duration};

use domain::StreamName;
use infra::{
    event_source::{
        Partition,
        layout::{SourceLayout, WholeLog},
    },
    postgres::Database,
    read_models::{
        Changes, ProjectionQueries, Queries, ReadModelError, ReadModels,
        postgres::{PostgresQueries, PostgresReadModels, PostgresRebuild},
    },
};
use projectors::{
    rebuild::rebuild,
    verify::{Verification, verify},
};

use super::{
    RunningProjector,
    feed::Feed,
    memory_log::MemoryLog,
    story::{self, Story},
    workspace,
};
use crate::support::{Network, PATIENCE, TestDatabase, eventually};

/// Read models in their own database, and the log that they come from.
struct Bench {
    log: Arc<MemoryLog>,
    models: Arc<PostgresReadModels>,
    queries: PostgresQueries,
    connected: Database,
    database: TestDatabase,
}

impl Bench {
    async fn new(log: MemoryLog) -> Self {
        let database = TestDatabase::create().await;
        let url = database.url().to_owned();
        Self::at(log, database, &url).await
    }

    /// Connects through another address than the test itself.
    async fn at(log: MemoryLog, database: TestDatabase, url: &str) -> Self {
        let connected = Database::connect(url.parse().unwrap()).await.unwrap();
        let models = Arc::new(PostgresReadModels::open(connected.clone()).await.unwrap());
        let queries = PostgresQueries::open(connected.clone()).await.unwrap();
        Self { log: Arc::new(log), models, queries, connected, database }
    }

    fn layout(&self) -> Arc<dyn SourceLayout> {
        Arc::new(WholeLog(self.log.clone()))
    }

    fn run(&self, feed: Feed) -> RunningProjector {
        RunningProjector::start(feed, &self.log, self.models.clone())
    }

    async fn checkpoint(&self) -> Option<u64> {
        let reached = self.models.checkpoint(&Partition::whole_log()).await.ok().flatten();
        reached.map(|reached| reached.position)
    }

    async fn caught_up(&self) {
        let head = self.log.head();
        eventually("the checkpoint reaches the head", async || {
            (self.checkpoint().await == head).then_some(())
        })
        .await;
    }

    async fn rebuild(&self) {
        let target = PostgresRebuild::new(self.connected.clone());
        rebuild(self.log.as_ref(), &self.layout(), &target, &workspace(), &|_| {}).await.unwrap();
    }

    async fn verify(&self) -> Verification {
        verify(self.log.as_ref(), &self.layout(), &self.queries, &workspace(), &|_| {}).await.unwrap()
    }

    async fn assert_rows_are_those_of_the_log(&self) {
        let found = self.verify().await;
        assert_eq!(found.differences, 0, "{:#?}", found.described);
        assert_eq!(found.position, self.log.head());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn racing_projectors_that_lose_connections_apply_each_event_once() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events)).await;
    let feed = || Feed::new(&bench.log).cut(vec![1, 3, 2]).redeliver(4);
    let running = [bench.run(feed()), bench.run(feed())];
    let mut cut = 0;
    for _ in 0..20 {
        cut += bench.database.cut_connections().await;
        let before = bench.checkpoint().await;
        let head = bench.log.head();
        // Progress between two cuts makes the cuts hit different points of the work.
        eventually("the projectors make progress", async || {
            let at = bench.checkpoint().await;
            (at > before || at == head).then_some(())
        })
        .await;
    }
    bench.caught_up().await;
    for projector in running {
        projector.stop().await;
    }
    assert!(cut >= 20, "only {cut} connections were cut");
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_refused_row_parks_its_stream_and_no_other() {
    let story = Story::eventful();
    let sku: StreamName = story::sku(1).into();
    let payment = domain::PaymentId::of_order(story.placed[0]);
    let refused = [
        (sku, "stock", "sku <> 'SKU 1'".to_owned()),
        (story.placed[0].into(), "orders", format!("order_id <> '{}'", story.placed[0])),
        (payment.into(), "payments", format!("payment_id <> '{payment}' OR revision < 1")),
    ];
    for (stream, table, check) in refused {
        let bench = Bench::new(MemoryLog::new(story.events.clone())).await;
        let refuse = format!("ALTER TABLE orderly_read_models.{table} ADD CONSTRAINT refuse CHECK ({check})");
        bench.database.client().await.batch_execute(&refuse).await.unwrap();
        let running = bench.run(Feed::new(&bench.log));
        bench.caught_up().await;
        let parked = bench.queries.parked_streams().await.unwrap();
        assert_eq!(parked.len(), 1, "{table}: {parked:#?}");
        assert_eq!(parked[0].stream, stream);
        assert!(parked[0].reason.contains("23514"), "{}", parked[0].reason);
        let verified = bench.verify().await;
        assert_eq!((verified.differences, verified.parked.len()), (0, 1), "{table}: {verified:#?}");
        running.stop().await;
    }
}

/// Both follow the whole log, as with a direct source. The earlier version does not know one event.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_version_that_knows_the_event_resumes_its_stream_beside_the_earlier_version() {
    let story = Story::eventful();
    let bench = Bench::new(MemoryLog::new(story.events.clone())).await;
    let earlier_log = Arc::new(MemoryLog::new(story.events.clone()));
    let unknown = story.events.iter().find(|event| *event.type_name == *"order.paid.v1").unwrap();
    earlier_log.change(unknown.position, |event| event.type_name = "order.teleported.v9".into());
    let feed = Feed::new(&earlier_log).cut(vec![1, 3, 2]);
    let earlier = RunningProjector::start(feed, &earlier_log, bench.models.clone());
    bench.caught_up().await;
    assert!(bench.queries.is_parked(&unknown.stream).await.unwrap());

    let newer = bench.run(Feed::new(&bench.log));
    eventually("the stream is resumed", async || {
        (!bench.queries.is_parked(&unknown.stream).await.unwrap()).then_some(())
    })
    .await;
    earlier.stop().await;
    newer.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_commit_with_a_lost_answer_is_not_applied_twice() {
    let database = TestDatabase::create().await;
    let network = Network::before(database.address()).await;
    let url = database.url_through(network.address());
    let story = Story::eventful();
    let bench = Bench::at(MemoryLog::new(story.events.clone()), database, &url).await;

    network.lose_answers_to_commits();
    let step = Changes::none(Partition("shop.stock/0".to_owned()), None, Some(1));
    let outcome = bench.models.commit(step).await;
    assert!(matches!(outcome, Err(ReadModelError::Unavailable(_))), "{outcome:?}");
    let stock = Partition("shop.stock/0".to_owned());
    assert_eq!(bench.models.checkpoint(&stock).await.unwrap(), Some(1.into()));
    assert_eq!(network.answers_lost(), 1);

    let running = bench.run(Feed::new(&bench.log).cut(vec![4]));
    eventually("the answers of three commits are lost", async || (network.answers_lost() >= 3).then_some(()))
        .await;
    network.restore();
    bench.caught_up().await;
    running.stop().await;
    bench.assert_rows_of_the_whole_log().await;
}

impl Bench {
    /// Like [`Bench::assert_rows_are_those_of_the_log`]. Deletes the checkpoints of other partitions first.
    async fn assert_rows_of_the_whole_log(&self) {
        let client = self.database.client().await;
        client
            .execute("DELETE FROM orderly_read_models.checkpoints WHERE partition <> 'log'", &[])
            .await
            .unwrap();
        self.assert_rows_are_those_of_the_log().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn an_unreachable_server_is_reported_and_projecting_continues_afterwards() {
    let database = TestDatabase::create().await;
    let network = Network::before(database.address()).await;
    let url = database.url_through(network.address());
    let story = Story::eventful();
    let bench = Bench::at(MemoryLog::new(story.events[..10].to_vec()), database, &url).await;
    let running = bench.run(Feed::new(&bench.log));
    bench.caught_up().await;

    network.take_down();
    bench.log.extend(&story.events);
    let answer = bench.queries.checkpoints().await;
    assert!(matches!(answer, Err(ReadModelError::Unavailable(_))), "{answer:?}");
    let mut changes = bench.queries.changes_of(&story::sku(9).into());
    network.restore();

    tokio::time::timeout(PATIENCE, changes.next()).await.expect("callers look again after a reconnection");
    bench.caught_up().await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_blocked_commit_or_query_fails_within_its_time_limit() {
    let database = TestDatabase::create().await;
    for limit in ["lock_timeout", "statement_timeout"] {
        let url = format!("{}?options=-c%20{limit}%3D100", database.url());
        let connected = Database::connect(url.parse().unwrap()).await.unwrap();
        let models = PostgresReadModels::open(connected.clone()).await.unwrap();
        let queries = PostgresQueries::open(connected).await.unwrap();
        let position =
            models.checkpoint(&Partition::whole_log()).await.unwrap().map(|reached| reached.position);
        let next = position.unwrap_or(0) + 1;
        let step = || Changes::none(Partition::whole_log(), position, Some(next));

        let mut client = database.client().await;
        let blocking = client.transaction().await.unwrap();
        blocking.batch_execute("LOCK TABLE orderly_read_models.checkpoints").await.unwrap();
        let refused = models.commit(step()).await;
        assert!(matches!(refused, Err(ReadModelError::Unavailable(_))), "{limit}: {refused:?}");
        let refused = queries.checkpoints().await;
        assert!(matches!(refused, Err(ReadModelError::Unavailable(_))), "{limit}: {refused:?}");
        blocking.rollback().await.unwrap();

        models.commit(step()).await.unwrap();
        assert_eq!(models.checkpoint(&Partition::whole_log()).await.unwrap(), Some(next.into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_call_to_a_hanging_server_fails_within_its_time_limit() {
    let bench = Bench::new(MemoryLog::new(Vec::new())).await;
    let client = bench.database.client().await;
    // The server sets no time limit on these sessions.
    let endless =
        format!("{}?options=-c%20lock_timeout%3D0%20-c%20statement_timeout%3D0", bench.database.url());
    let connected = Database::connect(endless.parse().unwrap()).await.unwrap();
    let queries = PostgresQueries::open(connected).await.unwrap();
    client.batch_execute("BEGIN; LOCK TABLE orderly_read_models.checkpoints").await.unwrap();
    let answer = tokio::time::timeout(Duration::from_secs(20), queries.checkpoints()).await;
    assert!(matches!(answer, Ok(Err(ReadModelError::Unavailable(_)))), "{answer:?}");
    client.batch_execute("ROLLBACK").await.unwrap();
    queries.checkpoints().await.unwrap();
}

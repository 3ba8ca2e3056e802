//! The query API over a standby of the database of the read models.

use std::{sync::Arc, time::Duration};

use domain::Revision;
use infra::{
    event_source::Partition,
    postgres::{Database, PostgresOpenError},
    read_models::{
        Changes, Queries, ReadModels, Rows, StockRow,
        postgres::{PostgresQueries, PostgresReadModels},
    },
};
use query_api::{QueryApi, QueryApiOptions};
use uuid::Uuid;

use super::{Api, FakeQueries, clock, no_log, rows::stock_row};
use crate::support::{PATIENCE, Standby, TestDatabase};

async fn connect(database: &TestDatabase) -> Database {
    Database::connect(database.url().parse().unwrap()).await.unwrap()
}

/// An API that waits this long for a revision.
fn api_over(queries: &PostgresQueries, revision_wait_max: Duration) -> Api {
    let options = QueryApiOptions { revision_wait_max, ..QueryApiOptions::default() };
    let queries: Arc<dyn Queries> = Arc::new(queries.clone());
    let router = query_api::router(QueryApi::new(queries, None, no_log(), clock(), options));
    Api { router, queries: Arc::new(FakeQueries::default()) }
}

/// Brings the row of the SKU A to a revision, whose event has the position after it.
async fn commit(models: &PostgresReadModels, revision: Revision) {
    let from = Some(revision).filter(|from| *from > 0);
    let stock = vec![StockRow { revision, ..stock_row("A", 10, 0) }];
    let rows = Rows { stock, ..Rows::default() };
    let changes = Changes { rows, ..Changes::none(Partition::whole_log(), from, Some(revision + 1)) };
    models.commit(changes).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_revision_is_answered_once_the_replica_has_it() {
    let database = TestDatabase::create().await;
    let primary = connect(&database).await;
    let models = PostgresReadModels::open(primary.clone()).await.unwrap();
    commit(&models, 0).await;
    let standby = Standby::of(&database).await;
    let replica = Database::connect_to_replica(standby.url_of(&database).parse().unwrap()).await.unwrap();
    let queries = PostgresQueries::open(primary).await.unwrap().reading_from(replica).await.unwrap();
    let (patient, quick) = (api_over(&queries, PATIENCE), api_over(&queries, Duration::from_millis(300)));
    for revision in 1..20 {
        commit(&models, revision).await;
        let answer = patient.get(&format!("/v1/stock/A?min_revision={revision}")).await;
        assert_eq!(answer.expect(200)["revision"], revision);
    }

    standby.pause(&database).await;
    commit(&models, 20).await;
    let problem = quick.get("/v1/stock/A?min_revision=20").await.problem(503, "revision_not_reached");
    assert_eq!(problem["detail"], "the read model has revision 19; 20 is required");
    // Without the parameter, a caller accepts an answer that is behind.
    assert_eq!(quick.get("/v1/stock/A").await.expect(200)["revision"], 19);
    // The primary has reported the commit before this request.
    let waiting = patient.get("/v1/stock/A?min_revision=20");
    let (answer, ()) = tokio::join!(waiting, standby.resume(&database));
    assert_eq!(answer.expect(200)["revision"], 20);
    assert_eq!(quick.get("/readyz").await.expect(200)["status"], "ready");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_database_that_is_no_replica_is_refused_and_a_replica_is_never_written() {
    let (database, other) = (TestDatabase::create().await, TestDatabase::create().await);
    let primary = connect(&database).await;
    let models = PostgresReadModels::open(primary.clone()).await.unwrap();
    models.bind(Uuid::from_u128(1)).await.unwrap();
    let queries = PostgresQueries::open(primary).await.unwrap();
    let to_replica = async |database: &TestDatabase| {
        Database::connect_to_replica(database.url().parse().unwrap()).await.unwrap()
    };

    let empty = queries.reading_from(to_replica(&other).await).await.unwrap_err();
    assert!(matches!(empty, PostgresOpenError::NotAReplica), "{empty}");
    PostgresReadModels::open(to_replica(&other).await).await.expect_err("it would create tables");
    let models_elsewhere = PostgresReadModels::open(connect(&other).await).await.unwrap();
    models_elsewhere.bind(Uuid::from_u128(2)).await.unwrap();
    let of_another_log = queries.reading_from(to_replica(&other).await).await.unwrap_err();
    assert!(matches!(of_another_log, PostgresOpenError::NotAReplica), "{of_another_log}");

    let same = PostgresReadModels::open(to_replica(&database).await).await.unwrap();
    let changes = || Changes::none(Partition::whole_log(), None, Some(1));
    same.commit(changes()).await.expect_err("the session only reads");
    models.commit(changes()).await.unwrap();
}

//! Opening a Postgres database: its tables, refusals and TLS.

use infra::{
    event_source::Partition,
    operations::{Positions, postgres::PostgresOperations},
    postgres::{Database, PostgresOpenError},
    read_models::{
        Queries,
        postgres::{PostgresQueries, PostgresReadModels},
    },
};
use uuid::Uuid;

use super::{Bench, MemoryLog, Story};
use crate::support::TestDatabase;

async fn connect(database: &TestDatabase) -> Result<Database, PostgresOpenError> {
    Database::connect(database.url().parse().unwrap()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn processes_that_start_at_once_create_the_tables_once() {
    let database = TestDatabase::create().await;
    let start = async || {
        let connected = connect(&database).await?;
        PostgresReadModels::open(connected.clone()).await?;
        PostgresQueries::open(connected).await.map(drop)
    };
    for outcome in futures::future::join_all((0..8).map(|_| start())).await {
        outcome.unwrap();
    }
    let count = "SELECT (SELECT count(*) - max(version) FROM orderly.migrations),
         (SELECT count(*) FROM orderly_read_models.log)";
    let row = database.client().await.query_one(count, &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn an_unusable_database_is_refused_with_the_remedy() {
    let nowhere = Database::connect("postgres://u:hunter2@127.0.0.1:1/d".parse().unwrap()).await.unwrap_err();
    assert!(matches!(nowhere, PostgresOpenError::Unavailable(_)), "{nowhere}");
    assert!(nowhere.to_string().contains("check that it runs") && !nowhere.to_string().contains("hunter2"));

    let bench = Bench::new(MemoryLog::new(Story::eventful().events)).await;
    let client = bench.database.client().await;
    client.batch_execute("UPDATE orderly_read_models.log SET schema_version = 99").await.unwrap();
    let refused = PostgresReadModels::open(connect(&bench.database).await.unwrap()).await.unwrap_err();
    assert!(matches!(refused, PostgresOpenError::OtherSchema { found: 99, .. }), "{refused}");
    client.batch_execute("DROP TABLE orderly_read_models.log, orderly_read_models.orders").await.unwrap();
    let refused = PostgresReadModels::open(connect(&bench.database).await.unwrap()).await.unwrap_err();
    assert!(matches!(refused, PostgresOpenError::OtherSchema { .. }), "{refused}");
    bench.rebuild().await;
    PostgresReadModels::open(connect(&bench.database).await.unwrap()).await.unwrap();
    bench.assert_rows_are_those_of_the_log().await;

    client.batch_execute("INSERT INTO orderly.migrations (version) VALUES (99)").await.unwrap();
    let refused = connect(&bench.database).await.unwrap_err();
    let PostgresOpenError::Newer { found, supported } = refused else { panic!("{refused}") };
    assert_eq!(found, supported + 1);
}

/// Processes of several versions start beside each other, in any order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_version_adds_what_is_missing_and_ignores_what_a_newer_one_has_added() {
    const COUNTS: &str = "SELECT (SELECT count(*) FROM orderly.migrations),
         (SELECT count(*) FROM orderly.api_keys)";
    let database = TestDatabase::create().await;
    connect(&database).await.unwrap();
    let client = database.client().await;
    let before: i64 = client.query_one(COUNTS, &[]).await.unwrap().get(0);
    let earlier = "DROP TABLE orderly.additions, orderly.api_keys, orderly.reconciliations;
         ALTER TABLE orderly.webhook_deliveries DROP COLUMN actor";
    client.batch_execute(earlier).await.unwrap();
    connect(&database).await.unwrap();
    client.batch_execute("INSERT INTO orderly.additions (name) VALUES ('of_a_newer_version')").await.unwrap();
    connect(&database).await.unwrap();
    // Earlier versions refuse a database with more migrations than they have, and see none of the additions.
    let after = client.query_one(COUNTS, &[]).await.unwrap();
    assert_eq!((after.get::<_, i64>(0), after.get::<_, i64>(1)), (before, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn connections_are_encrypted_on_request_and_only_to_a_trusted_server() {
    const ENCRYPTED: &str = "SELECT count(*) FILTER (WHERE ssl), count(*) FILTER (WHERE NOT ssl)
         FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE datname = current_database() AND application_name = 'orderly'";
    let database = TestDatabase::create().await;
    let authority =
        std::env::var("ORDERLY_TEST_POSTGRES_CA").expect("ORDERLY_TEST_POSTGRES_CA: source .dev/env");
    let connect_with = async |parameters: &str| {
        let url = format!("{}?sslmode=require{parameters}", database.url());
        Database::connect(url.parse().unwrap()).await
    };
    let stranger = connect_with("").await.unwrap_err();
    assert!(matches!(stranger, PostgresOpenError::Unavailable(_)), "{stranger}");
    let untrusted = connect_with("&sslrootcert=/nowhere/ca.pem").await.unwrap_err();
    assert!(matches!(untrusted, PostgresOpenError::Certificates { .. }), "{untrusted}");

    let connected = connect_with(&format!("&sslrootcert={authority}")).await.unwrap();
    let queries = PostgresQueries::open(connected).await.unwrap();
    // Woken once the listening connection is there.
    let mut changes = queries.changes_of(&super::story::sku(0).into());
    tokio::time::timeout(crate::support::PATIENCE, changes.next()).await.unwrap();
    let row = database.client().await.query_one(ENCRYPTED, &[]).await.unwrap();
    let (encrypted, plain): (i64, i64) = (row.get(0), row.get(1));
    assert!(encrypted >= 2 && plain == 0, "{encrypted} encrypted, {plain} not");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_client_certificate_is_shown_to_the_server() {
    const NAMES: &str = "SELECT DISTINCT client_dn FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
         WHERE datname = current_database() AND application_name = 'orderly'";
    let database = TestDatabase::create().await;
    let file = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name}: source .dev/env"));
    let (authority, own) = (file("ORDERLY_TEST_POSTGRES_CA"), file("ORDERLY_TEST_POSTGRES_CLIENT"));
    let url = format!("{}?sslmode=require&sslrootcert={authority}", database.url());
    let refused = Database::connect(format!("{url}&sslcert={own}&sslkey={authority}").parse().unwrap()).await;
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains(&authority) && refused.contains("sslkey"), "{refused}");

    let _connected =
        Database::connect(format!("{url}&sslcert={own}&sslkey={own}").parse().unwrap()).await.unwrap();
    let row = database.client().await.query_one(NAMES, &[]).await.unwrap();
    assert_eq!(row.get::<_, Option<&str>>(0), Some("/CN=orderly"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn a_process_manager_position_survives_a_rebuild_and_does_not_apply_to_another_log() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events)).await;
    let (log, partition) = (Uuid::from_u128(1), Partition::whole_log());
    let operations = PostgresOperations::new(bench.connected.clone());
    assert_eq!(operations.load("pm", log, &partition).await.unwrap(), None);
    operations.save("pm", log, &partition, None, &7.into()).await.unwrap();
    operations.save("pm", log, &partition, Some(7), &9.into()).await.unwrap();
    bench.rebuild().await;

    let elsewhere = PostgresOperations::new(connect(&bench.database).await.unwrap());
    assert_eq!(elsewhere.load("pm", log, &partition).await.unwrap(), Some(9.into()));
    assert_eq!(elsewhere.load("pm", Uuid::from_u128(2), &partition).await.unwrap(), None);
    assert_eq!(elsewhere.load("other", log, &partition).await.unwrap(), None);
    elsewhere.save("pm", Uuid::from_u128(2), &partition, None, &3.into()).await.unwrap();
    assert_eq!(elsewhere.load("pm", log, &partition).await.unwrap(), None);
}

//! Rebuilds of read models in SQLite.

use std::fs;

use infra::read_models::sqlite::{ReadModelsOpenError, SqliteQueries, SqliteReadModels, SqliteRebuild};
use projectors::{
    rebuild::{RebuildError, rebuild},
    replay::Workspace,
    verify::verify,
};
use proptest::prelude::*;
use rusqlite::Connection;

use super::{
    Bench,
    memory_log::MemoryLog,
    story::{Act, Story, acts},
    workspace,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_gives_the_rows_that_live_projection_gives() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events));
    let running = bench.run();
    bench.caught_up().await;
    running.stop().await;
    let rebuilt = bench.path.with_extension("rebuilt");
    let summary =
        rebuild(bench.log.as_ref(), &bench.layout(), &SqliteRebuild::new(&rebuilt), &workspace(), &|_| {})
            .await
            .unwrap();
    assert_eq!(summary.position, bench.log.head());
    let (live, rebuilt_rows) = (dump(&bench.path), dump(&rebuilt));
    assert!(live.len() > 30, "{live:#?}");
    assert_eq!(live, rebuilt_rows);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn a_rebuild_gives_the_live_rows_with_any_amount_of_memory(
        acts in acts(),
        memory_bytes_max in prop_oneof![Just(0_usize), 100..20_000_usize, Just(1 << 20)],
    ) {
        let story = Story::of(&acts);
        // An empty log has checkpoints after a rebuild only.
        prop_assume!(!story.events.is_empty());
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let bench = Bench::new(MemoryLog::new(story.events));
            let running = bench.run();
            bench.caught_up().await;
            running.stop().await;
            let rebuilt = bench.path.with_extension("rebuilt");
            let directory = tempfile::tempdir().unwrap();
            let workspace = Workspace { memory_bytes_max, ..Workspace::new(directory.path().to_owned()) };
            let target = SqliteRebuild::new(&rebuilt);
            rebuild(bench.log.as_ref(), &bench.layout(), &target, &workspace, &|_| {}).await.unwrap();
            assert_eq!(dump(&bench.path), dump(&rebuilt));
            assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        });
    }
}

/// Every row of every table, without the times of commits.
fn dump(path: &std::path::Path) -> Vec<String> {
    let connection = Connection::open(path).unwrap();
    let tables = [
        ("log", "store_id"),
        ("checkpoints", "projection, partition, position, log_position"),
        ("parked", "*"),
        ("stock", "*"),
        ("reservations", "*"),
        (
            "orders",
            "order_id, revision, recorded_at, updated_at, status, customer_id, placed_at, summary, body",
        ),
        ("order_skus", "*"),
        ("payments", "payment_id, revision, recorded_at, updated_at, state, summary, body"),
        ("order_stock_events", "*"),
        ("sales", "*"),
    ];
    let mut rows = Vec::new();
    for (table, columns) in tables {
        let mut statement = connection.prepare(&format!("SELECT {columns} FROM {table} ORDER BY {columns}"));
        let statement = match &mut statement {
            Ok(statement) => statement,
            // `*` cannot be sorted by. These tables have a primary key and are read in its order.
            Err(_) => &mut connection.prepare(&format!("SELECT {columns} FROM {table}")).unwrap(),
        };
        let count = statement.column_count();
        let mut found = statement.query([]).unwrap();
        while let Some(row) = found.next().unwrap() {
            let values: Vec<_> = (0..count).map(|column| row.get_ref(column).unwrap()).collect();
            rows.push(format!("{table} {values:?}"));
        }
    }
    rows
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_projector_drops_its_rows_and_continues_from_the_rebuilt_rows() {
    let mut story = Story::eventful();
    let bench = Bench::new(MemoryLog::new(story.events.clone()));
    let first = bench.run();
    bench.caught_up().await;
    first.stop().await;
    Connection::open(&bench.path).unwrap().execute("UPDATE stock SET on_hand = 1000", []).unwrap();

    let running = bench.run();
    let other_process = SqliteQueries::open_read_only(&bench.path).unwrap();
    let mut receive = async || {
        story.act(&Act::Receive { sku: 0, quantity: 5 });
        bench.log.extend(&story.events);
        bench.caught_up().await;
    };
    receive().await;
    assert!(bench.verify().await.differences > 0);
    rebuild(bench.log.as_ref(), &bench.layout(), &SqliteRebuild::new(&bench.path), &workspace(), &|_| {})
        .await
        .unwrap();
    receive().await;
    running.stop().await;
    bench.assert_rows_are_those_of_the_log().await;
    let seen_elsewhere =
        verify(bench.log.as_ref(), &bench.layout(), &other_process, &workspace(), &|_| {}).await.unwrap();
    assert_eq!((seen_elsewhere.differences, seen_elsewhere.position), (0, bench.log.head()));
    assert!(!bench.path.with_extension("db.rebuild").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damaged_files_and_files_of_another_schema_are_refused_and_rebuilt() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events));
    let other_schema = bench.path.with_extension("schema");
    drop(SqliteReadModels::open(&other_schema).unwrap());
    Connection::open(&other_schema).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let refused = SqliteReadModels::open(&other_schema).unwrap_err();
    assert!(matches!(refused, ReadModelsOpenError::OtherSchema { found: 99, .. }), "{refused}");

    let damaged = bench.path.with_extension("damaged-file");
    fs::write(&damaged, "not a database, although long enough to hold the header of one ".repeat(100))
        .unwrap();
    let refused = SqliteReadModels::open(&damaged).unwrap_err();
    assert!(matches!(refused, ReadModelsOpenError::Damaged { .. }), "{refused}");

    for path in [other_schema, damaged] {
        rebuild(bench.log.as_ref(), &bench.layout(), &SqliteRebuild::new(&path), &workspace(), &|_| {})
            .await
            .unwrap();
        let models = SqliteReadModels::open(&path).unwrap();
        let found = verify(bench.log.as_ref(), &bench.layout(), &models.queries(), &workspace(), &|_| {})
            .await
            .unwrap();
        assert_eq!((found.differences, found.position), (0, bench.log.head()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_never_overwrites_a_database_of_another_application() {
    let bench = Bench::new(MemoryLog::new(Story::eventful().events));
    let foreign = bench.path.with_extension("foreign");
    let connection = Connection::open(&foreign).unwrap();
    connection
        .execute_batch("CREATE TABLE treasure (gold INTEGER); INSERT INTO treasure VALUES (7)")
        .unwrap();
    let refused = SqliteReadModels::open(&foreign).unwrap_err();
    assert!(matches!(refused, ReadModelsOpenError::Foreign { .. }), "{refused}");
    let refused =
        rebuild(bench.log.as_ref(), &bench.layout(), &SqliteRebuild::new(&foreign), &workspace(), &|_| {})
            .await;
    assert!(matches!(refused, Err(RebuildError::ReadModels(_))), "{refused:?}");
    let gold: i64 = connection.query_row("SELECT gold FROM treasure", [], |row| row.get(0)).unwrap();
    assert_eq!(gold, 7);
}

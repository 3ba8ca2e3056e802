//! Query plans: no statement reads more rows than it needs.

use deadpool_postgres::Object;
use domain::order::PaymentTerms;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use super::{
    order_lists::list_sql,
    orders::{MOVE_SKUS, PgOrderStatus, terms::OVERDUE},
    schema,
    stock::CLOSE_RESERVATIONS,
    waits::{ENDED_WITH_RESERVATIONS, ORDERS_DUE, PAYMENTS_AWAITING, RUN_OUT},
};
use crate::{
    postgres::Database,
    read_models::{
        ReadModelError,
        orders::{OrderBalance, OrderList},
    },
};

/// 20,000 orders of one SKU and a hundred customers, in every status but one.
const ORDERS: &str = "
    INSERT INTO orders
    SELECT gen_random_uuid(), 0, now(), now(),
        (ARRAY['placed', 'allocated', 'rejected', 'cancelled'])[1 + n % 4]::order_status, 'c' || n / 4 % 100,
        '2026-01-01'::timestamptz + n * interval '1 second',
        CASE WHEN n % 4 = 1 THEN '2026-02-01'::timestamptz + n * interval '1 second' END,
        n % 200 IN (1, 3), false, CASE WHEN n % 100 IN (0, 3) THEN 2 ELSE 0 END,
        CASE WHEN n % 100 = 0 THEN '2026-02-01'::timestamptz + n * interval '1 second' END, '{}', '{}'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO payments
        (payment_id, revision, recorded_at, updated_at, state, awaits_provider_since, authorized_until, summary, body)
    SELECT gen_random_uuid(), 0, now(), now(), 'requested',
        CASE WHEN n % 100 = 0 THEN '2026-01-01'::timestamptz END,
        CASE WHEN n % 10 = 0 THEN '2026-02-01'::timestamptz + n * interval '1 second' END, '{}', '{}'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO order_skus SELECT 'A', status, placed_at, order_id FROM orders;
    INSERT INTO reservations SELECT 'A', order_id, 1 FROM orders WHERE status = 'cancelled' LIMIT 500;
    INSERT INTO reservations SELECT 'A', order_id, 1 FROM orders WHERE status = 'allocated' LIMIT 500";
const RESERVATIONS: u64 = 1_000;
const PAGE: u64 = 51;
const NIL: &str = "00000000-0000-0000-0000-000000000000";

/// The rows that an executed plan has read from tables and indexes.
fn rows_read(node: &Value) -> u64 {
    let count = |name: &str| node[name].as_f64().unwrap_or(0.0);
    let loops = count("Actual Loops");
    let mut rows = 0.0;
    if node["Node Type"].as_str().is_some_and(|name| name.contains("Scan") && name != "Subquery Scan") {
        let removed = count("Rows Removed by Filter") + count("Rows Removed by Index Recheck");
        rows = loops * (count("Actual Rows") + removed);
    }
    let below: u64 = node["Plans"].as_array().into_iter().flatten().map(rows_read).sum();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of rows")]
    let own = rows as u64;
    own + below
}

async fn explain(client: &Client, sql: &str, types: &str, values: &str) -> Value {
    client.batch_execute(&format!("PREPARE list ({types}) AS {sql}")).await.unwrap();
    let explain = format!("EXPLAIN (ANALYZE, FORMAT JSON) EXECUTE list ({values})");
    let row = client.query_one(&explain, &[]).await.unwrap();
    client.batch_execute("DEALLOCATE list").await.unwrap();
    let postgres_types::Json(plan) = row.get::<_, postgres_types::Json<Value>>(0);
    plan[0]["Plan"].clone()
}

/// Runs with the settings of the adapter's sessions, on tables that were never analysed.
async fn plans_of(client: &Client) {
    client.batch_execute(ORDERS).await.unwrap();
    let lists = [
        (OrderList::Time, "", "", None),
        (OrderList::Terms, "", "", Some(PaymentTerms::Net)),
        (OrderList::Customer, ", text", ", 'c7'", None),
        (OrderList::Sku, ", text", ", 'A'", None),
        (OrderList::CustomerAndSku, ", text, text", ", 'c7', 'A'", None),
        (OrderList::Balance(OrderBalance::Overpaid), ", text, text", ", NULL, NULL", None),
    ];
    for (list, types, values, terms) in lists {
        for status in [None, Some(PgOrderStatus::Cancelled)] {
            let types = format!("timestamptz, timestamptz, uuid, bigint{types}");
            let values = format!("'-infinity', '2026-01-01 04:00Z', '{NIL}', {PAGE}{values}");
            let plan = explain(client, &list_sql(list, status, terms), &types, &values).await;
            // Each branch reads one page at most and looks up each of its rows; then the page itself is read.
            let branches = if status.is_none() { PgOrderStatus::ALL.len() as u64 } else { 1 };
            let bound = PAGE * (2 * branches + 1);
            let read = rows_read(&plan);
            assert!(read >= PAGE && read <= bound, "{list:?} {status:?} reads {read} rows: {plan:#}");
        }
    }
    let types =
        "timestamptz, timestamptz, uuid, bigint, timestamptz, timestamptz, order_status, text, smallint";
    let values =
        format!("'2026-02-02', '-infinity', '{NIL}', {PAGE}, '-infinity', 'infinity', NULL, NULL, NULL");
    let plan = explain(client, OVERDUE, types, &values).await;
    assert_eq!(rows_read(&plan), PAGE, "{plan:#}");
}

/// Statements of commits and of the sweep, which change or find few rows among many.
async fn plans_of_small_changes(client: &Client) {
    let nothing = format!("'{{A}}', '{{{NIL}}}'");
    let plan = explain(client, CLOSE_RESERVATIONS, "text[], uuid[]", &nothing).await;
    assert_eq!(rows_read(&plan), 1, "{plan:#}");
    let placed = "SELECT order_id FROM orders WHERE status = 'placed' LIMIT 1";
    let placed: uuid::Uuid = client.query_one(placed, &[]).await.unwrap().get(0);
    let values = format!("'{{{placed}}}', '{{allocated}}', ARRAY[now()], '{{A}}'");
    let types = "uuid[], order_status[], timestamptz[], text[]";
    let plan = explain(client, MOVE_SKUS, types, &values).await;
    assert!(rows_read(&plan) < 10, "{plan:#}");
    let values = format!("'2026-02-02', '-infinity', '{NIL}', 50");
    for sql in [ORDERS_DUE, RUN_OUT] {
        let plan = explain(client, sql, "timestamptz, timestamptz, uuid, bigint", &values).await;
        assert_eq!(rows_read(&plan), 50, "{plan:#}");
    }
    let values = format!("'{NIL}', now(), 50");
    let plan = explain(client, PAYMENTS_AWAITING, "uuid, timestamptz, bigint", &values).await;
    assert_eq!(rows_read(&plan), 50, "{plan:#}");
    client.batch_execute("SET enable_seqscan = on").await.unwrap();
    let values = format!("'{NIL}', 1000");
    let plan = explain(client, ENDED_WITH_RESERVATIONS, "uuid, bigint", &values).await;
    client.batch_execute("RESET enable_seqscan").await.unwrap();
    // Each reservation, and an order for each of the half that belongs to an ended order.
    assert!(rows_read(&plan) <= RESERVATIONS + RESERVATIONS / 2, "{plan:#}");
}

#[tokio::test]
#[ignore = "needs Postgres: infra/dev/services up"]
async fn lists_read_only_the_rows_they_show_and_changes_only_the_rows_they_change() {
    let server = std::env::var("ORDERLY_TEST_POSTGRES").expect("ORDERLY_TEST_POSTGRES: source .dev/env");
    let (admin, connection) = tokio_postgres::connect(&server, NoTls).await.unwrap();
    let driving = tokio::spawn(connection);
    let name = format!("plans_{}", uuid::Uuid::new_v4().simple());
    admin.batch_execute(&format!("CREATE DATABASE {name}")).await.unwrap();
    let url = format!("{}/{name}", server.rsplit_once('/').unwrap().0);
    let checked = tokio::spawn(async move {
        let database = Database::connect(url.parse().unwrap()).await.unwrap();
        schema::ensure(&database).await.unwrap();
        let work = async |client: &mut Object| {
            plans_of(client).await;
            plans_of_small_changes(client).await;
            Ok::<_, ReadModelError>(())
        };
        database.run(work).await.unwrap();
    })
    .await;
    admin.batch_execute(&format!("DROP DATABASE {name} WITH (FORCE)")).await.unwrap();
    drop(admin);
    driving.await.unwrap().unwrap();
    checked.unwrap();
}

//! Query plans: no statement reads more rows than it needs.

use deadpool_postgres::Object;
use domain::{
    Timestamp,
    order::{FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms},
    payment::PaymentState,
};
use postgres_types::ToSql;
use serde_json::Value;
use tokio_postgres::{Client, NoTls};

use super::{
    counts::{OF_CHARGES, UNITS_SOLD},
    ended_orders::{MARK, mark_all},
    order_lists::{self, DIALECT},
    orders::MOVE_SKUS,
    payments, schema,
    stock::{BY_AVAILABLE, BY_SKU, CLOSE_RESERVATIONS},
    values::bound,
    waits::{ENDED_WITH_RESERVATIONS, ORDERS_DUE, PAYMENTS_AWAITING, RUN_OUT, waits_sql},
    walks::Walked,
};
use crate::{
    postgres::Database,
    read_models::{
        COUNTED_MAX, OrderFilter, OrderSort, OrderWork, PaymentFilter, ReadModelError, SCANNED_MAX,
        list_sql::{Bound, ListSql},
        order_lists::filters_of_work,
    },
};

/// 20,000 orders of one SKU and a hundred customers, in every status but one. Of each kind of rare orders there are 100 or
/// more.
const ORDERS: &str = "
    INSERT INTO orders
        (order_id, revision, recorded_at, updated_at, status, payment_status, fulfilment_status, customer_id,
         reference, country, placed_at, currency, total, payment_due_at, to_ship, overpaid, refund_due, terms,
         overdue_from, times, summary, body)
    SELECT gen_random_uuid(), 0, now(), '2026-01-01'::timestamptz + n * interval '1 second',
        (ARRAY['placed', 'allocated', 'rejected', 'cancelled'])[1 + n % 4]::order_status,
        CASE WHEN n % 50 < 4 THEN 3 ELSE 0 END, CASE WHEN n % 50 < 4 THEN 5 ELSE 2 END,
        'c' || n / 4 % 100, 'r' || n / 200, 'country ' || n % 20,
        '2026-01-01'::timestamptz + n * interval '1 second', CASE WHEN n % 2 = 0 THEN 'GBP' ELSE 'EUR' END, n,
        CASE WHEN n % 4 = 1 THEN '2026-02-01'::timestamptz + n * interval '1 second' END,
        n % 100 = 1, n % 200 IN (1, 3), n % 100 = 3, CASE WHEN n % 100 IN (0, 3) THEN 2 ELSE 0 END,
        CASE WHEN n % 100 = 0 THEN '2026-02-01'::timestamptz + n * interval '1 second' END, '{}', '{}', '{}'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO payments
        (payment_id, revision, recorded_at, updated_at, state, order_id, reference, failure, declined,
         awaits_provider_since, authorized_until, times, summary, body)
    SELECT gen_random_uuid(), 0, now(), now(), CASE WHEN n % 100 = 1 THEN 'failed' ELSE 'requested' END::payment_state,
        order_id, 'ch_' || n, CASE WHEN n % 100 = 1 THEN 'card_declined' END, n % 200 = 1,
        CASE WHEN n % 100 = 0 THEN '2026-01-01'::timestamptz END,
        CASE WHEN n % 10 = 0 THEN '2026-02-01'::timestamptz + n * interval '1 second' END, '{}', '{}', '{}'
    FROM (SELECT order_id, row_number() OVER (ORDER BY placed_at) AS n FROM orders) AS numbered;
    INSERT INTO order_skus SELECT 'A', status, placed_at, order_id FROM orders;
    INSERT INTO reservations SELECT 'A', order_id, 1 FROM orders WHERE status = 'cancelled' LIMIT 500;
    INSERT INTO reservations SELECT 'A', order_id, 1 FROM orders WHERE status = 'allocated' LIMIT 500";
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

/// The plan of a statement with these values, executed.
async fn explain_bound(client: &Client, sql: &str, values: &[Bound]) -> Value {
    let values = bound(values);
    let values: Vec<&(dyn ToSql + Sync)> = values.iter().map(|value| value.as_ref() as _).collect();
    let row = client.query_one(&format!("EXPLAIN (ANALYZE, FORMAT JSON) {sql}"), &values).await.unwrap();
    let postgres_types::Json(plan) = row.get::<_, postgres_types::Json<Value>>(0);
    plan[0]["Plan"].clone()
}

/// A list for each index.
fn order_lists() -> Vec<OrderFilter> {
    let none = OrderFilter::default;
    let text = |text: &str| Some(text.to_owned());
    let mut lists = vec![
        none(),
        OrderFilter { customer_id: text("c7"), ..none() },
        OrderFilter { sku: Some(domain::Sku::new("A").unwrap()), ..none() },
        OrderFilter { reference: text("r7"), ..none() },
        OrderFilter { country: text("country 7"), ..none() },
        OrderFilter { terms: Some(PaymentTerms::Net), ..none() },
        OrderFilter { payment_status: vec![PaymentStatus::PartiallyPaid], ..none() },
        OrderFilter { fulfilment_status: vec![FulfilmentStatus::PartiallyReturned], ..none() },
        OrderFilter { sort: OrderSort::Updated, ..none() },
        OrderFilter { sort: OrderSort::Total, currency: Some("GBP".parse().unwrap()), ..none() },
    ];
    let now = "2026-02-02T00:00:00Z".parse().unwrap();
    let works = filters_of_work(now).into_iter();
    lists.extend(works.filter(|filter| filter.work != Some(OrderWork::Declined)));
    lists
}

fn assert_reads(list: &dyn std::fmt::Debug, plan: &Value, least: u64, bound: usize) {
    let read = rows_read(plan);
    assert!(read >= least && read <= bound as u64, "{list:?} reads {read} rows, at most {bound}: {plan:#}");
}

/// Runs with the settings of the adapter's sessions, on tables that were never analysed.
async fn plans_of(client: &Client) {
    client.batch_execute(ORDERS).await.unwrap();
    let page = usize::try_from(PAGE).unwrap();
    // Each branch reads one page at most and looks up each of its rows; then the page itself is read.
    let whole = page * (2 * 10 + 1);
    for list in order_lists() {
        for status in [vec![], vec![OrderStatus::Cancelled]] {
            let filter = OrderFilter { status, ..list.clone() };
            let walked = order_lists::walked(&filter, page - 1).unwrap();
            let Walked { page: sql, keys, values, key_values, .. } = &walked;
            let bound = if keys.has_all_filters { whole } else { 4 * SCANNED_MAX };
            let plan = explain_bound(client, sql, values).await;
            assert_reads(&filter, &plan, if filter.status.is_empty() { PAGE } else { 0 }, bound);
            let plan = explain_bound(client, &keys.sql, &values[..*key_values]).await;
            assert_reads(&filter, &plan, 0, bound);
            let mut counting = ListSql::new(&DIALECT);
            let sql = counting.count(&filter).unwrap();
            let plan = explain_bound(client, &sql, &counting.values).await;
            assert_reads(&filter, &plan, 0, 4 * COUNTED_MAX);
        }
    }
    let few = [
        OrderFilter { payment_reference: Some("ch_7".to_owned()), ..OrderFilter::default() },
        OrderFilter { text: Some("ch_7".to_owned()), ..OrderFilter::default() },
        OrderFilter { text: Some("0a".to_owned()), ..OrderFilter::default() },
        OrderFilter { work: Some(OrderWork::Declined), ..OrderFilter::default() },
    ];
    for filter in few {
        let walked = order_lists::walked(&filter, page - 1).unwrap();
        let plan = explain_bound(client, &walked.page, &walked.values).await;
        assert_reads(&filter, &plan, 1, 2_500);
    }
    let mut counting = ListSql::new(&DIALECT);
    let sql = counting.work_counts(&filters_of_work(Timestamp::MAX));
    let plan = explain_bound(client, &sql, &counting.values).await;
    assert_reads(&"work", &plan, 1, 10_000);
}

async fn plans_of_stock(client: &Client) {
    let stock = "INSERT INTO stock (sku, on_hand, reserved, revision)
        SELECT 'SKU' || n, n % 1000, 0, 0 FROM generate_series(1, 20000) AS n";
    client.batch_execute(stock).await.unwrap();
    let plan = explain(client, BY_AVAILABLE, "bigint, text, bigint, bigint", "3, 'SKU7', 900, 51").await;
    assert_eq!(rows_read(&plan), PAGE, "{plan:#}");
    let plan = explain(client, BY_SKU, "text, text, bigint", "'SKU7', 'SKU8', 51").await;
    assert_eq!(rows_read(&plan), PAGE, "{plan:#}");
    let counts = "INSERT INTO counts (kind, name, start, partition, count)
        SELECT 1, 'SKU' || n % 500, 96 * (n / 500), 'log', 1 FROM generate_series(1, 20000) AS n;
        INSERT INTO counts (kind, name, start, partition, count)
        SELECT 0, 'code' || n % 3, n / 3, 'log', 1 FROM generate_series(1, 20000) AS n";
    client.batch_execute(counts).await.unwrap();
    let values = "1, '{SKU7,SKU8}', 960, 1920";
    let plan = explain(client, UNITS_SOLD, "smallint, text[], bigint, bigint", values).await;
    // Two SKUs from the list, and ten days of each.
    assert_eq!(rows_read(&plan), 2 + 20, "{plan:#}");
    let charges = format!("SELECT name, sum(count) {OF_CHARGES} GROUP BY name");
    let plan = explain(client, &charges, "bigint, bigint", "100, 110").await;
    assert_eq!(rows_read(&plan), 30, "{plan:#}");
}

async fn plans_of_payments(client: &Client) {
    let none = PaymentFilter::default;
    let lists = [
        none(),
        PaymentFilter { state: vec![PaymentState::Failed, PaymentState::Requested], ..none() },
        PaymentFilter { failure: Some("card_declined".to_owned()), ..none() },
        PaymentFilter { is_declined: true, ..none() },
    ];
    let page = usize::try_from(PAGE).unwrap();
    for filter in lists {
        let walked = payments::walked(&filter, page - 1);
        assert!(walked.keys.has_all_filters);
        let plan = explain_bound(client, &walked.page, &walked.values).await;
        assert_reads(&filter, &plan, PAGE, 5 * page);
    }
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
    let ended =
        "SELECT order_id FROM reservations JOIN orders USING (order_id) WHERE status = 'cancelled' LIMIT 1";
    let ended: uuid::Uuid = client.query_one(ended, &[]).await.unwrap().get(0);
    let values = format!("'{{A, A}}', '{{{placed}, {ended}}}'");
    let plan = explain(client, MARK, "text[], uuid[]", &values).await;
    assert!(rows_read(&plan) < 10, "{plan:#}");
    let values = format!("'2027-01-01', '-infinity', '{NIL}', -1, 50");
    let types = "timestamptz, timestamptz, uuid, bigint, bigint";
    let plan = explain(client, &waits_sql(), types, &values).await.to_string();
    assert!(plan.contains("reservations_of_ended_orders"), "{plan}");
    assert!(!plan.contains("reservations_pkey") && !plan.contains("orders_by_update"), "{plan}");
    let values = format!("'2026-02-02', '-infinity', '{NIL}', 50");
    for sql in [ORDERS_DUE, RUN_OUT] {
        let plan = explain(client, sql, "timestamptz, timestamptz, uuid, bigint", &values).await;
        assert_eq!(rows_read(&plan), 50, "{plan:#}");
    }
    let values = format!("'{NIL}', now(), 50");
    let plan = explain(client, PAYMENTS_AWAITING, "uuid, timestamptz, bigint", &values).await;
    assert_eq!(rows_read(&plan), 50, "{plan:#}");
    mark_all(client).await.unwrap();
    let values = format!("'{NIL}', 50");
    let plan = explain(client, ENDED_WITH_RESERVATIONS, "uuid, bigint", &values).await;
    assert!((50..=51).contains(&rows_read(&plan)), "{plan:#}");
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
            plans_of_payments(client).await;
            plans_of_stock(client).await;
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

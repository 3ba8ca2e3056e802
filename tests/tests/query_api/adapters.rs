//! The query API over real read models gives the same answers as over the fake.

use std::{any::Any, sync::Arc};

use domain::{
    PaymentId,
    order::{OrderPlaced, OrderRejected},
    payment::PaymentCaptured,
};
use infra::{
    clock::Clock,
    event_source::Partition,
    postgres::Database,
    read_models::{
        Changes, MoneyKey, MoneyTotals, PartitionMoney, PartitionSales, Queries, ReadModels, ReservationRow,
        Rows, SalesDimension, SalesKey, SalesTotals, StockRow,
        postgres::{PostgresQueries, PostgresReadModels},
        quarter_of,
        sqlite::SqliteReadModels,
    },
};
use query_api::{LogAccess, QueryApi, QueryApiOptions};
use serde_json::json;

use super::{
    Api,
    fake::FakeQueries,
    rows::{allocated, amount, at, order_id, order_row, payment_row, placed, sku, stock_row},
    timeline,
};
use crate::{projectors::memory_log::MemoryLog, support::TestDatabase};

/// An API over empty real read models, and their write side. The fake read models in `api` are unused.
struct ApiOverReadModels {
    api: Api,
    read_models: Arc<dyn ReadModels>,
    /// Deletes the rows when dropped.
    _store: Box<dyn Any + Send + Sync>,
}

fn api_over(
    read_models: Arc<dyn ReadModels>,
    queries: Arc<dyn Queries>,
    store: impl Any + Send + Sync,
) -> ApiOverReadModels {
    let log = MemoryLog::new(timeline::history());
    let api = QueryApi::new(
        queries,
        None,
        LogAccess::of(Arc::new(log)),
        Clock::system(),
        QueryApiOptions::default(),
    );
    let api = Api { router: query_api::router(api), queries: Arc::new(FakeQueries::default()) };
    ApiOverReadModels { api, read_models, _store: Box::new(store) }
}

fn api_over_sqlite() -> ApiOverReadModels {
    let directory = tempfile::tempdir().unwrap();
    let read_models = SqliteReadModels::open(&directory.path().join("read-models.db")).unwrap();
    let queries = Arc::new(read_models.queries());
    api_over(Arc::new(read_models), queries, directory)
}

async fn api_over_postgres() -> ApiOverReadModels {
    let database = TestDatabase::create().await;
    let connected = Database::connect(database.url().parse().unwrap()).await.unwrap();
    let read_models = Arc::new(PostgresReadModels::open(connected.clone()).await.unwrap());
    let queries = Arc::new(PostgresQueries::open(connected).await.unwrap());
    api_over(read_models, queries, database)
}

macro_rules! over_each_adapter {
    ($($rule:ident),* $(,)?) => {
        mod sqlite {$(
            #[tokio::test]
            async fn $rule() {
                super::$rule(super::api_over_sqlite()).await;
            }
        )*}

        mod postgres {$(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "needs Postgres: infra/dev/services up"]
            async fn $rule() {
                super::$rule(super::api_over_postgres().await).await;
            }
        )*}
    };
}
over_each_adapter!(
    committed_rows_are_served_as_resources,
    pages_contain_every_order_once_even_if_many_have_the_same_placed_at,
    a_commit_ends_the_wait_for_a_revision,
    a_filter_accepts_any_text_and_any_time,
    a_timeline_has_the_events_of_its_rows,
    stuck_orders_are_listed_and_stuck_is_not_an_order_id,
);

/// Changes that advance the checkpoint by one.
fn next_changes(position: u64) -> Changes {
    Changes::none(Partition::whole_log(), position.checked_sub(1).filter(|from| *from > 0), Some(position))
}

/// Changes that advance the checkpoint by one and write rows.
fn next_rows(position: u64, rows: Rows) -> Changes {
    Changes { rows, ..next_changes(position) }
}

async fn committed_rows_are_served_as_resources(over: ApiOverReadModels) {
    let ApiOverReadModels { api, read_models, _store } = over;
    let order = order_row(&[placed(1).into(), allocated(1)]);
    let captured = PaymentCaptured { amount: amount(1_800), reference: None, charge: None, late: false };
    let payment = payment_row(1, vec![captured.into()]);
    let stock = stock_row("gift/set é", 100, 6);
    let reservation = ReservationRow { sku: stock.sku.clone(), order_id: order_id(1), quantity: 6 };
    let quarter = quarter_of(placed(1).placed_at);
    let totals =
        SalesTotals { orders: 1, lines: 2, units: 7, gross: 1_830, discounts: -30, ..SalesTotals::default() };
    let captured_then = MoneyKey { currency: "GBP".parse().unwrap(), quarter };
    let movement = MoneyTotals { captured: 1_800, ..MoneyTotals::default() };
    let key = |dimension| SalesKey { dimension, currency: "GBP".parse().unwrap(), quarter };
    let changes = next_rows(
        1,
        Rows {
            orders: vec![Arc::new(order.clone())],
            payments: vec![Arc::new(payment.clone())],
            stock: vec![stock.clone()],
            reservations: vec![reservation.clone()],
            sales: vec![PartitionSales {
                partition: Partition::whole_log(),
                sums: vec![(key(SalesDimension::All), totals)],
            }],
            money: vec![PartitionMoney {
                partition: Partition::whole_log(),
                sums: vec![(captured_then, movement)],
            }],
            ..Rows::default()
        },
    );
    read_models.commit(changes).await.unwrap();

    let fake = Api::new();
    fake.queries.change(|rows| {
        rows.orders.push(order);
        rows.payments.push(payment);
        rows.stock.push(stock);
        rows.reservations.push(reservation);
    });
    for uri in [
        format!("/v1/orders/{}", order_id(1)),
        "/v1/orders?status=allocated&customer_id=17850&sku=85123A&placed_from=2010-12-01".to_owned(),
        format!("/v1/payments/{}", PaymentId::of_order(order_id(1))),
        format!("/v1/payments?status=captured&order_id={}", order_id(1)),
        "/v1/stock/gift%2Fset%20%C3%A9".to_owned(),
        "/v1/stock?available_below=95".to_owned(),
        "/v1/stock/gift%2Fset%20%C3%A9/reservations".to_owned(),
    ] {
        assert_eq!(api.get(&uri).await.expect(200), fake.get(&uri).await.expect(200), "{uri}");
    }

    let sums = json!({
        "orders": 1, "lines": 2, "units": 7, "gross": 1830, "discounts": -30, "tax": 0, "shipping": 0, "fees": 0,
        "cancelled": 0, "refunded": 0, "net": 1800,
    });
    let mut hour = sums.clone();
    hour["key"] = json!("2010-12-01T08:00:00Z");
    assert_eq!(
        api.get("/v1/sales?currency=GBP&group_by=hour&from=2010-12-01&to=2010-12-02").await.expect(200),
        json!({"currency": "GBP", "time_zone": "UTC", "total": sums, "groups": [hour], "next_cursor": null})
    );
    assert_eq!(
        api.get("/v1/money?currency=GBP&group_by=day&time_zone=Asia/Kolkata").await.expect(200),
        json!({
            "currency": "GBP", "time_zone": "Asia/Kolkata", "next_cursor": null,
            "total": {"captured": 1800, "refunded": 0, "disputed": 0, "net": 1800},
            "groups": [{"key": "2010-12-01", "captured": 1800, "refunded": 0, "disputed": 0, "net": 1800}],
        })
    );
    assert_eq!(api.get("/v1/currencies").await.expect(200), json!({"items": [{"currency": "GBP"}]}));
    let projections = api.get("/v1/projections").await.expect(200);
    let positions = projections["projections"].as_array().unwrap().iter();
    let positions: Vec<_> = positions.map(|row| (&row["projection"], row["position"].as_u64())).collect();
    assert_eq!(positions.len(), 4);
    assert!(positions.iter().all(|(_, position)| *position == Some(1)), "{positions:?}");
}

async fn pages_contain_every_order_once_even_if_many_have_the_same_placed_at(over: ApiOverReadModels) {
    let ApiOverReadModels { api, read_models, _store } = over;
    let instants = [at("2010-12-01T08:00:00Z"), at("2010-12-01T08:00:00.000001Z")];
    let row = |number: u32| {
        let placed_at = instants[number as usize % 2];
        Arc::new(order_row(&[OrderPlaced { placed_at, ..placed(number.into()) }.into()]))
    };
    let orders = (1..=25).map(row).collect();
    read_models.commit(next_rows(1, Rows { orders, ..Rows::default() })).await.unwrap();
    let (odd, even): (Vec<_>, Vec<_>) = (1..=25_u32).rev().partition(|number| number % 2 == 1);
    let expected: Vec<_> = odd.into_iter().chain(even).map(|n| order_id(n.into()).to_string()).collect();
    for filter in ["", "status=placed", "customer_id=17850", "sku=85123A", "sku=POST&status=placed"] {
        for limit in [1, 7, 24, 25] {
            let uri = format!("/v1/orders?limit={limit}&{filter}");
            assert_eq!(api.walk(&uri, "order_id").await, expected, "{uri}");
        }
    }
}

async fn a_commit_ends_the_wait_for_a_revision(over: ApiOverReadModels) {
    let ApiOverReadModels { api, read_models, _store } = over;
    let commits = async {
        for position in 1..=3_u64 {
            let stock = vec![StockRow { revision: position, ..stock_row("A", 10, 0) }];
            read_models.commit(next_rows(position, Rows { stock, ..Rows::default() })).await.unwrap();
        }
    };
    let (answer, ()) = tokio::join!(api.get("/v1/stock/A?min_revision=3"), commits);
    assert_eq!(answer.expect(200)["revision"], 3);
}

async fn a_filter_accepts_any_text_and_any_time(over: ApiOverReadModels) {
    let ApiOverReadModels { api, read_models, _store } = over;
    let orders = vec![Arc::new(order_row(&[placed(1).into()]))];
    read_models.commit(next_rows(1, Rows { orders, ..Rows::default() })).await.unwrap();
    for filter in [
        "customer_id=a%00b",
        "customer_id=%27%22%5C",
        "placed_to=-009999-01-02T00:00:00Z",
        "placed_from=9999-12-30",
    ] {
        let answer = api.get(&format!("/v1/orders?{filter}")).await;
        assert!(answer.status.is_client_error() || answer.expect(200)["items"] == json!([]), "{filter}");
    }
    let all = api.get("/v1/orders?placed_from=-009999-01-02T00:00:00Z&placed_to=9999-12-30").await;
    assert!(all.status.is_client_error() || all.expect(200)["items"].as_array().unwrap().len() == 1);
}

async fn a_timeline_has_the_events_of_its_rows(over: ApiOverReadModels) {
    let ApiOverReadModels { api, read_models, _store } = over;
    let fake = timeline::api();
    let changes = {
        let rows = fake.queries.rows();
        next_rows(
            1,
            Rows {
                orders: rows.orders.iter().cloned().map(Arc::new).collect(),
                payments: rows.payments.iter().cloned().map(Arc::new).collect(),
                order_stock_events: rows.order_stock_events.clone(),
                ..Rows::default()
            },
        )
    };
    read_models.commit(changes).await.unwrap();
    for limit in [1, 3, 200] {
        let uri = format!("/v1/orders/{}/timeline?limit={limit}", order_id(1));
        let pages = api.pages(&uri).await;
        assert_eq!(pages, fake.pages(&uri).await, "{limit} at a time");
        assert_eq!(pages.concat().len(), 8);
    }
}

async fn stuck_orders_are_listed_and_stuck_is_not_an_order_id(over: ApiOverReadModels) {
    let ApiOverReadModels { api, read_models, _store } = over;
    assert_eq!(api.get("/v1/orders/stuck").await.expect(200)["items"], json!([]));
    let reservations = vec![ReservationRow { sku: sku("85123A"), order_id: order_id(2), quantity: 6 }];
    let rejected = OrderRejected { shortages: Vec::new() };
    let orders = vec![
        order_row(&[placed(1).into()]),
        order_row(&[placed(2).into(), rejected.into()]),
        order_row(&[placed(3).into(), allocated(3)]),
        order_row(&[OrderPlaced { payment_due_at: None, ..placed(4) }.into(), allocated(4)]),
    ];
    let orders = orders.into_iter().map(Arc::new).collect();
    read_models.commit(next_rows(1, Rows { orders, reservations, ..Rows::default() })).await.unwrap();
    for limit in [1, 2, 200] {
        let uri = format!("/v1/orders/stuck?limit={limit}");
        assert_eq!(api.walk(&uri, "why").await, ["payment_overdue", "placed", "reservation_open"], "{uri}");
        let expected = [3, 1, 2].map(|number| order_id(number).to_string());
        assert_eq!(api.walk(&uri, "order_id").await, expected, "{uri}");
    }
}

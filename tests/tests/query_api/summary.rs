//! `/v1/summary`.

use domain::order::{OrderPlaced, OrderRejected, Shortage};
use infra::read_models::{Money, MoneyTotals, RowPage, Sales, SalesTotals, Wait, WaitKind};
use serde_json::json;

use super::{
    Api,
    rows::{allocated, at, order_id, order_row, placed, sku},
};

#[tokio::test]
async fn the_day_so_far_is_beside_the_day_before_until_the_same_time() {
    let api = Api::new();
    api.queries.change(|rows| {
        let sold =
            SalesTotals { orders: 3, units: 7, gross: 1_000, discounts: -100, ..SalesTotals::default() };
        let moved = MoneyTotals { captured: 900, refunded: 30, disputed: 0 };
        let hour = "2025-12-31T23:00:00Z".to_owned();
        let later = "2026-01-01T00:00:00Z".to_owned();
        rows.currencies = vec!["GBP".parse().unwrap()];
        rows.sales = Sales { total: sold, groups: RowPage { items: vec![(hour, sold)], has_more: false } };
        rows.money = Money { total: moved, groups: RowPage { items: vec![(later, moved)], has_more: false } };
        // Refused at 0:05 of the day in Paris, and one at the same time of the day before.
        let refused = |number, placed_at: &str| {
            let shortages = vec![Shortage { sku: sku("A"), requested: 6, available: 0 }];
            let placed = OrderPlaced { placed_at: at(placed_at), ..placed(number) };
            order_row(&[placed.into(), OrderRejected { shortages }.into()])
        };
        rows.orders = vec![
            refused(1, "2025-12-31T23:05:00Z"),
            refused(2, "2026-01-01T00:05:00Z"),
            refused(3, "2025-12-30T23:05:00Z"),
            refused(4, "2025-12-31T01:00:00Z"),
            order_row(&[placed(5).into(), allocated(5)]),
        ];
        rows.waits =
            vec![Wait { since: at("2026-01-01T00:00:00Z"), id: order_id(1).0, kind: WaitKind::Release }];
    });

    let summary = api.get("/v1/summary?time_zone=Europe/Paris").await.expect(200);

    assert_eq!(summary["time_zone"], "Europe/Paris");
    // It is 00:10 in UTC, and 01:10 in Paris.
    assert_eq!(summary["today"], json!({"from": "2025-12-31T23:00:00Z", "to": "2026-01-01T00:15:00Z"}));
    assert_eq!(summary["yesterday"], json!({"from": "2025-12-30T23:00:00Z", "to": "2025-12-31T00:15:00Z"}));
    let tiles = |refused: &str| {
        json!({"orders": 3, "units": 7, "ordered": 900, "average_order": 300, "captured": 900, "refunded": 30,
               "refused": refused})
    };
    let of_currency = &summary["currencies"][0];
    assert_eq!([&of_currency["today"], &of_currency["yesterday"]], [&tiles("2"), &tiles("1")]);
    assert_eq!(
        of_currency["hours"],
        json!([
            {"hour": "2025-12-31T23:00:00Z", "orders": 3, "units": 7, "ordered": 900, "captured": 0, "refunded": 0},
            {"hour": "2026-01-01T00:00:00Z", "orders": 0, "units": 0, "ordered": 0, "captured": 900,
             "refunded": 30},
        ])
    );
    let work = &summary["work"];
    assert_eq!([&work["unpaid"], &work["stuck"], &work["to_ship"]], ["1", "1", "0"]);
    let queries = api.queries.rows().sales_queries.clone();
    let spans: Vec<_> = queries.iter().map(|query| (query.range.from, query.range.to)).collect();
    let quarter = |time: &str| Some(infra::read_models::quarter_of(at(time)));
    assert_eq!(
        spans,
        [
            (quarter("2025-12-31T23:00:00Z"), quarter("2026-01-01T00:15:00Z")),
            (quarter("2025-12-30T23:00:00Z"), quarter("2025-12-31T00:15:00Z")),
        ]
    );
}

#[tokio::test]
async fn a_shop_without_orders_has_an_empty_summary() {
    let summary = Api::new().get("/v1/summary").await.expect(200);
    assert_eq!((&summary["time_zone"], &summary["currencies"]), (&json!("UTC"), &json!([])));
    assert_eq!(Api::new().get("/v1/summary?time_zone=Mars").await.invalid_fields(), ["time_zone"]);
}

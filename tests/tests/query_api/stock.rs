//! `/v1/stock`.

use std::sync::Arc;

use axum::http::header;
use infra::read_models::{ReservationRow, StockRow, quarter_of};
use serde_json::{Value, json};

use super::{
    Api,
    rows::{at, order_id, sku, stock_row},
    timeline,
};
use crate::projectors::memory_log::MemoryLog;

#[tokio::test]
async fn the_stock_of_a_sku_has_on_hand_reserved_and_available_units() {
    let api = Api::new();
    api.queries.change(|rows| rows.stock.push(stock_row("85123A", 100, 6)));
    let answer = api.get("/v1/stock/85123A").await;
    assert_eq!(answer.header(header::ETAG), Some("\"1\""));
    assert_eq!(
        answer.expect(200),
        json!({"sku": "85123A", "on_hand": 100, "reserved": 6, "available": 94, "revision": 1})
    );
}

#[tokio::test]
async fn a_sku_in_the_path_can_have_any_encoded_character() {
    let api = Api::new();
    api.queries.change(|rows| rows.stock.push(stock_row("gift/set é+", 1, 0)));
    let stock = api.get("/v1/stock/gift%2Fset%20%C3%A9+").await.expect(200);
    assert_eq!(stock["sku"], "gift/set é+");
    let reservations = api.get("/v1/stock/gift%2Fset%20%C3%A9+/reservations").await.expect(200);
    assert_eq!(reservations["items"], json!([]));
}

#[tokio::test]
async fn an_unknown_or_malformed_sku_is_not_found() {
    let api = Api::new();
    let too_long = "x".repeat(65);
    for code in ["85123B", "%20", &too_long] {
        api.get(&format!("/v1/stock/{code}")).await.problem(404, "not_found");
        api.get(&format!("/v1/stock/{code}/reservations")).await.problem(404, "not_found");
    }
    assert_eq!(api.get("/v1/stock/%FF").await.invalid_fields(), ["path"]);
}

#[tokio::test]
async fn stock_is_listed_by_sku_and_filtered_by_available_units() {
    let api = Api::new();
    api.queries.change(|rows| {
        rows.stock =
            vec![stock_row("C", 9, 9), stock_row("A", 5, 0), stock_row("B", 7, 3), stock_row("D", 4, 0)];
    });
    assert_eq!(api.walk("/v1/stock?limit=1", "sku").await, ["A", "B", "C", "D"]);
    assert_eq!(api.walk("/v1/stock?available_below=5&limit=2", "sku").await, ["C", "B", "D"]);
    assert_eq!(api.walk("/v1/stock?available_max=4&limit=1", "sku").await, ["C", "B", "D"]);
    assert_eq!(api.walk("/v1/stock?available_max=4&available_below=1", "sku").await, ["C"]);
    assert_eq!(api.walk("/v1/stock?prefix=B", "sku").await, ["B"]);
    assert_eq!(api.walk("/v1/stock?q=b&available_max=4294967295", "sku").await, ["B"]);
    assert_eq!(api.walk("/v1/stock?available_below=0", "sku").await, [""; 0]);
    for bad in ["-1", "1.5", "4294967296", "few", ""] {
        let answer = api.get(&format!("/v1/stock?available_below={bad}")).await;
        assert_eq!(answer.invalid_fields(), ["available_below"], "{bad}");
    }
}

#[tokio::test]
async fn the_open_reservations_of_a_sku_are_listed_by_order() {
    let api = Api::new();
    api.queries.change(|rows| {
        rows.stock = vec![stock_row("A", 50, 15), stock_row("B", 1, 1)];
        for number in 1..=5_u32 {
            let order_id = order_id(number.into());
            rows.reservations.push(ReservationRow { sku: sku("A"), order_id, quantity: number });
        }
        rows.reservations.push(ReservationRow { sku: sku("B"), order_id: order_id(6), quantity: 1 });
    });
    let pages = api.pages("/v1/stock/A/reservations?limit=2").await;
    let all: Vec<_> = pages.concat();
    let expected: Vec<_> =
        (1..=5_u32).map(|n| json!({"order_id": order_id(n.into()), "quantity": n})).collect();
    assert_eq!(all, expected);
    assert_eq!(pages.len(), 3);
}

#[tokio::test]
async fn the_movements_of_a_sku_come_the_latest_first_with_the_levels_after_each() {
    let history = timeline::history();
    let api = Api::over_log(Arc::new(MemoryLog::new(history)));
    // 100 received, 6 reserved for order 2 and 6 for order 1, which were shipped.
    api.queries.change(|rows| rows.stock = vec![StockRow { revision: 3, ..stock_row("85123A", 94, 6) }]);
    let shown = |item: &Value| {
        json!([
            item["type"],
            item["on_hand_change"],
            item["reserved_change"],
            item["on_hand"],
            item["reserved"]
        ])
    };
    let expected = [
        json!(["shipped", -6, -6, 94, 6]),
        json!(["reserved", 0, 6, 100, 12]),
        json!(["reserved", 0, 6, 100, 6]),
        json!(["received", 100, 0, 100, 0]),
    ];
    for limit in [1, 3, 4, 200] {
        let pages = api.pages(&format!("/v1/stock/85123A/movements?limit={limit}")).await;
        let all: Vec<Value> = pages.concat().iter().map(shown).collect();
        assert_eq!(all, expected, "{limit} at a time");
    }
    let latest = &api.get("/v1/stock/85123A/movements").await.expect(200)["items"][0];
    assert_eq!((&latest["order_id"], &latest["available"]), (&json!(order_id(1)), &json!(88)));
    assert_eq!((&latest["principal"], &latest["person"]), (&json!("shop"), &json!("jana")));
    api.get("/v1/stock/B/movements").await.problem(404, "not_found");
    // A cursor that names a revision that the stream does not have yet.
    let first = api.get("/v1/stock/85123A/movements?limit=1").await.expect(200);
    api.queries.change(|rows| rows.stock = vec![StockRow { revision: 0, ..stock_row("85123A", 100, 0) }]);
    let cursor = first["next_cursor"].as_str().unwrap();
    let uri = format!("/v1/stock/85123A/movements?limit=1&cursor={cursor}");
    api.get(&uri).await.problem(400, "invalid_cursor");
}

#[tokio::test]
async fn the_available_units_of_a_sku_last_as_many_days_as_the_last_28_were_sold_from() {
    let api = Api::new();
    api.queries.change(|rows| {
        rows.stock = vec![stock_row("A", 106, 6), stock_row("B", 5, 0), stock_row("C", 5, 5)];
        rows.sold = [(sku("A"), 131), (sku("C"), 3)].into();
    });
    let list = api.get("/v1/stock").await.expect(200);
    let cover = list["items"].as_array().unwrap().iter();
    let cover: Vec<_> = cover.map(|item| (&item["units_sold_28_days"], &item["days_of_cover"])).collect();
    let expected = [(json!(131), json!(21.4)), (json!(0), Value::Null), (json!(3), json!(0.0))];
    assert_eq!(cover, expected.each_ref().map(|(sold, days)| (sold, days)));
    // It is 1 January, and the days are those of UTC.
    let quarter = |text| quarter_of(at(text));
    let days = (quarter("2025-12-05T00:00:00Z"), quarter("2026-01-02T00:00:00Z"));
    assert_eq!(api.queries.rows().sold_days, Some(days));
    let one = api.get("/v1/stock/A/cover").await.expect(200);
    assert_eq!(one, json!({"units_sold_28_days": 131, "days_of_cover": 21.4}));
    api.get("/v1/stock/D/cover").await.problem(404, "not_found");
    let csv = String::from_utf8(api.get("/v1/stock?format=csv").await.body).unwrap();
    assert!(csv.contains("available,revision,units_sold_28_days,days_of_cover\r\n"), "{csv}");
}

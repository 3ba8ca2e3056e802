//! `/v1/declines`.

use infra::read_models::{ChargeTotals, Charges, RowPage, TimeGroup, quarter_of};
use serde_json::json;

use super::{Api, rows::at};

#[tokio::test]
async fn charges_are_counted_by_local_days_and_by_reason() {
    let api = Api::new();
    let total = ChargeTotals { attempts: 7, declined: 2 };
    let items = vec![("2026-01-01".to_owned(), total), ("2026-01-02".to_owned(), ChargeTotals::default())];
    let failures = vec![("card_declined".to_owned(), 2)];
    api.queries.change(|rows| {
        rows.charges = Charges { total, failures, groups: RowPage { items, has_more: false } };
    });
    let uri = "/v1/declines?group_by=day&time_zone=Europe/Paris&from=2026-01-01";
    let expected = json!({
        "time_zone": "Europe/Paris",
        "total": {"attempts": 7, "declined": 2, "decline_rate": 0.2857},
        "reasons": [{"code": "card_declined", "declined": 2}],
        "groups": [
            {"key": "2026-01-01", "attempts": 7, "declined": 2, "decline_rate": 0.2857},
            {"key": "2026-01-02", "attempts": 0, "declined": 0, "decline_rate": null},
        ],
        "next_cursor": null,
    });
    assert_eq!(api.get(uri).await.expect(200), expected);
    let query = api.queries.rows().charge_queries.pop().unwrap();
    let from = quarter_of(at("2025-12-31T23:00:00Z"));
    assert_eq!((query.range.from, query.group), (Some(from), Some(TimeGroup::Day)));
    let csv = api.get(&format!("{uri}&format=csv")).await;
    let csv = String::from_utf8(csv.body).unwrap();
    assert!(csv.starts_with("key,attempts,declined,decline_rate\r\n2026-01-01,7,2,0.2857\r\n"), "{csv}");
    let alone = api.get("/v1/declines").await.expect(200);
    assert!(alone.get("groups").is_none() && alone["next_cursor"].is_null(), "{alone}");
    assert_eq!(api.get("/v1/declines?from=2026-01-01T00:05:00Z").await.invalid_fields(), ["from"]);
}

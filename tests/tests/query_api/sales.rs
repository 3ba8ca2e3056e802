//! `/v1/sales`.

use infra::read_models::{RowPage, Sales, SalesGroup, SalesTotals};
use serde_json::json;

use super::Api;

fn totals(orders: i64) -> SalesTotals {
    SalesTotals { orders, lines: 2 * orders, units: 14, gross: 1_530, cancelled: 30, refunded: 255 }
}

#[tokio::test]
async fn sales_are_the_total_and_its_groups_by_key() {
    let api = Api::new();
    let items = vec![("2010-12".to_owned(), totals(1)), ("2011-01".to_owned(), totals(2))];
    let groups = RowPage { items, has_more: false };
    api.queries.change(|rows| rows.sales = Sales { total: totals(3), groups });

    let sales = api.get("/v1/sales?group_by=month&currency=GBP").await.expect(200);

    assert_eq!(
        sales,
        json!({
            "currency": "GBP",
            "total": {"orders": 3, "lines": 6, "units": 14, "gross": 1530, "cancelled": 30, "refunded": 255},
            "groups": [
                {"key": "2010-12", "orders": 1, "lines": 2, "units": 14, "gross": 1530, "cancelled": 30, "refunded": 255},
                {"key": "2011-01", "orders": 2, "lines": 4, "units": 14, "gross": 1530, "cancelled": 30, "refunded": 255},
            ],
            "next_cursor": null,
        })
    );
}

#[tokio::test]
async fn groups_are_paged_and_each_page_has_the_whole_total() {
    let api = Api::new();
    let items: Vec<_> = (0..120).map(|sku| (format!("SKU {sku:03}"), totals(1))).collect();
    let groups = RowPage { items, has_more: false };
    api.queries.change(|rows| rows.sales = Sales { total: totals(120), groups });
    let mut found = Vec::new();
    let mut cursor = String::new();
    for size in [50, 50, 20] {
        let uri = format!("/v1/sales?group_by=sku&currency=GBP{cursor}");
        let page = api.get(&uri).await.expect(200);
        assert_eq!(page["total"]["orders"], 120);
        let groups = page["groups"].as_array().unwrap();
        assert_eq!(groups.len(), size);
        found.extend(groups.iter().map(|group| group["key"].as_str().unwrap().to_owned()));
        cursor = page["next_cursor"].as_str().map_or_else(String::new, |next| format!("&cursor={next}"));
    }
    assert_eq!(cursor, "");
    assert_eq!(found, (0..120).map(|sku| format!("SKU {sku:03}")).collect::<Vec<_>>());
    let too_many = api.get("/v1/sales?group_by=sku&currency=GBP&limit=201").await;
    assert_eq!(too_many.invalid_fields(), ["limit"]);
}

#[tokio::test]
async fn sums_beyond_64_bits_are_exact() {
    let api = Api::new();
    let total = SalesTotals { gross: 1_100 * i128::from(domain::Amount::MAX.minor_units()), ..totals(1_100) };
    api.queries.change(|rows| rows.sales = Sales { total, ..Sales::default() });
    let answer = api.get("/v1/sales?currency=GBP").await;
    let text = String::from_utf8(answer.body).unwrap();
    assert!(text.contains("\"gross\":9907919180215090100,"), "{text}");
}

#[tokio::test]
async fn without_group_by_the_report_has_only_the_total() {
    let api = Api::new();
    let sales = api.get("/v1/sales?currency=EUR").await.expect(200);
    assert_eq!(sales["currency"], "EUR");
    assert_eq!(sales["total"]["gross"], 0);
    assert_eq!(sales.get("groups"), None);
}

#[tokio::test]
async fn the_range_is_in_whole_hours_and_a_date_is_its_first_hour_in_utc() {
    let api = Api::new();
    let hours_1970_to_2010_12_01 = 358_656;
    let cases = [
        ("hour", SalesGroup::Hour, "from=2010-12-01&to=2010-12-02", Some(0), Some(24)),
        ("day", SalesGroup::Day, "from=2010-12-01T08:00:00Z", Some(8), None),
        ("sku", SalesGroup::Sku, "to=2010-12-01T10:00:00%2B02:00", None, Some(8)),
        ("country", SalesGroup::Country, "", None, None),
    ];
    for (group_by, group, range, from, to) in cases {
        api.get(&format!("/v1/sales?currency=GBP&group_by={group_by}&{range}")).await.expect(200);
        let query = api.queries.rows().sales_queries.pop().unwrap();
        assert_eq!(query.group, Some(group));
        assert_eq!(query.from_hour, from.map(|hour: i64| hour + hours_1970_to_2010_12_01), "{range}");
        assert_eq!(query.to_hour, to.map(|hour: i64| hour + hours_1970_to_2010_12_01), "{range}");
    }
}

#[tokio::test]
async fn a_range_before_1970_counts_hours_downwards() {
    let api = Api::new();
    api.get("/v1/sales?currency=GBP&from=1969-12-31T23:00:00Z").await.expect(200);
    assert_eq!(api.queries.rows().sales_queries[0].from_hour, Some(-1));
}

#[tokio::test]
async fn invalid_parameters_are_refused_by_name() {
    let api = Api::new();
    let cases: [(&str, &[&str]); 8] = [
        ("", &["currency"]),
        ("currency=", &["currency"]),
        ("currency=gbp", &["currency"]),
        ("currency=GBP&group_by=week", &["group_by"]),
        ("currency=GBP&from=2010-12-01T08:26:00Z", &["from"]),
        ("currency=GBP&to=2010-12-01T08:00:00.5Z", &["to"]),
        ("currency=GBP&from=2010-12-02&to=2010-12-01", &["to"]),
        ("currency=XYZ&from=1&to=2&groupby=day", &["currency", "from", "to", "groupby"]),
    ];
    for (query, fields) in cases {
        assert_eq!(api.get(&format!("/v1/sales?{query}")).await.invalid_fields(), fields, "{query}");
    }
}

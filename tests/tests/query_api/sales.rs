//! `/v1/sales`, `/v1/money` and `/v1/currencies`.

use infra::read_models::{Money, MoneyTotals, RowPage, Sales, SalesGroup, SalesTotals, TimeGroup};
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::Api;

fn totals(orders: i64) -> SalesTotals {
    SalesTotals {
        orders,
        lines: 2 * orders,
        units: 14,
        gross: 1_530,
        discounts: -100,
        tax: 286,
        shipping: 490,
        fees: 30,
        cancelled: 30,
        refunded: 255,
    }
}

/// [`totals`] as they are served, with what net sales are left.
fn served(orders: i64) -> Value {
    json!({
        "orders": orders, "lines": 2 * orders, "units": 14, "gross": 1530, "discounts": -100, "tax": 286,
        "shipping": 490, "fees": 30, "cancelled": 30, "refunded": 255, "net": 1951,
    })
}

fn group(key: &str, orders: i64) -> Value {
    let mut group = served(orders);
    group["key"] = json!(key);
    group
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
            "time_zone": "UTC",
            "total": served(3),
            "groups": [group("2010-12", 1), group("2011-01", 2)],
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

/// Quarter hours from 1970-01-01 to 2010-12-01.
const DECEMBER: i64 = 4 * 358_656;

#[tokio::test]
async fn the_range_is_in_whole_quarter_hours_and_a_date_is_its_first_in_the_time_zone() {
    let api = Api::new();
    let cases = [
        ("hour", SalesGroup::Time(TimeGroup::Hour), "from=2010-12-01&to=2010-12-02", Some(0), Some(96)),
        ("day", SalesGroup::Time(TimeGroup::Day), "from=2010-12-01T08:15:00Z", Some(33), None),
        (
            "month",
            SalesGroup::Time(TimeGroup::Month),
            "from=2010-12-01&time_zone=America/New_York",
            Some(20),
            None,
        ),
        ("sku", SalesGroup::Sku, "to=2010-12-01T10:00:00%2B02:00", None, Some(32)),
        ("country", SalesGroup::Country, "to=2010-12-02&time_zone=Asia/Kathmandu", None, Some(73)),
    ];
    for (group_by, group, range, from, to) in cases {
        api.get(&format!("/v1/sales?currency=GBP&group_by={group_by}&{range}")).await.expect(200);
        let query = api.queries.rows().sales_queries.pop().unwrap();
        assert_eq!(query.group, Some(group));
        assert_eq!(query.range.from, from.map(|quarter: i64| quarter + DECEMBER), "{range}");
        assert_eq!(query.range.to, to.map(|quarter: i64| quarter + DECEMBER), "{range}");
    }
}

#[tokio::test]
async fn a_range_before_1970_counts_quarter_hours_downwards() {
    let api = Api::new();
    api.get("/v1/sales?currency=GBP&from=1969-12-31T23:45:00Z").await.expect(200);
    assert_eq!(api.queries.rows().sales_queries[0].range.from, Some(-1));
}

#[tokio::test]
async fn invalid_parameters_are_refused_by_name() {
    let api = Api::new();
    let cases: [(&str, &[&str]); 9] = [
        ("", &["currency"]),
        ("currency=", &["currency"]),
        ("currency=gbp", &["currency"]),
        ("currency=GBP&group_by=week", &["group_by"]),
        ("currency=GBP&from=2010-12-01T08:26:00Z", &["from"]),
        ("currency=GBP&to=2010-12-01T08:15:00.5Z", &["to"]),
        ("currency=GBP&from=2010-12-02&to=2010-12-01", &["to"]),
        ("currency=GBP&time_zone=Europe/Lundon", &["time_zone"]),
        ("currency=XYZ&from=1&to=2&groupby=day", &["currency", "from", "to", "groupby"]),
    ];
    for (query, fields) in cases {
        for report in ["sales", "money"] {
            let answer = api.get(&format!("/v1/{report}?{query}")).await;
            assert_eq!(answer.invalid_fields(), fields, "{report} {query}");
        }
    }
    assert_eq!(api.get("/v1/money?currency=GBP&group_by=sku").await.invalid_fields(), ["group_by"]);
}

#[tokio::test]
async fn money_is_what_was_captured_and_paid_out_by_local_days() {
    let api = Api::new();
    let total = MoneyTotals { captured: 5_000, refunded: 700, disputed: -100 };
    let items = vec![("2010-12-01".to_owned(), total)];
    api.queries.change(|rows| {
        rows.money = Money { total, groups: RowPage { items, has_more: false } };
    });
    let uri = "/v1/money?currency=GBP&group_by=day&time_zone=europe/london&from=2010-12-01";
    let sums = json!({"captured": 5000, "refunded": 700, "disputed": -100, "net": 4400});
    let mut day = sums.clone();
    day["key"] = json!("2010-12-01");
    let expected = json!({
        "currency": "GBP", "time_zone": "Europe/London", "total": sums, "groups": [day], "next_cursor": null,
    });
    assert_eq!(api.get(uri).await.expect(200), expected);
    let query = api.queries.rows().money_queries.pop().unwrap();
    assert_eq!((query.range.from, query.group), (Some(DECEMBER), Some(TimeGroup::Day)));
    assert_eq!(query.range.zone, TimeZone::get("Europe/London").unwrap());
    let total_alone = api.get("/v1/money?currency=GBP").await.expect(200);
    let expected = json!({"currency": "GBP", "time_zone": "UTC", "total": sums, "next_cursor": null});
    assert_eq!(total_alone, expected);
}

#[tokio::test]
async fn currencies_in_use_are_listed() {
    let api = Api::new();
    api.queries.change(|rows| rows.currencies = ["EUR", "GBP"].map(|code| code.parse().unwrap()).into());
    let listed = api.get("/v1/currencies").await.expect(200);
    assert_eq!(listed, json!({"items": [{"currency": "EUR"}, {"currency": "GBP"}]}));
}

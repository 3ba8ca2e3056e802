//! Sums of sales.

use std::collections::BTreeMap;

use domain::{Amount, Currency, Timestamp};
use infra::{
    event_source::Partition,
    read_models::{
        Changes, MoneyKey, MoneyQuery, MoneyTotals, PartitionMoney, PartitionSales, Rows, SalesDimension,
        SalesGroup, SalesKey, SalesQuery, SalesTotals, TimeGroup, TimeRange, Totals, quarter_of,
    },
};
use jiff::{RoundMode, Unit, ZonedRound, tz::TimeZone};

use super::{Fixture, partition, sku, step_with};

fn quarter(text: &str) -> i64 {
    quarter_of(text.parse().unwrap())
}

fn key(dimension: SalesDimension, quarter: i64) -> SalesKey {
    SalesKey { dimension, currency: "GBP".parse().unwrap(), quarter }
}

fn totals(orders: i64) -> SalesTotals {
    SalesTotals {
        orders,
        lines: 2 * orders,
        units: 3 * orders,
        gross: 5 * i128::from(orders),
        discounts: -i128::from(orders),
        tax: 7 * i128::from(orders),
        shipping: 11 * i128::from(orders),
        fees: 13 * i128::from(orders),
        cancelled: orders.into(),
        refunded: (-orders).into(),
    }
}

fn all_pounds() -> SalesQuery {
    SalesQuery { currency: "GBP".parse().unwrap(), range: TimeRange::default(), group: None, after: None }
}

fn sums_of(partition: &Partition, sums: Vec<(SalesKey, SalesTotals)>) -> Rows {
    let sales = vec![PartitionSales { partition: partition.clone(), sums }];
    Rows { sales, ..Rows::default() }
}

/// Sales at irregular quarter hours over a year and a half, by two SKUs and one country.
fn sums() -> Vec<(SalesKey, SalesTotals)> {
    let first = quarter("2010-11-30T22:00:00Z");
    let mut sums = Vec::new();
    for index in 0..200_i64 {
        let at = first + index * 269;
        let name = if index % 3 == 0 { "A" } else { "B" };
        for dimension in [
            SalesDimension::All,
            SalesDimension::Sku(sku(name)),
            SalesDimension::Country("Österreich".to_owned()),
            SalesDimension::NoLine,
        ] {
            sums.push((key(dimension, at), totals(index + 1)));
        }
    }
    sums.sort_by(|(a, _), (b, _)| a.cmp(b));
    sums
}

fn group_of(group: SalesGroup, key: &SalesKey, zone: &TimeZone) -> Option<String> {
    let time = Timestamp::from_second(key.quarter * 900).unwrap();
    let local = time.to_zoned(zone.clone());
    match (group, &key.dimension) {
        (SalesGroup::Time(TimeGroup::Hour), SalesDimension::All) => {
            let hour = local.round(ZonedRound::new().smallest(Unit::Hour).mode(RoundMode::Floor));
            Some(hour.unwrap().timestamp().to_string())
        }
        (SalesGroup::Time(TimeGroup::Day), SalesDimension::All) => Some(local.strftime("%F").to_string()),
        (SalesGroup::Time(TimeGroup::Month), SalesDimension::All) => {
            Some(local.strftime("%Y-%m").to_string())
        }
        (SalesGroup::Sku, SalesDimension::Sku(sku)) => Some(sku.to_string()),
        (SalesGroup::Sku, SalesDimension::NoLine) => Some(String::new()),
        (SalesGroup::Country, SalesDimension::Country(country)) => Some(country.clone()),
        _ => None,
    }
}

pub async fn sums_equal_the_rows_of_any_time_range<F: Fixture>(fixture: F) {
    let sums = sums();
    // In two halves, so that the second adds to existing rows.
    let half = |(key, sum): &(SalesKey, SalesTotals), part: i64| {
        let part = SalesTotals { orders: part, ..SalesTotals::default() };
        (key.clone(), if part.orders == 0 { *sum } else { part })
    };
    let first: Vec<_> = sums.iter().map(|row| half(row, 0)).collect();
    let second: Vec<_> = sums.iter().map(|row| half(row, 1_000)).collect();
    fixture.models().commit(step_with(1, sums_of(&partition(), first))).await.unwrap();
    fixture.models().commit(step_with(2, sums_of(&partition(), second))).await.unwrap();

    let bounds = [
        None,
        Some(quarter("2010-12-01T00:00:00Z")),
        Some(quarter("2010-12-17T05:00:00Z")),
        Some(quarter("2011-02-28T23:00:00Z")),
        Some(quarter("2011-03-01T00:00:00Z")),
        Some(quarter("2012-02-01T00:00:00Z")),
    ];
    let times = [TimeGroup::Hour, TimeGroup::Day, TimeGroup::Month].map(SalesGroup::Time);
    let groups: Vec<_> = times.into_iter().chain([SalesGroup::Sku, SalesGroup::Country]).collect();
    let zones = ["UTC", "Europe/London", "Asia/Kathmandu"].map(|name| TimeZone::get(name).unwrap());
    for (index, from) in bounds.into_iter().enumerate() {
        for to in bounds {
            let zone = &zones[index % zones.len()];
            let within = |key: &SalesKey| {
                from.is_none_or(|from| key.quarter >= from) && to.is_none_or(|to| key.quarter < to)
            };
            let mut total = SalesTotals::default();
            for (key, sum) in sums.iter().filter(|(key, _)| within(key)) {
                if key.dimension == SalesDimension::All {
                    total.add(&SalesTotals { orders: sum.orders + 1_000, ..*sum });
                }
            }
            for group in groups.iter().copied().map(Some).chain([None]) {
                let mut expected: BTreeMap<String, SalesTotals> = BTreeMap::new();
                for (key, sum) in sums.iter().filter(|(key, _)| within(key)) {
                    if let Some(name) = group.and_then(|group| group_of(group, key, zone)) {
                        let sum = SalesTotals { orders: sum.orders + 1_000, ..*sum };
                        expected.entry(name).or_default().add(&sum);
                    }
                }
                let mut query =
                    SalesQuery { group, range: TimeRange { from, to, zone: zone.clone() }, ..all_pounds() };
                let mut groups = Vec::new();
                loop {
                    let sales = fixture.queries().sales(&query, 37).await.unwrap();
                    assert_eq!(sales.total, total, "{query:?}");
                    groups.extend(sales.groups.items);
                    if !sales.groups.has_more {
                        break;
                    }
                    query.after = groups.last().map(|(key, _)| key.clone());
                }
                assert_eq!(groups, expected.into_iter().collect::<Vec<_>>(), "{query:?}");
            }
        }
    }
}

pub async fn sums_add_all_partitions_of_one_currency<F: Fixture>(fixture: F) {
    let at = quarter("2011-01-01T00:00:00Z");
    let pounds = || vec![(key(SalesDimension::All, at), totals(1))];
    let euros = SalesKey { currency: "EUR".parse().unwrap(), ..key(SalesDimension::All, at) };
    fixture.models().commit(step_with(1, sums_of(&partition(), pounds()))).await.unwrap();
    let other_partition = Partition("orders/1".to_owned());
    let other = Changes::none(other_partition.clone(), None, Some(1));
    fixture.models().commit(Changes { rows: sums_of(&other_partition, pounds()), ..other }).await.unwrap();
    fixture.models().commit(step_with(2, sums_of(&partition(), vec![(euros, totals(9))]))).await.unwrap();
    for (currency, orders) in [("GBP", 2), ("EUR", 9), ("USD", 0)] {
        let currency = currency.parse().unwrap();
        let query = SalesQuery { currency, group: Some(SalesGroup::Time(TimeGroup::Month)), ..all_pounds() };
        let sales = fixture.queries().sales(&query, 10).await.unwrap();
        assert_eq!(sales.total, totals(orders), "{currency}");
        assert_eq!(sales.groups.items.len(), usize::from(orders > 0));
    }
    let currencies = fixture.queries().currencies().await.unwrap();
    assert_eq!(currencies, ["EUR", "GBP"].map(|code| code.parse().unwrap()));
}

pub async fn sums_of_the_largest_amounts_are_exact<F: Fixture>(fixture: F) {
    let first = quarter("2011-01-01T00:00:00Z");
    let largest = i128::from(Amount::MAX.minor_units());
    let order = SalesTotals { orders: 1, gross: largest, refunded: -largest, ..SalesTotals::default() };
    // 1,100 orders in one month: 64 bits hold the sum of 1,024.
    for index in 0..11_u32 {
        let sums = (0..100).map(|_| order).fold(SalesTotals::default(), |mut sum, order| {
            sum.add(&order);
            sum
        });
        let rows =
            sums_of(&partition(), vec![(key(SalesDimension::All, first + i64::from(index) % 2), sums)]);
        fixture.models().commit(step_with(u64::from(index) + 1, rows)).await.unwrap();
    }
    let expected = SalesTotals {
        orders: 1_100,
        gross: 1_100 * largest,
        refunded: -1_100 * largest,
        ..SalesTotals::default()
    };
    let query = SalesQuery { group: Some(SalesGroup::Time(TimeGroup::Month)), ..all_pounds() };
    let sales = fixture.queries().sales(&query, 10).await.unwrap();
    assert_eq!(sales.total, expected);
    assert_eq!(sales.groups.items, [("2011-01".to_owned(), expected)]);
}

pub async fn money_is_summed_by_local_days_over_all_partitions<F: Fixture>(fixture: F) {
    let pounds: Currency = "GBP".parse().unwrap();
    let key = |currency, text: &str| MoneyKey { currency, quarter: quarter(text) };
    let moved = |captured: i128| MoneyTotals { captured, refunded: -captured, disputed: captured * 2 };
    let money_of = |partition: &Partition, sums: Vec<(MoneyKey, MoneyTotals)>| Rows {
        money: vec![PartitionMoney { partition: partition.clone(), sums }],
        ..Rows::default()
    };
    let late_in_june = key(pounds, "2026-06-30T23:00:00Z");
    let first = vec![(key(pounds, "2026-06-30T22:45:00Z"), moved(10)), (late_in_june, moved(1))];
    fixture.models().commit(step_with(1, money_of(&partition(), first))).await.unwrap();
    let other_partition = Partition("payments/1".to_owned());
    let other = Changes::none(other_partition.clone(), None, Some(1));
    let rows = money_of(&other_partition, vec![(late_in_june, moved(100))]);
    fixture.models().commit(Changes { rows, ..other }).await.unwrap();
    let largest = MoneyTotals { captured: i128::from(i64::MAX) * 1_000, ..moved(0) };
    let dollars: Currency = "USD".parse().unwrap();
    let second = vec![(late_in_june, moved(1_000)), (key(dollars, "2026-06-30T23:00:00Z"), largest)];
    fixture.models().commit(step_with(2, money_of(&partition(), second))).await.unwrap();

    let query = |zone: &str, group| MoneyQuery {
        currency: pounds,
        range: TimeRange { zone: TimeZone::get(zone).unwrap(), ..TimeRange::default() },
        group: Some(group),
        after: None,
    };
    let found = async |query: &MoneyQuery| fixture.queries().money(query, 1).await.unwrap();
    let days = found(&query("UTC", TimeGroup::Day)).await;
    assert_eq!((days.total, days.groups.has_more), (moved(1_111), false));
    assert_eq!(days.groups.items, [("2026-06-30".to_owned(), moved(1_111))]);
    let in_london = query("Europe/London", TimeGroup::Day);
    let days = found(&in_london).await;
    assert_eq!((days.total, days.groups.has_more), (moved(1_111), true));
    assert_eq!(days.groups.items, [("2026-06-30".to_owned(), moved(10))]);
    let next = MoneyQuery { after: Some("2026-06-30".to_owned()), ..in_london.clone() };
    assert_eq!(found(&next).await.groups.items, [("2026-07-01".to_owned(), moved(1_101))]);
    let july = TimeRange { from: Some(late_in_june.quarter), ..in_london.range.clone() };
    assert_eq!(found(&MoneyQuery { range: july, group: None, ..in_london }).await.total, moved(1_101));
    let in_dollars = MoneyQuery { currency: dollars, ..query("UTC", TimeGroup::Month) };
    assert_eq!(found(&in_dollars).await.groups.items, [("2026-06".to_owned(), largest)]);
}

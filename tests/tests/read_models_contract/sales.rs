//! Sums of sales.

use std::collections::BTreeMap;

use domain::{Amount, Timestamp};
use infra::{
    event_source::Partition,
    read_models::{
        Changes, PartitionSales, Rows, SalesDimension, SalesGroup, SalesKey, SalesQuery, SalesTotals,
    },
};

use super::{Fixture, partition, sku, step_with};

fn hour(text: &str) -> i64 {
    text.parse::<Timestamp>().unwrap().as_second() / 3_600
}

fn key(dimension: SalesDimension, hour: i64) -> SalesKey {
    SalesKey { dimension, currency: "GBP".parse().unwrap(), hour }
}

fn totals(orders: i64) -> SalesTotals {
    SalesTotals {
        orders,
        lines: 2 * orders,
        units: 3 * orders,
        gross: 5 * i128::from(orders),
        cancelled: orders.into(),
        refunded: (-orders).into(),
    }
}

fn all_pounds() -> SalesQuery {
    SalesQuery { currency: "GBP".parse().unwrap(), from_hour: None, to_hour: None, group: None, after: None }
}

fn sums_of(partition: &Partition, sums: Vec<(SalesKey, SalesTotals)>) -> Rows {
    let sales = vec![PartitionSales { partition: partition.clone(), sums }];
    Rows { sales, ..Rows::default() }
}

/// Sales at irregular hours over a year and a half, by two SKUs and one country.
fn sums() -> Vec<(SalesKey, SalesTotals)> {
    let first = hour("2010-11-30T22:00:00Z");
    let mut sums = Vec::new();
    for index in 0..200_i64 {
        let at = first + index * 67;
        let name = if index % 3 == 0 { "A" } else { "B" };
        for dimension in [
            SalesDimension::All,
            SalesDimension::Sku(sku(name)),
            SalesDimension::Country("Österreich".to_owned()),
        ] {
            sums.push((key(dimension, at), totals(index + 1)));
        }
    }
    sums.sort_by(|(a, _), (b, _)| a.cmp(b));
    sums
}

fn group_of(group: SalesGroup, key: &SalesKey) -> Option<String> {
    let time = Timestamp::from_second(key.hour * 3_600).unwrap().to_string();
    match (group, &key.dimension) {
        (SalesGroup::Hour, SalesDimension::All) => Some(time),
        (SalesGroup::Day, SalesDimension::All) => Some(time[..10].to_owned()),
        (SalesGroup::Month, SalesDimension::All) => Some(time[..7].to_owned()),
        (SalesGroup::Sku, SalesDimension::Sku(sku)) => Some(sku.to_string()),
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
        Some(hour("2010-12-01T00:00:00Z")),
        Some(hour("2010-12-17T05:00:00Z")),
        Some(hour("2011-02-28T23:00:00Z")),
        Some(hour("2011-03-01T00:00:00Z")),
        Some(hour("2012-02-01T00:00:00Z")),
    ];
    let groups = [SalesGroup::Hour, SalesGroup::Day, SalesGroup::Month, SalesGroup::Sku, SalesGroup::Country];
    for from_hour in bounds {
        for to_hour in bounds {
            let within = |key: &SalesKey| {
                from_hour.is_none_or(|from| key.hour >= from) && to_hour.is_none_or(|to| key.hour < to)
            };
            let mut total = SalesTotals::default();
            for (key, sum) in sums.iter().filter(|(key, _)| within(key)) {
                if key.dimension == SalesDimension::All {
                    total.add(&SalesTotals { orders: sum.orders + 1_000, ..*sum });
                }
            }
            for group in groups.into_iter().map(Some).chain([None]) {
                let mut expected: BTreeMap<String, SalesTotals> = BTreeMap::new();
                for (key, sum) in sums.iter().filter(|(key, _)| within(key)) {
                    if let Some(name) = group.and_then(|group| group_of(group, key)) {
                        let sum = SalesTotals { orders: sum.orders + 1_000, ..*sum };
                        expected.entry(name).or_default().add(&sum);
                    }
                }
                let mut query = SalesQuery { group, from_hour, to_hour, ..all_pounds() };
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
    let at = hour("2011-01-01T00:00:00Z");
    let pounds = || vec![(key(SalesDimension::All, at), totals(1))];
    let euros = SalesKey { currency: "EUR".parse().unwrap(), ..key(SalesDimension::All, at) };
    fixture.models().commit(step_with(1, sums_of(&partition(), pounds()))).await.unwrap();
    let other_partition = Partition("orders/1".to_owned());
    let other = Changes::none(other_partition.clone(), None, Some(1));
    fixture.models().commit(Changes { rows: sums_of(&other_partition, pounds()), ..other }).await.unwrap();
    fixture.models().commit(step_with(2, sums_of(&partition(), vec![(euros, totals(9))]))).await.unwrap();
    for (currency, orders) in [("GBP", 2), ("EUR", 9), ("USD", 0)] {
        let currency = currency.parse().unwrap();
        let query = SalesQuery { currency, group: Some(SalesGroup::Month), ..all_pounds() };
        let sales = fixture.queries().sales(&query, 10).await.unwrap();
        assert_eq!(sales.total, totals(orders), "{currency}");
        assert_eq!(sales.groups.items.len(), usize::from(orders > 0));
    }
}

pub async fn sums_of_the_largest_amounts_are_exact<F: Fixture>(fixture: F) {
    let first = hour("2011-01-01T00:00:00Z");
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
    let query = SalesQuery { group: Some(SalesGroup::Month), ..all_pounds() };
    let sales = fixture.queries().sales(&query, 10).await.unwrap();
    assert_eq!(sales.total, expected);
    assert_eq!(sales.groups.items, [("2011-01".to_owned(), expected)]);
}

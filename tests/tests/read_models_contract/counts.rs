//! Counts by time.

use infra::{
    event_source::Partition,
    read_models::{
        Changes, ChargeQuery, ChargeTotals, CountKey, Counted, PartitionCounts, RowPage, Rows, TimeGroup,
        TimeRange, day_of, quarter_of,
    },
};
use jiff::tz::TimeZone;

use super::{Fixture, partition, sku, step_with};

fn quarter(text: &str) -> i64 {
    quarter_of(text.parse().unwrap())
}

fn charges(text: &str, failure: &str, count: i64) -> (CountKey, i64) {
    let failure = Some(failure.to_owned()).filter(|failure| !failure.is_empty());
    (CountKey { counted: Counted::Charges { failure }, start: quarter(text) }, count)
}

fn sold(name: &str, day: &str, units: i64) -> (CountKey, i64) {
    (CountKey { counted: Counted::Sold(sku(name)), start: day_of(quarter(day)) }, units)
}

fn rows(partition: &Partition, mut sums: Vec<(CountKey, i64)>) -> Rows {
    sums.sort();
    Rows { counts: vec![PartitionCounts { partition: partition.clone(), sums }], ..Rows::default() }
}

/// Commits counts of the whole log twice, and of another partition once.
async fn commit(fixture: &impl Fixture, first: Vec<(CountKey, i64)>, second: Vec<(CountKey, i64)>) {
    fixture.models().commit(step_with(1, rows(&partition(), first.clone()))).await.unwrap();
    fixture.models().commit(step_with(2, rows(&partition(), first))).await.unwrap();
    let other = Partition("payments/1".to_owned());
    let changes = Changes::none(other.clone(), None, Some(1));
    fixture.models().commit(Changes { rows: rows(&other, second), ..changes }).await.unwrap();
}

pub async fn charges_are_counted_by_local_days_and_by_failure_over_all_partitions<F: Fixture>(fixture: F) {
    let first = vec![
        charges("2026-06-30T22:45:00Z", "", 3),
        charges("2026-06-30T22:45:00Z", "card_declined", 1),
        charges("2026-06-30T23:00:00Z", "expired_card", 2),
        sold("A", "2026-06-30T23:00:00Z", 100),
    ];
    let second = vec![charges("2026-06-30T23:00:00Z", "", 5), charges("2026-06-30T23:00:00Z", "b", 4)];
    commit(&fixture, first, second).await;
    let query = |zone: &str, group| ChargeQuery {
        range: TimeRange { zone: TimeZone::get(zone).unwrap(), ..TimeRange::default() },
        group,
        after: None,
    };
    let found = async |query: ChargeQuery| fixture.queries().charges(&query, 1).await.unwrap();
    let totals = |attempts, declined| ChargeTotals { attempts, declined };

    let all = found(query("UTC", None)).await;
    assert_eq!(all.total, totals(21, 10));
    // The most frequent first, and those of one number by code.
    let failures = [("b", 4), ("expired_card", 4), ("card_declined", 2)];
    assert_eq!(all.failures, failures.map(|(code, count)| (code.to_owned(), count)));
    assert_eq!(all.groups, RowPage::default());
    let in_london = query("Europe/London", Some(TimeGroup::Day));
    let days = found(in_london.clone()).await;
    assert_eq!((days.total, days.groups.has_more), (totals(21, 10), true));
    assert_eq!(days.groups.items, [("2026-06-30".to_owned(), totals(8, 2))]);
    let next = ChargeQuery { after: Some("2026-06-30".to_owned()), ..in_london.clone() };
    assert_eq!(found(next).await.groups.items, [("2026-07-01".to_owned(), totals(13, 8))]);
    let june = TimeRange { to: Some(quarter("2026-06-30T23:00:00Z")), ..in_london.range.clone() };
    let june = found(ChargeQuery { range: june, ..in_london }).await;
    assert_eq!((june.total, june.failures), (totals(8, 2), vec![("card_declined".to_owned(), 2)]));
}

pub async fn units_of_skus_are_summed_over_days_and_partitions<F: Fixture>(fixture: F) {
    let first = vec![
        sold("A", "2026-06-01T23:59:00Z", 1),
        sold("A", "2026-06-02T00:00:00Z", 10),
        sold("A", "2026-06-03T00:00:00Z", 1_000),
        sold("B", "2026-06-02T12:00:00Z", 7),
        sold("C", "2026-06-03T00:00:00Z", 1),
        charges("2026-06-02T00:00:00Z", "A", 1),
    ];
    commit(&fixture, first, vec![sold("A", "2026-06-02T00:00:00Z", 100)]).await;
    let days = (quarter("2026-06-02T00:00:00Z"), quarter("2026-06-03T00:00:00Z"));
    let found = fixture.queries().units_sold(&["A", "B", "C", "D"].map(sku), days).await.unwrap();
    assert_eq!(found, [(sku("A"), 120), (sku("B"), 14)].into());
}

//! The time spans that reports are summed by: quarter hours, and months for long ranges.

use std::collections::BTreeMap;

use domain::Timestamp;
use jiff::{civil::Date, tz::TimeZone};

use super::{SalesGroup, SalesKey, SalesQuery, SalesTotals};
use crate::read_models::sums::{QUARTER_SECONDS, TimeGroup, TimeRange, Totals, quarter_of, starts_quarter};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::read_models) enum Span {
    Quarter,
    Month,
}

const QUARTERS_PER_HOUR: i64 = 4;
/// The longest local days have 26 hours: the clock goes back by two.
const QUARTERS_PER_DAY_MAX: usize = 26 * 4;

/// Rows of one span that begin in `from..to`, in quarter hours since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::read_models) struct Range {
    pub(in crate::read_models) span: Span,
    pub(in crate::read_models) from: i64,
    pub(in crate::read_models) to: i64,
}

/// The rows that give the total of a query.
pub(in crate::read_models) fn total_ranges(query: &SalesQuery) -> Vec<Range> {
    cover(query.range.from, query.range.to)
}

/// The rows that give the groups of a query, after the group `query.after`.
pub(in crate::read_models) fn group_ranges(query: &SalesQuery, group: SalesGroup) -> Vec<Range> {
    match group {
        SalesGroup::Sku | SalesGroup::Country => total_ranges(query),
        SalesGroup::Time(group) => {
            let range = range_after(&query.range, group, query.after.as_deref());
            // Months are stored as they begin in UTC.
            let by_months = group == TimeGroup::Month && query.range.zone == TimeZone::UTC;
            if by_months { cover(range.from, range.to) } else { vec![quarters(&range)] }
        }
    }
}

/// The range without the groups up to `after`.
pub(in crate::read_models) fn range_after(
    range: &TimeRange,
    group: TimeGroup,
    after: Option<&str>,
) -> TimeRange {
    // A key that no group has: nothing follows it.
    let next = after.map(|key| next_start(group, key, &range.zone).unwrap_or(i64::MAX));
    TimeRange { from: range.from.max(next), ..range.clone() }
}

/// The most rows of a range, grouped by their start, that a page of `limit` groups and the group after it need.
pub(in crate::read_models) fn starts_max(group: TimeGroup, limit: usize) -> usize {
    let groups = limit.saturating_add(1);
    match group {
        TimeGroup::Hour => groups.saturating_mul(4),
        TimeGroup::Day => groups.saturating_mul(QUARTERS_PER_DAY_MAX),
        // All of them: months are few.
        TimeGroup::Month => usize::MAX,
    }
}

/// The first quarter hour after a group.
fn next_start(group: TimeGroup, key: &str, zone: &TimeZone) -> Option<i64> {
    let next_day = match group {
        TimeGroup::Hour => return Some(quarter_of(key.parse().ok()?) + QUARTERS_PER_HOUR),
        TimeGroup::Day => key.parse::<Date>().ok()?,
        TimeGroup::Month => format!("{key}-01").parse::<Date>().ok()?.last_of_month(),
    }
    .tomorrow();
    first_quarter(next_day.ok()?, zone)
}

/// The first quarter hour that begins on a local day.
fn first_quarter(date: Date, zone: &TimeZone) -> Option<i64> {
    let start = date.to_zoned(zone.clone()).ok()?.timestamp();
    Some(quarter_of(start) + i64::from(!starts_quarter(start)))
}

/// The groups of time. `by_start`: sums over everything, oldest first.
pub(in crate::read_models) fn groups_of_time<T: Totals>(
    group: TimeGroup,
    zone: &TimeZone,
    by_start: &[(i64, T)],
) -> Vec<(String, T)> {
    let mut groups: Vec<(String, T)> = Vec::new();
    for (quarter, sum) in by_start {
        let key = group_key(group, zone, *quarter);
        match groups.last_mut() {
            Some((last, total)) if *last == key => total.add(sum),
            _ => groups.push((key, *sum)),
        }
    }
    groups
}

/// The name of the group that a quarter hour belongs to.
pub fn group_key(group: TimeGroup, zone: &TimeZone, quarter: i64) -> String {
    let local = instant_of(quarter).to_zoned(zone.clone());
    match group {
        TimeGroup::Hour => {
            let into_hour = i64::from(local.minute()) / (QUARTER_SECONDS / 60);
            instant_of(quarter - into_hour).to_string()
        }
        TimeGroup::Day => local.date().to_string(),
        TimeGroup::Month => local.strftime("%Y-%m").to_string(),
    }
}

/// The same sums by month; `quarter` of each key is the first of its month.
pub(in crate::read_models) fn by_month(sales: &[(SalesKey, SalesTotals)]) -> BTreeMap<SalesKey, SalesTotals> {
    let mut months: BTreeMap<SalesKey, SalesTotals> = BTreeMap::new();
    for (key, totals) in sales {
        let month = SalesKey { quarter: month_of(key.quarter), ..key.clone() };
        months.entry(month).or_default().add(totals);
    }
    months
}

/// The fewest rows that cover `from..to`: whole months, and quarter hours at both ends.
fn cover(from: Option<i64>, to: Option<i64>) -> Vec<Range> {
    let from_quarter = from.unwrap_or(i64::MIN);
    let to_quarter = to.unwrap_or(i64::MAX);
    let first_month = from.map_or(i64::MIN, month_at_or_after);
    let end_of_months = to.map_or(i64::MAX, month_of);
    if first_month >= end_of_months {
        return vec![Range { span: Span::Quarter, from: from_quarter, to: to_quarter }];
    }
    let ranges = [
        Range { span: Span::Quarter, from: from_quarter, to: first_month },
        Range { span: Span::Month, from: first_month, to: end_of_months },
        Range { span: Span::Quarter, from: end_of_months, to: to_quarter },
    ];
    ranges.into_iter().filter(|range| range.from < range.to).collect()
}

/// Quarter hours alone.
pub(in crate::read_models) fn quarters(range: &TimeRange) -> Range {
    Range { span: Span::Quarter, from: range.from.unwrap_or(i64::MIN), to: range.to.unwrap_or(i64::MAX) }
}

/// The first quarter hour of the month that `quarter` lies in, in UTC.
pub(in crate::read_models) fn month_of(quarter: i64) -> i64 {
    first_quarter(date_of(quarter).first_of_month(), &TimeZone::UTC).unwrap_or(i64::MIN)
}

fn month_at_or_after(quarter: i64) -> i64 {
    let begun = month_of(quarter);
    if begun == quarter {
        return quarter;
    }
    let next = date_of(quarter).last_of_month().tomorrow().ok();
    next.and_then(|date| first_quarter(date, &TimeZone::UTC)).unwrap_or(i64::MAX)
}

/// Clamps quarter hours outside the range of timestamps to its ends.
fn instant_of(quarter: i64) -> Timestamp {
    let fallback = if quarter < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(quarter.saturating_mul(QUARTER_SECONDS)).unwrap_or(fallback)
}

fn date_of(quarter: i64) -> Date {
    instant_of(quarter).to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests;

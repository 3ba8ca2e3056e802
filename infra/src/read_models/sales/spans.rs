//! The time spans that sales are summed by: hours, and months for long ranges.

use std::collections::BTreeMap;

use domain::Timestamp;
use jiff::{civil::Date, tz::TimeZone};

use super::{SalesGroup, SalesKey, SalesQuery, SalesTotals};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::read_models) enum Span {
    Hour,
    Month,
}

const SECONDS_PER_HOUR: i64 = 3_600;
const HOURS_PER_DAY: usize = 24;

/// Rows of one span that begin in `from..to`, in hours since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::read_models) struct Range {
    pub(in crate::read_models) span: Span,
    pub(in crate::read_models) from: i64,
    pub(in crate::read_models) to: i64,
}

/// The rows that give the total of a query.
pub(in crate::read_models) fn total_ranges(query: &SalesQuery) -> Vec<Range> {
    cover(query.from_hour, query.to_hour)
}

/// The rows that give the groups of a query, after the group `query.after`.
pub(in crate::read_models) fn group_ranges(query: &SalesQuery, group: SalesGroup) -> Vec<Range> {
    let next = query.after.as_deref().map(|key| match group {
        // A key that no group has: nothing follows it.
        SalesGroup::Hour | SalesGroup::Day | SalesGroup::Month => next_start(group, key).unwrap_or(i64::MAX),
        SalesGroup::Sku | SalesGroup::Country => i64::MIN,
    });
    let from = query.from_hour.max(next);
    match group {
        SalesGroup::Hour | SalesGroup::Day => hours(from, query.to_hour),
        SalesGroup::Month | SalesGroup::Sku | SalesGroup::Country => cover(from, query.to_hour),
    }
}

/// The most rows of a range, grouped by their start, that a page of `limit` groups and the group after it need.
pub(in crate::read_models) fn starts_max(group: SalesGroup, limit: usize) -> usize {
    match group {
        SalesGroup::Day => limit.saturating_add(1).saturating_mul(HOURS_PER_DAY),
        SalesGroup::Hour | SalesGroup::Sku | SalesGroup::Country => limit.saturating_add(1),
        // All of them: months are few.
        SalesGroup::Month => usize::MAX,
    }
}

/// The first hour after a group of time.
fn next_start(group: SalesGroup, key: &str) -> Option<i64> {
    let next_day = match group {
        SalesGroup::Hour => return Some(hour_at(key.parse().ok()?) + 1),
        SalesGroup::Day => key.parse::<Date>().ok()?,
        SalesGroup::Month => format!("{key}-01").parse::<Date>().ok()?.last_of_month(),
        SalesGroup::Sku | SalesGroup::Country => return None,
    }
    .tomorrow();
    Some(hour_at(next_day.ok()?.to_zoned(TimeZone::UTC).ok()?.timestamp()))
}

/// The groups of time. `by_start`: sums over all orders, oldest first.
pub(in crate::read_models) fn groups_of_time(
    group: SalesGroup,
    by_start: &[(i64, SalesTotals)],
) -> Vec<(String, SalesTotals)> {
    match group {
        SalesGroup::Hour => grouped(by_start, |hour| instant_of(hour).to_string()),
        SalesGroup::Day => grouped(by_start, |hour| date_of(hour).to_string()),
        SalesGroup::Month => grouped(by_start, |hour| date_of(hour).strftime("%Y-%m").to_string()),
        SalesGroup::Sku | SalesGroup::Country => Vec::new(),
    }
}

fn grouped(by_start: &[(i64, SalesTotals)], key: impl Fn(i64) -> String) -> Vec<(String, SalesTotals)> {
    let mut groups: Vec<(String, SalesTotals)> = Vec::new();
    for (hour, sum) in by_start {
        let key = key(*hour);
        match groups.last_mut() {
            Some((last, total)) if *last == key => total.add(sum),
            _ => groups.push((key, *sum)),
        }
    }
    groups
}

/// The same sums by month; `hour` of each key is the first hour of its month.
pub(in crate::read_models) fn by_month(sales: &[(SalesKey, SalesTotals)]) -> BTreeMap<SalesKey, SalesTotals> {
    let mut months: BTreeMap<SalesKey, SalesTotals> = BTreeMap::new();
    for (key, totals) in sales {
        let month = SalesKey { hour: month_of(key.hour), ..key.clone() };
        months.entry(month).or_default().add(totals);
    }
    months
}

/// The fewest rows that cover `from..to`: whole months, and hours at both ends.
fn cover(from: Option<i64>, to: Option<i64>) -> Vec<Range> {
    let from_hour = from.unwrap_or(i64::MIN);
    let to_hour = to.unwrap_or(i64::MAX);
    let first_month = from.map_or(i64::MIN, month_at_or_after);
    let end_of_months = to.map_or(i64::MAX, month_of);
    if first_month >= end_of_months {
        return vec![Range { span: Span::Hour, from: from_hour, to: to_hour }];
    }
    let ranges = [
        Range { span: Span::Hour, from: from_hour, to: first_month },
        Range { span: Span::Month, from: first_month, to: end_of_months },
        Range { span: Span::Hour, from: end_of_months, to: to_hour },
    ];
    ranges.into_iter().filter(|range| range.from < range.to).collect()
}

/// Hours alone.
fn hours(from: Option<i64>, to: Option<i64>) -> Vec<Range> {
    vec![Range { span: Span::Hour, from: from.unwrap_or(i64::MIN), to: to.unwrap_or(i64::MAX) }]
}

/// The first hour of the month that `hour` lies in, in UTC.
pub(in crate::read_models) fn month_of(hour: i64) -> i64 {
    date_of(hour)
        .first_of_month()
        .to_zoned(TimeZone::UTC)
        .map_or(i64::MIN, |start| hour_at(start.timestamp()))
}

fn month_at_or_after(hour: i64) -> i64 {
    let begun = month_of(hour);
    if begun == hour {
        return hour;
    }
    let next = date_of(hour).last_of_month().tomorrow().and_then(|date| date.to_zoned(TimeZone::UTC));
    next.map_or(i64::MAX, |start| hour_at(start.timestamp()))
}

fn hour_at(instant: Timestamp) -> i64 {
    instant.as_second().div_euclid(SECONDS_PER_HOUR)
}

/// Clamps hours outside the range of timestamps to its ends.
fn instant_of(hour: i64) -> Timestamp {
    let fallback = if hour < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(hour.saturating_mul(SECONDS_PER_HOUR)).unwrap_or(fallback)
}

fn date_of(hour: i64) -> Date {
    instant_of(hour).to_zoned(TimeZone::UTC).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hour(text: &str) -> i64 {
        hour_at(text.parse().unwrap())
    }

    #[test]
    fn a_long_time_is_covered_by_months_with_hours_at_both_ends() {
        let from = hour("2010-12-30T05:00:00Z");
        let to = hour("2011-03-01T02:00:00Z");
        let (january, march) = (hour("2011-01-01T00:00:00Z"), hour("2011-03-01T00:00:00Z"));
        let expected = vec![
            Range { span: Span::Hour, from, to: january },
            Range { span: Span::Month, from: january, to: march },
            Range { span: Span::Hour, from: march, to },
        ];
        assert_eq!(cover(Some(from), Some(to)), expected);
    }

    #[test]
    fn whole_months_read_no_hours_and_days_read_no_months() {
        let (january, march) = (hour("2011-01-01T00:00:00Z"), hour("2011-03-01T00:00:00Z"));
        assert_eq!(
            cover(Some(january), Some(march)),
            vec![Range { span: Span::Month, from: january, to: march }]
        );
        assert_eq!(cover(None, None), vec![Range { span: Span::Month, from: i64::MIN, to: i64::MAX }]);
        let days = Range { span: Span::Hour, from: january + 24, to: january + 72 };
        assert_eq!(cover(Some(january + 24), Some(january + 72)), vec![days]);
    }

    #[test]
    fn months_before_the_epoch_and_at_the_end_of_time_are_found() {
        assert_eq!(month_of(hour("1969-12-31T23:00:00Z")), hour("1969-12-01T00:00:00Z"));
        assert_eq!(
            cover(Some(i64::MAX), Some(i64::MAX)).iter().filter(|range| range.span == Span::Month).count(),
            0
        );
    }
}

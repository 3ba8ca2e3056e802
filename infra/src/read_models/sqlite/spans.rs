//! The spans of time that sales are summed by: hours, and months for long times.

use domain::Timestamp;
use jiff::tz::TimeZone;

/// How `sales.span` says hour and month.
pub(super) const HOUR: i64 = 0;
pub(super) const MONTH: i64 = 1;

const SECONDS_PER_HOUR: i64 = 3_600;

/// Rows of one span that begin in `from..to`, in hours since the epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Range {
    pub(super) span: i64,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// The fewest rows that cover `from..to`: whole months, and hours at both ends.
pub(super) fn cover(from: Option<i64>, to: Option<i64>) -> Vec<Range> {
    let from_hour = from.unwrap_or(i64::MIN);
    let to_hour = to.unwrap_or(i64::MAX);
    let first_month = from.map_or(i64::MIN, month_at_or_after);
    let end_of_months = to.map_or(i64::MAX, month_of);
    if first_month >= end_of_months {
        return vec![Range { span: HOUR, from: from_hour, to: to_hour }];
    }
    let ranges = [
        Range { span: HOUR, from: from_hour, to: first_month },
        Range { span: MONTH, from: first_month, to: end_of_months },
        Range { span: HOUR, from: end_of_months, to: to_hour },
    ];
    ranges.into_iter().filter(|range| range.from < range.to).collect()
}

/// Hours alone.
pub(super) fn hours(from: Option<i64>, to: Option<i64>) -> Vec<Range> {
    vec![Range { span: HOUR, from: from.unwrap_or(i64::MIN), to: to.unwrap_or(i64::MAX) }]
}

/// The first hour of the month that `hour` lies in, in UTC.
pub(super) fn month_of(hour: i64) -> i64 {
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

/// Hours beyond the range of timestamps are held at its ends.
pub(super) fn instant_of(hour: i64) -> Timestamp {
    let fallback = if hour < 0 { Timestamp::MIN } else { Timestamp::MAX };
    Timestamp::from_second(hour.saturating_mul(SECONDS_PER_HOUR)).unwrap_or(fallback)
}

pub(super) fn date_of(hour: i64) -> jiff::civil::Date {
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
            Range { span: HOUR, from, to: january },
            Range { span: MONTH, from: january, to: march },
            Range { span: HOUR, from: march, to },
        ];
        assert_eq!(cover(Some(from), Some(to)), expected);
    }

    #[test]
    fn whole_months_need_no_hours_and_days_no_months() {
        let (january, march) = (hour("2011-01-01T00:00:00Z"), hour("2011-03-01T00:00:00Z"));
        assert_eq!(cover(Some(january), Some(march)), vec![Range { span: MONTH, from: january, to: march }]);
        assert_eq!(cover(None, None), vec![Range { span: MONTH, from: i64::MIN, to: i64::MAX }]);
        let days = Range { span: HOUR, from: january + 24, to: january + 72 };
        assert_eq!(cover(Some(january + 24), Some(january + 72)), vec![days]);
    }

    #[test]
    fn months_before_the_epoch_and_at_the_end_of_time_are_found() {
        assert_eq!(month_of(hour("1969-12-31T23:00:00Z")), hour("1969-12-01T00:00:00Z"));
        assert_eq!(
            cover(Some(i64::MAX), Some(i64::MAX)).iter().filter(|range| range.span == MONTH).count(),
            0
        );
    }
}

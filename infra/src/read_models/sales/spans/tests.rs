use super::*;

fn at(text: &str) -> i64 {
    quarter_of(text.parse().unwrap())
}

#[test]
fn a_long_time_is_covered_by_months_with_quarter_hours_at_both_ends() {
    let from = at("2010-12-30T05:00:00Z");
    let to = at("2011-03-01T02:00:00Z");
    let (january, march) = (at("2011-01-01T00:00:00Z"), at("2011-03-01T00:00:00Z"));
    let expected = vec![
        Range { span: Span::Quarter, from, to: january },
        Range { span: Span::Month, from: january, to: march },
        Range { span: Span::Quarter, from: march, to },
    ];
    assert_eq!(cover(Some(from), Some(to)), expected);
}

#[test]
fn whole_months_read_no_quarter_hours_and_days_read_no_months() {
    let (january, march) = (at("2011-01-01T00:00:00Z"), at("2011-03-01T00:00:00Z"));
    assert_eq!(
        cover(Some(january), Some(march)),
        vec![Range { span: Span::Month, from: january, to: march }]
    );
    assert_eq!(cover(None, None), vec![Range { span: Span::Month, from: i64::MIN, to: i64::MAX }]);
    let days = Range { span: Span::Quarter, from: january + 96, to: january + 288 };
    assert_eq!(cover(Some(january + 96), Some(january + 288)), vec![days]);
}

#[test]
fn months_before_the_epoch_and_at_the_end_of_time_are_found() {
    assert_eq!(month_of(at("1969-12-31T23:00:00Z")), at("1969-12-01T00:00:00Z"));
    assert_eq!(
        cover(Some(i64::MAX), Some(i64::MAX)).iter().filter(|range| range.span == Span::Month).count(),
        0
    );
}

#[test]
fn groups_follow_the_local_clock() {
    let key = |group, zone: &str, text: &str| group_key(group, &TimeZone::get(zone).unwrap(), at(text));
    let cases = [
        ("Europe/London", "2026-06-30T22:45:00Z", "2026-06-30T22:00:00Z", "2026-06-30", "2026-06"),
        ("Europe/London", "2026-06-30T23:00:00Z", "2026-06-30T23:00:00Z", "2026-07-01", "2026-07"),
        ("Asia/Kolkata", "2026-06-30T18:15:00Z", "2026-06-30T17:30:00Z", "2026-06-30", "2026-06"),
        ("Asia/Kolkata", "2026-06-30T18:30:00Z", "2026-06-30T18:30:00Z", "2026-07-01", "2026-07"),
        ("Asia/Kathmandu", "2026-06-30T18:15:00Z", "2026-06-30T18:15:00Z", "2026-07-01", "2026-07"),
    ];
    for (zone, text, hour, day, month) in cases {
        assert_eq!(key(TimeGroup::Hour, zone, text), hour, "{zone} {text}");
        assert_eq!(key(TimeGroup::Day, zone, text), day, "{zone} {text}");
        assert_eq!(key(TimeGroup::Month, zone, text), month, "{zone} {text}");
    }
}

/// The clock goes forward and back by an hour, by half an hour, at midnight and over a whole day.
#[test]
fn each_group_ends_where_the_next_begins() {
    let changes = [
        ("Europe/London", "2026-03-28T00:00:00Z"),
        ("Europe/London", "2026-10-24T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-04-03T00:00:00Z"),
        ("Australia/Lord_Howe", "2026-10-02T00:00:00Z"),
        ("America/Sao_Paulo", "2018-11-03T00:00:00Z"),
        ("America/Havana", "2026-10-31T00:00:00Z"),
        ("Pacific/Apia", "2011-12-29T00:00:00Z"),
    ];
    for (name, first) in changes {
        let zone = TimeZone::get(name).unwrap();
        for group in [TimeGroup::Hour, TimeGroup::Day] {
            let mut before = group_key(group, &zone, at(first));
            for quarter in at(first) + 1..at(first) + 4 * 96 {
                let key = group_key(group, &zone, quarter);
                if key != before {
                    assert!(key > before, "{name}: {key} after {before}");
                    assert_eq!(next_start(group, &before, &zone), Some(quarter), "{name}: after {before}");
                    before = key;
                }
            }
        }
    }
}

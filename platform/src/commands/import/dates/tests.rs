use super::*;

fn london() -> TimeZone {
    TimeZone::get("Europe/London").unwrap()
}

/// Reads the cells of one file, one a line from line 2 on.
fn read_all(zone: TimeZone, named: Option<DateOrder>, cells: &[&str]) -> Result<Vec<String>, String> {
    let mut dates = Dates::new(zone, named);
    let read = (2..).zip(cells).map(|(line, cell)| dates.read(line, cell));
    let read = read.collect::<Result<Vec<_>, _>>()?;
    let order = dates.finish()?;
    Ok(read.into_iter().map(|instants| instants.of(order).unwrap().to_string()).collect())
}

#[test]
fn a_time_with_an_offset_is_its_instant_in_every_time_zone() {
    for zone in [TimeZone::UTC, london()] {
        for (cell, instant) in [
            ("2011-07-01T00:30:00+02:00", "2011-06-30T22:30:00Z"),
            ("2011-07-01 00:30:00+02:00", "2011-06-30T22:30:00Z"),
            ("2011-07-01T00:30:00Z", "2011-07-01T00:30:00Z"),
            ("2011-07-01T00:30:00.25-0500", "2011-07-01T05:30:00.25Z"),
        ] {
            assert_eq!(read_all(zone.clone(), None, &[cell]).unwrap(), [instant], "{cell}");
        }
    }
}

#[test]
fn a_time_without_an_offset_is_one_of_the_time_zone() {
    for cell in [
        "2011-07-01T12:05:00",
        "2011-07-01 12:05:00",
        "2011-07-01 12:05",
        "2011/07/01 12:05",
        "2011-7-1 12:05",
        "01.07.2011 12:05",
        "2011-07-01 12:05 PM",
    ] {
        assert_eq!(read_all(TimeZone::UTC, None, &[cell]).unwrap(), ["2011-07-01T12:05:00Z"], "{cell}");
        assert_eq!(read_all(london(), None, &[cell]).unwrap(), ["2011-07-01T11:05:00Z"], "{cell}");
    }
    assert_eq!(read_all(london(), None, &["2010-12-01"]).unwrap(), ["2010-12-01T00:00:00Z"]);
}

#[test]
fn a_local_time_that_is_skipped_or_repeated_has_one_instant() {
    for (cell, instant) in [
        // 01:00 to 02:00 did not exist on this day ...
        ("2011-03-27T01:30:00", "2011-03-27T01:30:00Z"),
        // ... and came twice on this one.
        ("2011-10-30T01:30:00", "2011-10-30T00:30:00Z"),
    ] {
        assert_eq!(read_all(london(), None, &[cell]).unwrap(), [instant], "{cell}");
    }
}

#[test]
fn a_date_that_is_one_day_only_decides_for_the_file() {
    let first_of_december = "2010-12-01T08:26:00Z";
    assert_eq!(
        read_all(TimeZone::UTC, None, &["12/1/2010 8:26", "12/13/2010 8:26", "1/1/2011"]).unwrap(),
        [first_of_december, "2010-12-13T08:26:00Z", "2011-01-01T00:00:00Z"]
    );
    assert_eq!(
        read_all(TimeZone::UTC, None, &["13-12-2010 8:26 PM", "01-12-2010 08:26:00"]).unwrap(),
        ["2010-12-13T20:26:00Z", first_of_december]
    );
    for (order, cell) in [(DateOrder::Mdy, "12/1/2010 8:26"), (DateOrder::Dmy, "1/12/2010 8:26 am")] {
        assert_eq!(read_all(TimeZone::UTC, Some(order), &[cell]).unwrap(), [first_of_december]);
    }
}

#[test]
fn dates_that_leave_the_order_open_or_contradict_need_the_option() {
    let error = read_all(TimeZone::UTC, None, &["1/1/2010", "12/1/2010 8:26"]).unwrap_err();
    assert!(error.contains("line 3 has 12/1/2010 8:26") && error.contains("--date-order"), "{error}");
    let error = read_all(TimeZone::UTC, None, &["13/1/2010", "1/13/2010"]).unwrap_err();
    assert!(error.contains("line 2 (13/1/2010) and line 3 (1/13/2010)"), "{error}");
    // With the option, only the row that does not fit is refused.
    assert!(read_all(TimeZone::UTC, Some(DateOrder::Dmy), &["1/13/2010"]).is_err());
}

#[test]
fn the_earlier_of_two_dates_is_found_for_both_orders() {
    let mut dates = Dates::new(TimeZone::UTC, None);
    let (one, other) = (dates.read(2, "12/1/2010").unwrap(), dates.read(3, "1/12/2011").unwrap());
    let earlier = one.earlier(other);
    let of = |order| earlier.of(order).unwrap().to_string();
    assert_eq!(
        (of(DateOrder::Mdy), of(DateOrder::Dmy)),
        ("2010-12-01T00:00:00Z".into(), "2010-01-12T00:00:00Z".into())
    );
}

#[test]
fn what_is_not_a_date_is_refused() {
    for (cell, reason) in [
        ("", "is empty"),
        ("yesterday", "is not a date"),
        ("12/1/10 8:26", "four digits of the year"),
        ("40513.351", "day number"),
        ("40513,351", "day number"),
        ("2010-13-01 08:26", "is not a date"),
        ("2010-12-01T08:26:00+99:00", "offset"),
        ("2010-12-01T08:26:00 CET", "is not a date"),
        ("13/13/2010", "is not a date"),
        ("1/2/2010 8", "is not a date"),
        ("1/2/2010 13:00 PM", "is not a date"),
        ("1/2/2010 25:00", "is not a date"),
        ("1/2/3/2010", "is not a date"),
    ] {
        let error = read_all(TimeZone::UTC, None, &[cell]).unwrap_err();
        assert!(error.contains(reason), "{cell}: {error}");
    }
}

use super::*;

/// Reads the cells of one file, one a line from line 2 on.
fn read_all(named: Option<DecimalMark>, cells: &[&str]) -> (Vec<Result<String, String>>, Result<(), String>) {
    let mut numbers = Numbers::new(named);
    let read = (2..).zip(cells).map(|(line, cell)| numbers.read(line, cell).map(|number| number.to_string()));
    let read = read.collect();
    (read, numbers.finish())
}

fn read_well(named: Option<DecimalMark>, cells: &[&str]) -> Vec<String> {
    let (read, finished) = read_all(named, cells);
    finished.unwrap();
    read.into_iter().map(Result::unwrap).collect()
}

#[test]
fn a_number_that_can_be_read_in_one_way_only_decides_for_the_file() {
    for (cells, numbers) in [
        (["2.55", "1,234", "-1,234,567.5"], ["2.55", "1234", "-1234567.5"]),
        (["2,55", "1.234", "1.234.567,5"], ["2.55", "1234", "1234567.5"]),
        (["1,234.56", "1.234", "+6"], ["1234.56", "1.234", "6"]),
        (["1.234,56", "1,234", "0,001"], ["1234.56", "1.234", "0.001"]),
        // A group of thousands does not begin with 0 and has at most three digits before it.
        (["0.125", "1.234", ".5"], ["0.125", "1.234", "0.5"]),
        (["1234,567", "1.234", ",5"], ["1234.567", "1234", "0.5"]),
        (["1.234.567", "1.234", "7"], ["1234567", "1234", "7"]),
    ] {
        assert_eq!(read_well(None, &cells), numbers);
    }
}

#[test]
fn the_named_mark_decides_without_a_look_at_the_file() {
    assert_eq!(read_well(Some(DecimalMark::Comma), &["1.234", "1,234"]), ["1234", "1.234"]);
    assert_eq!(read_well(Some(DecimalMark::Point), &["1.234", "1,234"]), ["1.234", "1234"]);
}

#[test]
fn a_point_before_three_digits_alone_is_a_decimal_point() {
    assert_eq!(read_well(None, &["1.234", "7"]), ["1.234", "7"]);
}

#[test]
fn a_file_that_leaves_its_numbers_open_needs_the_option() {
    for cells in [&["1,234", "7"][..], &["1.500", "1,234"], &["1,234", "1.500"]] {
        let error = read_all(None, cells).1.unwrap_err();
        assert!(error.contains("1,234") && error.contains("--decimal"), "{error}");
    }
    let error = read_all(None, &["1.500", "2,55"]).1.unwrap_err();
    assert!(error.contains("line 2 has 1.500") && error.contains("line 3 with 2,55"), "{error}");
}

#[test]
fn a_number_against_the_decimal_mark_of_the_file_is_refused_with_what_decided() {
    let (read, finished) = read_all(None, &["2.55", "3,95", "4.95"]);
    finished.unwrap();
    let error = read[1].as_ref().unwrap_err();
    assert!(error.contains("line 2 (2.55)") && error.contains("--decimal comma"), "{error}");
    assert!(read[2].is_ok());
}

#[test]
fn what_is_not_a_number_is_refused() {
    for (cell, reason) in [
        ("", "is empty"),
        ("one", "is not a number"),
        ("1_250", "is not a number"),
        ("8.5123E+12", "scientific notation"),
        ("1e-3", "scientific notation"),
        ("1.0.0", "is not a number"),
        ("1,23,456", "is not a number"),
        ("12.", "is not a number"),
        ("--1", "is not a number"),
        ("£2.55", "is not a number"),
        ("(2.55)", "is not a number"),
        ("٣", "is not a number"),
    ] {
        let (read, _) = read_all(None, &[cell]);
        let error = read[0].as_ref().unwrap_err();
        assert!(error.contains(reason), "{cell}: {error}");
    }
}

use super::*;

/// Its line and its cells.
type ReadRow = (u64, Vec<String>);

fn rows_of(bytes: &[u8], dialect: Dialect) -> Result<(Vec<String>, Vec<ReadRow>), TableError> {
    let mut table = Table::new(bytes, dialect)?;
    let headers = table.headers().to_vec();
    let mut rows = Vec::new();
    while let Some(row) = table.next_row()? {
        rows.push((row.line, row.cells().map(str::to_owned).collect()));
    }
    Ok((headers, rows))
}

#[test]
fn the_separator_is_found_in_the_header() {
    for separator in [",", ";", "\t", "|"] {
        let text = "A_B_\"C, D\"\r\n1_\"2; 3|\"_4\r\n".replace('_', separator);
        let (headers, rows) = rows_of(text.as_bytes(), Dialect::default()).unwrap();
        assert_eq!(headers, ["A", "B", "C, D"], "{separator:?}");
        assert_eq!(rows[0].1, ["1", "2; 3|", "4"], "{separator:?}");
    }
    // A header of one column has none.
    assert_eq!(rows_of(b"A\n1,2\n", Dialect::default()).unwrap().1[0].1, ["1", "2"]);
}

#[test]
fn a_named_separator_wins_over_the_header_and_over_the_hint_of_a_spreadsheet() {
    let dialect = |separator: &str| Dialect { separator: Some(separator.parse().unwrap()), encoding: None };
    assert_eq!(rows_of(b"A,B;C\n", dialect(";")).unwrap().0, ["A,B", "C"]);
    assert_eq!(rows_of(b"A\tB,C,D\n", dialect("tab")).unwrap().0, ["A", "B,C,D"]);
    for text in ["sep=;\r\nA,B,C;D\r\n1,2;3\r\n", "SEP=;\nA,B,C;D\n1,2;3\n"] {
        let (headers, rows) = rows_of(text.as_bytes(), Dialect::default()).unwrap();
        assert_eq!(headers, ["A,B,C", "D"]);
        assert_eq!(rows, [(3, vec!["1,2".to_owned(), "3".to_owned()])]);
    }
    for wrong in ["", "a", "\"", ";;", "€"] {
        assert!(wrong.parse::<Separator>().is_err(), "{wrong:?}");
    }
}

#[test]
fn blank_rows_are_passed_over_and_lines_are_those_of_the_file() {
    let text = "A,B\n1,2\n , \n\n\"3\n3\",4\n5,6\n";
    let (_, rows) = rows_of(text.as_bytes(), Dialect::default()).unwrap();
    let lines: Vec<_> = rows.iter().map(|(line, cells)| (*line, cells[0].as_str())).collect();
    assert_eq!(lines, [(2, "1"), (4, "3\n3"), (7, "5")]);
}

#[test]
fn a_row_fits_the_header_unless_it_is_short_or_has_further_values() {
    let mut table = Table::new(&b"A,B\n1,2\n1,2,,\n1\n1,2,3\n"[..], Dialect::default()).unwrap();
    let headers = table.headers().to_vec();
    let mut fitting = Vec::new();
    while let Some(row) = table.next_row().unwrap() {
        fitting.push(row.check_width(&headers).is_ok());
    }
    assert_eq!(fitting, [true, true, false, false]);
}

#[test]
fn a_quote_that_is_never_closed_ends_the_table_at_its_line() {
    let text = format!("A,B\n1,2\n\"3,4\n{}", "5,6\n".repeat(ROW_BYTES_MAX));
    let error = rows_of(text.as_bytes(), Dialect::default()).unwrap_err();
    assert!(error.to_string().contains("line 3: the row has more than"), "{error}");
}

#[test]
fn a_file_without_a_header_is_refused() {
    for text in ["", "\n", ",,\n1,2,3\n", "\u{feff}"] {
        let error = rows_of(text.as_bytes(), Dialect::default()).unwrap_err();
        assert!(matches!(error, TableError::NoHeader), "{text:?}: {error}");
    }
}

#[test]
fn the_id_is_that_of_the_bytes_whether_compressed_or_not() {
    let text = "A,B\n1,2\n";
    let directory = tempfile::tempdir().unwrap();
    let (plain, compressed) = (directory.path().join("a.csv"), directory.path().join("b.csv.zst"));
    std::fs::write(&plain, text).unwrap();
    std::fs::write(&compressed, zstd::encode_all(text.as_bytes(), 0).unwrap()).unwrap();
    let id_of = |path: &Path| {
        let mut table = Table::new(open(path).unwrap(), Dialect::default()).unwrap();
        while table.next_row().unwrap().is_some() {}
        table.finish().id
    };
    assert_eq!(id_of(&plain), id_of(&compressed));
    assert_eq!(id_of(&plain).len(), 32);
    std::fs::write(&plain, "A,B\n1,3\n").unwrap();
    assert_ne!(id_of(&plain), id_of(&compressed));
}

use super::*;

#[derive(Serialize)]
struct Item {
    id: u32,
    text: &'static str,
    amount: i64,
    parts: Vec<u32>,
    none: Option<u32>,
}

impl TableRow for Item {
    const COLUMNS: &'static [&'static str] = &["id", "text", "amount", "parts", "none"];
}

fn text(items: &[Item]) -> String {
    String::from_utf8(csv(items).unwrap()).unwrap()
}

fn item(text: &'static str) -> Item {
    Item { id: 1, text, amount: -5, parts: vec![1, 2], none: None }
}

#[test]
fn a_table_has_a_header_and_quotes_cells_as_rfc_4180_says() {
    assert_eq!(text(&[]), "id,text,amount,parts,none\r\n");
    let rows = text(&[item("plain"), item("a \"b\", c\nd")]);
    let expected = "1,plain,-5,\"[1,2]\",\r\n1,\"a \"\"b\"\", c\nd\",-5,\"[1,2]\",\r\n";
    assert_eq!(rows, format!("id,text,amount,parts,none\r\n{expected}"));
}

#[test]
fn no_text_is_a_formula() {
    for formula in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1"] {
        let rows = text(&[item(formula)]);
        let row = rows.split_once("\r\n").unwrap().1;
        let cell = row.split_once(',').unwrap().1.trim_start_matches('"');
        assert!(cell.starts_with('\''), "{formula:?} became {row:?}");
    }
}

#[test]
fn a_caller_gets_csv_if_it_accepts_csv_and_not_json() {
    let format = |accept: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        Format::accepted(&headers)
    };
    assert_eq!(Format::accepted(&HeaderMap::new()), Format::Json);
    for accept in ["*/*", "application/json", "text/csv, application/json", "text/html"] {
        assert_eq!(format(accept), Format::Json, "{accept}");
    }
    for accept in ["text/csv", "Text/CSV; charset=utf-8", "text/csv, */*;q=0.1"] {
        assert_eq!(format(accept), Format::Csv, "{accept}");
    }
}

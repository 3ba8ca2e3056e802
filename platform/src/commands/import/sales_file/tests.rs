use super::*;

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

/// A file and its rejected rows.
fn parsed_as(text: &str, change: impl FnOnce(&mut SalesFormat)) -> Result<(SalesFile, Vec<String>), String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rejects.csv");
    let mut rejects = Rejects::new(Some(path.clone()));
    let mut format = SalesFormat::new("GBP".parse().unwrap());
    format.keeps_credits = true;
    change(&mut format);
    let file = parse(text.as_bytes(), &format, &mut rejects).map_err(|error| error.to_string())?;
    rejects.finish().unwrap();
    let rejected = std::fs::read_to_string(path).unwrap_or_default();
    Ok((file, rejected.lines().skip(1).map(str::to_owned).collect()))
}

fn parsed(rows: &str) -> (SalesFile, Vec<String>) {
    parsed_as(&format!("{HEADER}{rows}"), |_| ()).unwrap()
}

fn only_sale(rows: &str) -> Sale {
    let (mut file, rejected) = parsed(rows);
    assert_eq!((file.orders.len(), rejected.as_slice()), (1, &[][..]));
    file.orders.remove(0)
}

#[test]
fn scattered_rows_of_an_invoice_become_one_order_and_equal_rows_are_kept() {
    let (file, _) = parsed(
        "536365,85123A,HOLDER,6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n\
         536366,71053,LANTERN,1,2010-12-01T08:28:00,3.39,,France\n\
         536365,85123a,HOLDER,2,2010-12-01T08:25:00,2.55,17850,United Kingdom\n\
         536365,85123a,HOLDER,2,2010-12-01T08:26:00,2.55,17850,United Kingdom\n",
    );
    let [first, second] = file.orders.as_slice() else { panic!("{:?}", file.orders) };
    let lines: Vec<_> =
        first.lines.iter().map(|line| (line.row, line.line, line.sku.as_str(), line.quantity)).collect();
    assert_eq!(lines, [(1, 2, "85123A", 6), (3, 4, "85123a", 2), (4, 5, "85123a", 2)]);
    assert_eq!(first.customer_id.as_deref(), Some("17850"));
    assert_eq!(first.placed_at, "2010-12-01T08:25:00Z".parse().unwrap(), "the earliest line counts");
    assert_eq!((first.units(), first.gross().minor_units()), (10, 2550));
    assert_eq!((second.customer_id.as_deref(), second.country.as_deref()), (None, Some("France")));
    assert_eq!((file.kind, file.rows), (Kind::OnlineRetail, 4));
}

#[test]
fn rows_that_are_not_sale_lines_are_counted_by_kind() {
    let (file, rejected) = parsed(
        "C536379,D,Discount,-1,2010-12-01T09:41:00,27.50,14527,United Kingdom\n\
         A563185,B,Adjust bad debt,1,2011-08-12T14:50:00,11062.06,,United Kingdom\n\
         A563186,B,Adjust bad debt,1,2011-08-12T14:51:00,-11062.06,,United Kingdom\n\
         536589,21777,,-10,2010-12-01T16:50:00,0.00,,United Kingdom\n\
         536414,22139,,56,2010-12-01T11:52:00,0.00,,United Kingdom\n\
         53641,22139,,56,2010-12-01T11:52:00,1.00,,United Kingdom\n",
    );
    assert!(file.orders.is_empty() && rejected.is_empty());
    let expected = Skipped { credits: 1, adjustments: 2, write_offs: 1, unpriced: 1, unknown: 1 };
    assert_eq!(file.skipped, expected);
}

#[test]
fn credit_lines_are_kept_with_their_number_in_the_invoice() {
    let (file, _) = parsed(
        "C536400,71053,LANTERN,-3,2010-12-02T08:28:00,3.395,17850,United Kingdom\n\
         C536401,71053,LANTERN,one,2010-12-02T08:28:00,3.39,,France\n\
         C536400,71053,LANTERN,2,2010-12-02T08:28:00,-1,17850,United Kingdom\n",
    );
    let credit = |row: u64| &file.credits[&row];
    assert_eq!((credit(1).number, credit(2).number, credit(3).number), (1, 1, 2));
    assert_eq!(
        (credit(1).units.clone(), credit(1).unit_price.clone()),
        (Ok(3), Ok(Amount::new(340).unwrap()))
    );
    for (figure, reason) in [
        (credit(2).units.clone().map(drop), "Quantity"),
        (credit(3).units.clone().map(drop), "not negative"),
        (credit(3).unit_price.clone().map(drop), "UnitPrice -1 is negative"),
    ] {
        assert!(figure.unwrap_err().contains(reason), "{reason}");
    }
}

#[test]
fn prices_are_exact_and_rounded_half_up_to_minor_units() {
    for (price, pence) in [
        ("2.55", 255),
        ("0.001", 0),
        ("0.005", 1),
        ("1.115", 112),
        ("8142.75", 814_275),
        ("7", 700),
        ("\"1,234.56\"", 123_456),
        ("90071992547409.91", Amount::MAX.minor_units()),
    ] {
        let sale = only_sale(&format!("550193,PADS,PADS,1,2011-04-15T09:27:00,{price},13952,UK\n"));
        assert_eq!(sale.lines[0].unit_price.minor_units(), pence, "of {price}");
    }
    let rows = format!("{HEADER}550193,PADS,PADS,1,2011-04-15T09:27:00,1.6,13952,UK\n");
    for (currency, minor_units) in [("JPY", 2), ("EUR", 160), ("KWD", 1600)] {
        let (file, _) = parsed_as(&rows, |format| format.currency = currency.parse().unwrap()).unwrap();
        assert_eq!(file.orders[0].lines[0].unit_price.minor_units(), minor_units, "{currency}");
    }
    let error = parsed_as(&rows, |format| format.currency = "XAU".parse().unwrap()).unwrap_err();
    assert!(error.contains("XAU"), "{error}");
}

/// The columns of Online Retail II, as a spreadsheet in German writes them.
#[test]
fn another_form_of_the_same_rows_gives_the_same_orders() {
    let (plain, _) = parsed(
        "536365,85123A,\"HOLDER; WHITE\",1000,2010-12-01T08:26:00,1234.56,17850,France\n\
         536366,71053,LANTERN,1,2011-07-13T12:00:00,0.55,,EIRE\n",
    );
    let semicolons = "Invoice;StockCode;Description;Quantity;InvoiceDate;Price;Customer ID;Country\r\n\
         536365 ;85123A;\"HOLDER; WHITE\";1.000;01.12.2010 08:26;1.234,56;17850.0;France \r\n\
         536366; 71053;LANTERN;1,0;13.07.2011 12:00;0,55;;EIRE\r\n";
    let (file, rejected) = parsed_as(&format!("\u{feff}{semicolons}"), |_| ()).unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    assert_eq!((&file.orders, file.trimmed), (&plain.orders, 3));

    let tabs = "INVOICE_NO\tstock code\tquantity\tInvoice Date\tunit price\tcustomer_id\tCOUNTRY\tNote\n\
         536366\t71053\t1\t7/13/2011 12:00\t0.55\t\tEIRE\t\n\
         536365\t85123A\t1,000\t12/1/2010 8:26\t1,234.56\t17850\tFrance\t\n";
    let (mut file, rejected) = parsed_as(tabs, |_| ()).unwrap();
    assert!(rejected.is_empty(), "{rejected:?}");
    for (sale, expected) in file.orders.iter_mut().zip(&plain.orders) {
        for (line, expected) in sale.lines.iter_mut().zip(&expected.lines) {
            (line.row, line.line) = (expected.row, expected.line);
        }
    }
    assert_eq!(file.orders, plain.orders);
}

#[test]
fn an_offset_gives_the_right_instant_and_the_named_time_zone_counts_for_the_other_times() {
    let placed_at = |date: &str, zone: Option<&str>| {
        let rows = format!("{HEADER}536365,A,A,1,{date},1.00,1,UK\n");
        let zone = zone.map(|zone| TimeZone::get(zone).unwrap());
        let (file, _) = parsed_as(&rows, |format| format.time_zone = zone).unwrap();
        file.orders[0].placed_at.to_string()
    };
    for (date, zone, instant) in [
        ("2011-07-01T00:30:00+02:00", None, "2011-06-30T22:30:00Z"),
        ("2011-07-01T00:30:00Z", None, "2011-07-01T00:30:00Z"),
        ("2011-07-01T12:00:00", None, "2011-07-01T11:00:00Z"),
        ("2011-07-01 12:00:00", Some("UTC"), "2011-07-01T12:00:00Z"),
        ("2011-07-01 12:00", Some("America/New_York"), "2011-07-01T16:00:00Z"),
    ] {
        assert_eq!(placed_at(date, zone), instant, "for {date}");
    }
}

#[test]
fn a_bad_row_is_rejected_with_its_line_and_reason_and_holds_back_its_whole_invoice() {
    let good = "536365,A,A,1,2010-12-01T08:26:00,1.00,1,UK\n536366,A,A,1,2010-12-01T08:26:00,1.00,1,UK\n";
    for (bad, reason) in [
        ("536365,A,A,one,2010-12-01T08:26:00,1.00,1,UK", "Quantity \"one\" is not a number"),
        ("536365,A,A,1.5,2010-12-01T08:26:00,1.00,1,UK", "Quantity \"1.5\" is not a whole number"),
        ("536365,A,A,5000000000,2010-12-01T08:26:00,1.00,1,UK", "Quantity 5000000000 is too large"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.0.0,1,UK", "UnitPrice \"1.0.0\""),
        ("536365,A,A,1,2010-12-01T08:26:00,1_250,1,UK", "UnitPrice \"1_250\""),
        (
            "536365,A,A,1,2010-12-01T08:26:00,90071992547409.92,1,UK",
            "UnitPrice 90071992547409.92 is too large",
        ),
        ("536365,A,A,1,yesterday,1.00,1,UK", "InvoiceDate \"yesterday\""),
        ("536365, ,A,1,2010-12-01T08:26:00,1.00,1,UK", "StockCode \"\""),
        ("536365,8.5123E+12,A,1,2010-12-01T08:26:00,1.00,1,UK", "StockCode \"8.5123E+12\""),
        ("536365,'00123,A,1,2010-12-01T08:26:00,1.00,1,UK", "StockCode \"'00123\""),
        ("536365,\"=\"\"00123\"\"\",A,1,2010-12-01T08:26:00,1.00,1,UK", "formula"),
        ("536365,77002.0,A,1,2010-12-01T08:26:00,1.00,1,UK", "StockCode \"77002.0\" has the decimals"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.00,1.7E+04,UK", "CustomerID \"1.7E+04\""),
        ("536365,A,A,1,2010-12-01T08:26:00,1.00,2,UK", "another customer"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.00,1,France", "another customer or country"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.00", "the row has 6 cells, and the header has 8"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.00,1,UK,x", "the row has 9 cells, and the header has 8"),
    ] {
        let (file, rejected) = parsed(&format!("{good}{bad}\n"));
        let [row] = rejected.as_slice() else { panic!("{rejected:?} for {bad}") };
        let reason = reason.replace('"', "\"\"");
        assert!(row.starts_with("4,") && row.contains(&reason), "{row} for {bad}");
        assert!(row.contains("536365"), "{row} has the cells of {bad}");
        let left: Vec<_> = file.orders.iter().map(|sale| sale.invoice.as_str()).collect();
        assert_eq!(
            (left.as_slice(), file.held_back),
            (&["536366"][..], HeldBack { invoices: 1, rows: 1 }),
            "{bad}"
        );
    }
}

#[test]
fn a_bad_invoice_number_holds_back_no_invoice_and_a_later_row_does_not_revive_one() {
    let (file, rejected) = parsed(
        "5.36365E+05,A,A,1,2010-12-01T08:26:00,1.00,1,UK\n\
         536365,A,A,one,2010-12-01T08:26:00,1.00,1,UK\n\
         536365,A,A,1,2010-12-01T08:26:00,1.00,1,UK\n\
         536366.0,A,A,1,2010-12-01T08:26:00,1.00,77002.0,UK\n",
    );
    assert_eq!(rejected.len(), 2);
    let [sale] = file.orders.as_slice() else { panic!("{:?}", file.orders) };
    assert_eq!((sale.invoice.as_str(), sale.customer_id.as_deref()), ("536366", Some("77002")));
    assert_eq!(file.held_back, HeldBack { invoices: 1, rows: 1 });
}

#[test]
fn the_error_for_a_file_that_cannot_be_understood_says_what_to_do() {
    let row = "536365,A,A,1,2010-12-01T08:26:00,1.00,1,UK\n";
    for (text, parts) in [
        ("Invoice,StockCode\n1,2\n".to_owned(), &["quantity", "\"Invoice\", \"StockCode\"", "--column"][..]),
        (HEADER.replace("Quantity", "Qty") + row, &["quantity", "\"Qty\"", "--column quantity="]),
        (
            HEADER.to_owned() + &row.replace("2010-12-01T08:26:00", "12/1/2010 8:26"),
            &["line 2", "--date-order"],
        ),
        (HEADER.to_owned() + &row.replace("1.00,1", "\"1,234\",1"), &["line 2", "1,234", "--decimal"]),
        (String::new(), &["header"]),
    ] {
        let error = parsed_as(&text, |_| ()).unwrap_err();
        for part in parts {
            assert!(error.contains(part), "{part} is not in {error}");
        }
    }
    let (file, _) = parsed_as(&(HEADER.replace("Quantity", "Qty") + row), |format| {
        format.columns = vec!["quantity=qty".parse().unwrap()];
    })
    .unwrap();
    assert_eq!((file.kind, file.orders.len()), (Kind::OnlineRetail, 1));
}

#[test]
fn every_invoice_of_another_kind_of_file_is_a_sale() {
    let text = "Order,Item,Qty,When,Each\nINV-1/7,A,2,2011-07-01 12:00:00,0\nC1,B,1,2011-07-01,1.5\n\
         C1,B,-1,2011-07-01,1.5\nC2,B,1,2011-07-01,-1.5\n";
    let choices =
        ["invoice=Order", "sku=Item", "quantity=Qty", "date=When", "price=Each", "customer=", "country="];
    let (file, rejected) =
        parsed_as(text, |format| format.columns = choices.map(|choice| choice.parse().unwrap()).to_vec())
            .unwrap();
    assert_eq!(rejected.len(), 2, "{rejected:?}");
    assert!(
        rejected[0].contains("Qty -1 is not above zero") && rejected[1].contains("Each -1.5 is below zero")
    );
    let [sale] = file.orders.as_slice() else { panic!("{:?}", file.orders) };
    assert_eq!(
        (sale.invoice.as_str(), sale.customer_id.as_ref(), sale.country.as_ref()),
        ("INV-1/7", None, None)
    );
    assert_eq!(sale.placed_at.to_string(), "2011-07-01T12:00:00Z", "UTC");
    assert_eq!((file.kind, file.skipped), (Kind::Other, Skipped::default()));
}

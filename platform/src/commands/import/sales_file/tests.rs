use super::*;

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\n";

fn parsed(rows: &str) -> Result<SalesFile, String> {
    parse(format!("{HEADER}{rows}").as_bytes()).map_err(|error| error.to_string())
}

fn only_sale(rows: &str) -> Sale {
    let mut file = parsed(rows).unwrap();
    assert_eq!(file.orders.len(), 1);
    file.orders.remove(0)
}

#[test]
fn scattered_rows_of_an_invoice_become_one_order_and_equal_rows_are_kept() {
    let file = parsed(
        "536365,85123A,HOLDER,6,2010-12-01T08:26:00,2.55,17850,United Kingdom\n\
         536366,71053,LANTERN,1,2010-12-01T08:28:00,3.39,,France\n\
         536365,85123a,HOLDER,2,2010-12-01T08:25:00,2.55,17850,United Kingdom\n\
         536365,85123a,HOLDER,2,2010-12-01T08:26:00,2.55,17850,United Kingdom\n",
    )
    .unwrap();
    let [first, second] = file.orders.as_slice() else { panic!("{:?}", file.orders) };
    let lines: Vec<_> = first.lines.iter().map(|line| (line.sku.as_str(), line.quantity)).collect();
    assert_eq!(lines, [("85123A", 6), ("85123a", 2), ("85123a", 2)]);
    assert_eq!(first.customer_id.as_deref(), Some("17850"));
    assert_eq!(first.placed_at, "2010-12-01T08:25:00Z".parse().unwrap(), "the earliest line counts");
    assert_eq!((first.units(), first.gross().minor_units()), (10, 2550));
    assert_eq!((second.customer_id.as_deref(), second.country.as_str()), (None, "France"));
}

#[test]
fn rows_that_are_not_sale_lines_are_counted_by_kind() {
    let file = parsed(
        "C536379,D,Discount,-1,2010-12-01T09:41:00,27.50,14527,United Kingdom\n\
         A563185,B,Adjust bad debt,1,2011-08-12T14:50:00,11062.06,,United Kingdom\n\
         A563186,B,Adjust bad debt,1,2011-08-12T14:51:00,-11062.06,,United Kingdom\n\
         536589,21777,,-10,2010-12-01T16:50:00,0.00,,United Kingdom\n\
         536414,22139,,56,2010-12-01T11:52:00,0.00,,United Kingdom\n\
         53641,22139,,56,2010-12-01T11:52:00,1.00,,United Kingdom\n",
    )
    .unwrap();
    assert!(file.orders.is_empty());
    let expected = Skipped { credits: 1, adjustments: 2, write_offs: 1, unpriced: 1, unknown: 1 };
    assert_eq!(file.skipped, expected);
}

#[test]
fn prices_are_exact_and_rounded_half_up_to_pence() {
    for (price, pence) in [
        ("2.55", 255),
        ("0.001", 0),
        ("0.005", 1),
        ("1.115", 112),
        ("8142.75", 814_275),
        ("7", 700),
        ("90071992547409.91", Amount::MAX.minor_units()),
    ] {
        let sale = only_sale(&format!("550193,PADS,PADS,1,2011-04-15T09:27:00,{price},13952,UK\n"));
        assert_eq!(sale.lines[0].unit_price.minor_units(), pence, "of {price}");
    }
    assert!(parsed("550193,PADS,PADS,1,2011-04-15T09:27:00,90071992547409.92,1,UK\n").is_err());
}

#[test]
fn wall_clock_times_are_read_as_london_time() {
    for (wall_clock, instant) in [
        ("2010-12-01T08:26:00", "2010-12-01T08:26:00Z"),
        ("2011-07-01T12:00:00", "2011-07-01T11:00:00Z"),
        // 01:00 to 02:00 did not exist on this day ...
        ("2011-03-27T01:30:00", "2011-03-27T01:30:00Z"),
        // ... and came twice on this one.
        ("2011-10-30T01:30:00", "2011-10-30T00:30:00Z"),
    ] {
        let sale = only_sale(&format!("536365,A,A,1,{wall_clock},1.00,1,UK\n"));
        assert_eq!(sale.placed_at, instant.parse().unwrap(), "for {wall_clock}");
    }
}

#[test]
fn a_malformed_row_stops_the_import_and_the_error_names_its_line() {
    let good = "536365,A,A,1,2010-12-01T08:26:00,1.00,1,UK\n";
    for (bad, reason) in [
        ("536365,A,A,one,2010-12-01T08:26:00,1.00,1,UK\n", "Quantity"),
        ("536365,A,A,5000000000,2010-12-01T08:26:00,1.00,1,UK\n", "Quantity"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.0.0,1,UK\n", "UnitPrice"),
        ("536365,A,A,1,yesterday,1.00,1,UK\n", "InvoiceDate"),
        ("536365, ,A,1,2010-12-01T08:26:00,1.00,1,UK\n", "StockCode"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.00,2,UK\n", "another customer"),
        ("536365,A,A,1,2010-12-01T08:26:00,1.00,1,France\n", "another customer or country"),
    ] {
        let error = parsed(&format!("{good}{bad}")).unwrap_err();
        assert!(error.contains("line 3") && error.contains(reason), "{error:?} for {bad}");
    }
}

#[test]
fn a_file_with_other_columns_is_refused() {
    let error = parse("Invoice,StockCode\n1,2\n".as_bytes()).unwrap_err().to_string();
    assert!(error.contains("InvoiceNo"), "{error}");
}

#[test]
fn the_id_identifies_the_content_whether_compressed_or_not() {
    let csv = format!("{HEADER}536365,A,A,1,2010-12-01T08:26:00,1.00,1,UK\n");
    let directory = tempfile::tempdir().unwrap();
    let (plain, compressed) = (directory.path().join("a.csv"), directory.path().join("b.csv.zst"));
    std::fs::write(&plain, &csv).unwrap();
    std::fs::write(&compressed, zstd::encode_all(csv.as_bytes(), 0).unwrap()).unwrap();

    let (plain, compressed) = (read(&plain).unwrap(), read(&compressed).unwrap());
    assert_eq!(plain.id, compressed.id);
    assert_eq!(plain.orders, compressed.orders);
    let other = parse(csv.replace("536365", "536366").as_bytes()).unwrap();
    assert_ne!(plain.id, other.id);
}

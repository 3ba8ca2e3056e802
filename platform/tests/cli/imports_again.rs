//! Imports of a file that was imported before in another form, by an earlier version, or in part.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::support::{DataDir, Finished, Server, write_sales_file};

const HEADER: &str = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country";
const ROWS: [&str; 5] = [
    "536365,85123A,\"HOLDER; WHITE\",6,2010-12-01T08:26:00,2.55,17850,United Kingdom",
    "536365,71053,LANTERN,2,2010-12-01T08:26:00,1234.56,17850,United Kingdom",
    "536366,71053,LANTERN,4,2010-12-13T08:28:00,3.39,,France",
    "C536400,71053,LANTERN,-1,2010-12-14T09:01:00,3.39,,France",
    "C536400,71053,LANTERN,-1,2010-12-14T09:01:00,3.39,,France",
];

/// Imports in the data directory, where the files with default names are then.
async fn import(data: &DataDir, server: &Server, arguments: &[&str]) -> Finished {
    let urls = ["--command-url", &server.command_url, "--query-url", &server.query_url];
    let mut command = data.command(&[&["import"], arguments, &urls].concat());
    Finished::from(command.current_dir(data.path("")).output().await.unwrap())
}

async fn import_well(data: &DataDir, server: &Server, arguments: &[&str]) -> Finished {
    let finished = import(data, server, arguments).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

/// Every event of a SKU: an import that changes nothing adds none.
async fn history(data: &DataDir, sku: &str) -> String {
    data.run_well(&["audit", "history", &format!("stock-{sku}"), "--json"]).await
}

/// The orders with these references, from the query API, in this order.
async fn orders(server: &Server, references: &[&str]) -> Vec<Value> {
    let list = server.get("/v1/orders").await;
    let items = list["items"].as_array().unwrap();
    let mut found = Vec::new();
    for reference in references {
        let mut matching = items.iter().filter(|order| order["reference"] == *reference);
        let order = matching.next().unwrap_or_else(|| panic!("{reference} is not in {list}"));
        assert!(matching.next().is_none(), "{reference} was placed twice: {list}");
        found.push(server.get(&format!("/v1/orders/{}", order["order_id"].as_str().unwrap())).await);
    }
    found
}

#[tokio::test]
async fn a_re_saved_and_longer_file_places_only_its_new_orders() {
    let data = DataDir::new();
    let server = data.serve().await;
    write_sales_file(&data.path("sales.csv"), &ROWS);
    let first = import_well(&data, &server, &["sales.csv"]).await;
    assert_eq!((first.figure("orders"), first.figure("source")), ("2 (0 already there)", "online-retail"));
    assert_eq!(first.figure("trimmed"), "0 cells");
    let before = (history(&data, "85123A").await, history(&data, "71053").await);

    // A spreadsheet has sorted the rows and saved them for another country; one invoice is new.
    let re_saved = "\u{feff}Invoice;StockCode;Description;Quantity;InvoiceDate;Price;Customer ID;Country\r\n\
         536367;\"22139\";POTS;1;01.01.2011 08:30;4,95;13047.0;EIRE\r\n\
         536366;71053;LANTERN;4;13.12.2010 08:28;3,39;;\"France \"\r\n\
         536365;71053;LANTERN;2;01.12.2010 08:26;1.234,56;17850;United Kingdom\r\n\
         536365;85123A;\"HOLDER; WHITE\";6;01.12.2010 08:26;2,55;17850;United Kingdom\r\n";
    std::fs::write(data.path("again.csv"), re_saved).unwrap();
    let second = import_well(&data, &server, &["again.csv"]).await;
    for (name, value) in [
        ("orders", "3 (2 already there)"),
        ("SKUs", "3 (2 already there)"),
        ("trimmed", "1 cells"),
        ("changed", "0 rows of 0 orders"),
        ("refused", "0"),
    ] {
        assert_eq!(second.figure(name), value, "{name}");
    }
    assert_eq!((history(&data, "85123A").await, history(&data, "71053").await), before);
    let [new] = orders(&server, &["536367"]).await.try_into().unwrap();
    assert_eq!((&new["customer_id"], &new["payment_status"]), (&"13047".into(), &"paid".into()));

    // The first file again, under another source: other orders.
    let other = import_well(&data, &server, &["sales.csv", "--source", "market"]).await;
    assert_eq!(other.figure("orders"), "2 (0 already there)");
}

#[tokio::test]
async fn changed_rows_are_listed_in_a_file_and_not_applied() {
    let data = DataDir::new();
    let server = data.serve().await;
    write_sales_file(&data.path("sales.csv"), &ROWS);
    import_well(&data, &server, &["sales.csv"]).await;
    let before = (history(&data, "71053").await, orders(&server, &["536365", "536366"]).await);

    let mut changed = ROWS;
    changed[1] = "536365,71053,LANTERN,5,2010-12-01T08:26:00,1234.56,17850,United Kingdom";
    write_sales_file(&data.path("sales.csv"), &changed);
    let finished = import(&data, &server, &["sales.csv"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("1 orders differ from the file"), "{finished:?}");
    assert_eq!(finished.figure("orders"), "1 (1 already there)");
    assert_eq!(finished.figure("changed"), "1 rows of 1 orders, not applied: see sales.csv.changed.csv");
    let listed = std::fs::read_to_string(data.path("sales.csv.changed.csv")).unwrap();
    let order_id = before.1[0]["order_id"].as_str().unwrap();
    let change = "\"line 2 of the order has 2 of 71053 at 123456, and 5 at 123456 here\"";
    assert_eq!(listed, format!("line,record,order_id,change\n3,536365,{order_id},{change}\n"));
    assert_eq!((history(&data, "71053").await, orders(&server, &["536365", "536366"]).await), before);

    // Without the query API, the order is known to differ, but not where.
    let nowhere = "http://127.0.0.1:1";
    let arguments = ["import", "sales.csv", "--command-url", &server.command_url, "--query-url", nowhere];
    let finished = data.command(&arguments).current_dir(data.path("")).output().await.unwrap();
    assert_eq!(finished.status.code(), Some(1));
    let listed = std::fs::read_to_string(data.path("sales.csv.changed.csv")).unwrap();
    assert!(listed.contains(order_id) && listed.contains("which ones is not known"), "{listed}");
}

#[tokio::test]
async fn bad_rows_stop_the_import_unless_they_are_to_be_skipped_and_the_corrected_file_adds_their_invoices() {
    let data = DataDir::new();
    let server = data.serve().await;
    let mut rows = ROWS;
    rows[1] = "536365,7.1053E+04,LANTERN,2,2010-12-01T08:26:00,1234.56,17850,United Kingdom";
    write_sales_file(&data.path("sales.csv"), &rows);
    let stopped = import(&data, &server, &["sales.csv"]).await;
    assert_eq!(stopped.code, Some(1), "{stopped:?}");
    for part in
        ["1 rows", "nothing was sent", "line 3: StockCode \"7.1053E+04\" is in scientific", "--skip-bad-rows"]
    {
        assert!(stopped.stderr.contains(part), "{part} is not in {stopped:?}");
    }
    assert_eq!(data.run(&["audit", "history", "stock-71053"]).await.code, Some(1), "nothing was received");
    assert!(!data.path("sales.csv.rejected.csv").exists());

    let skipped = import_well(&data, &server, &["sales.csv", "--skip-bad-rows"]).await;
    assert_eq!(skipped.figure("orders"), "1 (0 already there)", "never half an order");
    assert_eq!(skipped.figure("rejected"), "1 rows; with them 1 invoices and 1 other rows of these");
    assert!(skipped.stdout.contains("  all in sales.csv.rejected.csv\n"), "{skipped:?}");
    let rejected = std::fs::read_to_string(data.path("sales.csv.rejected.csv")).unwrap();
    let [header, row] = rejected.lines().collect::<Vec<_>>().try_into().unwrap();
    assert_eq!(header, format!("line,reason,{HEADER}"));
    assert!(row.starts_with("3,\"StockCode \"\"7.1053E+04\"\"") && row.ends_with(rows[1]), "{row}");

    write_sales_file(&data.path("sales.csv"), &ROWS);
    let corrected = import_well(&data, &server, &["sales.csv"]).await;
    assert_eq!(corrected.figure("orders"), "2 (1 already there)");
    let stock = server.get("/v1/stock/71053?min_revision=3").await;
    assert_eq!((&stock["on_hand"], &stock["available"]), (&6.into(), &0.into()));
}

#[tokio::test]
async fn ten_bad_rows_among_thousands_are_listed_and_the_rest_is_imported() {
    const INVOICES: u32 = 400;
    let data = DataDir::new();
    let server = data.serve().await;
    let mut text = format!("{HEADER}\n");
    for number in 0..INVOICES {
        for line in 0..10 {
            // One bad row in every fortieth invoice.
            let quantity = if number % 40 == 7 && line == 3 { "1e3" } else { "2" };
            let invoice = 500_000 + number;
            writeln!(text, "{invoice},SKU-{line},THING,{quantity},2010-12-01T08:26:00,1.50,17850,EIRE")
                .unwrap();
        }
    }
    std::fs::write(data.path("sales.csv"), text).unwrap();
    let finished =
        import_well(&data, &server, &["sales.csv", "--skip-bad-rows", "--rejects", "bad.csv"]).await;
    assert_eq!(finished.figure("rows"), "4,000 in UTF-8");
    assert_eq!(finished.figure("rejected"), "10 rows; with them 10 invoices and 90 other rows of these");
    assert_eq!(finished.figure("orders"), "390 (0 already there)");
    let listed = std::fs::read_to_string(data.path("bad.csv")).unwrap();
    let lines: Vec<_> = listed.lines().skip(1).map(|row| row.split(',').next().unwrap().to_owned()).collect();
    let expected: Vec<_> = (0..10).map(|nth| (2 + (nth * 40 + 7) * 10 + 3).to_string()).collect();
    assert_eq!(lines, expected);
    for line in expected {
        assert!(
            finished.stdout.contains(&format!("  line {line}: Quantity \"1e3\"")),
            "{line}: {finished:?}"
        );
    }
}

/// What version 04cad99 sends for this file: all stock at once, then each order, under keys of the content.
async fn import_as_earlier_versions_did(server: &Server, content: &str, orders: &[&str]) -> String {
    let digest = Sha256::digest(content.as_bytes());
    let id = hex::encode(&digest[..16]);
    let reference = format!("import/{id}");
    let receipt =
        |sku: &str, quantity: u32| json!({"sku": sku, "quantity": quantity, "reference": reference});
    let receipts = json!({"receipts": [receipt("71053", 6), receipt("85123A", 6)]});
    server.post("/v1/stock/receipts", &format!("import/{id}/receipts/1"), receipts).await;
    let line =
        |sku: &str, quantity: u32, price: u32| json!({"sku": sku, "quantity": quantity, "unit_price": price});
    for invoice in orders {
        let key = format!("import/{id}/{invoice}");
        let order = match *invoice {
            "536365" => json!({
                "customer_id": "17850", "currency": "GBP", "country": "United Kingdom", "reference": "536365",
                "placed_at": "2010-12-01T08:26:00Z", "payment_due_at": null,
                "lines": [line("85123A", 6, 255), line("71053", 2, 123_456)]
            }),
            _ => json!({
                "currency": "GBP", "country": "France", "reference": "536366", "placed_at": "2010-12-13T08:28:00Z",
                "payment_due_at": null, "lines": [line("71053", 4, 339)]
            }),
        };
        let placed = server.post("/v1/orders", &key, order).await;
        let payment = format!("/v1/payments/{}", placed["payment_id"].as_str().unwrap());
        for step in ["authorize", "capture"] {
            server.post(&format!("{payment}/{step}"), &format!("{key}/{step}"), json!({})).await;
        }
    }
    id
}

#[tokio::test]
async fn a_file_that_an_earlier_version_imported_in_part_is_finished_and_receives_no_stock_again() {
    let data = DataDir::new();
    let server = data.serve().await;
    write_sales_file(&data.path("sales.csv"), &ROWS);
    let content = std::fs::read_to_string(data.path("sales.csv")).unwrap();
    let id = import_as_earlier_versions_did(&server, &content, &["536365"]).await;

    let first = import_well(&data, &server, &["sales.csv"]).await;
    assert_eq!(first.figure("orders"), "2 (1 already there)");
    assert_eq!(first.figure("SKUs"), "2 (2 already there)");
    assert!(first.figure("source").starts_with(&id), "{first:?}");
    let second = import_well(&data, &server, &["sales.csv"]).await;
    assert_eq!(second.figure("orders"), "2 (2 already there)");
    let stock = server.get("/v1/stock/71053?min_revision=2").await;
    assert_eq!((&stock["on_hand"], &stock["available"]), (&6.into(), &0.into()));
    orders(&server, &["536365", "536366"]).await;
}

#[tokio::test]
async fn the_id_of_a_file_names_the_orders_of_an_earlier_version_for_a_longer_file() {
    let data = DataDir::new();
    let server = data.serve().await;
    write_sales_file(&data.path("sales.csv"), &ROWS);
    let content = std::fs::read_to_string(data.path("sales.csv")).unwrap();
    let id = import_as_earlier_versions_did(&server, &content, &["536365", "536366"]).await;
    let before = history(&data, "71053").await;

    let new = "536367,22139,POTS,1,2011-01-01T08:30:00,4.95,13047,EIRE";
    write_sales_file(&data.path("longer.csv"), &[&ROWS[..], &[new]].concat());
    let longer = import_well(&data, &server, &["longer.csv", "--source", &id]).await;
    assert_eq!(longer.figure("orders"), "3 (2 already there)");
    assert_eq!(history(&data, "71053").await, before);
}

/// An import that ended between the receipt of the stock of an invoice and its order.
#[tokio::test]
async fn an_import_that_ended_before_an_order_receives_its_stock_no_second_time() {
    let data = DataDir::new();
    let server = data.serve().await;
    let key = "import/online-retail/536366";
    let receipts = json!({"receipts": [{"sku": "71053", "quantity": 4, "reference": key}]});
    server.post("/v1/stock/receipts", &format!("{key}/stock/1"), receipts).await;

    let mut changed = ROWS;
    changed[2] = "536366,71053,LANTERN,5,2010-12-13T08:28:00,3.39,,France";
    write_sales_file(&data.path("sales.csv"), &changed);
    let refused = import(&data, &server, &["sales.csv"]).await;
    assert_eq!((refused.code, refused.figure("orders")), (Some(1), "1 (0 already there)"));
    assert!(refused.stdout.contains("  536366: stock_of_other_rows: "), "{refused:?}");

    write_sales_file(&data.path("sales.csv"), &ROWS);
    let finished = import_well(&data, &server, &["sales.csv"]).await;
    assert_eq!(finished.figure("orders"), "2 (1 already there)");
    let stock = server.get("/v1/stock/71053?min_revision=3").await;
    assert_eq!((&stock["on_hand"], &stock["available"]), (&6.into(), &0.into()));
}

#[tokio::test]
async fn credits_at_other_rows_of_a_longer_file_are_not_refunded_again() {
    let data = DataDir::new();
    let server = data.serve().await;
    let write_matches = |rows: &str| {
        let header = "cancel_row,cancel_invoice,sale_row,sale_invoice,stock_code,units\n";
        std::fs::write(data.path("matches.csv"), format!("{header}{rows}")).unwrap();
    };
    write_sales_file(&data.path("sales.csv"), &ROWS);
    write_matches("4,C536400,3,536366,71053,1\n5,C536400,3,536366,71053,1\n");
    let arguments = ["sales.csv", "--refunds", "matches.csv"];
    let first = import_well(&data, &server, &arguments).await;
    assert_eq!((first.figure("returns"), first.figure("gave back")), ("2 (0 already there)", "678 pence"));

    let new = "536364,22139,POTS,1,2011-01-01T08:30:00,4.95,13047,EIRE";
    write_sales_file(&data.path("sales.csv"), &[&[new], &ROWS[..]].concat());
    write_matches("5,C536400,4,536366,71053,1\n6,C536400,4,536366,71053,1\n");
    let second = import_well(&data, &server, &arguments).await;
    assert_eq!((second.figure("returns"), second.figure("gave back")), ("2 (2 already there)", "678 pence"));
    let stock = server.get("/v1/stock/71053?min_revision=5").await;
    assert_eq!((&stock["on_hand"], &stock["reserved"]), (&4.into(), &2.into()));
}

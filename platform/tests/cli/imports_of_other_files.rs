//! Imports of counted stock and of orders as JSON Lines, and sales files in other forms.

use encoding_rs::WINDOWS_1252;
use serde_json::json;

use super::support::{DataDir, Finished, Server};

async fn import(data: &DataDir, server: &Server, arguments: &[&str]) -> Finished {
    let mut command =
        data.command(&[&["import"], arguments, &["--command-url", &server.command_url]].concat());
    command.env("ORDERLY_QUERY_URL", &server.query_url).current_dir(data.path(""));
    Finished::from(command.output().await.unwrap())
}

async fn import_well(data: &DataDir, server: &Server, arguments: &[&str]) -> Finished {
    let finished = import(data, server, arguments).await;
    assert_eq!(finished.code, Some(0), "{finished:?}");
    finished
}

async fn on_hand(server: &Server, sku: &str) -> serde_json::Value {
    let stock = server.get(&format!("/v1/stock/{sku}")).await;
    stock["on_hand"].clone()
}

#[tokio::test]
async fn a_file_in_another_encoding_with_columns_of_its_own_is_imported() {
    let data = DataDir::new();
    let server = data.serve().await;
    let text = "Bestellung;Artikel;Menge;Datum;Einzelpreis;Kunde;Land\r\n\
         B-1;Möbel 1;1.200;3.7.2011 00:30;1,50;K7;Österreich\r\n\
         B-1;Möbel 2;2;2011-07-03T00:30:00+02:00;1.250,00;K7;Österreich\r\n";
    let columns = [
        "invoice=Bestellung",
        "sku=Artikel",
        "quantity=Menge",
        "date=Datum",
        "price=Einzelpreis",
        "customer=Kunde",
        "country=Land",
    ];
    let columns = columns.iter().flat_map(|column| ["--column", *column]);
    let options = ["--time-zone", "Europe/Vienna", "--currency", "EUR", "--date-order", "dmy"];
    let arguments: Vec<&str> = ["sales.csv"].into_iter().chain(columns).chain(options).collect();

    // The file itself shows neither the decimal mark nor the order of its dates in its first row.
    for (bytes, encoding) in [
        (WINDOWS_1252.encode(text).0.to_vec(), "2 in windows-1252 (guessed)"),
        (text.encode_utf16().flat_map(u16::to_le_bytes).collect(), "2 in UTF-16LE"),
    ] {
        std::fs::write(data.path("sales.csv"), bytes).unwrap();
        let finished = import_well(&data, &server, &arguments).await;
        assert_eq!((finished.figure("rows"), finished.figure("source")), (encoding, "sales"));
        assert_eq!(finished.figure("gross"), "430,000 minor units of EUR");
    }
    let list = server.get("/v1/orders?sku=M%C3%B6bel%201").await;
    let [order] = list["items"].as_array().unwrap().as_slice() else { panic!("{list}") };
    assert_eq!((&order["reference"], &order["country"]), (&"B-1".into(), &"Österreich".into()));
    assert_eq!((&order["placed_at"], &order["currency"]), (&"2011-07-02T22:30:00Z".into(), &"EUR".into()));
    assert_eq!((&order["total"], &order["payment_status"]), (&430_000.into(), &"paid".into()));
}

#[tokio::test]
async fn a_count_corrects_the_stock_once() {
    let data = DataDir::new();
    let server = data.serve().await;
    for (sku, units) in [("a", 10), ("b", 10), ("c d", 10)] {
        let path = format!("/v1/stock/{}/receipts", sku.replace(' ', "%20"));
        server.post(&path, sku, json!({"quantity": units})).await;
    }
    std::fs::write(data.path("stock.csv"), "SKU,Count\na,12\nb,7\nc d,10\nnew,3\n").unwrap();
    let first = import_well(&data, &server, &["stock", "stock.csv"]).await;
    for (name, value) in [
        ("SKUs", "4 (0 already there)"),
        ("agreed", "1"),
        ("added", "5 units"),
        ("removed", "3 units"),
        ("refused", "0"),
    ] {
        assert_eq!(first.figure(name), value, "{name}: {first:?}");
    }
    server.get("/v1/stock/a?min_revision=1").await;
    server.get("/v1/stock/b?min_revision=1").await;
    server.get("/v1/stock/new?min_revision=0").await;
    for (sku, units) in [("a", 12), ("b", 7), ("c%20d", 10), ("new", 3)] {
        assert_eq!(on_hand(&server, sku).await, units, "{sku}");
    }

    // Goods arrive; the same counts in another form are not new.
    for sku in ["a", "c%20d"] {
        server.post(&format!("/v1/stock/{sku}/receipts"), &format!("{sku}/2"), json!({"quantity": 5})).await;
    }
    server.get("/v1/stock/a?min_revision=2").await;
    server.get("/v1/stock/c%20d?min_revision=1").await;
    std::fs::write(data.path("stock.csv"), "\u{feff}sku;count\r\nnew;3\r\nc d;10\r\nb;7,0\r\n a;12\r\n")
        .unwrap();
    let second = import_well(&data, &server, &["stock", "stock.csv"]).await;
    assert_eq!((second.figure("SKUs"), second.figure("added")), ("4 (4 already there)", "0 units"));
    assert_eq!((on_hand(&server, "a").await, on_hand(&server, "c%20d").await), (17.into(), 15.into()));

    // A new count with equal units has a name of its own.
    let third = import_well(&data, &server, &["stock", "stock.csv", "--source", "count-2"]).await;
    assert_eq!((third.figure("agreed"), third.figure("removed")), ("2", "10 units"));
}

#[tokio::test]
async fn a_count_below_the_reserved_units_is_refused_and_the_others_are_corrected() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.place_an_order("a").await;
    server.get("/v1/stock/a?min_revision=1").await;
    std::fs::write(data.path("stock.csv"), "sku,count\na,2\nb,4\nc,many\n").unwrap();
    let stopped = import(&data, &server, &["stock", "stock.csv"]).await;
    assert!(stopped.stderr.contains("line 4: count \"many\"") && stopped.code == Some(1), "{stopped:?}");

    let finished = import(&data, &server, &["stock", "stock.csv", "--skip-bad-rows"]).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!((finished.figure("added"), finished.figure("refused")), ("4 units", "1"));
    assert!(finished.stdout.contains("  a: stock_below_reserved"), "{finished:?}");
    assert_eq!(on_hand(&server, "a").await, 10);
}

#[tokio::test]
async fn orders_as_json_lines_are_placed_once_under_their_ids() {
    let data = DataDir::new();
    let server = data.serve().await;
    server.post("/v1/stock/a/receipts", "po-1", json!({"quantity": 10})).await;
    let order = |id: &str, quantity: u32| {
        let lines = [json!({"sku": "a", "quantity": quantity, "unit_price": 250})];
        format!("{}\n", json!({"id": id, "currency": "EUR", "reference": id, "lines": lines}))
    };
    let write = |lines: &[String]| std::fs::write(data.path("orders.jsonl"), lines.concat()).unwrap();
    write(&[order("1", 3), "{\"currency\": \"EUR\"}\n".to_owned(), order("2", 4)]);
    let stopped = import(&data, &server, &["orders", "orders.jsonl"]).await;
    assert!(stopped.stderr.contains("line 2: id is missing") && stopped.code == Some(1), "{stopped:?}");

    let first = import_well(&data, &server, &["orders", "orders.jsonl", "--skip-bad-rows"]).await;
    assert_eq!((first.figure("orders"), first.figure("rejected")), ("2 (0 already there)", "1 rows"));
    let rejected = std::fs::read_to_string(data.path("orders.jsonl.rejected.csv")).unwrap();
    assert!(rejected.starts_with("line,reason,text\n2,id is missing"), "{rejected}");

    // One more order, one changed line, and one for which the stock is short.
    write(&[order("2", 4), order("1", 2), order("3", 1), order("4", 100)]);
    let second = import(&data, &server, &["orders", "orders.jsonl"]).await;
    assert_eq!(second.code, Some(1), "{second:?}");
    assert_eq!((second.figure("orders"), second.figure("refused")), ("2 (1 already there)", "1"));
    assert!(second.stdout.contains("  4: insufficient_stock"), "{second:?}");
    assert_eq!(second.figure("changed"), "1 rows of 1 orders, not applied: see orders.jsonl.changed.csv");
    let changed = std::fs::read_to_string(data.path("orders.jsonl.changed.csv")).unwrap();
    let [_, row] = changed.lines().collect::<Vec<_>>().try_into().unwrap();
    assert!(row.starts_with("2,1,") && row.ends_with(",the line differs from its order"), "{row}");
    let order_id = row.split(',').nth(2).unwrap();
    let there = server.get(&format!("/v1/orders/{order_id}?min_revision=1")).await;
    assert_eq!((&there["reference"], &there["units"]), (&"1".into(), &3.into()));
}

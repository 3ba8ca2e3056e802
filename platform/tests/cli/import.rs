use super::support::{DataDir, write_sales_file};

const ROWS: [&str; 12] = [
    "536365,85123A,WHITE HANGING HEART,6,2010-12-01T08:26:00,2.55,17850,United Kingdom",
    "536366,71053,\"LANTERN, WHITE\",8,2011-07-01T12:00:00,3.39,,France",
    // The same order again, a minute earlier, with two equal lines.
    "536365,71053,WHITE METAL LANTERN,6,2010-12-01T08:25:00,3.39,17850,United Kingdom",
    "536365,71053,WHITE METAL LANTERN,6,2010-12-01T08:25:00,3.39,17850,United Kingdom",
    // 85123a is another SKU than 85123A. Its price is rounded to 0.
    "550193,85123a,PADS TO MATCH,1,2011-04-15T09:27:00,0.001,13952,United Kingdom",
    "C536379,D,Discount,-1,2010-12-01T09:41:00,27.50,14527,United Kingdom",
    "A563185,B,Adjust bad debt,1,2011-08-12T14:50:00,11062.06,,United Kingdom",
    "A563186,B,Adjust bad debt,1,2011-08-12T14:51:00,-11062.06,,United Kingdom",
    "536589,21777,,-10,2010-12-01T16:50:00,0.00,,United Kingdom",
    "536414,22139,,56,2010-12-01T11:52:00,0.00,,United Kingdom",
    "536414,22139,,0,2010-12-01T11:52:00,1.00,,United Kingdom",
    "5365,22139,,1,2010-12-01T11:52:00,1.00,,United Kingdom",
];

#[tokio::test]
async fn a_second_import_of_a_sales_file_changes_nothing() {
    let data = DataDir::new();
    let server = data.serve().await;
    let file = data.path("sales.csv");
    write_sales_file(&file, &ROWS);
    let arguments = ["import", file.to_str().unwrap(), "--command-url", &server.command_url];

    let first = data.run(&arguments).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    for (name, value) in [
        ("SKUs", "3 (0 already there)"),
        ("orders", "3 (0 already there)"),
        ("lines", "5"),
        ("units", "27"),
        ("gross", "8,310 pence"),
        ("guests", "1"),
        ("skipped", "1 credits, 2 adjustments, 2 write-offs, 1 without a price, 1 unknown"),
        ("refused", "0"),
    ] {
        assert_eq!(first.figure(name), value, "{name}");
    }
    let events_before = data.run_well(&["audit", "history", "stock-71053", "--json"]).await;

    let second = data.run(&arguments).await;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert_eq!(second.figure("SKUs"), "3 (3 already there)");
    assert_eq!(second.figure("orders"), "3 (3 already there)");
    assert_eq!(data.run_well(&["audit", "history", "stock-71053", "--json"]).await, events_before);

    assert!(server.terminate().await.success());
    read_back(&data).await;
}

/// Checks the imported orders through the query API, after a rebuild of the read models.
async fn read_back(data: &DataDir) {
    data.run_well(&["projections", "rebuild"]).await;
    let server = data.serve().await;
    let sales = server.get("/v1/sales?group_by=month&currency=GBP").await;
    assert_eq!((&sales["total"]["orders"], &sales["total"]["gross"]), (&3.into(), &8310.into()));
    let months: Vec<_> = sales["groups"].as_array().unwrap().iter().map(|group| &group["key"]).collect();
    assert_eq!(months, ["2010-12", "2011-04", "2011-07"]);

    let orders = server.get("/v1/orders?sku=71053").await;
    let [summer, winter] = orders["items"].as_array().unwrap().as_slice() else { panic!("{orders}") };
    assert_eq!(summer["placed_at"], "2011-07-01T11:00:00Z");
    assert_eq!(winter["placed_at"], "2010-12-01T08:25:00Z");
    let order = server.get(&format!("/v1/orders/{}", winter["order_id"].as_str().unwrap())).await;
    assert_eq!((&order["reference"], &order["customer_id"]), (&"536365".into(), &"17850".into()));
    assert_eq!((&order["payment_status"], &order["captured"]), (&"paid".into(), &5598.into()));
    assert_eq!(order["payment_due_at"], serde_json::Value::Null);
    assert_eq!(order["lines"].as_array().unwrap().len(), 3);

    let stock = server.get("/v1/stock/71053").await;
    assert_eq!((&stock["on_hand"], &stock["reserved"]), (&20.into(), &20.into()));
}

#[tokio::test]
async fn refused_orders_are_listed_and_the_rest_is_imported() {
    let data = DataDir::new();
    let server = data.serve().await;
    let file = data.path("sales.csv");
    write_sales_file(
        &file,
        &[
            "536365,85123A,HOLDER,1,2010-12-01T08:26:00,2.55,17850,United Kingdom",
            "536366,71053,LANTERN,2000000,2010-12-01T08:28:00,3.39,17850,United Kingdom",
        ],
    );
    let arguments = ["import", file.to_str().unwrap(), "--command-url", &server.command_url];
    let finished = data.run(&arguments).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.figure("orders"), "1 (0 already there)");
    assert_eq!(finished.figure("refused"), "1");
    assert!(finished.stdout.contains("536366: invalid_request"), "{finished:?}");
    let history = data.run(&["audit", "history", "stock-71053"]).await;
    assert_eq!(history.code, Some(1), "stock was received for an order that is refused: {history:?}");
}

#[tokio::test]
async fn a_malformed_file_stops_the_import_before_the_first_request() {
    let data = DataDir::new();
    let server = data.serve().await;
    let file = data.path("sales.csv");
    write_sales_file(&file, &["536365,85123A,HOLDER,1,2010-12-01T08:26:00,2.5.5,17850,United Kingdom"]);
    let arguments = ["import", file.to_str().unwrap(), "--command-url", &server.command_url];
    let finished = data.run(&arguments).await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("line 2: UnitPrice"), "{finished:?}");
    assert_eq!(data.run(&["audit", "history", "stock-85123A"]).await.code, Some(1));
}

#[tokio::test]
async fn the_error_for_a_missing_server_names_its_url() {
    let data = DataDir::new();
    let file = data.path("sales.csv");
    write_sales_file(&file, &ROWS);
    let url = "http://127.0.0.1:1";
    let finished = data.run(&["import", file.to_str().unwrap(), "--command-url", url]).await;
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains(url), "{finished:?}");
}

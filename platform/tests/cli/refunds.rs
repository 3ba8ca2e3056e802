use std::path::Path;

use serde_json::Value;

use super::support::{DataDir, Server, write_sales_file};

const ROWS: [&str; 10] = [
    // Returned in part: some units of the first line at another price, and one of the two equal lines.
    "536365,85123A,HOLDER,6,2010-12-01T08:26:00,2.55,17850,United Kingdom",
    "536365,71053,LANTERN,2,2010-12-01T08:26:00,3.39,17850,United Kingdom",
    "536365,71053,LANTERN,2,2010-12-01T08:26:00,3.39,17850,United Kingdom",
    // Returned completely, by two equal credit lines.
    "536366,71053,LANTERN,4,2010-12-01T08:28:00,3.39,,France",
    // Credited with more than its price.
    "536367,22139,POTS,1,2010-12-01T08:30:00,4.95,13047,United Kingdom",
    "C536400,85123A,HOLDER,-5,2010-12-02T09:00:00,2.545,17850,United Kingdom",
    "C536401,71053,LANTERN,-3,2010-12-02T09:01:00,3.39,17850,United Kingdom",
    "C536402,71053,LANTERN,-2,2010-12-02T09:02:00,3.39,,France",
    "C536402,71053,LANTERN,-2,2010-12-02T09:02:00,3.39,,France",
    "C536403,22139,POTS,-1,2010-12-02T09:03:00,14.95,13047,United Kingdom",
];

const MATCHES: [&str; 7] = [
    "6,C536400,1,536365,85123A,2,0",
    "7,C536401,3,536365,71053,2,1",
    // The rest of credit row 7, which has three units.
    "7,C536401,1,536365,71053,1,1",
    "8,C536402,4,536366,71053,2,1",
    "9,C536402,4,536366,71053,2,1",
    "10,C536403,5,536367,22139,1,0",
    "6,C536400,2,536365,85123A,1,0",
];

fn write_matches(path: &Path, rows: &[&str]) {
    let header = "cancel_row,cancel_invoice,sale_row,sale_invoice,stock_code,units,same_price";
    let content = std::iter::once(&header).chain(rows).fold(String::new(), |text, row| text + row + "\n");
    std::fs::write(path, content).unwrap();
}

/// Writes both files and returns the arguments that import them.
fn arguments(data: &DataDir, server: &Server, matches: &[&str]) -> Vec<String> {
    let (sales, refunds) = (data.path("sales.csv"), data.path("matches.csv"));
    write_sales_file(&sales, &ROWS);
    write_matches(&refunds, matches);
    let (sales, refunds) = (sales.to_str().unwrap(), refunds.to_str().unwrap());
    ["import", sales, "--refunds", refunds, "--command-url", &server.command_url].map(str::to_owned).to_vec()
}

/// The order with this reference, from the query API.
async fn order(server: &Server, reference: &str) -> Value {
    let orders = server.get("/v1/orders").await;
    let items = orders["items"].as_array().unwrap();
    let order = items.iter().find(|order| order["reference"] == reference).unwrap();
    server.get(&format!("/v1/orders/{}", order["order_id"].as_str().unwrap())).await
}

#[tokio::test]
async fn a_second_import_of_credits_returns_and_refunds_nothing_again() {
    let data = DataDir::new();
    let server = data.serve().await;
    let fitting: Vec<&str> = [0, 1, 3, 4].map(|index| MATCHES[index]).to_vec();
    let arguments = arguments(&data, &server, &fitting);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();

    // Imports the sales alone first: refunds may follow in a later run.
    let sales_only = data.run(&[&arguments[..2], &arguments[4..]].concat()).await;
    assert_eq!(sales_only.code, Some(0), "{sales_only:?}");
    assert!(!sales_only.stdout.contains("refunded"), "{sales_only:?}");

    let first = data.run(&arguments).await;
    assert_eq!(first.code, Some(0), "{first:?}");
    assert_eq!(first.figure("orders"), "3 (3 already there)");
    assert!(first.figure("credited").starts_with("2 orders, 1 of them wholly"), "{first:?}");
    assert_eq!(first.figure("returns"), "4 (0 already there)");
    assert_eq!(first.figure("refunded"), "2 orders, 1 of them returned wholly");
    // 2 x 2.55 (2.545 rounded), 2 x 3.39, 4 x 3.39
    assert_eq!(first.figure("gave back"), "2,544 pence");
    assert_eq!(first.figure("turned down"), "0");
    let history = data.run_well(&["audit", "history", "stock-71053", "--json"]).await;

    let second = data.run(&arguments).await;
    assert_eq!(second.code, Some(0), "{second:?}");
    assert_eq!(second.figure("returns"), "4 (4 already there)");
    assert_eq!(second.figure("gave back"), "2,544 pence");
    assert_eq!(data.run_well(&["audit", "history", "stock-71053", "--json"]).await, history);

    assert!(server.terminate().await.success());
    data.run_well(&["projections", "rebuild"]).await;
    data.run_well(&["audit", "verify"]).await;
    let server = data.serve().await;
    let in_parts = order(&server, "536365").await;
    assert_eq!((&in_parts["refunded"], &in_parts["captured"]), (&1188.into(), &2886.into()));
    assert_eq!(in_parts["payment_status"], "partially_refunded");
    assert_eq!(in_parts["fulfilment_status"], "partially_returned");
    let returned: Vec<_> =
        in_parts["lines"].as_array().unwrap().iter().map(|line| &line["returned"]).collect();
    assert_eq!(returned, [2, 0, 2]);
    let wholly = order(&server, "536366").await;
    assert_eq!((&wholly["refunded"], &wholly["payment_status"]), (&1356.into(), &"refunded".into()));
    assert_eq!(wholly["fulfilment_status"], "returned");
    // Not credited, so not shipped.
    assert_eq!(order(&server, "536367").await["fulfilment_status"], "unfulfilled");
    let sales = server.get("/v1/sales?currency=GBP").await;
    assert_eq!(sales["total"]["refunded"], 2544);
    let stock = server.get("/v1/stock/71053").await;
    assert_eq!((&stock["on_hand"], &stock["reserved"]), (&6.into(), &0.into()));
}

#[tokio::test]
async fn credits_above_the_paid_amount_or_the_sold_units_are_turned_down_and_the_rest_is_refunded() {
    let data = DataDir::new();
    let server = data.serve().await;
    let too_many = "7,C536401,3,536365,71053,3,1";
    let rest = ["6,C536400,1,536365,85123A,5,0", "8,C536402,4,536366,71053,1,1", MATCHES[4]];
    let arguments = arguments(&data, &server, &[&rest[..], &[too_many, MATCHES[5]]].concat());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    for _ in 0..2 {
        let finished = data.run(&arguments).await;
        assert_eq!(finished.code, Some(0), "{finished:?}");
        assert!(finished.figure("credited").starts_with("3 orders, 1 of them wholly"), "{finished:?}");
        assert_eq!(finished.figure("refunded"), "2 orders, 0 of them returned wholly");
        assert_eq!(finished.figure("turned down"), "2", "{finished:?}");
        for refused in [
            "536367, line 1: C536403 (row 10): refund_too_large: ",
            "536365, line 3: C536401 (row 7): quantity_unavailable: ",
        ] {
            assert!(finished.stdout.contains(refused), "{refused} is not in {finished:?}");
        }
    }
}

#[tokio::test]
async fn credits_that_do_not_fit_the_sales_fail_the_import_after_the_rest_is_refunded() {
    let data = DataDir::new();
    let server = data.serve().await;
    let arguments = arguments(&data, &server, &[MATCHES[0], MATCHES[2], MATCHES[6]]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let finished = data.run(&arguments).await;
    assert_eq!(finished.code, Some(1), "{finished:?}");
    assert_eq!(finished.figure("returns"), "1 (0 already there)");
    assert_eq!(finished.figure("turned down"), "2");
    assert!(finished.stdout.contains("  sale_line_not_found: 2\n"), "{finished:?}");
    assert!(finished.stdout.contains("C536401 (row 7) of 536365: sale_line_not_found"), "{finished:?}");
}

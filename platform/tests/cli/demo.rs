use std::fs;

use super::support::DataDir;

const FILL: [&str; 7] = ["demo", "--fill-only", "--orders", "60", "--listen", "127.0.0.1:0", "--directory"];

#[tokio::test]
async fn a_demo_fills_its_directory_with_orders_that_verify_and_goes_on_with_it() {
    let around = DataDir::new();
    let directory = around.path("demo");
    let fill = [&FILL[..], &[directory.to_str().unwrap()]].concat();
    let text = around.run_well(&fill).await;
    assert!(text.contains("orders of six weeks"), "{text}");

    let data = DataDir::at(directory.join("data"));
    let verified = data.run_well(&["audit", "verify"]).await;
    assert!(verified.contains("rows compared with the log"), "{verified}");
    let server = data.serve_without_sandbox(&["--payment-provider", "none"]).await;
    let orders = server.get("/v1/orders?limit=200").await;
    server.terminate().await;
    let orders = orders["items"].as_array().unwrap();
    assert!((40..=60).contains(&orders.len()), "some of 60 may be refused for stock: {}", orders.len());
    for (member, value) in
        [("fulfilment_status", "delivered"), ("payment_status", "paid"), ("fulfilment_status", "unfulfilled")]
    {
        assert!(orders.iter().any(|order| order[member] == value), "no order is {value}");
    }

    let again = around.run_well(&fill).await;
    assert!(again.contains("goes on"), "{again}");
}

#[tokio::test]
async fn a_directory_that_no_demo_has_made_is_refused() {
    let around = DataDir::new();
    let directory = around.path("shop");
    fs::create_dir(&directory).unwrap();
    fs::write(directory.join("events.db"), "of a real shop").unwrap();
    let refused = around.run(&[&FILL[..], &[directory.to_str().unwrap()]].concat()).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("no demo has made it"), "{refused:?}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

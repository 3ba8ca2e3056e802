//! Runs the programs of `examples/` against the binary.

use std::{
    collections::HashSet,
    time::{Duration, SystemTime},
};

use examples::{checkout::Shop, consume_topic::consume, verify_webhooks};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::mpsc, time};

use super::support::{DataDir, Server};

const PATIENCE: Duration = Duration::from_mins(1);

#[tokio::test]
async fn a_second_run_of_the_checkout_example_buys_nothing() {
    let data = DataDir::new();
    let server = data.serve().await;
    let shop = Shop::new(&server.command_url, &server.query_url).unwrap();
    let first = shop.check_out("4711").await.unwrap();
    assert_eq!(first["fulfilment_status"], "shipped", "{first}");
    assert_eq!((&first["payment_status"], &first["captured"]), (&"paid".into(), &1_530.into()), "{first}");
    let second = shop.check_out("4711").await.unwrap();
    assert_eq!(second["order_id"], first["order_id"]);
    // Received, reserved, shipped.
    let stock = server.get("/v1/stock/85123A?min_revision=2").await;
    assert_eq!((&stock["on_hand"], &stock["revision"]), (&94.into(), &2.into()), "{stock}");
    let events = data.run_well(&["audit", "history", "stock-85123A"]).await;
    assert_eq!(events.lines().count(), 3, "{events}");
}

#[tokio::test]
async fn the_webhook_example_accepts_genuine_requests_once_and_refuses_forged_ones() {
    let data = DataDir::new();
    let server = data.serve_with(&["--webhooks-allow-private"]).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let subscribe = json!({"url": url, "event_types": ["order.*"]});
    let subscription = server.post("/v1/webhook-subscriptions", "hooks-1", subscribe).await;
    let (sender, mut events) = mpsc::channel(10);
    let app = verify_webhooks::app(subscription["secret"].as_str().unwrap(), sender).unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await });

    let order_id = server.place_an_order("85123A").await;
    let mut received = HashSet::new();
    for _ in 0..2 {
        let event: Value = time::timeout(PATIENCE, events.recv()).await.unwrap().unwrap();
        assert_eq!(event["data"]["order_id"], order_id, "{event}");
        received.insert(event["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(received, ["order.placed.v2", "order.allocated.v1"].map(str::to_owned).into());

    let path = format!("/v1/webhook-subscriptions/{}", subscription["subscription_id"].as_str().unwrap());
    let before = delivered(&server, &path).await;
    server.post(&format!("{path}/replay"), "replay-1", json!({"order_id": order_id})).await;
    let replayed = async {
        // A replay queues the same deliveries again.
        while delivered(&server, &path).await.iter().any(|delivery| before.contains(delivery)) {
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(PATIENCE, replayed).await.unwrap();
    assert!(events.try_recv().is_err(), "an event came twice");

    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let forged = reqwest::Client::new().post(&url).header("webhook-id", "msg_1").json(&json!({}));
    let forged = forged.header("webhook-timestamp", now).header("webhook-signature", "v1,AAAA");
    assert_eq!(forged.send().await.unwrap().status(), 401);
    assert!(events.try_recv().is_err(), "a forged event was accepted");
}

/// The ids and queue times of both deliveries. Waits until both are delivered.
async fn delivered(server: &Server, subscription: &str) -> Vec<(String, String)> {
    loop {
        let url = format!("{}{subscription}/deliveries?status=delivered", server.command_url);
        let answer: Value = reqwest::get(url).await.unwrap().json().await.unwrap();
        let items = answer["items"].as_array().unwrap();
        if items.len() == 2 {
            let text = |item: &Value, member: &str| item[member].as_str().unwrap().to_owned();
            return items.iter().map(|item| (text(item, "delivery_id"), text(item, "queued_at"))).collect();
        }
        time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn the_topic_example_reads_every_event_once_and_continues_where_it_stopped() {
    let kafka = std::env::var("ORDERLY_TEST_KAFKA")
        .expect("ORDERLY_TEST_KAFKA is not set: run infra/dev/services up, and source .dev/env");
    let brokers = kafka.strip_prefix("kafka://").unwrap().to_owned();
    let prefix = format!("example-{}", uuid::Uuid::new_v4().simple());
    let bus = format!("{kafka}?partitions=1&prefix={prefix}");
    let data = DataDir::new();
    let server = data.serve_with(&["--bus", &bus]).await;
    let (topic, group) = (format!("{prefix}.orders"), format!("{prefix}.reader"));
    let read = async |count: usize| {
        let mut events = Vec::new();
        let reading = consume(&brokers, &topic, &group, |event| {
            events.push(event);
            events.len() < count
        });
        time::timeout(PATIENCE, reading).await.unwrap().unwrap();
        events
    };

    let first = server.place_an_order("85123A").await;
    let events = read(2).await;
    let types: Vec<_> = events.iter().map(|event| event.type_name.as_str()).collect();
    assert_eq!(types, ["order.placed.v2", "order.allocated.v1"]);
    assert!(events.iter().all(|event| event.stream == format!("order-{first}")));

    let second = server.place_an_order("85123B").await;
    let events = read(1).await;
    assert_eq!(events[0].stream, format!("order-{second}"));
    assert!(server.terminate().await.success());
}

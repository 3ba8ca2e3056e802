//! Payments through the sandbox of the binary.

use std::{fs, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time,
};

use super::support::{DataDir, Server};

const SCRIPT: &str =
    "lost_requests=0.2,lost_answers=0.2,errors=0.1,duplicate_webhooks=0.3,reordered_webhooks=0.3,seed=7";

fn secret(data: &DataDir) -> String {
    fs::read_to_string(data.path("sandbox.secret")).unwrap().trim().to_owned()
}

/// The money that the sandbox has moved.
async fn totals(url: &str, secret: &str) -> Value {
    let request = reqwest::Client::new().get(format!("{url}/v1/totals")).bearer_auth(secret);
    request.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
}

/// Orders one unit at 2.50 and charges `method`. Returns the id of the payment.
async fn buy(server: &Server, number: usize, method: &str) -> String {
    let line = json!({"sku": "85123A", "quantity": 1, "unit_price": 250});
    let order = json!({"currency": "GBP", "lines": [line], "payment": {"method": method}});
    let answer = server.post("/v1/orders", &format!("checkout/{number}"), order).await;
    answer["payment_id"].as_str().unwrap().to_owned()
}

/// Waits until a payment has ended and returns it.
async fn ended(server: &Server, payment_id: &str) -> Value {
    const PATIENCE: Duration = Duration::from_mins(1);
    let polling = async {
        loop {
            let payment = server.get(&format!("/v1/payments/{payment_id}?min_revision=0")).await;
            if matches!(payment["status"].as_str(), Some("captured" | "failed" | "voided")) {
                return payment;
            }
            time::sleep(Duration::from_millis(20)).await;
        }
    };
    time::timeout(PATIENCE, polling).await.expect("a payment ends")
}

#[tokio::test]
async fn the_sandbox_of_the_process_charges_each_order_once_across_a_kill() {
    let data = DataDir::new();
    let server = data.serve_with(&["--sandbox-script", SCRIPT]).await;
    server.post("/v1/stock/85123A/receipts", "po-1", json!({"quantity": 100, "reference": "po-1"})).await;
    let mut payments = Vec::new();
    for number in 0..10 {
        payments.push(buy(&server, number, "card").await);
    }
    // Cuts off the charges under way.
    server.kill().await;

    let server = data.serve_with(&["--sandbox-script", SCRIPT]).await;
    for payment in &payments {
        assert_eq!(ended(&server, payment).await["captured"], 250);
    }
    let totals = totals(server.sandbox_url.as_ref().unwrap(), &secret(&data)).await;
    assert_eq!(totals["currencies"]["GBP"]["captures"], 10, "{totals}");
    assert_eq!(totals["currencies"]["GBP"]["captured"], 2_500, "{totals}");
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn a_sandbox_of_another_process_needs_the_shared_secret() {
    let (bank, shop) = (DataDir::new(), DataDir::new());
    let mut command = bank.command(&["serve", "--roles", "sandbox", "--sandbox-listen", "127.0.0.1:0"]);
    let mut running = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    let url = loop {
        let line = lines.next_line().await.unwrap().expect("the process prints the URL of the sandbox");
        if let Some(url) = line.split_whitespace().find(|word| word.starts_with("http://")) {
            break url.to_owned();
        }
    };
    let provider = format!("sandbox:{url}");
    let elsewhere = ["serve", "--command-listen", "127.0.0.1:0", "--query-listen", "127.0.0.1:0"];
    let refused = shop.run(&[&elsewhere[..], &["--payment-provider", &provider]].concat()).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("ORDERLY_SANDBOX_SECRET"), "{refused:?}");

    let secret = secret(&bank);
    let server =
        shop.serve_without_sandbox(&["--payment-provider", &provider, "--sandbox-secret", &secret]).await;
    server.post("/v1/stock/85123A/receipts", "po-1", json!({"quantity": 100, "reference": "po-1"})).await;
    let (paid, declined) = (buy(&server, 1, "ok").await, buy(&server, 2, "decline").await);
    assert_eq!(ended(&server, &paid).await["captured"], 250);
    assert_eq!(ended(&server, &declined).await["captured"], 0);
    assert_eq!(totals(&url, &secret).await["currencies"]["GBP"]["captured"], 250);
    assert!(!shop.path("sandbox.db").exists());
}

#[tokio::test]
async fn an_invalid_sandbox_script_is_refused_at_start() {
    let finished = DataDir::new().run(&["serve", "--sandbox-script", "declines=often"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("ORDERLY_SANDBOX_SCRIPT: declines=often"), "{finished:?}");
}

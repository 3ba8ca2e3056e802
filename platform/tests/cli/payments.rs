//! Payments through the sandbox of the binary.

use std::{fs, process::Stdio, time::Duration};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time,
};

use super::support::{DataDir, Finished, Server};

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

/// Runs `payments reconcile` for a day against the sandbox of a server.
async fn reconcile(data: &DataDir, server: &Server, day: &str, more: &[&str]) -> Finished {
    let sandbox = server.sandbox_url.as_ref().unwrap().trim_start_matches("http://");
    let given = ["payments", "reconcile", "--day", day, "--sandbox-listen", sandbox];
    let command_url = ["--command-url", &server.command_url];
    data.run(&[&given[..], &command_url, more].concat()).await
}

#[tokio::test]
async fn reconcile_names_what_only_the_sandbox_knows_and_records_it() {
    let data = DataDir::new();
    // The webhooks of the sandbox do not arrive.
    let server = data.serve_with(&["--sandbox-webhook-url", "http://127.0.0.1:9"]).await;
    server.post("/v1/stock/85123A/receipts", "po-1", json!({"quantity": 10, "reference": "po-1"})).await;
    let payments = [buy(&server, 1, "ok").await, buy(&server, 2, "ok").await, buy(&server, 3, "ok").await];
    for payment in &payments {
        assert_eq!(ended(&server, payment).await["captured"], 250);
    }
    let at_sandbox = async |payment: &str, what: &str| -> Value {
        let url = format!("{}/v1/charges/{payment}/1/{what}", server.sandbox_url.as_ref().unwrap());
        let asking = reqwest::Client::new().post(url).bearer_auth(secret(&data)).json(&json!({"amount": 70}));
        asking.send().await.unwrap().error_for_status().unwrap().json().await.unwrap()
    };
    at_sandbox(&payments[2], "disputes").await;
    let charge = at_sandbox(&payments[0], "refunds").await;
    let day = &charge["refunds"][0]["created_at"].as_str().unwrap()[..10];

    let named = reconcile(&data, &server, day, &[]).await;
    assert_eq!(named.code, Some(1), "{named:?}");
    assert!(named.stdout.contains("only the provider has it"), "{named:?}");
    let kept = server.get("/v1/reconciliations/latest").await;
    assert_eq!((&kept["day"], &kept["differences"]), (&json!(day), &json!(2)), "{kept}");
    let is_named = payments.each_ref().map(|payment| named.stdout.contains(payment));
    assert_eq!(is_named, [true, false, true], "{named:?}");

    let recorded = reconcile(&data, &server, day, &["--record", "--format", "json"]).await;
    assert_eq!(recorded.code, Some(0), "{recorded:?}");
    let report: Value = serde_json::from_str(&recorded.stdout).unwrap();
    assert_eq!((&report["provider"], &report["differences"]), (&json!("sandbox"), &json!([])));
    let refund = &report["recorded"][0];
    assert_eq!(
        (&refund["payment_id"], &refund["ours"], &refund["theirs"], &refund["difference"]),
        (&json!(payments[0]), &json!(0), &json!(70), &json!(70))
    );
    assert_eq!(
        (&report["recorded"][1]["kind"], &report["recorded"][1]["theirs"]),
        (&json!("dispute"), &json!(70))
    );
    let totals: Vec<_> = report["totals"].as_array().unwrap().iter().map(|row| &row["difference"]).collect();
    assert_eq!(totals, [0, 0, 0], "{report}");
    let kept = server.get(&format!("/v1/reconciliations/{day}")).await;
    assert_eq!((&kept["differences"], &kept["recorded"]), (&json!(0), &json!(2)), "{kept}");
    assert_eq!(reconcile(&data, &server, day, &[]).await.code, Some(0));
    let payment = server.get(&format!("/v1/payments/{}?min_revision=0", payments[0])).await;
    assert_eq!(payment["refunds"][0]["reason"], "provider", "{payment}");
    // A day before: nothing was charged.
    let before = reconcile(&data, &server, "2020-02-29", &["--format", "json"]).await;
    assert_eq!(serde_json::from_str::<Value>(&before.stdout).unwrap()["from"], "2020-02-29T00:00:00Z");
    assert_eq!(before.code, Some(0));
    assert!(server.terminate().await.success());
}

#[tokio::test]
async fn reconcile_refuses_settings_that_name_no_books() {
    let data = DataDir::new();
    for (arguments, named) in [
        (["--day", "2026-02-30"], "2026-02-30"),
        (["--day", "today"], "today"),
        (["--day=2026-02-28", "--provider=none"], "ORDERLY_PAYMENT_PROVIDER"),
        (["--day=2026-02-28", "--provider=stripe"], "ORDERLY_STRIPE_SECRET_KEY"),
    ] {
        let refused = data.run(&[&["payments", "reconcile"][..], &arguments].concat()).await;
        assert_eq!(refused.code, Some(2), "{refused:?}");
        assert!(refused.stderr.contains(named), "{refused:?}");
    }
    let missing = data.run(&["payments", "reconcile", "--day", "2026-02-28"]).await;
    assert_eq!(missing.code, Some(1), "{missing:?}");
    assert!(missing.stderr.contains("ORDERLY_SANDBOX_SECRET"), "{missing:?}");
}

#[tokio::test]
async fn an_invalid_sandbox_script_is_refused_at_start() {
    let finished = DataDir::new().run(&["serve", "--sandbox-script", "declines=often"]).await;
    assert_eq!(finished.code, Some(2), "{finished:?}");
    assert!(finished.stderr.contains("ORDERLY_SANDBOX_SCRIPT: declines=often"), "{finished:?}");
}

use examples::checkout::Shop;
use serde_json::{Value, json};

use super::support::{DataDir, Server, write_sales_file};

/// The secret in the output of a command that makes a key.
fn secret(output: &str) -> String {
    let secret = output.trim().to_owned();
    assert!(secret.starts_with("ork_") && secret.len() == 64, "{output}");
    secret
}

/// The status of the answer to a receipt, and its body.
async fn receive(server: &Server, secret: Option<&str>, key: &str) -> (u16, Value) {
    let url = format!("{}/v1/stock/A/receipts", server.command_url);
    let mut request =
        reqwest::Client::new().post(url).header("idempotency-key", key).json(&json!({"quantity": 1}));
    if let Some(secret) = secret {
        request = request.bearer_auth(secret);
    }
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The rows of `keys list`, without the header.
async fn list(data: &DataDir) -> Vec<String> {
    data.run_well(&["keys", "list"]).await.lines().skip(1).map(str::to_owned).collect()
}

#[tokio::test]
async fn keys_are_made_listed_rotated_and_revoked_beside_a_server() {
    let data = DataDir::new();
    assert_eq!(data.run_well(&["keys", "list"]).await, "There is no key.\n");
    let created = data.run(&["keys", "create", "--principal", "shop", "--scopes", "stock:write,read"]).await;
    assert_eq!(created.code, Some(0), "{created:?}");
    assert!(created.stderr.contains("stock:write, read"), "{created:?}");
    let old = secret(&created.stdout);
    let id = &old[4..20];
    let listed = list(&data).await;
    assert!(listed.len() == 1 && listed[0].contains(id) && listed[0].contains("valid"), "{listed:?}");
    assert!(!listed[0].contains(&old[21..]), "{listed:?}");

    let server = data.serve().await;
    let (status, problem) = receive(&server, None, "1").await;
    assert_eq!((status, &problem["code"]), (401, &"unauthenticated".into()));
    let (status, first) = receive(&server, Some(&old), "1").await;
    assert_eq!(status, 201, "{first}");

    let new = secret(&data.run_well(&["keys", "rotate", id, "--grace", "1h"]).await);
    // The server looks for an unknown key once a second.
    let retried = loop {
        match receive(&server, Some(&new), "1").await {
            (401, _) => tokio::task::yield_now().await,
            answer => break answer,
        }
    };
    assert_eq!(retried, (201, first));
    assert_eq!(receive(&server, Some(&old), "2").await.0, 201);
    let listed = list(&data).await;
    assert!(listed.len() == 2 && listed.iter().all(|row| row.contains("shop")), "{listed:?}");

    data.run_well(&["keys", "revoke", &new[4..20]]).await;
    assert_eq!(data.run(&["keys", "revoke", &new[4..20]]).await.code, Some(1));
    server.terminate().await;
    let server = data.serve().await;
    assert_eq!(receive(&server, Some(&new), "3").await.0, 401);
    assert_eq!(receive(&server, Some(&old), "3").await.0, 201);
    for wrong in [&["keys", "create", "--principal", "a b", "--scopes", "read"][..], &["keys", "revoke", "x"]]
    {
        assert_eq!(data.run(wrong).await.code, Some(2), "{wrong:?}");
    }
}

#[tokio::test]
async fn without_a_key_only_this_machine_is_served_unless_a_setting_says_otherwise() {
    let data = DataDir::new();
    let exposed = [
        "serve",
        "--payment-provider",
        "none",
        "--command-listen",
        "0.0.0.0:0",
        "--query-listen",
        "127.0.0.1:0",
    ];
    let refused = data.run(&exposed).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for part in ["ORDERLY_COMMAND_LISTEN", "orderly keys create", "ORDERLY_AUTH=off"] {
        assert!(refused.stderr.contains(part), "{refused:?}");
    }
    data.run_well(&["keys", "create", "--principal", "shop", "--scopes", "admin"]).await;
    let off = data.serve_without_sandbox(&["--payment-provider", "none", "--auth", "off"]).await;
    assert_eq!(receive(&off, None, "1").await.0, 201);
}

#[tokio::test]
async fn programs_that_call_the_apis_authenticate_themselves() {
    let data = DataDir::new();
    let scopes = "orders:write,payments:write,stock:write,read";
    let key = secret(&data.run_well(&["keys", "create", "--principal", "shop", "--scopes", scopes]).await);
    let server = data.serve().await;
    let file = data.path("sales.csv");
    write_sales_file(&file, &["536365,85123A,HEART,6,2010-12-01T08:26:00,2.55,17850,United Kingdom"]);
    let import = ["import", file.to_str().unwrap(), "--command-url", &server.command_url];
    let refused = data.run(&import).await;
    assert!(refused.code == Some(1) && refused.stderr.contains("unauthenticated"), "{refused:?}");
    let imported = data.command(&import).env("ORDERLY_API_KEY", &key).output().await.unwrap();
    assert!(imported.status.success(), "{imported:?}");

    let shop = Shop::new(&server.command_url, &server.query_url).unwrap();
    assert!(shop.check_out("1").await.is_err());
    let order = shop.with_api_key(Some(key.clone())).check_out("1").await.unwrap();
    let stream = format!("order-{}", order["order_id"].as_str().unwrap());
    let history = data.run_well(&["audit", "history", &stream]).await;
    assert!(history.lines().next().unwrap().contains(" shop "), "{history}");
    assert!(!history.contains(&key[21..]), "{history}");
}

#[tokio::test]
async fn a_lifetime_may_be_given_in_days() {
    let data = DataDir::new();
    let create = ["keys", "create", "--principal", "shop", "--scopes", "read", "--expires-in"];
    data.run_well(&[&create[..], &["90d"]].concat()).await;
    let refused = data.run(&[&create[..], &["11y"]].concat()).await;
    assert_eq!(refused.code, Some(2), "{refused:?}");
}

//! The limits of clients of a whole platform: rates by caller, and requests that wait.

use platform::serve::RunningRoles;
use reqwest::{Response, StatusCode};
use serde_json::Value;
use tempfile::TempDir;
use tests::eventstoredb::Certificates;

use crate::support::Configured;

/// A platform with changed settings. Stop it at the end.
async fn running(change: impl FnOnce(&mut Configured)) -> (RunningRoles, TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("events.db").display());
    let mut configured = Configured::over(&store, directory.path());
    change(&mut configured);
    (configured.start().await, directory)
}

async fn get(roles: &RunningRoles, path: &str, forwarded_for: Option<&str>) -> Response {
    let url = format!("http://{}{path}", roles.query_address.unwrap());
    let mut request = reqwest::Client::new().get(url);
    if let Some(client) = forwarded_for {
        request = request.header("x-forwarded-for", client);
    }
    request.send().await.unwrap()
}

async fn code(answer: Response) -> (StatusCode, Value) {
    let status = answer.status();
    let problem: Value = answer.json().await.unwrap();
    (status, problem["code"].clone())
}

#[tokio::test]
async fn a_client_behind_a_trusted_proxy_has_a_rate_of_its_own() {
    let (roles, _directory) = running(|configured| {
        configured.options.edge.rate_limit_reads = "1:2".parse().unwrap();
        configured.options.edge.trusted_proxies = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let first = get(&roles, "/v1/stock", Some("1.2.3.4")).await;
    assert_eq!(first.headers()["ratelimit-policy"], "\"reads\";q=2;w=2");
    assert_eq!(first.headers()["ratelimit"], "\"reads\";r=1;t=1");
    // The client has made up the first entry.
    get(&roles, "/v1/stock", Some("9.9.9.9, 1.2.3.4")).await.error_for_status().unwrap();
    let limited = loop {
        // A slow machine may take longer than a second for three requests.
        let answer = get(&roles, "/v1/stock", Some("1.2.3.4")).await;
        if answer.status() != StatusCode::OK {
            break answer;
        }
    };
    assert_eq!(limited.headers()["retry-after"], "1");
    assert_eq!(limited.headers()["ratelimit"], "\"reads\";r=0;t=1");
    assert_eq!(code(limited).await, (StatusCode::TOO_MANY_REQUESTS, "rate_limited".into()));
    for other in [Some("1.2.3.5"), Some("2001:db8::1")] {
        get(&roles, "/v1/stock", other).await.error_for_status().unwrap();
    }
    get(&roles, "/livez", Some("1.2.3.4")).await.error_for_status().unwrap();
    roles.stop().await;
}

#[tokio::test]
async fn without_a_trusted_proxy_the_clients_of_this_machine_have_no_rate() {
    let (roles, _directory) = running(|configured| {
        configured.options.edge.rate_limit_reads = "1:1".parse().unwrap();
    })
    .await;
    for _ in 0..5 {
        let answer = get(&roles, "/v1/stock", Some("1.2.3.4")).await.error_for_status().unwrap();
        assert!(!answer.headers().contains_key("ratelimit"));
    }
    roles.stop().await;
}

#[tokio::test]
async fn requests_that_wait_for_a_revision_occupy_no_slot() {
    let (roles, _directory) = running(|configured| configured.options.edge.concurrent_reads = 1).await;
    let received = reqwest::Client::new()
        .post(format!("http://{}/v1/stock/A/receipts", roles.command_address.unwrap()))
        .header("idempotency-key", "1")
        .json(&serde_json::json!({"quantity": 1}))
        .send();
    assert_eq!(received.await.unwrap().status(), StatusCode::CREATED);
    let waiting = (0..4).map(|_| get(&roles, "/v1/stock/A?min_revision=9", None));
    for answer in futures::future::join_all(waiting).await {
        assert_eq!(code(answer).await.1, "revision_not_reached");
    }
    roles.stop().await;
}

#[tokio::test]
async fn both_apis_of_a_platform_with_a_certificate_are_encrypted() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = Certificates::create(folder.path()).unwrap();
    let (roles, _directory) = running(|configured| {
        configured.options.edge.tls_certificate = Some(certificates.certificate_file());
        configured.options.edge.tls_key = Some(certificates.key_file());
    })
    .await;
    let authority = std::fs::read(certificates.authority()).unwrap();
    let authority = reqwest::Certificate::from_pem(&authority).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([authority]).build().unwrap();
    for address in [roles.command_address, roles.query_address] {
        let url = format!("https://{}/livez", address.unwrap());
        let answer = client.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.headers().contains_key("strict-transport-security"));
    }
    roles.stop().await;
}

//! The rate of a caller is that of its principal: all its keys and tokens share it.

use axum::{
    body::Body,
    http::{Request, StatusCode, header},
};
use infra::{
    auth::Scope,
    http::{
        peer::{Peer, TrustedProxies},
        rate_limit::{RateLimits, Rates},
    },
};
use serde_json::json;
use tower::ServiceExt;

use super::{Keys, Platform, customer_token};

/// One a second, and two at once.
const RATE: &str = "1:2";

/// Two reads, two commands, and two requests of customers and strangers.
async fn platform(keys: &Keys) -> Platform {
    let rate = Some(RATE.parse().unwrap());
    let limits =
        RateLimits::new(Rates { reads: rate, writes: rate, public: rate }, TrustedProxies::default());
    Platform::open(keys.gate().with_limits(limits)).await
}

/// Sends requests until one has another status, at most 20: the bucket gets a request back each second.
async fn status_after(mut send: impl AsyncFnMut() -> StatusCode, usual: StatusCode) -> StatusCode {
    for _ in 0..20 {
        let status = send().await;
        if status != usual {
            return status;
        }
    }
    usual
}

#[tokio::test]
async fn the_keys_of_a_principal_share_its_rate_and_others_have_their_own() {
    let keys = Keys::new();
    let (_, first) = keys.add("shop", [Scope::Admin]).await;
    let (_, second) = keys.add("shop", [Scope::Admin]).await;
    let (_, other) = keys.add("office", [Scope::Admin]).await;
    let platform = platform(&keys).await;
    let read = async |caller: &str| platform.get(Some(caller), "/v1/stock").await;
    let limited = status_after(async || read(&first).await.status, StatusCode::OK).await;
    assert_eq!(limited, StatusCode::TOO_MANY_REQUESTS);
    let shared = status_after(async || read(&second).await.status, StatusCode::OK).await;
    assert_eq!(shared, StatusCode::TOO_MANY_REQUESTS);

    let admitted = read(&other).await;
    assert_eq!(admitted.status, StatusCode::OK);
    assert_eq!(admitted.header("ratelimit"), Some("\"reads\";r=1;t=1"));
    let received = platform.post(&first, "/v1/stock/A/receipts", "1", json!({"quantity": 1})).await;
    assert_eq!(received.status, StatusCode::CREATED, "commands have a rate of their own");
    let mut number = 1;
    let command = async || {
        number += 1;
        let (key, body) = (number.to_string(), json!({"quantity": 1}));
        platform.post(&first, "/v1/stock/A/receipts", &key, body).await.status
    };
    assert_eq!(status_after(command, StatusCode::CREATED).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn a_customer_has_the_public_rate() {
    let keys = Keys::new();
    let platform = platform(&keys).await;
    let customer = customer_token("read", "17850");
    let first = platform.get(Some(&customer), "/v1/orders").await;
    assert_eq!(first.header("ratelimit-policy"), Some("\"public\";q=2;w=2"));
    let read = async || platform.get(Some(&customer), "/v1/orders").await.status;
    assert_eq!(status_after(read, StatusCode::OK).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test]
async fn requests_without_a_valid_credential_are_counted_by_address() {
    let keys = Keys::new();
    let (_, valid) = keys.add("shop", [Scope::Admin]).await;
    let platform = platform(&keys).await;
    let read = async |address: &str, caller: &str| {
        let mut request = Request::get("/v1/stock").header(header::AUTHORIZATION, caller);
        request.extensions_mut().unwrap().insert(Peer(address.parse().unwrap()));
        let request = request.body(Body::empty()).unwrap();
        platform.queries.clone().oneshot(request).await.unwrap().status()
    };
    let guess = async || read("1.2.3.4", "Bearer guessed").await;
    assert_eq!(status_after(guess, StatusCode::UNAUTHORIZED).await, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(read("1.2.3.4", &valid).await, StatusCode::OK, "a proxy may be between the callers");
    assert_eq!(read("1.2.3.5", "Bearer guessed").await, StatusCode::UNAUTHORIZED);
    for _ in 0..5 {
        assert_eq!(read("127.0.0.1", "Bearer guessed").await, StatusCode::UNAUTHORIZED);
    }
}

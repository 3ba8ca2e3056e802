use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use base64::{Engine, prelude::BASE64_STANDARD};

use super::*;
use crate::kafka;

/// An issuer that gives the same answer to every request, and the last request.
struct Issuer {
    url: Url,
    request: Arc<Mutex<(HeaderMap, Bytes)>>,
}

async fn issuer(status: u16, answer: &'static str) -> Issuer {
    let request: Arc<Mutex<(HeaderMap, Bytes)>> = Arc::default();
    let received = Arc::clone(&request);
    let answered = move |headers: HeaderMap, body: Bytes| async move {
        *received.lock().unwrap() = (headers, body);
        (StatusCode::from_u16(status).unwrap(), answer)
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/token", listener.local_addr().unwrap())).unwrap();
    let server = axum::serve(listener, Router::new().route("/token", post(answered)));
    tokio::spawn(server.into_future());
    Issuer { url, request }
}

impl Issuer {
    async fn token(&self) -> Result<OAuthToken, String> {
        let endpoint = TokenEndpoint {
            url: self.url.clone(),
            scope: Some("read all".to_owned()),
            client_id: "shop".to_owned(),
            client_secret: "p:w@rd ~1".to_owned(),
        };
        endpoint.token().await
    }

    async fn refusal(&self) -> String {
        self.token().await.map_or_else(|reason| reason, |token| panic!("{}", token.token))
    }
}

#[tokio::test]
async fn a_token_is_requested_with_the_credentials_of_the_client_and_lives_as_long_as_the_issuer_says() {
    let issuer = issuer(200, r#"{"access_token":"abc.def","token_type":"Bearer","expires_in":300}"#).await;
    let before = Timestamp::now().as_millisecond();
    let token = issuer.token().await.unwrap();
    let life = (before + 300_000)..=(Timestamp::now().as_millisecond() + 300_000);
    assert!(life.contains(&token.lifetime_ms), "{} {life:?}", token.lifetime_ms);
    assert_eq!((token.token.as_str(), token.principal_name.as_str()), ("abc.def", "shop"));

    let (headers, body) = issuer.request.lock().unwrap().clone();
    assert_eq!(body, "grant_type=client_credentials&scope=read+all");
    let credentials = BASE64_STANDARD.encode("shop:p%3Aw%40rd%20~1");
    assert_eq!(headers[header::AUTHORIZATION], format!("Basic {credentials}"));
}

#[tokio::test]
async fn a_refusal_names_the_code_of_the_issuer_and_repeats_no_other_text() {
    for (answer, expected) in [
        (r#"{"error":"invalid_client"}"#, "it answered 401 Unauthorized (invalid_client)"),
        (r#"{"error":"the secret p:w@rd is wrong"}"#, "it answered 401 Unauthorized"),
        ("p:w@rd?", "it answered 401 Unauthorized"),
    ] {
        assert_eq!(issuer(401, answer).await.refusal().await, expected);
    }
}

#[tokio::test]
async fn an_answer_without_a_usable_token_is_refused() {
    for (answer, expected) in [
        ("<html>", "the answer has no access_token"),
        (r#"{"access_token":"abc"}"#, "or no expires_in"),
        (r#"{"access_token":"abc","expires_in":0}"#, "the token has expired"),
        (r#"{"access_token":"","expires_in":300}"#, "the token is empty"),
        (r#"{"access_token":"a\u0001b","expires_in":300}"#, "has characters that no token has"),
    ] {
        let refusal = issuer(200, answer).await.refusal().await;
        assert!(refusal.contains(expected), "{answer}: {refusal}");
    }
    let long: &'static str = " ".repeat(ANSWER_BYTES_MAX + 1).leak();
    assert_eq!(issuer(200, long).await.refusal().await, "it has more than 65536 bytes");
}

#[tokio::test]
async fn a_client_asks_its_context_for_a_token_in_the_first_poll() {
    let issuer = issuer(200, r#"{"access_token":"abc","expires_in":300}"#).await;
    let url = format!(
        "kafka://shop:secret@127.0.0.1:1?sasl=oauthbearer&tls=true&token_url={}&token_scope=kafka",
        issuer.url
    );
    let config: KafkaConfig = url.parse().unwrap();
    let polled = tokio::task::spawn_blocking(move || {
        let reader = kafka::reader(&config, &kafka::client(&config, "test")).unwrap();
        drop(reader.poll(Duration::ZERO));
    });
    polled.await.unwrap();
    let (_, body) = issuer.request.lock().unwrap().clone();
    assert_eq!(body, "grant_type=client_credentials&scope=kafka");
}

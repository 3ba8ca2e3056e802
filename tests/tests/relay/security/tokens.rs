//! Tokens of an issuer whose key the broker knows (SASL OAUTHBEARER).

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use axum::{
    Json, Router,
    http::{HeaderMap, StatusCode, header},
    routing::post,
};
use domain::{RecordedEvent, Timestamp};
use infra::{
    event_source::{
        EventSource, SourceUpdate,
        kafka::{KafkaSource, KafkaSourceOptions},
    },
    event_store::EventStore,
    kafka::KafkaConfig,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::time::timeout;

use super::{refusal, variable};
use crate::{
    relay::{Source, sku},
    support::{KafkaTopics, PATIENCE, eventually},
};

/// So short that clients need several tokens within a test. The broker ends a connection whose token has expired.
const TOKEN_LIFE_S: i64 = 6;
/// `Basic` with the id and the secret of the client, `shop` and `secret`.
const CREDENTIALS: &str = "Basic c2hvcDpzZWNyZXQ=";

struct Issuer {
    url: String,
    issued: Arc<AtomicUsize>,
}

impl Issuer {
    /// `audience`: for whom its tokens are.
    async fn start(audience: &'static str) -> Self {
        let key = std::fs::read(variable("ORDERLY_TEST_KAFKA_ISSUER_KEY")).unwrap();
        let (key, issued) = (EncodingKey::from_ec_der(&key), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&issued);
        let answer = async move |headers: HeaderMap| {
            if headers.get(header::AUTHORIZATION).is_none_or(|credentials| credentials != CREDENTIALS) {
                return (StatusCode::UNAUTHORIZED, Json(json!({ "error": "invalid_client" })));
            }
            count.fetch_add(1, Ordering::Relaxed);
            (
                StatusCode::OK,
                Json(json!({ "access_token": sign(&key, audience), "expires_in": TOKEN_LIFE_S })),
            )
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/token", listener.local_addr().unwrap());
        tokio::spawn(axum::serve(listener, Router::new().route("/token", post(answer))).into_future());
        Self { url, issued }
    }

    fn issued(&self) -> usize {
        self.issued.load(Ordering::Relaxed)
    }

    /// The topics through the listener with TLS and SASL, for the client `shop`.
    fn secured(&self, topics: &KafkaTopics, secret: &str) -> KafkaConfig {
        let (with_password, plain) = (variable("ORDERLY_TEST_KAFKA_SECURE"), topics.config());
        let (_, broker) = with_password.split_once('@').unwrap();
        let (prefix, partitions) = (plain.prefix(), plain.partitions());
        let (ca, url) = (variable("ORDERLY_TEST_KAFKA_CA"), &self.url);
        format!(
            "kafka://shop:{secret}@{broker}?prefix={prefix}&partitions={partitions}&sasl=oauthbearer&tls_ca_file={ca}\
             &token_url={url}&token_scope=kafka"
        )
        .parse()
        .unwrap()
    }
}

fn sign(key: &EncodingKey, audience: &str) -> String {
    let now = Timestamp::now().as_second();
    let header = Header { kid: Some("dev".to_owned()), ..Header::new(Algorithm::ES256) };
    // A second more than the issuer says, because `now` is without its fraction.
    let claims: Value = json!({
        "iss": "https://issuer.example", "aud": audience, "sub": "shop", "scope": "kafka",
        "iat": now, "exp": now + TOKEN_LIFE_S + 1,
    });
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

/// Reads all partitions from their beginning. Returns the next events.
async fn next_events(follower: &mut KafkaSource) -> Vec<RecordedEvent> {
    let following = async {
        loop {
            match follower.next().await.unwrap() {
                SourceUpdate::Assigned(partitions) => {
                    for partition in &partitions {
                        follower.seek(partition, None);
                    }
                }
                SourceUpdate::Revoked(partitions) => panic!("the broker took {partitions:?} away"),
                SourceUpdate::Events(batch) => return batch.events,
            }
        }
    };
    timeout(PATIENCE, following).await.expect("an event arrives in time")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn relay_and_follower_go_on_with_the_next_token_when_theirs_expires() {
    let (issuer, source, topics) = (Issuer::start("kafka").await, Source::new(), KafkaTopics::new());
    let config = issuer.secured(&topics, "secret");
    let _relay = Source::start(source.open(config.clone()).await.unwrap());
    let options = KafkaSourceOptions::new("projectors", 100);
    let mut follower = KafkaSource::open(config, options, source.store.log().store_id()).await.unwrap();
    source.append(&sku("A"), 1).await;
    assert_eq!(next_events(&mut follower).await, source.log().await);

    // Both show a new token every 4.8 s, and their first one expires after 7 s at the latest.
    let before = issuer.issued();
    eventually("relay and follower have shown two more tokens each", async || {
        (issuer.issued() >= before + 4).then_some(())
    })
    .await;
    source.append(&sku("A"), 1).await;
    assert_eq!(next_events(&mut follower).await, source.log().await[1..]);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_secret_that_the_issuer_refuses_is_a_start_error() {
    let (issuer, topics) = (Issuer::start("kafka").await, KafkaTopics::new());
    let error = refusal(issuer.secured(&topics, "guessed-4711")).await;
    let expected = format!("ORDERLY_BUS: no token for Kafka from {}: it answered 401", issuer.url);
    assert!(error.starts_with(&expected) && error.contains("(invalid_client)"), "{error}");
    assert!(!error.contains("guessed-4711"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_token_that_the_broker_refuses_is_a_start_error() {
    let (issuer, topics) = (Issuer::start("another service").await, KafkaTopics::new());
    let error = refusal(issuer.secured(&topics, "secret")).await;
    assert!(error.contains("Authentication failure") && error.contains("the token"), "{error}");
}

//! TLS and SASL, against the second listener of the broker.

mod tokens;

use infra::{
    kafka::{KafkaConfig, topics},
    relay::RelayError,
};

use super::{Source, sku};
use crate::support::{KafkaTopics, eventually};

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `infra/dev/services up`"))
}

/// The topics through the listener with TLS and SASL. `parameters` follow those of the test.
fn secured(topics: &KafkaTopics, parameters: &str) -> KafkaConfig {
    let (url, plain) = (variable("ORDERLY_TEST_KAFKA_SECURE"), topics.config());
    let (prefix, partitions) = (plain.prefix(), plain.partitions());
    format!("{url}?prefix={prefix}&partitions={partitions}&{parameters}").parse().unwrap()
}

async fn events_arrive_over(mechanism: &str) {
    let (source, topics) = (Source::new(), KafkaTopics::new());
    let config =
        secured(&topics, &format!("sasl={mechanism}&tls_ca_file={}", variable("ORDERLY_TEST_KAFKA_CA")));
    source.append(&sku("A"), 3).await;
    let _relay = Source::start(source.open(config.clone()).await.unwrap());
    eventually("the relay has published the events", async || {
        topics.committed().values().flatten().count().eq(&3).then_some(())
    })
    .await;
    let positions = topics::last_positions(&config).await.unwrap();
    assert_eq!(positions.iter().filter(|(_, position)| position.is_some()).count(), 1, "{positions:?}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn events_arrive_over_tls_and_scram() {
    events_arrive_over("scram-sha-512").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn events_arrive_over_tls_and_plain() {
    events_arrive_over("plain").await;
}

async fn refusal(config: KafkaConfig) -> String {
    match Source::new().open(config).await {
        Ok(_) => panic!("the broker accepts the client"),
        Err(RelayError::Kafka(error)) => error.to_string(),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_wrong_password_and_an_unknown_authority_are_start_errors() {
    let topics = KafkaTopics::new();
    let ca = variable("ORDERLY_TEST_KAFKA_CA");
    let right = variable("ORDERLY_TEST_KAFKA_SECURE");
    let (_, broker) = right.split_once('@').unwrap();
    let prefix = topics.config().prefix().to_owned();
    let wrong =
        format!("kafka://orderly:guessed-4711@{broker}?prefix={prefix}&sasl=scram-sha-512&tls_ca_file={ca}");
    let (wrong, unknown) = tokio::join!(
        refusal(wrong.parse().unwrap()),
        refusal(secured(&topics, "sasl=scram-sha-512&tls=true"))
    );
    for (error, reason) in [(&wrong, "Authentication failure"), (&unknown, "SSL error")] {
        assert!(error.contains(reason), "{error}");
        assert!(
            error.contains("ORDERLY_BUS") && error.contains("the password, the token or a certificate"),
            "{error}"
        );
        assert!(!error.contains("guessed-4711"), "{error}");
    }
}

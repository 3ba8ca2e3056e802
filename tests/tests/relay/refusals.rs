//! Topics and stores that the relay refuses, and its errors.

use std::{fs, time::Duration};

use infra::{
    event_store::EventStore,
    kafka::{KafkaConfig, KafkaError, Topic, topics::ensure},
    relay::RelayError,
};
use rdkafka::admin::{AdminOptions, AlterConfig, ResourceSpecifier};

use super::{Source, order};
use crate::support::{KafkaTopics, eventually};

/// A log whose only events are published, in one transaction.
pub async fn given_published_events(topics: &KafkaTopics) -> Source {
    let source = Source::new();
    source.append(&order(), 10).await;
    let relay = source.relay(topics).await;
    source.eventually_all_in(topics).await;
    relay.stop().await;
    source
}

pub async fn refusal(source: &Source, topics: &KafkaTopics) -> RelayError {
    source.open(topics.config()).await.unwrap_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn topics_of_another_store_are_refused_and_the_error_names_both_stores() {
    let topics = KafkaTopics::new();
    let source = given_published_events(&topics).await;
    let other = Source::new();
    other.append(&order(), 20).await;
    let error = refusal(&other, &topics).await;
    assert!(matches!(error, RelayError::OtherStore { .. }), "{error}");
    for id in [source.store.log().store_id(), other.store.log().store_id()] {
        assert!(error.to_string().contains(&id.to_string()), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_store_restored_from_an_older_copy_is_refused() {
    let topics = KafkaTopics::new();
    let source = Source::new();
    source.append(&order(), 5).await;
    source.store.close();
    let directory = tempfile::tempdir().unwrap();
    fs::copy(source.directory.path().join("events.db"), directory.path().join("events.db")).unwrap();
    let source = Source::reopen(source.directory);
    source.append(&order(), 5).await;
    let relay = source.relay(&topics).await;
    source.eventually_all_in(&topics).await;
    relay.stop().await;

    let restored = Source::reopen(directory);
    // The refusal does not heal itself when new events pass the published position.
    for _ in 0..2 {
        let error = refusal(&restored, &topics).await;
        assert!(matches!(error, RelayError::LogWentBack { published: 10, .. }), "{error}");
        restored.append(&order(), 10).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_recreated_topic_is_refused() {
    let topics = KafkaTopics::new();
    let source = given_published_events(&topics).await;
    let orders = topics.config().topic_name(Topic::Orders);
    delete_topic(&topics, &orders).await;
    let error = refusal(&source, &topics).await;
    assert!(matches!(error, RelayError::EventsLost { actual: 0, .. }), "{error}");
    assert!(error.to_string().contains(&orders), "{error}");
}

/// Returns when the brokers do not know the topic any more.
pub async fn delete_topic(topics: &KafkaTopics, topic: &str) {
    let admin = topics.admin();
    admin.delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
    eventually("the topic is gone", async || {
        let metadata = admin.inner().fetch_metadata(Some(topic), Duration::from_secs(5)).unwrap();
        metadata.topics()[0].error().map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn events_without_a_progress_record_are_refused() {
    let topics = KafkaTopics::new();
    let source = given_published_events(&topics).await;
    delete_topic(&topics, &topics.config().progress_topic_name()).await;
    let error = refusal(&source, &topics).await;
    assert!(matches!(error, RelayError::ProgressLost { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn topics_that_differ_from_the_settings_are_refused_and_the_error_names_the_difference() {
    let topics = KafkaTopics::new();
    let config = topics.config();
    ensure(&config).await.unwrap();
    ensure(&config).await.unwrap();

    let more: KafkaConfig = config.to_string().replace("partitions=3", "partitions=4").parse().unwrap();
    let error = ensure(&more).await.unwrap_err();
    assert!(matches!(error, KafkaError::TopicDiffers { property: "partitions", .. }), "{error}");

    let stock = config.topic_name(Topic::Stock);
    let change = AlterConfig::new(ResourceSpecifier::Topic(&stock)).set("retention.ms", "604800000");
    topics.admin().alter_configs(&[change], &AdminOptions::new()).await.unwrap();
    let error = eventually("the change is known", async || ensure(&config).await.err()).await;
    let text = error.to_string();
    assert!(
        text.contains(&stock) && text.contains("has retention.ms=604800000, but should have -1"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn more_copies_than_brokers_are_refused_and_the_error_names_the_setting() {
    let topics = KafkaTopics::new();
    let copies: KafkaConfig =
        format!("{}", topics.config()).replace("replication=1", "replication=3").parse().unwrap();
    let error = ensure(&copies).await.unwrap_err().to_string();
    assert!(error.contains("ORDERLY_BUS") && error.contains("?replication=N"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_for_an_unreachable_kafka_names_its_address() {
    let config: KafkaConfig = "kafka://127.0.0.1:1".parse().unwrap();
    let error = ensure(&config).await.unwrap_err();
    assert!(matches!(error, KafkaError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("ORDERLY_BUS: no answer from Kafka at 127.0.0.1:1"), "{error}");
}

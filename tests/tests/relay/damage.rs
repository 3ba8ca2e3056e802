//! A damaged event stops its own stream in Kafka, for this relay and for the next one.

use domain::RecordedEvent;
use infra::{event_store::EventStore, health::Health};

use super::{Source, order};
use crate::support::{KafkaTopics, eventually};

/// The committed events of all partitions.
fn committed(topics: &KafkaTopics) -> Vec<RecordedEvent> {
    let mut events: Vec<RecordedEvent> = topics.committed().into_values().flatten().collect();
    events.sort_by_key(|event| event.position);
    events
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_stream_is_withheld_from_its_damaged_event_on_and_the_others_are_published() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let (damaged, intact) = (order(), order());
    for _ in 0..5 {
        source.append(&damaged, 1).await;
        source.append(&intact, 1).await;
    }
    source.store.close();
    let file = rusqlite::Connection::open(source.directory.path().join("events.db")).unwrap();
    assert_eq!(file.execute("UPDATE events SET data = '{}' WHERE position = 5", []).unwrap(), 1);
    drop(file);
    let source = Source::reopen(source.directory);

    let is_published =
        async || (topics.published() == source.store.log().last_position().await.unwrap()).then_some(());
    let health = Health::default();
    let relay = Source::start(source.open(topics.config()).await.unwrap().reporting_to(health.clone()));
    eventually("the relay reaches the end of the log", is_published).await;
    relay.stop().await;
    let reported = health.readiness().unwrap().degraded;
    assert!(reported[0].name == "withheld_streams" && reported[0].detail.contains(&damaged.to_string()));

    // The next relay does not read the damaged event again.
    source.append(&intact, 1).await;
    source.append(&damaged, 1).await;
    let relay = source.relay(&topics).await;
    eventually("the next relay reaches the end of the log", is_published).await;
    relay.stop().await;

    let mut expected = source.log().await;
    expected.retain(|event| event.stream == intact || event.position < 5);
    assert_eq!(committed(&topics), expected);
}

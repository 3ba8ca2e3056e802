//! What the relay publishes, and how one relay takes over from another.

use std::time::Duration;

use infra::kafka::Topic;
use rdkafka::Message;

use super::{Source, order, sku};
use crate::support::{KafkaTopics, eventually};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn every_event_is_published_once_and_in_order() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    for number in 0..40 {
        source.append(&sku(&format!("SKU {number}/ä")), 1 + number % 3).await;
        source.append(&order(), 2).await;
    }
    let relay = source.relay(&topics).await;
    source.eventually_all_in(&topics).await;
    source.append(&sku("SKU 0/ä"), 5).await;
    source.eventually_all_in(&topics).await;
    relay.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn the_key_of_a_message_is_its_stream() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let stream = sku("85123A");
    source.append(&stream, 3).await;
    let relay = source.relay(&topics).await;
    source.eventually_all_in(&topics).await;
    relay.stop().await;

    let config = topics.config();
    let (topic, number) = config.parse_partition(&config.partition_of(&stream)).unwrap();
    let log = source.log().await;
    let mut seen = Vec::new();
    topics.read_committed(&config.topic_name(topic), number, |message| {
        assert_eq!(message.key(), Some(&b"stock-85123A"[..]));
        assert_eq!(message.payload(), Some(&br#"{ "delta":1 }"#[..]));
        seen.push(message.timestamp().to_millis().unwrap());
    });
    let recorded: Vec<_> = log.iter().map(|event| event.recorded_at.as_millisecond()).collect();
    assert_eq!(seen, recorded);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_relay_continues_where_the_previous_one_stopped() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let stream = order();
    for _ in 0..3 {
        source.append(&stream, 7).await;
        let relay = source.relay(&topics).await;
        source.eventually_all_in(&topics).await;
        relay.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn one_of_two_relays_publishes_and_the_other_takes_over_after_it_stops() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let streams = [order(), order(), sku("1"), sku("2")];
    let first = source.relay(&topics).await;
    let second = source.relay(&topics).await;
    for stream in &streams {
        source.append(stream, 25).await;
    }
    source.eventually_all_in(&topics).await;

    // The second relay fenced the first one, so it publishes. After it stops, the first one continues.
    second.stop().await;
    for stream in &streams {
        source.append(stream, 5).await;
    }
    source.eventually_all_in(&topics).await;
    first.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn relays_do_not_fence_each_other_repeatedly() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let first = source.relay(&topics).await;
    source.append(&order(), 1).await;
    source.eventually_all_in(&topics).await;
    let second = source.relay(&topics).await;
    // Waits several times longer than a relay stands by. Each transaction leaves one record and one marker.
    let progress = topics.config().progress_topic_name();
    let heartbeats = async || {
        let mut count = 0;
        topics.read_committed(&progress, 0, |_| count += 1);
        count
    };
    let before = heartbeats().await;
    eventually("twenty heartbeats", async || (heartbeats().await >= before + 20).then_some(())).await;
    let mut offsets = Vec::new();
    topics.read_committed(&progress, 0, |message| offsets.push(message.offset()));
    // A heartbeat takes two offsets, for its record and its marker. A takeover leaves a larger gap, because
    // it aborts a transaction or ends an epoch.
    let steady = offsets.iter().rev().take(15).collect::<Vec<_>>();
    assert!(steady.windows(2).all(|pair| pair[0] - pair[1] == 2), "{offsets:?}");
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn an_idle_relay_stops_at_once() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let relay = source.relay(&topics).await;
    source.append(&order(), 1).await;
    source.eventually_all_in(&topics).await;
    tokio::time::timeout(Duration::from_secs(2), relay.stop()).await.expect("the relay must stop");
    assert_eq!(topics.committed().len(), 3 * Topic::ALL.len());
}

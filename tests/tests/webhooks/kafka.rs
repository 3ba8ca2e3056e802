//! The follower reads orders and payments from two Kafka topics.

use std::collections::{BTreeMap, BTreeSet};

use infra::{
    event_source::kafka::{KafkaSource, KafkaSourceOptions},
    kafka::{KafkaConfig, Topic},
    relay::{Relay, RelayOptions},
};

use super::*;
use crate::support::KafkaTopics;

async fn source(hooks: &Hooks, config: &KafkaConfig) -> Box<dyn EventSource> {
    let topics = vec![Topic::Orders, Topic::Payments];
    let options = KafkaSourceOptions { topics, ..KafkaSourceOptions::new("webhooks", 100) };
    Box::new(KafkaSource::open(config.clone(), options, hooks.shop.events().log().store_id()).await.unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn sequence_numbers_follow_the_log_over_two_topics() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let topics = KafkaTopics::new();
    let config = topics.config();
    let events = hooks.shop.events();
    let opening = Relay::open(config.clone(), events.log(), events.head(), RelayOptions::default());
    let (relay, stop) = (opening.await.unwrap(), CancellationToken::new());
    let running_relay = tokio::spawn(relay.run(stop.clone()));
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    hooks.start_dispatcher();
    for _ in 0..2 {
        let source = source(&hooks, &config).await;
        hooks.start_following(source, Arc::new(config.clone()));
    }
    let mut expected: BTreeMap<String, BTreeSet<(u64, String)>> = BTreeMap::new();
    for key in ["A", "B", "C", "D", "E", "F"] {
        let order = hooks.paid_order(key).await;
        let numbered = (1..).zip(hooks.events_of(&order).await);
        expected.insert(order, numbered.map(|(number, event)| (number, event.id.to_string())).collect());
    }
    let count = expected.values().map(BTreeSet::len).sum();
    hooks.until(&subscription, "delivered", count).await;
    let mut received: BTreeMap<String, BTreeSet<(u64, String)>> = BTreeMap::new();
    for request in receiver.received() {
        let data = &request.body["data"];
        let (number, event) = (data["sequence"].as_u64().unwrap(), data["event_id"].as_str().unwrap());
        let order = data["order_id"].as_str().unwrap();
        received.entry(order.to_owned()).or_default().insert((number, event.to_owned()));
    }
    assert_eq!(received, expected);
    assert_eq!(receiver.received().len(), count);

    // A follower of another source reads the log from its beginning. Nothing is sent again.
    hooks.kill().await;
    hooks.start_follower();
    hooks.start_dispatcher();
    let last = hooks.paid_order("G").await;
    let more = hooks.events_of(&last).await.len();
    hooks.until(&subscription, "delivered", count + more).await;
    assert_eq!(receiver.received().len(), count + more);
    stop.cancel();
    running_relay.await.unwrap().unwrap();
}

//! Topics that are deleted or lose events, at the start of the relay and while it runs.

use std::sync::Arc;

use domain::StreamName;
use infra::{
    event_source::Reached,
    event_store::{Append, EventStore, ExpectedRevision},
    kafka::{KafkaError, Topic, topics::ensure},
    operations::{Positions, sqlite::SqliteOperations},
    relay::RelayError,
};
use rdkafka::{Offset, TopicPartitionList, admin::AdminOptions};
use tokio::time::timeout;

use super::{
    Running, Source, event, order,
    refusals::{delete_topic, given_published_events, refusal},
};
use crate::support::{KafkaTopics, PATIENCE};

/// Waits until the relay refuses to go on.
async fn refusal_of(relay: Running) -> RelayError {
    let ended = timeout(PATIENCE, relay.task).await.expect("the relay must notice it");
    ended.unwrap().expect_err("the relay must refuse the topics")
}

/// Appends events in one commit, so that the relay publishes them in one transaction.
async fn append_at_once(source: &Source, stream: &StreamName, count: usize) {
    let events = (0..count).map(|_| event()).collect();
    let append = Append { stream: stream.clone(), expected: ExpectedRevision::NoStream, events, epoch: None };
    source.store.append(append).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_topic_that_is_recreated_while_the_relay_runs_gets_no_event() {
    let (topics, source, stream) = (KafkaTopics::new(), Source::new(), order());
    let config = topics.config();
    append_at_once(&source, &stream, 10).await;
    let relay = source.relay(&topics).await;
    source.eventually_all_in(&topics).await;
    let orders = config.topic_name(Topic::Orders);
    delete_topic(&topics, &orders).await;
    ensure(&config).await.unwrap();

    // More messages than the topic had, so that its end alone does not show the loss afterwards.
    let partition = config.partition_of(&stream);
    let other = std::iter::repeat_with(order).find(|other| config.partition_of(other) == partition).unwrap();
    append_at_once(&source, &other, 50).await;
    let error = refusal_of(relay).await;
    assert!(matches!(error, RelayError::EventsLost { .. }) && error.is_of_lost_topics(), "{error}");
    assert!(error.to_string().contains(&orders), "{error}");
    assert_eq!(topics.committed()[&partition], [], "a reader with read_committed sees nothing of it");
    let again = refusal(&source, &topics).await;
    assert!(matches!(again, RelayError::EventsLost { .. }), "{again}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn an_idle_relay_notices_that_a_topic_was_deleted() {
    let topics = KafkaTopics::new();
    let source = given_published_events(&topics).await;
    let relay = source.relay(&topics).await;
    let payments = topics.config().topic_name(Topic::Payments);
    topics.admin().delete_topics(&[&payments], &AdminOptions::new()).await.unwrap();
    let error = refusal_of(relay).await;
    assert!(matches!(error, RelayError::Kafka(KafkaError::TopicMissing { .. })), "{error}");
    assert!(error.to_string().contains(&payments), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_relay_notices_that_all_topics_are_recreated_while_it_runs() {
    let (topics, source) = (KafkaTopics::new(), Source::new());
    let relay = source.relay(&topics).await;
    source.append(&order(), 10).await;
    source.eventually_all_in(&topics).await;
    for topic in topics.names() {
        delete_topic(&topics, &topic).await;
    }
    ensure(&topics.config()).await.unwrap();
    let error = refusal_of(relay).await;
    assert!(error.is_of_lost_topics(), "{error}");
    assert_eq!(topics.committed().into_values().flatten().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn empty_topics_are_refused_if_a_follower_has_read_events_of_them() {
    let topics = KafkaTopics::new();
    let source = given_published_events(&topics).await;
    let operations =
        Arc::new(SqliteOperations::open(&source.directory.path().join("operations.db")).unwrap());
    let partition = topics.config().partition_of(&order());
    let store_id = source.store.log().store_id();
    operations.save("process-manager", store_id, &partition, None, &Reached::from(9)).await.unwrap();
    let compared = async |topics: &KafkaTopics| {
        source
            .open(topics.config())
            .await?
            .comparing_with(Arc::clone(&operations) as Arc<dyn Positions>)
            .await
    };
    compared(&topics).await.unwrap();

    for topic in topics.names() {
        delete_topic(&topics, &topic).await;
    }
    let error = compared(&topics).await.unwrap_err();
    assert!(matches!(error, RelayError::TopicsRecreated { position: 9, .. }), "{error}");
    assert!(error.to_string().contains(&partition.0) && error.is_of_lost_topics(), "{error}");
    // The remedy that the error names.
    compared(&KafkaTopics::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_topic_that_lost_its_beginning_is_refused() {
    let topics = KafkaTopics::new();
    let source = given_published_events(&topics).await;
    let orders = topics.config().topic_name(Topic::Orders);
    let partition = topics.config().partition_of(&source.log().await[0].stream);
    let (_, number) = topics.config().parse_partition(&partition).unwrap();
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&orders, i32::from(number), Offset::Offset(3)).unwrap();
    topics.admin().delete_records(&before, &AdminOptions::new()).await.unwrap();
    let error = refusal(&source, &topics).await;
    assert!(matches!(error, RelayError::BeginningLost { first: 3, .. }), "{error}");
    assert!(error.to_string().contains(&partition.0) && error.is_of_lost_topics(), "{error}");
}

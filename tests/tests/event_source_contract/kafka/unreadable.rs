//! Unreadable messages and positions are errors. The source never skips them.

use domain::Position;
use infra::{
    event_source::{
        EventSource, Partition, Reached, SourceUpdate,
        kafka::{KafkaSource, KafkaSourceOptions},
    },
    event_store::{EventStore, ReadError},
};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    super::{Fixture, Reader, given_stream},
    KafkaFixture,
};
use crate::support::PATIENCE;

/// Writes a message that is not an event to a partition.
fn given_junk(fixture: &KafkaFixture, partition: &Partition) {
    let config = fixture.topics.config();
    let (topic, number) = config.parse_partition(partition).unwrap();
    let producer: BaseProducer = fixture.topics.client().create().unwrap();
    let name = config.topic_name(topic);
    let junk = BaseRecord::to(&name).partition(i32::from(number)).key("order-1").payload("junk");
    producer.send(junk).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
}

async fn next_error(source: &mut dyn EventSource) -> ReadError {
    loop {
        match timeout(PATIENCE, source.next()).await.expect("an error must arrive") {
            Ok(SourceUpdate::Events(batch)) => panic!("events instead of an error: {batch:?}"),
            Ok(_) => {}
            Err(error) => return error,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn an_unreadable_message_is_named_and_stops_only_its_partition() {
    let fixture = KafkaFixture::fresh().await;
    let stream = given_stream(&fixture, 3).await;
    let partition = fixture.partition_of(&stream);
    let mut reader = Reader::of_all(&fixture, 100).await;
    reader.take_events(3).await;
    given_junk(&fixture, &partition);
    let error = next_error(&mut *reader.source).await;
    assert!(matches!(error, ReadError::Corrupt(_)), "{error}");
    let text = error.to_string();
    assert!(text.contains(&partition.0) && text.contains("header ce_source is missing"), "{text}");

    // Other partitions continue. This one repeats the error after a seek.
    let other = loop {
        let other = given_stream(&fixture, 1).await;
        if fixture.partition_of(&other) != partition {
            break other;
        }
    };
    let seen = reader.events().count();
    while !reader.events().skip(seen).any(|event| event.stream == other) {
        reader.take().await;
    }
    let position = reader.positions[&partition];
    reader.seek(&partition, position);
    assert_eq!(next_error(&mut *reader.source).await.to_string(), text);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn events_of_another_store_are_refused() {
    let fixture = KafkaFixture::fresh().await;
    let partition = fixture.partition_of(&given_stream(&fixture, 3).await);
    let config = fixture.topics.config();
    let mut source =
        KafkaSource::open(config, KafkaSourceOptions::new("others", 10), Uuid::new_v4()).await.unwrap();
    seek_when_assigned(&mut source, &partition, None).await;
    let error = next_error(&mut source).await.to_string();
    assert!(
        error.contains(&fixture.store.log().store_id().to_string()) && error.contains("ORDERLY_EVENT_STORE"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: infra/dev/services up"]
async fn a_position_that_a_topic_does_not_have_is_an_error() {
    let fixture = KafkaFixture::fresh().await;
    let partition = fixture.partition_of(&given_stream(&fixture, 3).await);
    let config = fixture.topics.config();
    let store_id = fixture.store.log().store_id();
    let mut source =
        KafkaSource::open(config, KafkaSourceOptions::new("projectors", 10), store_id).await.unwrap();
    seek_when_assigned(&mut source, &partition, Some(1_000_000)).await;
    let error = next_error(&mut source).await;
    assert!(matches!(error, ReadError::Corrupt(_)), "{error}");
    assert!(error.to_string().contains("orderly projections rebuild"), "{error}");
}

/// Waits until a partition is assigned, then seeks it.
async fn seek_when_assigned(source: &mut KafkaSource, wanted: &Partition, position: Option<Position>) {
    loop {
        let update = timeout(PATIENCE, source.next()).await.expect("partitions must arrive").unwrap();
        let SourceUpdate::Assigned(partitions) = update else { continue };
        if partitions.contains(wanted) {
            source.seek(wanted, position.map(Reached::from));
            return;
        }
    }
}

//! Kafka topics for one test, under a unique prefix.

use std::{collections::HashMap, time::Duration};

use domain::{Position, RecordedEvent};
use futures::executor::block_on;
use infra::{
    event_source::Partition,
    kafka::{KafkaConfig, Topic, message},
};
use rdkafka::{
    ClientConfig, Message, Offset, TopicPartitionList,
    admin::{AdminClient, AdminOptions},
    client::DefaultClientContext,
    consumer::{BaseConsumer, Consumer},
    message::{BorrowedMessage, Headers},
};
use tokio::time::Instant;
use uuid::Uuid;

use super::PATIENCE;

/// The topics of one test. Dropping this value deletes them.
#[derive(Debug)]
pub struct KafkaTopics {
    config: KafkaConfig,
}

impl KafkaTopics {
    /// Names topics that do not exist yet.
    pub fn new() -> Self {
        let url = std::env::var("ORDERLY_TEST_KAFKA")
            .expect("ORDERLY_TEST_KAFKA is not set: run `infra/dev/services up`, then `source .dev/env`");
        let prefix = format!("test-{}", Uuid::new_v4().simple());
        let config = format!("{url}?partitions=3&prefix={prefix}").parse().unwrap();
        Self { config }
    }

    pub fn config(&self) -> KafkaConfig {
        self.config.clone()
    }

    pub fn names(&self) -> Vec<String> {
        let names = Topic::ALL.map(|topic| self.config.topic_name(topic));
        names.into_iter().chain([self.config.progress_topic_name()]).collect()
    }

    pub fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", self.config.brokers());
        client
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    /// Deletes the topics now.
    pub fn delete(&self) {
        let names = self.names();
        let topics: Vec<&str> = names.iter().map(String::as_str).collect();
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        drop(block_on(self.admin().delete_topics(&topics, &options)));
    }

    /// All events that a `read_committed` consumer reads, in order, by partition.
    pub fn committed(&self) -> HashMap<Partition, Vec<RecordedEvent>> {
        let mut events: HashMap<Partition, Vec<RecordedEvent>> = HashMap::new();
        for topic in Topic::ALL {
            for number in 0..self.config.partitions() {
                let partition = self.config.partition(topic, number);
                let mut read = Vec::new();
                self.read_committed(&self.config.topic_name(topic), number, |message| {
                    read.push(event(message));
                });
                events.insert(partition, read);
            }
        }
        events
    }

    /// The position up to which the relay has recorded the log as published.
    pub fn published(&self) -> Option<Position> {
        let mut position = None;
        self.read_committed(&self.config.progress_topic_name(), 0, |message| {
            let progress: serde_json::Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            position = progress["position"].as_u64();
        });
        position
    }

    /// Reads every committed message of a partition up to its present end.
    pub fn read_committed(&self, topic: &str, number: u16, mut look: impl FnMut(&BorrowedMessage<'_>)) {
        let (number, deadline) = (i32::from(number), Instant::now() + PATIENCE);
        let consumer: BaseConsumer =
            self.client().set("group.id", "test").set("isolation.level", "read_committed").create().unwrap();
        // The broker may not lead a new partition yet.
        let end = loop {
            match consumer.fetch_watermarks(topic, number, PATIENCE) {
                Ok((_, end)) => break end,
                Err(error) => assert!(Instant::now() < deadline, "{topic}/{number}: {error}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        };
        let mut from = TopicPartitionList::new();
        from.add_partition_offset(topic, number, Offset::Beginning).unwrap();
        consumer.assign(&from).unwrap();
        // The position also moves over transaction markers and aborted messages.
        let position =
            || consumer.position().unwrap().elements()[0].offset().to_raw().map_or(0, |offset| offset.max(0));
        while position() < end {
            assert!(Instant::now() < deadline, "{topic}/{number} cannot be read up to {end}");
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                Some(Ok(message)) => look(&message),
                Some(Err(error)) => panic!("{topic}/{number}: {error}"),
            }
        }
    }
}

impl Drop for KafkaTopics {
    fn drop(&mut self) {
        self.delete();
    }
}

fn event(message: &BorrowedMessage<'_>) -> RecordedEvent {
    let headers = message.headers().into_iter().flat_map(Headers::iter);
    message::decode(headers.map(|header| (header.key, header.value)), message.payload()).unwrap().1
}

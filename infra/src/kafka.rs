//! What the relay and those who follow it share about Kafka: where it is, its topics, the form of an event in them.

pub mod config;
pub mod message;
pub mod partitioning;
pub mod topics;

use std::{sync::Arc, time::Duration};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};

pub use self::{config::KafkaConfig, partitioning::Topic};

/// How long one question to the brokers may take, such as that for metadata.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Why Kafka cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KafkaError {
    #[error(
        "ORDERLY_BUS: no answer from Kafka at {brokers}: {reason}; is it running, and reachable from here?"
    )]
    Unreachable { brokers: String, reason: Arc<str> },
    #[error("ORDERLY_BUS: Kafka refused to create the topic {topic}: {reason}{hint}")]
    NotCreated { topic: String, reason: Arc<str>, hint: &'static str },
    /// What is there was not made with these settings, or was changed since.
    #[error(
        "ORDERLY_BUS: the topic {topic} has {property}={actual} and should have {expected}; correct the topic or the \
         setting. A new number of partitions means new topics (another prefix) and `orderly projections rebuild`"
    )]
    TopicDiffers { topic: String, property: &'static str, actual: String, expected: String },
    /// The client library does not take what it is given: a defect.
    #[error("the Kafka client cannot be made: {0}")]
    Client(Arc<str>),
}

impl KafkaError {
    pub(crate) fn unreachable(config: &KafkaConfig, reason: &impl ToString) -> Self {
        Self::Unreachable { brokers: config.brokers().to_owned(), reason: reason.to_string().into() }
    }
}

/// What every client of ours is made with.
pub(crate) fn client(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers())
        .set("client.id", format!("{}.{role}", config.prefix()))
        // A broker that restarts is found again at once, and one that is gone is not asked all the time.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set_log_level(RDKafkaLogLevel::Warning);
    client
}

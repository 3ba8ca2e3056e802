//! Kafka as the bus: its address, its topics, and the form of an event in them. The relay and its consumers
//! share this.

pub mod config;
pub mod message;
pub mod partitioning;
mod security;
mod token;
pub mod topics;

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    consumer::BaseConsumer,
    error::KafkaError as ClientError,
};
use tokio::task::JoinError;

pub(crate) use self::token::Tokens;
pub use self::{config::KafkaConfig, partitioning::Topic, security::KafkaSecurity};

/// Time limit for one request to the brokers, such as one for metadata.
pub(crate) const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// Why Kafka cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum KafkaError {
    #[error(
        "ORDERLY_BUS: no answer from Kafka at {brokers}: {reason}; check that it runs and is reachable from here{hint}"
    )]
    Unreachable { brokers: String, reason: Arc<str>, hint: &'static str },
    #[error(
        "ORDERLY_BUS: no token for Kafka from {url}: {reason}; check token_url and token_scope, and the id and secret \
         before the first broker"
    )]
    NoToken { url: String, reason: Arc<str> },
    #[error("ORDERLY_BUS: Kafka refused to create the topic {topic}: {reason}{hint}")]
    NotCreated { topic: String, reason: Arc<str>, hint: &'static str },
    /// The topic was created with other settings, or was changed since.
    #[error(
        "ORDERLY_BUS: the topic {topic} has {property}={actual}, but should have {expected}; correct the topic or the \
         setting. Another number of partitions needs new topics (another prefix) and `orderly projections rebuild`"
    )]
    TopicDiffers { topic: String, property: &'static str, actual: String, expected: String },
    /// The brokers have not known the topic for some time, although it was created.
    #[error(
        "the topic {topic} was deleted. Give ORDERLY_BUS another prefix, so that the relay publishes all events again, and \
         run `orderly projections rebuild`"
    )]
    TopicMissing { topic: String },
    /// The client library refused its settings or failed without the brokers. This is a defect.
    #[error("the Kafka client has failed: {0}")]
    Client(Arc<str>),
}

impl KafkaError {
    pub(crate) fn unreachable(config: &KafkaConfig, reason: &impl ToString) -> Self {
        // The library repeats a refused connection and reports only the time-out.
        let is_secured = *config.security() != KafkaSecurity::default();
        let refused = ", or that it accepts the password, the token or a certificate: the log says why it refused a connection";
        let hint = if is_secured { refused } else { "" };
        Self::Unreachable { brokers: config.brokers().to_owned(), reason: reason.to_string().into(), hint }
    }
}

impl From<ClientError> for KafkaError {
    fn from(error: ClientError) -> Self {
        Self::Client(error.to_string().into())
    }
}

impl From<JoinError> for KafkaError {
    fn from(error: JoinError) -> Self {
        Self::Client(error.to_string().into())
    }
}

/// Common settings of all clients of this process. `role` distinguishes them in Kafka's metrics and logs.
pub(crate) fn client(config: &KafkaConfig, role: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", config.brokers())
        .set("client.id", format!("{}.{role}", config.prefix()))
        // Reconnects soon to a broker that restarts, and at most once a second to one that stays down.
        .set("reconnect.backoff.ms", "50")
        .set("reconnect.backoff.max.ms", "1000")
        .set("socket.keepalive.enable", "true")
        .set_log_level(RDKafkaLogLevel::Warning);
    config.security().apply(&mut client);
    client
}

/// A consumer outside the groups that follow the events.
pub(crate) type Reader = BaseConsumer<Tokens>;

/// Creates a reader with settings that begin with those of [`client`].
pub(crate) fn reader(config: &KafkaConfig, settings: &ClientConfig) -> Result<Reader, KafkaError> {
    Ok(Reader::from_config_and_context(settings, Tokens::of(config))?)
}

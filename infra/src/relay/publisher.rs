//! The transactional producer: publishes events and progress together or not at all.

use std::{
    collections::BTreeMap,
    mem,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::RecordedEvent;
use rdkafka::{
    ClientContext, Message,
    config::FromClientConfigAndContext,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};

use super::progress::{self, RelayProgress};
use crate::kafka::{KafkaConfig, KafkaError, Topic, client, message, topics::MESSAGE_BYTES_MAX};

/// How long one step of a transaction may take: longer than a broker takes to restart.
const STEP_TIME_MAX: Duration = Duration::from_secs(20);
/// The broker ends a transaction that was left open after this long.
const TRANSACTION_TIME_MAX: Duration = Duration::from_mins(1);
/// How long one look at the producer's events takes. It does not end early.
const POLL_TIME: Duration = Duration::from_millis(1);

/// Why a transaction was not committed, or is not known to be.
pub(super) enum Failure {
    /// Another producer with our name is at work, or the broker has given up on this one.
    Fenced,
    /// Nothing was published; the same producer may try again.
    Aborted(String),
    /// What happened is not known, or this producer is of no more use: another must find out what the topics hold.
    Broken(String),
}

pub(super) struct Publisher {
    producer: BaseProducer<Written>,
    config: KafkaConfig,
    topics: [(Topic, String); 3],
    progress_topic: String,
}

impl Publisher {
    /// Fences every producer before this one, and ends the transaction that it may have left open.
    pub fn open(config: &KafkaConfig) -> Result<Self, Failure> {
        let mut settings = client(config, "relay");
        settings
            .set("transactional.id", format!("{}.relay", config.prefix()))
            .set("transaction.timeout.ms", TRANSACTION_TIME_MAX.as_millis().to_string())
            .set("message.timeout.ms", STEP_TIME_MAX.as_millis().to_string())
            .set("message.max.bytes", MESSAGE_BYTES_MAX)
            .set("linger.ms", "1")
            .set("compression.type", "lz4");
        let producer = BaseProducer::from_config_and_context(&settings, Written::default())
            .map_err(|error| Failure::Broken(error.to_string()))?;
        let publisher = Self {
            producer,
            config: config.clone(),
            topics: Topic::ALL.map(|topic| (topic, config.topic_name(topic))),
            progress_topic: config.progress_topic_name(),
        };
        let deadline = Instant::now() + STEP_TIME_MAX;
        loop {
            match publisher.producer.init_transactions(STEP_TIME_MAX) {
                Ok(()) => return Ok(publisher),
                Err(ClientError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                }
                Err(error) => return Err(publisher.failure(&error)),
            }
        }
    }

    /// Publishes events in one transaction; `progress` moves with them, and only if it is committed. Without events it
    /// only says that this relay is at work.
    pub fn publish(&self, events: &[RecordedEvent], progress: &mut RelayProgress) -> Result<(), Failure> {
        let mut moved = progress.clone();
        moved.position = events.last().map(|event| event.position).or(progress.position);
        moved.ends.extend(self.producer.context().take());
        moved.ends.remove(&format!("{}/0", self.progress_topic));
        let outcome = self.transact(events, &moved);
        // Known to the next record even if this one is lost: an aborted message takes up an offset too.
        progress.ends.clone_from(&moved.ends);
        match outcome {
            Ok(()) => {
                *progress = moved;
                Ok(())
            }
            Err(error) => Err(self.end(&error)),
        }
    }

    fn transact(&self, events: &[RecordedEvent], progress: &RelayProgress) -> Result<(), ClientError> {
        self.producer.begin_transaction()?;
        for event in events {
            self.send_event(event, progress)?;
        }
        let value = serde_json::to_vec(progress).expect("a record with string keys is JSON");
        self.send(BaseRecord::to(&self.progress_topic).partition(0).key(progress::KEY).payload(&value))?;
        // By ourselves: the library's own wait takes 100 ms steps.
        let deadline = Instant::now() + STEP_TIME_MAX;
        while self.producer.in_flight_count() > 0 && Instant::now() < deadline {
            self.producer.poll(POLL_TIME);
        }
        self.producer.commit_transaction(STEP_TIME_MAX)
    }

    fn send_event(&self, event: &RecordedEvent, progress: &RelayProgress) -> Result<(), ClientError> {
        let key = event.stream.to_string();
        let topic = Topic::of(&event.stream);
        let headers = message::headers(event, progress.store_id);
        let headers =
            headers.iter().fold(OwnedHeaders::new_with_capacity(headers.len()), |all, (key, value)| {
                all.insert(Header { key, value: Some(value) })
            });
        self.send(
            BaseRecord::to(self.topic_name(topic))
                .partition(i32::from(self.config.partition_number(&key)))
                .key(key.as_str())
                .payload(&*event.data)
                .timestamp(event.recorded_at.as_millisecond())
                .headers(headers),
        )
    }

    fn topic_name(&self, wanted: Topic) -> &str {
        self.topics.iter().find(|(topic, _)| *topic == wanted).map_or("", |(_, name)| name)
    }

    /// Hands a record to the producer; waits while its queue is full.
    fn send(&self, mut record: BaseRecord<'_, str, [u8]>) -> Result<(), ClientError> {
        let deadline = Instant::now() + STEP_TIME_MAX;
        loop {
            let Err((error, refused)) = self.producer.send(record) else { return Ok(()) };
            let is_full = error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull);
            if !is_full || Instant::now() > deadline {
                return Err(error);
            }
            record = refused;
            self.producer.poll(POLL_TIME);
        }
    }

    /// Ends a transaction that could not be committed.
    fn end(&self, error: &ClientError) -> Failure {
        match self.failure(error) {
            Failure::Aborted(reason) => match self.producer.abort_transaction(STEP_TIME_MAX) {
                Ok(()) => Failure::Aborted(reason),
                Err(error) => match self.failure(&error) {
                    Failure::Aborted(reason) => Failure::Broken(reason),
                    worse => worse,
                },
            },
            worse => worse,
        }
    }

    /// Tells by code what an error means for this producer.
    fn failure(&self, error: &ClientError) -> Failure {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        if fatal.into_iter().chain(error.rdkafka_error_code()).any(is_fenced) {
            return Failure::Fenced;
        }
        let can_abort = match error {
            ClientError::Transaction(error) => error.txn_requires_abort(),
            // Refused because an earlier message of the transaction has failed.
            ClientError::MessageProduction(code) => *code == RDKafkaErrorCode::State,
            _ => false,
        };
        if fatal.is_none() && can_abort {
            Failure::Aborted(error.to_string())
        } else {
            Failure::Broken(error.to_string())
        }
    }
}

impl From<KafkaError> for Failure {
    fn from(error: KafkaError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Whether another producer with our name has taken over. A broker that ended our transaction for taking too long
/// answers the same.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
    )
}

/// Where partitions end after what was written since it was last asked.
#[derive(Default)]
struct Written(Mutex<BTreeMap<String, u64>>);

impl Written {
    fn take(&self) -> BTreeMap<String, u64> {
        mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Written {}

impl ProducerContext for Written {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        // What failed is told by the commit.
        let Ok(message) = delivered else { return };
        let Ok(offset) = u64::try_from(message.offset()) else { return };
        let partition = format!("{}/{}", message.topic(), message.partition());
        let mut ends = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let end = ends.entry(partition).or_default();
        *end = (*end).max(offset + 1);
    }
}

//! The transactional producer. It publishes events and progress in one transaction.

use std::{
    collections::BTreeMap,
    error::Error,
    mem,
    ops::Range,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use domain::RecordedEvent;
use rdkafka::{
    ClientContext, Message,
    client::OAuthToken,
    config::FromClientConfigAndContext,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    message::{DeliveryResult, Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer, ProducerContext},
};

use super::progress::{self, LostEvents, RelayProgress};
use crate::{
    kafka::{KafkaConfig, KafkaError, Tokens, Topic, client, message, topics::MESSAGE_BYTES_MAX},
    partition::Partition,
};

/// Time limit for one step of a transaction. Longer than the restart of a broker.
const STEP_TIME_MAX: Duration = Duration::from_secs(20);
/// The broker aborts a transaction that stays open for this time.
const TRANSACTION_TIME_MAX: Duration = Duration::from_mins(1);
/// Time of one poll of the producer. A poll always takes all of it.
const POLL_TIME: Duration = Duration::from_millis(1);

/// Why a transaction was not committed, or why its outcome is unknown.
pub(super) enum PublishFailure {
    /// Another producer with the same transactional id has taken over, or the broker has timed out this one.
    Fenced,
    /// Nothing was published. The same producer can retry.
    Aborted(String),
    /// Nothing was published, because a message came to stand before events that are published: the topic was
    /// recreated, or its end is lost.
    Lost(LostEvents),
    /// The outcome is unknown, or this producer is unusable. A new producer must read the progress in Kafka.
    Broken(String),
}

impl PublishFailure {
    /// With the cause as the reason, if there is one.
    fn because(self, cause: Option<String>) -> Self {
        match self {
            Self::Aborted(reason) => Self::Aborted(cause.unwrap_or(reason)),
            Self::Broken(reason) => Self::Broken(cause.unwrap_or(reason)),
            other @ (Self::Fenced | Self::Lost(_)) => other,
        }
    }
}

pub(super) struct Publisher {
    producer: BaseProducer<Deliveries>,
    config: KafkaConfig,
    topics: [(Topic, String); 3],
    progress_topic: String,
}

impl Publisher {
    /// Fences the previous producer and ends the transaction that it may have left open.
    pub fn open(config: &KafkaConfig) -> Result<Self, PublishFailure> {
        let mut settings = client(config, "relay");
        settings
            .set("transactional.id", format!("{}.relay", config.prefix()))
            .set("transaction.timeout.ms", TRANSACTION_TIME_MAX.as_millis().to_string())
            .set("message.timeout.ms", STEP_TIME_MAX.as_millis().to_string())
            .set("message.max.bytes", MESSAGE_BYTES_MAX)
            .set("linger.ms", "1")
            .set("compression.type", "lz4");
        let context = Deliveries { noted: Mutex::default(), tokens: Tokens::of(config) };
        let producer = BaseProducer::from_config_and_context(&settings, context)
            .map_err(|error| PublishFailure::Broken(error.to_string()))?;
        let publisher = Self {
            producer,
            config: config.clone(),
            topics: Topic::ALL.map(|topic| (topic, config.topic_name(topic))),
            progress_topic: config.progress_topic_name(),
        };
        let deadline = Instant::now() + STEP_TIME_MAX;
        loop {
            // Gets a token if it is time, because the next call does not.
            publisher.producer.poll(Duration::ZERO);
            match publisher.producer.init_transactions(STEP_TIME_MAX) {
                Ok(()) => return Ok(publisher),
                Err(ClientError::Transaction(error)) if error.is_retriable() && Instant::now() < deadline => {
                }
                Err(error) => return Err(publisher.failure(&error)),
            }
        }
    }

    /// Publishes events in one transaction, and updates `progress` if that is committed. A call without
    /// events is a heartbeat. Withholds the events that [`RelayProgress::admit`] refuses.
    pub fn publish(
        &self,
        events: &[RecordedEvent],
        progress: &mut RelayProgress,
    ) -> Result<(), PublishFailure> {
        let mut next = progress.clone();
        if let Some(last) = events.last() {
            (next.position, next.last_event) = (Some(last.position), Some(last.into()));
        }
        let admitted: Vec<&RecordedEvent> = events.iter().filter(|event| next.admit(event)).collect();
        // The offsets of this transaction are known only after its record is sent. It adds one for each event.
        for event in &admitted {
            let Partition(partition) = self.config.partition_of(&event.stream);
            *next.ends.entry(partition).or_default() += 1;
        }
        let sent = self.transact(&admitted, &next);
        let Noted { offsets, failure } = self.producer.context().take();
        let outcome = match (progress.find_overwritten(&offsets), sent) {
            (Some(lost), _) => Err(self.refuse(lost, progress)),
            (None, Ok(())) => {
                self.producer.commit_transaction(STEP_TIME_MAX).map_err(|error| self.end(&error))
            }
            (None, Err(error)) => Err(self.end(&error)),
        };
        if outcome.is_ok() {
            *progress = next;
        }
        // Keeps the ends even if the transaction is aborted, because aborted messages take up offsets too. A marker
        // follows them. It is there before the next transaction writes a message.
        let ended = offsets.into_iter().map(|(partition, offsets)| (partition, offsets.end + 1));
        progress.ends.extend(ended);
        outcome.map_err(|error| error.because(failure))
    }

    /// Sends events and progress, and waits until all have their offsets.
    fn transact(&self, events: &[&RecordedEvent], progress: &RelayProgress) -> Result<(), ClientError> {
        self.producer.begin_transaction()?;
        for event in events {
            self.send_event(event, progress)?;
        }
        let value = serde_json::to_vec(progress).expect("a record with string keys is JSON");
        self.send(BaseRecord::to(&self.progress_topic).partition(0).key(progress::KEY).payload(&value))?;
        let deadline = Instant::now() + STEP_TIME_MAX;
        while self.producer.in_flight_count() > 0 {
            if Instant::now() > deadline {
                return Err(ClientError::MessageProduction(RDKafkaErrorCode::MessageTimedOut));
            }
            self.producer.poll(POLL_TIME);
        }
        Ok(())
    }

    /// Aborts the transaction, and writes the loss to the progress, so that later relays refuse the topics too. The
    /// aborted messages could have filled the gap by then.
    fn refuse(&self, lost: LostEvents, progress: &RelayProgress) -> PublishFailure {
        let noted = RelayProgress { lost: Some(lost.clone()), ..progress.clone() };
        let written =
            self.producer.abort_transaction(STEP_TIME_MAX).and_then(|()| self.transact(&[], &noted));
        if let Err(error) = written.and_then(|()| self.producer.commit_transaction(STEP_TIME_MAX)) {
            tracing::warn!(%error, "Cannot record that a topic has lost events");
        }
        PublishFailure::Lost(lost)
    }

    fn send_event(&self, event: &RecordedEvent, progress: &RelayProgress) -> Result<(), ClientError> {
        let key = event.stream.to_string();
        let topic = Topic::of(&event.stream);
        let pairs = message::headers(event, progress.store_id);
        let headers =
            pairs.iter().fold(OwnedHeaders::new_with_capacity(pairs.len()), |headers, (name, value)| {
                headers.insert(Header { key: name, value: Some(value) })
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

    /// Passes a record to the producer. Waits while its queue is full.
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

    /// Aborts a transaction that was not committed, if the producer still can.
    fn end(&self, error: &ClientError) -> PublishFailure {
        match self.failure(error) {
            PublishFailure::Aborted(reason) => match self.producer.abort_transaction(STEP_TIME_MAX) {
                Ok(()) => PublishFailure::Aborted(reason),
                Err(error) => match self.failure(&error) {
                    PublishFailure::Aborted(reason) => PublishFailure::Broken(reason),
                    worse => worse,
                },
            },
            worse => worse,
        }
    }

    /// Maps an error of this producer, by code.
    fn failure(&self, error: &ClientError) -> PublishFailure {
        let fatal = self.producer.client().fatal_error().map(|(code, _)| code);
        if fatal.into_iter().chain(error.rdkafka_error_code()).any(is_fenced) {
            return PublishFailure::Fenced;
        }
        let can_abort = match error {
            ClientError::Transaction(error) => error.txn_requires_abort(),
            // The library refuses a message if an earlier one of the transaction has failed.
            ClientError::MessageProduction(code) => *code == RDKafkaErrorCode::State,
            _ => false,
        };
        if fatal.is_none() && can_abort {
            PublishFailure::Aborted(error.to_string())
        } else {
            PublishFailure::Broken(error.to_string())
        }
    }
}

impl From<KafkaError> for PublishFailure {
    fn from(error: KafkaError) -> Self {
        Self::Broken(error.to_string())
    }
}

/// True if another producer with the same transactional id has taken over. The broker gives the same answer
/// after it aborted a transaction that took too long.
fn is_fenced(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::Fenced | RDKafkaErrorCode::ProducerFenced | RDKafkaErrorCode::InvalidProducerEpoch
    )
}

/// Notes deliveries, and gets tokens.
struct Deliveries {
    noted: Mutex<Noted>,
    tokens: Tokens,
}

/// What became of the messages since the last call of [`Deliveries::take`].
#[derive(Default)]
struct Noted {
    /// The offsets by partition.
    offsets: BTreeMap<String, Range<u64>>,
    /// The first error, with its topic. The client library does not repeat it when the transaction ends.
    failure: Option<String>,
}

impl Deliveries {
    fn take(&self) -> Noted {
        mem::take(&mut self.noted.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Deliveries {
    const ENABLE_REFRESH_OAUTH_TOKEN: bool = true;

    fn generate_oauth_token(&self, config: Option<&str>) -> Result<OAuthToken, Box<dyn Error>> {
        self.tokens.generate_oauth_token(config)
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, delivered: &DeliveryResult<'_>, (): ()) {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        match delivered {
            Ok(message) => {
                let Ok(offset) = u64::try_from(message.offset()) else { return };
                let partition = format!("{}/{}", message.topic(), message.partition());
                let offsets = noted.offsets.entry(partition).or_insert(offset..offset + 1);
                *offsets = offsets.start.min(offset)..offsets.end.max(offset + 1);
            }
            Err((error, message)) => {
                let code = error.rdkafka_error_code();
                // An abort drops what is queued. That is no cause.
                if !matches!(code, Some(RDKafkaErrorCode::PurgeQueue | RDKafkaErrorCode::PurgeInflight)) {
                    noted.failure.get_or_insert_with(|| format!("{}: {error}", message.topic()));
                }
            }
        }
    }
}

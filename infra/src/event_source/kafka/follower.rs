//! The thread that polls Kafka.

use std::{
    collections::{HashMap, HashSet},
    sync::mpsc::{self as blocking, TryRecvError},
    time::{Duration, Instant},
};

use domain::{Position, RecordedEvent};
use rdkafka::{
    Message, Offset, TopicPartitionList,
    config::FromClientConfigAndContext,
    consumer::{BaseConsumer, CommitMode, Consumer},
    error::{KafkaError as ClientError, KafkaResult, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
    topic_partition_list::TopicPartitionListElem,
};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::{
    Batch, KafkaSourceOptions, Partition,
    group::{Change, Group, TopicPartition},
};
use crate::{
    event_store::ReadError,
    kafka::{KafkaConfig, KafkaError, Tokens, client, message, topics::MESSAGE_BYTES_MAX},
};

/// Time limit of one poll, and so the longest time until the thread sees a seek.
const POLL_TIME_MAX: Duration = Duration::from_millis(50);
/// Time limit for a seek. The client library answers as soon as its own thread has received it.
const SEEK_TIME_MAX: Duration = Duration::from_secs(5);
/// Interval of commits of the group's offsets. Only lag monitors read them; this source does not.
const OFFSET_COMMIT_INTERVAL: Duration = Duration::from_secs(5);
/// A member learns from the answer to a heartbeat that partitions move. Until then they have no reader.
const HEARTBEATS_PER_SESSION: u32 = 40;
const PAUSE_AFTER_FATAL: Duration = Duration::from_secs(1);

/// A request to read a partition after a position.
#[derive(Debug, Clone)]
pub(super) struct Seek {
    pub partition: Partition,
    pub after: Option<Position>,
    /// Increases with each seek. Batches with the number of an earlier seek are dropped.
    pub number: u64,
}

/// What the thread sends to the source.
#[derive(Debug)]
pub(super) enum FollowerMessage {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
    Events { batch: Batch, seek: u64 },
    Failed(ReadError),
}

pub(super) struct Follower {
    config: KafkaConfig,
    options: KafkaSourceOptions,
    store_id: Uuid,
    seeks: blocking::Receiver<Seek>,
    messages: mpsc::Sender<FollowerMessage>,
    consumer: BaseConsumer<Group>,
    /// The partitions that the group has assigned to this process.
    assigned: HashSet<Partition>,
    /// Those of them that are read. Reading starts with a seek.
    reading: HashMap<TopicPartition, Reading>,
    /// Seeks that the client library did not accept yet.
    postponed: Vec<Seek>,
    offsets_committed_at: Instant,
}

/// A partition that is read.
struct Reading {
    partition: Partition,
    /// Number of the seek that started this read.
    seek: u64,
    /// Position of the consumer after all batches sent so far.
    after: Option<Position>,
    /// Events for the next batch.
    events: Vec<RecordedEvent>,
    /// Offset of the last of `events`.
    last_offset: Position,
    /// True at an unreadable message, until the consumer seeks.
    stuck: bool,
}

/// Why the thread stops polling with this consumer.
enum End {
    /// The source was dropped.
    Dropped,
    /// The consumer must be replaced.
    Fatal(ClientError),
}

impl Follower {
    pub fn new(
        config: KafkaConfig,
        options: KafkaSourceOptions,
        store_id: Uuid,
        seeks: blocking::Receiver<Seek>,
        messages: mpsc::Sender<FollowerMessage>,
    ) -> Result<Self, KafkaError> {
        let consumer = join_group(&config, &options)?;
        Ok(Self {
            config,
            options,
            store_id,
            seeks,
            messages,
            consumer,
            assigned: HashSet::new(),
            reading: HashMap::new(),
            postponed: Vec::new(),
            offsets_committed_at: Instant::now(),
        })
    }

    /// Polls until the source is dropped. Replaces the consumer after a fatal error.
    pub fn run(&mut self) {
        while let End::Fatal(error) = self.follow() {
            let is_fenced = error.rdkafka_error_code() == Some(RDKafkaErrorCode::FencedInstanceId);
            // Without its name, so that the two processes do not fence each other in turn.
            if let Some(instance) = self.options.instance.take_if(|_| is_fenced) {
                tracing::error!(
                    kafka.instance = instance,
                    "Another process has joined Kafka under the same ORDERLY_INSTANCE; this one goes on without the name, \
                     so its restarts move partitions. Give each process a name of its own"
                );
            } else {
                tracing::error!(%error, "The Kafka consumer has failed; replacing it");
            }
            std::thread::sleep(PAUSE_AFTER_FATAL);
            match join_group(&self.config, &self.options) {
                Ok(consumer) => self.consumer = consumer,
                Err(error) => tracing::error!(%error, "Cannot create a Kafka consumer; retrying"),
            }
            self.reading.clear();
            self.postponed.clear();
            let lost = self.assigned.drain().collect();
            if self.messages.blocking_send(FollowerMessage::Revoked(lost)).is_err() {
                return;
            }
        }
    }

    /// Polls until the source is dropped or the consumer fails.
    fn follow(&mut self) -> End {
        loop {
            match self.poll_once() {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    fn poll_once(&mut self) -> Result<(), End> {
        for seek in std::mem::take(&mut self.postponed) {
            self.start(seek)?;
        }
        loop {
            match self.seeks.try_recv() {
                Ok(seek) => self.start(seek)?,
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) => return Err(End::Dropped),
            }
        }
        let mut events = 0;
        let mut time = POLL_TIME_MAX;
        let mut problem = None;
        // Waits for the first message only. The messages that are already fetched form one batch.
        while events < self.options.batch_events_max
            && let Some(polled) = self.consumer.poll(time)
        {
            time = Duration::ZERO;
            match polled {
                Ok(message) => match keep_event(&message, &mut self.reading, self.store_id) {
                    Ok(kept) => events += usize::from(kept),
                    Err(error) => problem = problem.or(Some(error)),
                },
                Err(error) => problem = problem.or(classify(error)?),
            }
        }
        self.apply_group_changes()?;
        if events > 0 {
            self.send_batches()?;
        }
        if let Some(error) = problem {
            self.send(FollowerMessage::Failed(error))?;
        }
        self.commit_offsets();
        Ok(())
    }

    /// Reads a partition from the position of a seek on.
    fn start(&mut self, seek: Seek) -> Result<(), End> {
        if !self.assigned.contains(&seek.partition) {
            return Ok(());
        }
        let Some((topic, number)) = self.config.parse_partition(&seek.partition) else { return Ok(()) };
        let partition: TopicPartition = (self.config.topic_name(topic), i32::from(number));
        // Drops events that were fetched before, whether or not the seek succeeds.
        self.reading.remove(&partition);
        match self.read_from(&partition, seek.after) {
            Ok(true) => {}
            Ok(false) => {
                self.postponed.push(seek);
                return Ok(());
            }
            Err(error) => {
                let text = format!("cannot read {} after offset {:?}: {error}", seek.partition.0, seek.after);
                return self.send(FollowerMessage::Failed(ReadError::Unavailable(text.into())));
            }
        }
        let reading = Reading {
            partition: seek.partition,
            seek: seek.number,
            after: seek.after,
            events: Vec::new(),
            last_offset: 0,
            stuck: false,
        };
        self.reading.insert(partition, reading);
        Ok(())
    }

    /// False if the client library is not ready, because it has only just started to read the partition.
    fn read_from(&self, partition: &TopicPartition, after: Option<Position>) -> KafkaResult<bool> {
        let group = self.consumer.context();
        let next = after.map_or(0, |position| position + 1);
        let mut list = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(next).unwrap_or(i64::MAX));
        list.add_partition_offset(&partition.0, partition.1, offset)?;
        if !group.is_reading(partition) {
            self.consumer.incremental_assign(&list)?;
            group.set_reading(partition.clone());
            return Ok(true);
        }
        let answers = self.consumer.seek_partitions(list, SEEK_TIME_MAX)?;
        match answers.elements().first().map_or(Ok(()), TopicPartitionListElem::error) {
            Ok(()) => Ok(true),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::State) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn apply_group_changes(&mut self) -> Result<(), End> {
        for change in self.consumer.context().take_changes() {
            let message = match change {
                Change::Assigned(added) => {
                    let partitions: Vec<Partition> = added.iter().map(source_partition).collect();
                    self.assigned.extend(partitions.iter().cloned());
                    FollowerMessage::Assigned(partitions)
                }
                Change::Revoked(removed) => {
                    self.reading.retain(|partition, _| !removed.contains(partition));
                    let partitions: Vec<Partition> = removed.iter().map(source_partition).collect();
                    self.assigned.retain(|partition| !partitions.contains(partition));
                    FollowerMessage::Revoked(partitions)
                }
            };
            self.send(message)?;
        }
        Ok(())
    }

    /// Sends the kept events, one batch per partition.
    fn send_batches(&mut self) -> Result<(), End> {
        let positions =
            self.consumer.position().map(|positions| positions.to_topic_map()).unwrap_or_default();
        let mut batches = Vec::new();
        for (partition, reading) in self.reading.iter_mut().filter(|(_, reading)| !reading.events.is_empty())
        {
            let position = match positions.get(partition).and_then(|offset| offset.to_raw()) {
                // Includes the marker at the end of the transaction if the library has read it. Otherwise a
                // consumer that has caught up would show a lag of one.
                Some(next) if !reading.stuck => {
                    Position::try_from(next - 1).unwrap_or_default().max(reading.last_offset)
                }
                _ => reading.last_offset,
            };
            let batch = Batch {
                partition: reading.partition.clone(),
                after: reading.after,
                events: std::mem::take(&mut reading.events),
                position,
            };
            reading.after = Some(position);
            batches.push(FollowerMessage::Events { batch, seek: reading.seek });
        }
        batches.into_iter().try_for_each(|batch| self.send(batch))
    }

    fn commit_offsets(&mut self) {
        if self.offsets_committed_at.elapsed() < OFFSET_COMMIT_INTERVAL {
            return;
        }
        self.offsets_committed_at = Instant::now();
        let Ok(positions) = self.consumer.position() else { return };
        let mut known = TopicPartitionList::new();
        for element in positions.elements() {
            if let Offset::Offset(_) = element.offset() {
                drop(known.add_partition_offset(element.topic(), element.partition(), element.offset()));
            }
        }
        if known.count() > 0
            && let Err(error) = self.consumer.commit(&known, CommitMode::Async)
        {
            tracing::debug!(%error, "Cannot commit the offsets of the group; lag monitors see old ones");
        }
    }

    /// Waits while the queue of the consumer is full. The thread does not poll meanwhile. So a consumer that
    /// takes longer than Kafka's `max.poll.interval.ms`, 5 minutes, loses its partitions.
    fn send(&self, message: FollowerMessage) -> Result<(), End> {
        self.messages.blocking_send(message).map_err(|_| End::Dropped)
    }
}

fn join_group(config: &KafkaConfig, options: &KafkaSourceOptions) -> KafkaResult<BaseConsumer<Group>> {
    let mut settings = client(config, &options.group);
    settings
        .set("group.id", format!("{}.{}", config.prefix(), options.group))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", options.session_time_max.as_millis().to_string())
        .set(
            "heartbeat.interval.ms",
            (options.session_time_max / HEARTBEATS_PER_SESSION).as_millis().to_string(),
        )
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // An offset that the topic does not have is an error. A reset would skip or repeat events.
        .set("auto.offset.reset", "error")
        // Bounds the memory for prefetched messages. Fetching resumes 10 ms after there is room.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.message.max.bytes", MESSAGE_BYTES_MAX)
        .set("fetch.queue.backoff.ms", "10");
    if let Some(instance) = &options.instance {
        settings.set("group.instance.id", instance);
    }
    let consumer = BaseConsumer::from_config_and_context(&settings, Group::new(Tokens::of(config)))?;
    let topics: Vec<String> = options.topics.iter().map(|topic| config.topic_name(*topic)).collect();
    consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(consumer)
}

fn source_partition((topic, number): &TopicPartition) -> Partition {
    Partition(format!("{topic}/{number}"))
}

/// Keeps the event of a message for the next batch. False if its partition is not read now.
fn keep_event(
    message: &BorrowedMessage<'_>,
    readings: &mut HashMap<TopicPartition, Reading>,
    store_id: Uuid,
) -> Result<bool, ReadError> {
    let partition = (message.topic().to_owned(), message.partition());
    let Some(reading) = readings.get_mut(&partition).filter(|reading| !reading.stuck) else {
        return Ok(false);
    };
    let mut refuse = |reason: String| {
        reading.stuck = true;
        let (topic, number) = &partition;
        let text = format!("the message at offset {} of {topic}/{number}: {reason}", message.offset());
        Err(ReadError::Corrupt(text.into()))
    };
    let Ok(offset) = Position::try_from(message.offset()) else {
        return refuse("it has no offset".to_owned());
    };
    let headers =
        message.headers().into_iter().flat_map(Headers::iter).map(|header| (header.key, header.value));
    match message::decode(headers, message.payload()) {
        Ok((source_id, event)) if source_id == store_id => {
            reading.events.push(event);
            reading.last_offset = offset;
            Ok(true)
        }
        Ok((source_id, _)) => refuse(format!(
            "it belongs to the event store {source_id}, but ORDERLY_EVENT_STORE is {store_id}; correct the setting, or \
             give ORDERLY_BUS another prefix"
        )),
        Err(error) => refuse(error.to_string()),
    }
}

/// Maps an error of the consumer. `Err` ends the loop. `Some` goes to the reader. `None`: the client library
/// retries.
fn classify(error: ClientError) -> Result<Option<ReadError>, End> {
    use RDKafkaErrorCode::{
        AutoOffsetReset, GroupAuthorizationFailed, TopicAuthorizationFailed, UnknownTopic,
        UnknownTopicOrPartition,
    };
    if let ClientError::MessageConsumptionFatal(_) = error {
        return Err(End::Fatal(error));
    }
    Ok(match error.rdkafka_error_code() {
        Some(AutoOffsetReset) => Some(ReadError::Corrupt(
            "a topic does not have the offset to continue from: it was recreated or has lost events; give ORDERLY_BUS \
             another prefix, and run `orderly projections rebuild`"
                .into(),
        )),
        Some(TopicAuthorizationFailed | GroupAuthorizationFailed) => {
            Some(ReadError::Unavailable(error.to_string().into()))
        }
        // Also reported for new topics until every broker knows them. The library retries.
        Some(UnknownTopic | UnknownTopicOrPartition) => {
            tracing::warn!(%error, "Kafka does not know a topic of events; retrying");
            None
        }
        _ => {
            tracing::debug!(%error, "The Kafka consumer is interrupted; retrying");
            None
        }
    })
}

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
    group::{Change, Group, Place},
};
use crate::{
    event_store::ReadError,
    kafka::{KafkaConfig, KafkaError, client, message, topics::MESSAGE_BYTES_MAX},
};

/// How long a seek may go unnoticed.
const POLL_TIME_MAX: Duration = Duration::from_millis(50);
/// Handed to the library, and answered as soon as its own thread has taken it.
const SEEK_TIME_MAX: Duration = Duration::from_secs(5);
/// Offsets of the group are for those who watch its lag; nobody reads from them.
const OFFSETS_SHOWN_EVERY: Duration = Duration::from_secs(5);
const PAUSE_AFTER_FATAL: Duration = Duration::from_secs(1);

/// Wants a partition read after a position.
#[derive(Debug, Clone)]
pub(super) struct Seek {
    pub partition: Partition,
    pub after: Option<Position>,
    /// Distinguishes seeks: what was fetched under an earlier one is of no use.
    pub number: u64,
}

/// What the thread has to say.
#[derive(Debug)]
pub(super) enum Notice {
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
    notices: mpsc::Sender<Notice>,
    consumer: BaseConsumer<Group>,
    owned: HashSet<Partition>,
    reading: HashMap<Place, Reading>,
    /// Seeks that the library could not take yet.
    postponed: Vec<Seek>,
    offsets_shown: Instant,
}

/// A partition that is read.
struct Reading {
    partition: Partition,
    seek: u64,
    /// Where the consumer stands once all that was handed on is applied.
    after: Option<Position>,
    /// Events to hand on, and the offset of the last of them.
    events: Vec<RecordedEvent>,
    last_offset: Position,
    /// At a message that cannot be read, until the consumer seeks.
    stuck: bool,
}

/// The source was dropped, or the consumer is of no more use.
enum End {
    Dropped,
    Fatal(ClientError),
}

impl Follower {
    pub fn new(
        config: KafkaConfig,
        options: KafkaSourceOptions,
        store_id: Uuid,
        seeks: blocking::Receiver<Seek>,
        notices: mpsc::Sender<Notice>,
    ) -> Result<Self, KafkaError> {
        let consumer =
            join(&config, &options).map_err(|error| KafkaError::Client(error.to_string().into()))?;
        Ok(Self {
            config,
            options,
            store_id,
            seeks,
            notices,
            consumer,
            owned: HashSet::new(),
            reading: HashMap::new(),
            postponed: Vec::new(),
            offsets_shown: Instant::now(),
        })
    }

    /// Polls until the source is dropped.
    pub fn run(&mut self) {
        while let End::Fatal(error) = self.follow() {
            tracing::error!(%error, "The Kafka consumer has failed; making another");
            std::thread::sleep(PAUSE_AFTER_FATAL);
            match join(&self.config, &self.options) {
                Ok(consumer) => self.consumer = consumer,
                Err(error) => tracing::error!(%error, "The Kafka consumer cannot be made"),
            }
            self.reading.clear();
            self.postponed.clear();
            let lost = self.owned.drain().collect();
            if self.notices.blocking_send(Notice::Revoked(lost)).is_err() {
                return;
            }
        }
    }

    fn follow(&mut self) -> End {
        loop {
            match self.turn() {
                Ok(()) => {}
                Err(end) => return end,
            }
        }
    }

    fn turn(&mut self) -> Result<(), End> {
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
        // What is there already makes one batch.
        while events < self.options.batch_events_max
            && let Some(polled) = self.consumer.poll(time)
        {
            time = Duration::ZERO;
            match polled {
                Ok(message) => match take(&message, &mut self.reading, self.store_id) {
                    Ok(taken) => events += usize::from(taken),
                    Err(error) => problem = problem.or(Some(error)),
                },
                Err(error) => problem = problem.or(classify(error)?),
            }
        }
        self.note_changes()?;
        if events > 0 {
            self.hand_on()?;
        }
        if let Some(error) = problem {
            self.send(Notice::Failed(error))?;
        }
        self.show_offsets();
        Ok(())
    }

    /// Reads a partition from where the consumer wants it.
    fn start(&mut self, seek: Seek) -> Result<(), End> {
        if !self.owned.contains(&seek.partition) {
            return Ok(());
        }
        let Some((topic, number)) = self.config.parse_partition(&seek.partition) else { return Ok(()) };
        let place: Place = (self.config.topic_name(topic), i32::from(number));
        // What was fetched before is of no use, whether or not the seek succeeds.
        self.reading.remove(&place);
        match self.read_from(&place, seek.after) {
            Ok(true) => {}
            Ok(false) => {
                self.postponed.push(seek);
                return Ok(());
            }
            Err(error) => {
                let text = format!("{} cannot be read from {:?}: {error}", seek.partition.0, seek.after);
                return self.send(Notice::Failed(ReadError::Unavailable(text.into())));
            }
        }
        let Seek { partition, after, number: seek } = seek;
        let reading = Reading { partition, seek, after, events: Vec::new(), last_offset: 0, stuck: false };
        self.reading.insert(place, reading);
        Ok(())
    }

    /// False where the library is not ready: it has only just begun to read the partition.
    fn read_from(&self, place: &Place, after: Option<Position>) -> KafkaResult<bool> {
        let group = self.consumer.context();
        let offset = after.map_or(0, |position| position + 1);
        let mut places = TopicPartitionList::new();
        let offset = Offset::Offset(i64::try_from(offset).unwrap_or(i64::MAX));
        places.add_partition_offset(&place.0, place.1, offset)?;
        if !group.is_reading(place) {
            self.consumer.incremental_assign(&places)?;
            group.set_reading(place.clone());
            return Ok(true);
        }
        let answers = self.consumer.seek_partitions(places, SEEK_TIME_MAX)?;
        match answers.elements().first().map_or(Ok(()), TopicPartitionListElem::error) {
            Ok(()) => Ok(true),
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::State) => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn note_changes(&mut self) -> Result<(), End> {
        for change in self.consumer.context().take_changes() {
            let notice = match change {
                Change::Assigned(places) => {
                    let partitions: Vec<Partition> = places.iter().map(named).collect();
                    self.owned.extend(partitions.iter().cloned());
                    Notice::Assigned(partitions)
                }
                Change::Revoked(places) => {
                    self.reading.retain(|place, _| !places.contains(place));
                    let partitions: Vec<Partition> = places.iter().map(named).collect();
                    self.owned.retain(|partition| !partitions.contains(partition));
                    Notice::Revoked(partitions)
                }
            };
            self.send(notice)?;
        }
        Ok(())
    }

    /// Hands on what was taken, partition by partition.
    fn hand_on(&mut self) -> Result<(), End> {
        let positions =
            self.consumer.position().map(|positions| positions.to_topic_map()).unwrap_or_default();
        let mut batches = Vec::new();
        for (place, reading) in self.reading.iter_mut().filter(|(_, reading)| !reading.events.is_empty()) {
            let position = match positions.get(place).and_then(|offset| offset.to_raw()) {
                // Past the marker that ends the transaction, where that is taken in already: the lag of a consumer that
                // has caught up is then none.
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
            batches.push(Notice::Events { batch, seek: reading.seek });
        }
        batches.into_iter().try_for_each(|batch| self.send(batch))
    }

    fn show_offsets(&mut self) {
        if self.offsets_shown.elapsed() < OFFSETS_SHOWN_EVERY {
            return;
        }
        self.offsets_shown = Instant::now();
        let Ok(positions) = self.consumer.position() else { return };
        let mut shown = TopicPartitionList::new();
        for one in positions.elements() {
            if let Offset::Offset(_) = one.offset() {
                drop(shown.add_partition_offset(one.topic(), one.partition(), one.offset()));
            }
        }
        if shown.count() > 0
            && let Err(error) = self.consumer.commit(&shown, CommitMode::Async)
        {
            tracing::debug!(%error, "Offsets for the group's lag were not committed");
        }
    }

    /// Waits while the consumer has enough to do. Nothing is polled meanwhile, so one that takes minutes loses its
    /// partitions, as one that is dead does.
    fn send(&self, notice: Notice) -> Result<(), End> {
        self.notices.blocking_send(notice).map_err(|_| End::Dropped)
    }
}

fn join(config: &KafkaConfig, options: &KafkaSourceOptions) -> KafkaResult<BaseConsumer<Group>> {
    let mut settings = client(config, &options.group);
    settings
        .set("group.id", format!("{}.{}", config.prefix(), options.group))
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", options.session_time_max.as_millis().to_string())
        .set("heartbeat.interval.ms", (options.session_time_max / 4).as_millis().to_string())
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // A position that a topic does not hold is an error: beginning elsewhere would skip or repeat events.
        .set("auto.offset.reset", "error")
        // Memory: so much is fetched ahead at most, and when there is room again fetching goes on at once.
        .set("queued.max.messages.kbytes", "16384")
        .set("fetch.message.max.bytes", MESSAGE_BYTES_MAX)
        .set("fetch.queue.backoff.ms", "10");
    let consumer = BaseConsumer::from_config_and_context(&settings, Group::default())?;
    let topics: Vec<String> = options.topics.iter().map(|topic| config.topic_name(*topic)).collect();
    consumer.subscribe(&topics.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(consumer)
}

fn named((topic, number): &Place) -> Partition {
    Partition(format!("{topic}/{number}"))
}

/// Takes an event that is wanted; false for one that is not.
fn take(
    message: &BorrowedMessage<'_>,
    reading: &mut HashMap<Place, Reading>,
    store_id: Uuid,
) -> Result<bool, ReadError> {
    let place = (message.topic().to_owned(), message.partition());
    let Some(reading) = reading.get_mut(&place).filter(|reading| !reading.stuck) else { return Ok(false) };
    let mut refuse = |reason: String| {
        reading.stuck = true;
        let (topic, number) = &place;
        let text = format!("the message at offset {} of {topic}/{number}: {reason}", message.offset());
        Err(ReadError::Corrupt(text.into()))
    };
    let Ok(offset) = Position::try_from(message.offset()) else { return refuse("no offset".to_owned()) };
    let headers =
        message.headers().into_iter().flat_map(Headers::iter).map(|header| (header.key, header.value));
    match message::decode(headers, message.payload()) {
        Ok((from, event)) if from == store_id => {
            reading.events.push(event);
            reading.last_offset = offset;
            Ok(true)
        }
        Ok((from, _)) => {
            refuse(format!("it is of the event store {from}, and ORDERLY_EVENT_STORE is {store_id}"))
        }
        Err(error) => refuse(error.to_string()),
    }
}

/// What an error of the consumer means: fatal, for the reader to know, or the library's to get over.
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
            "a topic does not hold the position to go on from: it was made anew or has lost events; give ORDERLY_BUS \
             another prefix, and run `orderly projections rebuild`"
                .into(),
        )),
        Some(TopicAuthorizationFailed | GroupAuthorizationFailed) => {
            Some(ReadError::Unavailable(error.to_string().into()))
        }
        // Said of new topics, too, until every broker knows of them; the library keeps asking.
        Some(UnknownTopic | UnknownTopicOrPartition) => {
            tracing::warn!(%error, "Kafka does not know a topic of events");
            None
        }
        _ => {
            tracing::debug!(%error, "The Kafka consumer is interrupted");
            None
        }
    })
}

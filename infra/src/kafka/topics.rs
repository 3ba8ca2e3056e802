//! Creates the topics, checks their settings, and reads their offsets.

use std::{collections::HashMap, ops::Range, time::Duration};

use domain::Position;
use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer,
    error::{KafkaError as ClientError, RDKafkaErrorCode},
    metadata::MetadataTopic,
    topic_partition_list::{Offset, TopicPartitionList, TopicPartitionListElem},
    util::Timeout,
};
use tokio::time::Instant;

use super::{KafkaConfig, KafkaError, REQUEST_TIME_MAX, Reader, Topic, client, reader, token};
use crate::partition::Partition;

/// Time limit until a broker has refused a connection, after another client has failed.
const REFUSAL_TIME_MAX: Duration = Duration::from_secs(2);
/// Time limit until every broker knows the new topics.
const SETTLING_TIME_MAX: Duration = Duration::from_secs(30);
/// The largest event: a command of 2 MiB plus what the decision adds.
pub(crate) const MESSAGE_BYTES_MAX: &str = "4194304";
/// Topics of events keep them forever.
const EVENTS: [(&str, &str); 6] = [
    ("message.timestamp.type", "CreateTime"),
    ("cleanup.policy", "delete"),
    ("retention.ms", "-1"),
    ("retention.bytes", "-1"),
    ("unclean.leader.election.enable", "false"),
    ("max.message.bytes", MESSAGE_BYTES_MAX),
];
/// Set on new topics, and missed on topics of earlier versions with a warning. With the default of Kafka 4, one
/// hour, a broker refuses events that were recorded while a clock was ahead, and the relay stands still.
const TIMES_ACCEPTED: (&str, &str) = ("message.timestamp.after.max.ms", "9223372036854775807");
/// The topic of progress needs only the last record. Segments are small, 16 MiB, because Kafka compacts only
/// closed segments.
const PROGRESS: [(&str, &str); 4] = [
    ("cleanup.policy", "compact"),
    ("unclean.leader.election.enable", "false"),
    ("segment.bytes", "16777216"),
    ("min.cleanable.dirty.ratio", "0.1"),
];

/// The required settings of one topic.
struct TopicSpec {
    name: String,
    partitions: u16,
    settings: Vec<(&'static str, String)>,
}

impl TopicSpec {
    fn new(config: &KafkaConfig, name: String, partitions: u16, settings: &[(&'static str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| (*name, (*value).to_owned()));
        let min_insync = ("min.insync.replicas", config.min_insync().to_string());
        Self { name, partitions, settings: settings.chain([min_insync]).collect() }
    }

    fn all(config: &KafkaConfig) -> Vec<Self> {
        let events = |topic| Self::new(config, config.topic_name(topic), config.partitions(), &EVENTS);
        let progress = Self::new(config, config.progress_topic_name(), 1, &PROGRESS);
        Topic::ALL.into_iter().map(events).chain([progress]).collect()
    }
}

/// Creates missing topics. Refuses topics that differ from the settings. The first process that starts
/// creates them.
pub async fn ensure(config: &KafkaConfig) -> Result<(), KafkaError> {
    let admin: AdminClient<DefaultClientContext> = client(config, "admin").create()?;
    token::give(config, admin.inner()).await?;
    let specs = TopicSpec::all(config);
    create(config, &admin, &specs).await?;
    let settled = tokio::task::spawn_blocking({
        let config = config.clone();
        let layout: Vec<(String, u16)> =
            specs.iter().map(|spec| (spec.name.clone(), spec.partitions)).collect();
        move || check_layout(&config, &admin, &layout).map(|()| admin)
    });
    check_settings(config, &settled.await??, &specs).await
}

async fn create(
    config: &KafkaConfig,
    admin: &AdminClient<DefaultClientContext>,
    specs: &[TopicSpec],
) -> Result<(), KafkaError> {
    let replication = i32::from(config.replication());
    let topics: Vec<NewTopic<'_>> = specs
        .iter()
        .map(|spec| {
            let topic =
                NewTopic::new(&spec.name, i32::from(spec.partitions), TopicReplication::Fixed(replication));
            let topic = topic.set(TIMES_ACCEPTED.0, TIMES_ACCEPTED.1);
            spec.settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let options =
        AdminOptions::new().request_timeout(Some(REQUEST_TIME_MAX)).operation_timeout(Some(REQUEST_TIME_MAX));
    let answers = match admin.create_topics(&topics, &options).await {
        Ok(answers) => answers,
        Err(error) => return Err(unreachable(config, &error).await),
    };
    for answer in answers {
        match answer {
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((topic, code)) => {
                let hint = if code == RDKafkaErrorCode::InvalidReplicationFactor {
                    "; there are fewer brokers than copies; set ?replication=N"
                } else {
                    ""
                };
                return Err(KafkaError::NotCreated { topic, reason: code.to_string().into(), hint });
            }
        }
    }
    Ok(())
}

/// The error of a client that creates topics, with the reason why a broker refuses connections.
async fn unreachable(config: &KafkaConfig, error: &ClientError) -> KafkaError {
    let polled = config.clone();
    let refusal = tokio::task::spawn_blocking(move || refusal(&polled)).await.ok().flatten();
    let reason = refusal.map_or_else(|| error.to_string(), |refusal| format!("{error}, {refusal}"));
    KafkaError::unreachable(config, &reason)
}

/// Why a broker refuses connections. The client library says it, and logs more, only in polls. Blocks.
fn refusal(config: &KafkaConfig) -> Option<String> {
    let reader = reader(config, &client(config, "admin")).ok()?;
    let deadline = Instant::now() + REFUSAL_TIME_MAX;
    while Instant::now() < deadline {
        if let Some(Err(error)) = reader.poll(REFUSAL_TIME_MAX) {
            return error.rdkafka_error_code().map(|code| code.to_string());
        }
    }
    None
}

/// Waits until the brokers know the topics. Then checks the numbers of partitions and copies.
fn check_layout(
    config: &KafkaConfig,
    admin: &AdminClient<DefaultClientContext>,
    layout: &[(String, u16)],
) -> Result<(), KafkaError> {
    let deadline = Instant::now() + SETTLING_TIME_MAX;
    for (name, partitions) in layout {
        loop {
            let metadata = admin
                .inner()
                .fetch_metadata(Some(name), REQUEST_TIME_MAX)
                .map_err(|error| KafkaError::unreachable(config, &error))?;
            let topic = metadata.topics().first().filter(|topic| is_settled(topic));
            if let Some(topic) = topic {
                check_topic(config, topic, *partitions)?;
                break;
            }
            if Instant::now() > deadline {
                return Err(KafkaError::unreachable(
                    config,
                    &format!("{name} has partitions without a leader"),
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    Ok(())
}

fn is_settled(topic: &MetadataTopic) -> bool {
    let partitions = topic.partitions();
    topic.error().is_none()
        && !partitions.is_empty()
        && partitions.iter().all(|partition| partition.error().is_none() && partition.leader() >= 0)
}

fn check_topic(config: &KafkaConfig, topic: &MetadataTopic, partitions: u16) -> Result<(), KafkaError> {
    let expect = |property, actual: usize, expected: u16| {
        if actual == usize::from(expected) {
            return Ok(());
        }
        let topic = topic.name().to_owned();
        let (actual, expected) = (actual.to_string(), expected.to_string());
        Err(KafkaError::TopicDiffers { topic, property, actual, expected })
    };
    expect("partitions", topic.partitions().len(), partitions)?;
    for partition in topic.partitions() {
        expect("replication", partition.replicas().len(), config.replication())?;
    }
    Ok(())
}

async fn check_settings(
    config: &KafkaConfig,
    admin: &AdminClient<DefaultClientContext>,
    specs: &[TopicSpec],
) -> Result<(), KafkaError> {
    let topics: Vec<_> = specs.iter().map(|spec| ResourceSpecifier::Topic(&spec.name)).collect();
    let options = AdminOptions::new().request_timeout(Some(REQUEST_TIME_MAX));
    let answers = admin
        .describe_configs(&topics, &options)
        .await
        .map_err(|error| KafkaError::unreachable(config, &error))?;
    for (answer, spec) in answers.into_iter().zip(specs) {
        let described = answer.map_err(|code| KafkaError::unreachable(config, &code))?;
        let properties: HashMap<&str, &str> = described
            .entries
            .iter()
            .map(|entry| (entry.name.as_str(), entry.value.as_deref().unwrap_or_default()))
            .collect();
        let times_accepted = properties.get(TIMES_ACCEPTED.0).copied().unwrap_or_default();
        if times_accepted != TIMES_ACCEPTED.1 {
            tracing::warn!(
                kafka.topic = spec.name,
                kafka.property = TIMES_ACCEPTED.0,
                value = times_accepted,
                wanted = TIMES_ACCEPTED.1,
                "A topic refuses events that were recorded while a clock was ahead, and the relay would stand still; set \
                 the property of the topic with kafka-configs"
            );
        }
        for (property, expected) in &spec.settings {
            let actual = properties.get(property).copied().unwrap_or_default();
            if actual != expected {
                return Err(KafkaError::TopicDiffers {
                    topic: spec.name.clone(),
                    property,
                    actual: actual.to_owned(),
                    expected: expected.clone(),
                });
            }
        }
    }
    Ok(())
}

/// The offset before the end of each partition; `None` if the partition is empty. Every event relayed so far
/// is at or before it. Transaction markers and messages of unfinished transactions count too.
pub async fn last_positions(config: &KafkaConfig) -> Result<Vec<(Partition, Option<Position>)>, KafkaError> {
    let config = config.clone();
    let asking = tokio::task::spawn_blocking(move || offsets(&config, &admin_reader(&config)?));
    let last = |offsets: Range<u64>| offsets.end.checked_sub(1);
    Ok(asking.await??.into_iter().map(|(partition, offsets)| (partition, last(offsets))).collect())
}

/// A reader for questions about topics.
pub(crate) fn admin_reader(config: &KafkaConfig) -> Result<Reader, KafkaError> {
    reader(config, &client(config, "admin"))
}

/// The offsets of each partition of events: from its first message to where the next one will be. Blocks.
pub(crate) fn offsets(
    config: &KafkaConfig,
    consumer: &Reader,
) -> Result<Vec<(Partition, Range<u64>)>, KafkaError> {
    let mut found = Vec::new();
    for topic in Topic::ALL {
        let of_topic = offsets_of(config, consumer, &config.topic_name(topic), config.partitions())?;
        let numbered = (0..config.partitions()).zip(of_topic);
        found.extend(numbered.map(|(number, offsets)| (config.partition(topic, number), offsets)));
    }
    Ok(found)
}

/// The offsets of the partitions of one topic, by number. Two requests for each broker. Blocks.
pub(crate) fn offsets_of(
    config: &KafkaConfig,
    consumer: &Reader,
    topic: &str,
    partitions: u16,
) -> Result<Vec<Range<u64>>, KafkaError> {
    // Gets a token if it is time. The consumer follows no partition yet, so this returns no message.
    drop(consumer.poll(Duration::ZERO));
    let deadline = Instant::now() + REQUEST_TIME_MAX;
    loop {
        // The end last: it only grows.
        let asked = ask_offsets(consumer, topic, partitions, Offset::Beginning)
            .and_then(|firsts| Ok((firsts, ask_offsets(consumer, topic, partitions, Offset::End)?)));
        match asked {
            Ok((firsts, ends)) => {
                return Ok(firsts.into_iter().zip(ends).map(|(first, end)| first..end).collect());
            }
            // Metadata can name a leader a moment before that broker knows it.
            Err(error) if is_transient(&error) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) if is_unknown(&error) => return Err(why_unknown(config, consumer, topic)),
            Err(error) => return Err(KafkaError::unreachable(config, &format!("{topic}: {error}"))),
        }
    }
}

/// The first or the last offset of each partition. In this request to the brokers, both are special times.
fn ask_offsets(
    consumer: &Reader,
    topic: &str,
    partitions: u16,
    which: Offset,
) -> Result<Vec<u64>, ClientError> {
    let mut asked = TopicPartitionList::new();
    for number in 0..partitions {
        asked.add_partition_offset(topic, i32::from(number), which)?;
    }
    let answers = consumer.offsets_for_times(asked, Timeout::After(REQUEST_TIME_MAX))?;
    let offset = |answer: TopicPartitionListElem<'_>| {
        answer.error()?;
        let offset = answer.offset().to_raw().and_then(|offset| u64::try_from(offset).ok());
        offset.ok_or(ClientError::OffsetFetch(RDKafkaErrorCode::OffsetNotAvailable))
    };
    answers.elements().into_iter().map(offset).collect()
}

/// Why the client library does not know a topic. It answers the same to a deleted topic and to a missing right.
fn why_unknown(config: &KafkaConfig, consumer: &Reader, topic: &str) -> KafkaError {
    let metadata = match consumer.fetch_metadata(Some(topic), REQUEST_TIME_MAX) {
        Ok(metadata) => metadata,
        Err(error) => return KafkaError::unreachable(config, &format!("{topic}: {error}")),
    };
    match metadata.topics().first().and_then(MetadataTopic::error).map(RDKafkaErrorCode::from) {
        Some(RDKafkaErrorCode::UnknownTopicOrPartition) => {
            KafkaError::TopicMissing { topic: topic.to_owned() }
        }
        Some(code) => KafkaError::unreachable(config, &format!("{topic}: {code}")),
        None => KafkaError::unreachable(config, &format!("{topic} has just appeared")),
    }
}

/// True if the client library does not know the topic.
fn is_unknown(error: &ClientError) -> bool {
    use RDKafkaErrorCode::{UnknownPartition, UnknownTopic, UnknownTopicOrPartition};
    let code = error.rdkafka_error_code();
    code.is_some_and(|code| matches!(code, UnknownPartition | UnknownTopic | UnknownTopicOrPartition))
}

/// True if a retry may help, because the brokers have not yet agreed on the leader of a partition.
fn is_transient(error: &ClientError) -> bool {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, OffsetNotAvailable};
    let code = error.rdkafka_error_code();
    is_unknown(error)
        || code.is_some_and(|code| {
            matches!(code, LeaderNotAvailable | NotLeaderForPartition | OffsetNotAvailable)
        })
}

//! Reads events from a Kafka topic of the platform and handles each event once. A crash repeats at most the
//! last event; `consume` shows how to recognise it.

use std::collections::HashSet;

use rdkafka::{
    ClientConfig, Message,
    consumer::{CommitMode, Consumer, StreamConsumer},
    error::KafkaError,
    message::{BorrowedMessage, Headers},
};

/// An event of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicEvent {
    /// The deduplication key, the same for ever.
    pub id: String,
    /// For example `order.placed.v2`. Ignore types that you do not know.
    pub type_name: String,
    /// For example `order-0d3c…`. Events of one stream arrive in order.
    pub stream: String,
    /// JSON.
    pub data: String,
}

/// Passes each new event of `topic` to `handle` until `handle` returns false. `group` remembers the position,
/// so the next run continues after the last handled event.
pub async fn consume(
    brokers: &str,
    topic: &str,
    group: &str,
    mut handle: impl FnMut(TopicEvent) -> bool,
) -> Result<(), KafkaError> {
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", group)
        .set("auto.offset.reset", "earliest")
        // Hides the events of aborted transactions of the relay.
        .set("isolation.level", "read_committed")
        // This program commits an offset only after it has handled the event.
        .set("enable.auto.commit", "false")
        .create()?;
    consumer.subscribe(&[topic])?;
    // After a crash between `handle` and the commit, Kafka delivers the event again. Keep the ids in your
    // database, in the transaction that handles the event; then a second delivery changes nothing.
    let mut handled = HashSet::new();
    loop {
        let message = consumer.recv().await?;
        let mut go_on = true;
        if let Some(event) = event_of(&message)
            && handled.insert(event.id.clone())
        {
            go_on = handle(event);
        }
        consumer.commit_message(&message, CommitMode::Sync)?;
        if !go_on {
            return Ok(());
        }
    }
}

/// Reads a message as a CloudEvent in binary mode: attributes are headers, the value is the data. `None` for
/// a message that is not such an event.
fn event_of(message: &BorrowedMessage<'_>) -> Option<TopicEvent> {
    let header = |name: &str| {
        let found = message.headers()?.iter().find(|header| header.key == name)?;
        String::from_utf8(found.value?.to_vec()).ok()
    };
    Some(TopicEvent {
        id: header("ce_id")?,
        type_name: header("ce_type")?,
        stream: header("ce_subject")?,
        data: String::from_utf8(message.payload()?.to_vec()).ok()?,
    })
}

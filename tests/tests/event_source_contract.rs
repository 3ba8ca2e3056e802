//! The contract of the event source port: one suite that runs over every adapter.

mod direct;
mod eventstoredb;
mod kafka;
mod memory;
mod reading;
mod seeking;

use std::{collections::HashMap, sync::Arc};

use async_trait::async_trait;
use domain::{EventId, NewEvent, Position, RecordedEvent, StreamName};
use infra::{
    event_source::{Batch, EventSource, Partition, Reached, SourceUpdate},
    event_store::{Append, EventStore, ExpectedRevision},
};
use tokio::time::timeout;
use uuid::Uuid;

use crate::support::PATIENCE;

/// A source under test, and the store behind it.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    async fn fresh() -> Self;

    fn store(&self) -> Arc<dyn EventStore>;

    /// A new source that has assigned no partition yet.
    async fn source(&self, batch_events_max: usize) -> Box<dyn EventSource>;

    fn partition_of(&self, stream: &StreamName) -> Partition;

    fn partitions(&self) -> Vec<Partition>;
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! event_source_contract {
    ($fixture:ty $(, $ignore:literal)?) => {
        event_source_contract! { $fixture, [$($ignore)?]:
            reading::every_event_arrives_once_and_in_order,
            reading::batches_respect_their_limit_and_have_no_gaps,
            reading::an_append_wakes_a_source_that_has_caught_up,
            reading::no_event_is_lost_during_concurrent_appends_and_cancelled_waits,
            seeking::no_event_arrives_before_the_consumer_seeks,
            seeking::a_source_starts_after_the_given_position,
            seeking::a_source_can_seek_back,
            seeking::events_fetched_before_a_seek_do_not_arrive_after_it,
            seeking::a_seek_of_a_foreign_partition_has_no_effect,
        }
    };
    ($fixture:ty, $ignore:tt: $($topic:ident::$rule:ident),* $(,)?) => {
        $(event_source_contract! { @test $fixture, $ignore, $topic, $rule })*
    };
    (@test $fixture:ty, [$($ignore:literal)?], $topic:ident, $rule:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $(#[ignore = $ignore])?
        async fn $rule() {
            let fixture = <$fixture as super::Fixture>::fresh().await;
            super::$topic::$rule(fixture).await;
        }
    };
}
use event_source_contract;

/// Reads a source like a consumer, and keeps its batches.
struct Reader {
    source: Box<dyn EventSource>,
    /// Position of each assigned partition.
    positions: HashMap<Partition, Option<Position>>,
    batches: Vec<Batch>,
}

impl Reader {
    fn new(source: Box<dyn EventSource>) -> Self {
        Self { source, positions: HashMap::new(), batches: Vec::new() }
    }

    /// Waits until the reader has every partition of the fixture. It reads each from its beginning.
    async fn of_all(fixture: &impl Fixture, batch_events_max: usize) -> Self {
        let mut reader = Self::new(fixture.source(batch_events_max).await);
        while reader.positions.len() < fixture.partitions().len() {
            reader.take().await;
        }
        reader
    }

    /// Waits for one update and applies it.
    async fn take(&mut self) {
        let update = timeout(PATIENCE, self.source.next()).await.expect("an update must arrive").unwrap();
        self.keep(update);
    }

    fn keep(&mut self, update: SourceUpdate) {
        match update {
            SourceUpdate::Assigned(partitions) => {
                for partition in partitions {
                    self.source.seek(&partition, None);
                    self.positions.insert(partition, None);
                }
            }
            SourceUpdate::Revoked(partitions) => {
                self.positions.retain(|partition, _| !partitions.contains(partition));
            }
            SourceUpdate::Events(batch) => {
                let position = self
                    .positions
                    .get_mut(&batch.partition)
                    .expect("the partition of a batch must be assigned");
                assert_eq!(batch.after, *position, "batches must have no gap");
                assert!(Some(batch.position) > *position);
                assert!(!batch.events.is_empty());
                *position = Some(batch.position);
                self.batches.push(batch);
            }
        }
    }

    async fn take_events(&mut self, count: usize) {
        while self.events().count() < count {
            self.take().await;
        }
    }

    fn seek(&mut self, partition: &Partition, position: Option<Position>) {
        self.source.seek(partition, position.map(Reached::from));
        self.positions.insert(partition.clone(), position);
    }

    fn events(&self) -> impl Iterator<Item = &RecordedEvent> {
        self.batches.iter().flat_map(|batch| &batch.events)
    }

    fn of(&self, partition: &Partition) -> Vec<RecordedEvent> {
        let batches = self.batches.iter().filter(|batch| batch.partition == *partition);
        batches.flat_map(|batch| batch.events.clone()).collect()
    }
}

/// The events of a partition in the store.
async fn stored(fixture: &impl Fixture, partition: &Partition) -> Vec<RecordedEvent> {
    let log = fixture.store().log().read_all(None, usize::MAX).await.unwrap();
    log.into_iter().filter(|event| fixture.partition_of(&event.stream) == *partition).collect()
}

fn event() -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "order.delivered.v1",
        data: br#"{ "shipment_id": "0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f" }"#.to_vec(),
        metadata: Arc::from(*br#"{"command":"deliver"}"#),
    }
}

fn new_stream() -> StreamName {
    domain::OrderId(Uuid::new_v4()).into()
}

/// Appends `count` events to a new stream. Returns the stream.
async fn given_stream(fixture: &impl Fixture, count: usize) -> StreamName {
    let stream = new_stream();
    given_events(&*fixture.store(), &stream, ExpectedRevision::NoStream, count).await;
    stream
}

async fn given_events(store: &dyn EventStore, stream: &StreamName, expected: ExpectedRevision, count: usize) {
    let events = (0..count).map(|_| event()).collect();
    store.append(Append { stream: stream.clone(), expected, events, epoch: None }).await.unwrap();
}

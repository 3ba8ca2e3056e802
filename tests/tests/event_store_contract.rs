//! The contract of the event store port: one suite that runs over every adapter.

mod appending;
mod dependent_appends;
mod eventstoredb;
mod eventstoredb_batches;
mod eventstoredb_calls;
mod eventstoredb_faults;
mod marks;
mod memory;
mod reading;
mod sqlite;
mod sqlite_clock;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{EventId, NewEvent, OrderId, StreamName};
use infra::event_store::{Append, EventLog, EventStore, ExpectedRevision};
use uuid::Uuid;

/// An event store under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// A new and empty store.
    async fn fresh() -> Self;

    /// The same store after a clean restart of its process.
    async fn reopen(self) -> Self;

    fn store(&self) -> Arc<dyn EventStore>;

    /// A read-only view of the store, as another process opens it.
    async fn reader(&self) -> Arc<dyn EventLog>;
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! event_store_contract {
    ($fixture:ty) => {
        event_store_contract! { $fixture:
            appending::revisions_have_no_gap_and_positions_increase,
            appending::events_read_back_as_they_were_appended,
            appending::an_append_at_a_wrong_revision_is_refused_and_writes_nothing,
            appending::a_retry_gets_the_original_outcome,
            appending::a_retry_of_a_first_append_gets_the_original_outcome,
            appending::other_events_at_a_stored_revision_are_not_a_retry,
            appending::ids_are_not_checked_if_the_revision_is_right,
            appending::exactly_one_of_several_concurrent_appends_at_a_revision_succeeds,
            appending::a_reader_sees_all_events_of_an_append_or_none,
            appending::acknowledged_events_exist_after_reopening,
            reading::reads_respect_their_limit,
            reading::large_events_arrive_in_several_reads,
            reading::the_last_event_before_a_time_is_found,
            reading::the_last_event_of_a_stream_is_found,
            reading::the_log_is_read_back_from_its_end_and_from_any_event,
            reading::existing_and_missing_streams_are_distinguished,
            reading::a_reader_in_another_process_sees_acknowledged_events,
            reading::a_follower_reads_every_event_during_concurrent_appends,
            reading::the_head_reaches_every_acknowledged_append,
            reading::the_head_wakes_a_follower,
            marks::a_mark_finds_its_event_and_no_other,
            marks::a_read_after_a_mark_continues_after_its_event,
            marks::a_read_after_an_event_that_the_log_lost_is_refused,
            marks::the_last_event_is_at_the_end_of_the_log,
            dependent_appends::a_barrier_is_answered_after_all_earlier_appends,
            dependent_appends::appends_may_build_on_one_another_before_they_are_durable,
            dependent_appends::an_unawaited_append_is_answered_before_a_dependent_append_and_also_without_one,
            dependent_appends::appends_that_build_on_a_failed_one_are_superseded,
            dependent_appends::a_failure_without_an_epoch_supersedes_no_append,
            dependent_appends::the_new_epoch_is_visible_when_the_failure_is_answered,
            dependent_appends::no_append_decided_before_a_failure_is_stored_after_it,
        }
    };
    ($fixture:ty: $($topic:ident::$rule:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $rule() {
            let fixture = <$fixture as super::Fixture>::fresh().await;
            super::$topic::$rule(fixture).await;
        }
    )*};
}
use event_store_contract;

fn new_stream() -> StreamName {
    OrderId(Uuid::new_v4()).into()
}

fn event() -> NewEvent {
    event_of(br#"{"quantity":1}"#.to_vec())
}

fn event_of(data: Vec<u8>) -> NewEvent {
    NewEvent {
        id: EventId(Uuid::new_v4()),
        type_name: "stock.adjusted.v1",
        data,
        metadata: Arc::from(*br#"{"command":"adjust"}"#),
    }
}

fn events(count: usize) -> Vec<NewEvent> {
    (0..count).map(|_| event()).collect()
}

fn append(stream: &StreamName, expected: ExpectedRevision, events: Vec<NewEvent>) -> Append {
    Append { stream: stream.clone(), expected, events, epoch: None }
}

/// Appends `count` events to a new stream. Returns the stream.
async fn given_stream(store: &dyn EventStore, count: usize) -> StreamName {
    let stream = new_stream();
    let given = append(&stream, ExpectedRevision::NoStream, events(count));
    store.append(given).await.expect("an append to a new stream succeeds");
    stream
}

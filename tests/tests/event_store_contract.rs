//! What every event store must do, whatever keeps it: one suite, run over each adapter.

mod appending;
mod dependent_appends;
mod eventstoredb;
mod memory;
mod reading;
mod sqlite;

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

    /// The same store after its process ended in good order and began again.
    async fn reopen(self) -> Self;

    fn store(&self) -> Arc<dyn EventStore>;

    /// Reads the store beside its owner, as an auditor does.
    async fn reader(&self) -> Arc<dyn EventLog>;
}

/// Makes a test of every rule of the contract for one adapter.
macro_rules! event_store_contract {
    ($fixture:ty) => {
        event_store_contract! { $fixture:
            appending::revisions_have_no_gap_and_positions_increase,
            appending::events_read_back_as_they_were_appended,
            appending::an_append_at_a_wrong_revision_is_refused_and_writes_nothing,
            appending::a_retry_gets_the_original_outcome,
            appending::a_retry_of_a_first_append_gets_the_original_outcome,
            appending::other_events_at_a_taken_revision_are_no_retry,
            appending::ids_are_not_checked_where_the_revision_is_right,
            appending::of_appends_racing_for_a_revision_exactly_one_wins,
            appending::an_append_is_seen_whole_or_not_at_all,
            appending::what_was_acknowledged_is_there_after_reopening,
            reading::reads_keep_to_their_limit,
            reading::large_events_come_in_several_reads,
            reading::existing_streams_are_told_from_missing_ones,
            reading::a_reader_beside_the_owner_sees_what_is_acknowledged,
            reading::a_follower_misses_nothing_while_appends_race,
            reading::the_head_has_reached_every_acknowledged_append,
            reading::the_head_wakes_a_follower,
            dependent_appends::a_barrier_is_answered_after_all_that_came_before,
            dependent_appends::appends_may_build_on_one_another_before_they_are_durable,
            dependent_appends::an_append_that_may_be_held_back_is_answered_with_what_follows_or_by_itself,
            dependent_appends::what_builds_on_a_failed_append_is_superseded,
            dependent_appends::a_failure_that_nothing_can_build_on_supersedes_nothing,
            dependent_appends::the_new_epoch_is_seen_with_the_failure,
            dependent_appends::nothing_decided_before_a_failure_lands_after_it,
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

/// Appends `count` events to a new stream.
async fn given_stream(store: &dyn EventStore, count: usize) -> StreamName {
    let stream = new_stream();
    let given = append(&stream, ExpectedRevision::NoStream, events(count));
    store.append(given).await.expect("an append to a new stream succeeds");
    stream
}

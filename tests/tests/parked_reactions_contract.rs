//! The contract of the store of parked reactions: one suite that runs over every adapter.

mod memory;
mod parking;
mod postgres;
mod retrying;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use domain::{EventId, OrderId, PaymentId, StreamName, Timestamp};
use infra::operations::parked::{ParkedReaction, ParkedReactions};
use uuid::Uuid;

/// A store under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// A new, empty store.
    async fn fresh() -> Self;

    fn store(&self) -> Arc<dyn ParkedReactions>;

    /// The same store as another process opens it.
    async fn store_elsewhere(&self) -> Arc<dyn ParkedReactions>;
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! parked_reactions_contract {
    ($fixture:ty) => { parked_reactions_contract!(#[cfg(test)] $fixture); };
    (#[$attribute:meta] $fixture:ty) => {
        parked_reactions_contract! { #[$attribute] $fixture:
            parking::an_entry_reads_back_unchanged_in_another_process,
            parking::an_entry_of_a_parked_stream_covers_the_events_of_both,
            parking::a_later_event_is_added_only_to_an_entry_that_begins_before_it,
            parking::entries_of_another_log_are_invisible,
            parking::entries_are_listed_by_stream_page_by_page,
            retrying::entries_are_due_in_the_order_of_their_times_page_by_page,
            retrying::a_failed_attempt_replaces_beginning_reason_and_time,
            retrying::a_retry_requested_during_an_attempt_stays_requested,
            retrying::an_entry_is_removed_only_if_it_covers_no_later_event,
            retrying::an_entry_is_found_by_order_payment_and_event,
            retrying::a_retry_of_one_stream_or_of_all_is_requested,
        }
    };
    (#[$attribute:meta] $fixture:ty: $($topic:ident::$rule:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[$attribute]
        async fn $rule() {
            let fixture = <$fixture as super::Fixture>::fresh().await;
            super::$topic::$rule(fixture).await;
        }
    )*};
}
use parked_reactions_contract;

const LOG: Uuid = Uuid::from_u128(1);

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn order(number: u128) -> StreamName {
    OrderId(Uuid::from_u128(number)).into()
}

fn payment(number: u128) -> StreamName {
    PaymentId(Uuid::from_u128(number)).into()
}

fn event(number: u128) -> EventId {
    EventId(Uuid::from_u128(1_000 + number))
}

/// An entry with one event, due at second `due`.
fn entry(stream: StreamName, revision: u64, due: i64) -> ParkedReaction {
    ParkedReaction {
        stream,
        revision,
        event_id: event(revision.into()),
        event_type: format!("type.{revision}"),
        last_revision: revision,
        parked_at: at(-5),
        attempts: 1,
        reason: "é \"quoted\"".to_owned(),
        next_attempt_at: at(due),
        retry_requested: false,
    }
}

/// Every entry of the log.
async fn all(store: &dyn ParkedReactions) -> Vec<ParkedReaction> {
    store.list(LOG, None, 100).await.unwrap()
}

//! What the store of webhooks must do, whatever keeps it: one suite, run over each adapter.

mod dispatching;
mod enqueueing;
mod postgres;
mod retention;
mod sqlite;
mod subscribing;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{EventId, OrderId, Position, Timestamp};
use infra::{
    event_source::Partition,
    operations::webhooks::{
        Enqueue, Enqueued, NewDelivery, NewSubscription, Place, Subscribed, Subscription, Webhooks,
    },
    webhooks::{EventTypes, Secret, SubscriptionId},
};
use uuid::Uuid;

/// A store under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// A new and empty one.
    async fn fresh() -> Self;

    fn store(&self) -> Arc<dyn Webhooks>;

    /// As another process has it.
    async fn store_elsewhere(&self) -> Arc<dyn Webhooks>;
}

/// Makes a test of every rule of the contract for one adapter.
macro_rules! webhooks_contract {
    ($fixture:ty) => { webhooks_contract!(#[cfg(test)] $fixture); };
    (#[$attribute:meta] $fixture:ty) => {
        webhooks_contract! { #[$attribute] $fixture:
            subscribing::a_subscription_reads_back_as_it_was_made,
            subscribing::a_repeated_request_meets_the_first_and_another_under_its_key_is_refused,
            subscribing::twins_of_a_request_make_one_subscription,
            subscribing::a_deleted_subscription_is_not_made_anew_by_a_late_repetition,
            subscribing::there_are_no_more_than_allowed,
            subscribing::changes_are_kept_and_changes_at_the_same_time_are_not_lost,
            subscribing::subscriptions_are_listed_in_the_order_they_were_made_in,
            enqueueing::deliveries_and_position_are_written_together_or_not_at_all,
            enqueueing::of_followers_racing_for_a_position_exactly_one_wins,
            enqueueing::an_event_is_delivered_once_however_often_it_is_enqueued,
            enqueueing::who_has_unsubscribed_is_owed_nothing,
            enqueueing::a_follower_begins_at_the_end_only_if_nobody_has_subscribed,
            enqueueing::a_position_in_another_log_means_nothing,
            dispatching::a_claimed_delivery_is_nobody_elses_until_its_claim_ends,
            dispatching::of_each_subscription_those_that_wait_longest_are_claimed,
            dispatching::dispatchers_at_the_same_time_share_what_is_due,
            dispatching::what_became_of_an_attempt_is_noted,
            dispatching::whoever_has_lost_a_claim_notes_nothing,
            dispatching::a_replay_makes_everything_due_but_what_is_being_sent,
            dispatching::one_delivery_can_be_made_due,
            retention::the_log_is_listed_newest_first_page_by_page,
            retention::what_is_old_enough_goes_and_nothing_else,
            retention::deliveries_of_who_has_unsubscribed_go_bit_by_bit,
            retention::what_waits_for_a_disabled_subscription_fails_in_the_end,
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
use webhooks_contract;

const LOG: Uuid = Uuid::from_u128(1);
const MAX: usize = 50;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + second).unwrap()
}

fn later(time: Timestamp, by: Duration) -> Timestamp {
    time.checked_add(by).unwrap()
}

/// A request; the same number is the same request.
fn request(number: u128) -> NewSubscription {
    NewSubscription {
        id: SubscriptionId(Uuid::from_u128(number)),
        key: format!("key {number}"),
        fingerprint: format!("fingerprint {number}"),
        url: format!("https://receiver-{number}.example/hook"),
        event_types: EventTypes::new(vec!["order.*".to_owned(), "payment.captured.v1".to_owned()]).unwrap(),
        description: Some("é \"quoted\"".to_owned()),
        secret: Secret::generate().unwrap(),
        after: Some(7),
        now: at(0),
    }
}

async fn subscribe(store: &dyn Webhooks, number: u128) -> Subscription {
    match store.subscribe(request(number), MAX).await.unwrap() {
        Subscribed::Created(subscription) => subscription,
        other => panic!("{other:?}"),
    }
}

/// The delivery of an event at a position of the log.
fn delivery(subscription: SubscriptionId, position: Position) -> NewDelivery {
    let order = OrderId(Uuid::new_v5(&Uuid::NAMESPACE_OID, b"order"));
    NewDelivery {
        subscription,
        event: EventId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &position.to_be_bytes())),
        event_type: "order.placed.v1".to_owned(),
        stream: order.into(),
        revision: position,
        position,
        recorded_at: at(-1),
        order,
        place: Place { sequence: position + 1, previous: position.checked_sub(1).filter(|one| *one > 0) },
    }
}

fn batch(after: Option<Position>, position: Position, deliveries: Vec<NewDelivery>) -> Enqueue {
    Enqueue { store_id: LOG, partition: Partition::whole_log(), after, position, deliveries }
}

/// Enqueues deliveries of events at these positions, due at a time.
async fn enqueue(store: &dyn Webhooks, to: SubscriptionId, positions: &[Position], now: Timestamp) {
    let after = store.resume(LOG, &Partition::whole_log(), None).await.unwrap();
    let deliveries: Vec<_> = positions.iter().map(|position| delivery(to, *position)).collect();
    let (added, last) = (deliveries.len(), *positions.last().unwrap());
    let enqueued = store.enqueue(&batch(after, last, deliveries), now).await.unwrap();
    assert_eq!(enqueued, Enqueued::Written { added });
}

/// The positions of what is claimed for a minute.
async fn claim(
    store: &dyn Webhooks,
    claim: Uuid,
    slots: &[(SubscriptionId, usize)],
    now: Timestamp,
) -> Vec<Position> {
    let claimed = store.claim(claim, slots, now, later(now, Duration::from_mins(1))).await.unwrap();
    claimed.into_iter().map(|delivery| delivery.what.position).collect()
}

//! The contract of the webhook store: one suite that runs over every adapter.

mod dispatching;
mod enqueueing;
mod falling_behind;
mod postgres;
mod retention;
mod sealing;
mod sqlite;
mod subscribing;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::{Actor, EventId, OrderId, Position, Timestamp};
use infra::{
    event_source::{Partition, Reached},
    event_store::EventMark,
    operations::webhooks::{
        EnqueueBatch, EnqueueOutcome, EventSequence, EventTypes, NewDelivery, NewSubscription, OrderPlace,
        SubscribeOutcome, Subscription, SubscriptionId, WebhookStore,
    },
    sealing::SecretKeys,
    signature::SigningSecret,
};
use uuid::Uuid;

/// A store under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// A new, empty store.
    async fn fresh() -> Self;

    fn store(&self) -> Arc<dyn WebhookStore>;

    /// The same store as another process opens it.
    async fn store_elsewhere(&self) -> Arc<dyn WebhookStore>;

    /// The same store as another process opens it, with the keys of secrets.
    async fn store_with_keys(&self, keys: SecretKeys) -> Arc<dyn WebhookStore>;

    /// Runs SQL in the database of the store.
    async fn execute(&self, sql: &str);

    /// How many of these texts the files of the subscriptions contain.
    async fn found_in_files(&self, texts: &[String]) -> usize;
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! webhooks_contract {
    ($fixture:ty) => { webhooks_contract!(#[cfg(test)] $fixture); };
    (#[$attribute:meta] $fixture:ty) => {
        webhooks_contract! { #[$attribute] $fixture:
            subscribing::a_new_subscription_reads_back_unchanged,
            subscribing::a_repeated_request_finds_the_first_subscription_and_another_request_under_its_key_is_refused,
            subscribing::concurrent_duplicates_of_a_request_make_one_subscription,
            subscribing::a_late_retry_does_not_restore_a_deleted_subscription,
            subscribing::concurrent_requests_make_no_more_subscriptions_than_allowed,
            subscribing::changes_are_stored_and_concurrent_changes_are_not_lost,
            subscribing::subscriptions_are_listed_in_the_order_of_creation,
            subscribing::a_malformed_secret_hides_no_subscription_and_can_be_replaced,
            sealing::new_and_rotated_secrets_are_sealed_and_read_back,
            sealing::plain_secrets_are_sealed_and_leave_nothing_in_the_files,
            sealing::secrets_under_an_old_key_are_sealed_under_the_first_one,
            sealing::a_secret_under_an_unknown_key_hides_no_subscription_and_is_kept_or_replaced,
            sealing::a_secret_that_was_moved_to_another_subscription_is_not_used,
            enqueueing::deliveries_and_position_are_written_both_or_neither,
            enqueueing::one_of_several_racing_followers_moves_the_position,
            enqueueing::an_event_enqueued_twice_makes_one_delivery,
            enqueueing::a_deleted_subscription_gets_no_deliveries,
            enqueueing::a_follower_starts_at_the_end_only_if_no_subscription_ever_existed,
            enqueueing::a_position_in_another_log_is_ignored,
            enqueueing::subscriptions_can_begin_earlier_after_the_log_lost_events,
            dispatching::a_leased_delivery_cannot_be_claimed_before_its_lease_ends,
            dispatching::the_deliveries_of_each_subscription_that_wait_longest_are_claimed_first,
            dispatching::concurrent_dispatchers_share_the_due_deliveries,
            dispatching::the_outcome_of_an_attempt_is_recorded,
            dispatching::a_delivery_without_a_place_is_stored_with_the_reason,
            dispatching::an_outcome_under_a_lost_claim_is_ignored,
            dispatching::a_replay_makes_every_delivery_due_except_leased_ones,
            dispatching::a_retry_makes_one_delivery_due_unless_it_is_leased,
            dispatching::a_released_delivery_is_due_again_unless_its_claim_is_lost,
            retention::the_delivery_log_is_listed_newest_first_in_pages,
            retention::pruning_removes_expired_deliveries_only,
            retention::pruning_removes_the_deliveries_of_a_deleted_subscription_in_portions,
            retention::deliveries_that_are_pending_for_too_long_expire,
            falling_behind::skipped_events_put_a_subscription_behind_from_its_last_queued_event,
            falling_behind::a_step_moves_the_place_and_the_last_step_ends_it,
            falling_behind::a_subscription_that_stopped_and_skipped_nothing_ends_it_with_an_empty_step,
            falling_behind::an_earlier_skipped_event_moves_the_place_back,
            falling_behind::a_step_from_another_place_has_no_effect,
            falling_behind::pending_and_due_deliveries_are_counted_up_to_a_limit,
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

/// A request to subscribe. Equal numbers make equal requests.
fn request(number: u128) -> NewSubscription {
    NewSubscription {
        id: SubscriptionId(Uuid::from_u128(number)),
        key: format!("key {number}"),
        fingerprint: format!("fingerprint {number}"),
        url: format!("https://receiver-{number}.example/hook"),
        event_types: EventTypes::new(vec!["order.*".to_owned(), "payment.captured.v1".to_owned()]).unwrap(),
        description: Some("é \"quoted\"".to_owned()),
        secret: SigningSecret::generate().unwrap(),
        after: Some(7),
        now: at(0),
    }
}

async fn subscribe(store: &dyn WebhookStore, number: u128) -> Subscription {
    match store.subscribe(request(number), MAX).await.unwrap() {
        SubscribeOutcome::Created(subscription) => subscription,
        other => panic!("{other:?}"),
    }
}

/// The delivery of an event at a position of the log.
fn delivery(subscription: SubscriptionId, position: Position) -> NewDelivery {
    let order = OrderId(Uuid::new_v5(&Uuid::NAMESPACE_OID, b"order"));
    NewDelivery {
        subscription,
        event: EventId(Uuid::new_v5(&Uuid::NAMESPACE_OID, &position.to_be_bytes())),
        event_type: "order.placed.v2".to_owned(),
        stream: order.into(),
        revision: position,
        position,
        recorded_at: at(-1),
        actor: (position % 2 == 1)
            .then(|| Actor { principal: "shop".into(), person: Some("jana".to_owned()) }),
        place: Some(OrderPlace {
            order,
            sequence: EventSequence {
                number: position + 1,
                previous: position.checked_sub(1).filter(|one| *one > 0),
            },
        }),
    }
}

/// A position whose last event is that of [`delivery`].
fn reached(position: Position) -> Reached {
    let of = delivery(SubscriptionId(Uuid::nil()), position);
    let NewDelivery { stream, revision, event: id, .. } = of;
    Reached { position, last_event: Some(EventMark { position, stream, revision, id }) }
}

fn batch(after: Option<Position>, position: Position, deliveries: Vec<NewDelivery>) -> EnqueueBatch {
    let (partition, reached, skipped) = (Partition::whole_log(), reached(position), Vec::new());
    EnqueueBatch { store_id: LOG, partition, after, reached, deliveries, skipped }
}

/// Enqueues the deliveries of the events at these positions, due at `now`.
async fn enqueue(store: &dyn WebhookStore, to: SubscriptionId, positions: &[Position], now: Timestamp) {
    let after = store.resume(LOG, &Partition::whole_log(), None).await.unwrap();
    let after = after.map(|reached| reached.position);
    let deliveries: Vec<_> = positions.iter().map(|position| delivery(to, *position)).collect();
    let (added, last) = (deliveries.len(), *positions.last().unwrap());
    let enqueued = store.enqueue(&batch(after, last, deliveries), now).await.unwrap();
    assert_eq!(enqueued, EnqueueOutcome::Written { added });
}

/// Leases due deliveries for a minute. Returns the positions of their events.
async fn claim(
    store: &dyn WebhookStore,
    claim: Uuid,
    slots: &[(SubscriptionId, usize)],
    now: Timestamp,
) -> Vec<Position> {
    let claimed = store.claim(claim, slots, now, later(now, Duration::from_mins(1))).await.unwrap();
    claimed.into_iter().map(|delivery| delivery.content.position).collect()
}

//! The ports of outgoing webhooks: the store of subscriptions and deliveries, and the service that checks
//! URLs and replays events.
//!
//! The crate `webhooks` follows the log and sends the requests. It depends on these ports, not on their
//! adapters.

mod deliveries;
mod event_types;
mod ids;
pub(super) mod rules;
mod service;
mod subscriptions;

use async_trait::async_trait;
use domain::{Position, Timestamp};
use uuid::Uuid;

pub use self::{
    deliveries::{
        AfterAttempt, AttemptOutcome, CatchUpStep, DUE_MAX, DeliveryRetention, DeliveryStatus, EnqueueBatch,
        EnqueueOutcome, EventSequence, NewDelivery, OrderPlace, QUEUED_MAX, SkippedEvents, WebhookDelivery,
    },
    event_types::{EventTypes, InvalidEventTypes},
    ids::{DeliveryId, InvalidDeliveryId, SubscriptionId},
    rules::REACTOR,
    service::{
        REPLAY_EVENTS_MAX, REPLAY_READ_EVENTS_MAX, REPLAY_TIME_MAX, RefusedUrl, ReplayError, ReplayScope,
        URL_CHARS_MAX, WebhookService,
    },
    subscriptions::{
        Behind, NewSubscription, SUBSCRIPTIONS_MAX, SubscribeOutcome, Subscription, SubscriptionChange,
        SubscriptionStatus,
    },
};
use super::OperationsError;
use crate::event_source::{Partition, Reached};

/// Stores subscriptions, their deliveries, and the position in the log up to which deliveries exist.
///
/// Contract, checked by the suite in `tests/tests/webhooks_contract.rs`:
/// - A subscription is durable once the call that made it has returned. A power cut may undo the most recent
///   deliveries, positions and attempt outcomes. Then the same webhooks are queued or sent again.
/// - Deliveries and the new position of the follower are written in one transaction. It begins by comparing
///   the stored position with the one that the follower expects.
/// - One event and one subscription make one delivery, however often it is enqueued.
/// - Secrets are sealed under the first key of the store, if it has keys. Plain ones are read as well.
/// - A subscription with a secret that cannot be read is listed like the others, and a change of it keeps the
///   stored secrets unless the change replaces them.
#[async_trait]
pub trait WebhookStore: Send + Sync + 'static {
    /// Stores a new subscription, unless `max` subscriptions exist. The id is derived from the caller's
    /// idempotency key, so a retry finds the first subscription.
    async fn subscribe(&self, new: NewSubscription, max: usize) -> Result<SubscribeOutcome, OperationsError>;

    /// At most `limit` subscriptions by number, oldest first, after the number `after`.
    async fn subscriptions(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Subscription>, OperationsError>;

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<Subscription>, OperationsError>;

    /// Reads, changes and stores a subscription in one transaction, so no concurrent change is lost. Returns
    /// the changed subscription, or `None` if it does not exist.
    async fn change(
        &self,
        id: SubscriptionId,
        change: SubscriptionChange,
    ) -> Result<Option<Subscription>, OperationsError>;

    /// Seals the secrets that are plain, or sealed under another key than the first one, and removes what the database
    /// files keep of the plain ones. Returns the number of subscriptions whose secrets were sealed. No effect
    /// without keys.
    async fn seal_secrets(&self) -> Result<usize, OperationsError>;

    /// Deletes a subscription. [`WebhookStore::prune`] removes its deliveries later. False if it does not
    /// exist.
    async fn unsubscribe(&self, id: SubscriptionId, now: Timestamp) -> Result<bool, OperationsError>;

    /// The position from which to follow a partition of the log. If none is stored and no subscription has
    /// ever existed, stores and returns `end`, which the caller read before this call.
    async fn resume(
        &self,
        store_id: Uuid,
        partition: &Partition,
        end: Option<Position>,
    ) -> Result<Option<Reached>, OperationsError>;

    /// For a log that lost the events after `position` (`None`: all events): lets each subscription that begins
    /// later, or is behind at a later place, continue there.
    async fn start_no_later_than(&self, position: Option<Position>) -> Result<(), OperationsError>;

    /// Adds deliveries, notes the skipped events of subscriptions and moves the position, all or nothing.
    /// Skips deliveries that exist, and deliveries to deleted subscriptions.
    async fn enqueue(&self, batch: &EnqueueBatch, now: Timestamp) -> Result<EnqueueOutcome, OperationsError>;

    /// Adds deliveries of skipped events and moves the subscription's place in the log, both or neither. Ends
    /// its [`Behind`] at the last skipped event. False, without effect, if the stored place is another one.
    async fn catch_up(&self, step: &CatchUpStep, now: Timestamp) -> Result<bool, OperationsError>;

    /// The number of pending deliveries of a subscription that are due by a time. Counts no further than `max`.
    async fn pending(
        &self,
        subscription: SubscriptionId,
        due_by: Timestamp,
        max: usize,
    ) -> Result<usize, OperationsError>;

    /// Makes these deliveries due now, regardless of their status. A delivery under a running lease is left
    /// unchanged.
    async fn replay(&self, deliveries: &[NewDelivery], now: Timestamp) -> Result<(), OperationsError>;

    /// Leases due deliveries until `until` under the id `claim`: of each subscription at most the given
    /// number, and first those that have been due longest. Returns them in the order of their numbers.
    async fn claim(
        &self,
        claim: Uuid,
        slots: &[(SubscriptionId, usize)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<WebhookDelivery>, OperationsError>;

    /// Records the outcomes of attempts and ends their leases, all or none. Skips deliveries that another claim
    /// has taken.
    async fn settle(&self, claim: Uuid, outcomes: &[AttemptOutcome]) -> Result<(), OperationsError>;

    /// Ends the leases of deliveries that were not attempted: they are due at `now`. Skips deliveries that another
    /// claim has taken.
    async fn release(
        &self,
        claim: Uuid,
        deliveries: &[DeliveryId],
        now: Timestamp,
    ) -> Result<(), OperationsError>;

    /// At most `limit` deliveries of a subscription, newest first, with numbers below `before`. Without
    /// `status`, of every status.
    async fn deliveries(
        &self,
        subscription: SubscriptionId,
        status: Option<DeliveryStatus>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<WebhookDelivery>, OperationsError>;

    /// Makes one delivery due now, by the rules of [`WebhookStore::replay`]. `None` if it does not exist.
    async fn retry(
        &self,
        subscription: SubscriptionId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<WebhookDelivery>, OperationsError>;

    /// Removes old finished deliveries. Fails deliveries that were pending for too long. Changes at most `limit` rows of each subscription and status per call. Returns the number of
    /// rows removed or failed.
    async fn prune(&self, retention: DeliveryRetention, limit: usize) -> Result<usize, OperationsError>;
}

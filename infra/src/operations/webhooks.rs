//! Webhook subscriptions, and the deliveries owed to them.

use async_trait::async_trait;
use domain::{EventId, OrderId, Position, Revision, StreamName, Timestamp};
use uuid::Uuid;

use super::OperationsError;
use crate::{
    event_source::Partition,
    webhooks::{DeliveryId, EventTypes, Secret, SubscriptionId},
};

/// Subscriptions and deliveries.
///
/// Contract, checked by the suite in `tests/tests/webhooks_contract.rs`:
/// - A subscription that was answered is durable. Deliveries, the position up to which they were made, and what became
///   of them may go back together after a power cut: then they are made, or sent, again.
/// - Deliveries are written in one transaction with the position they bring the follower to, which begins by comparing
///   the position with where that follower believes it stands.
/// - There is one delivery of an event to a subscription, however often it is asked for.
#[async_trait]
pub trait Webhooks: Send + Sync + 'static {
    /// Keeps a new subscription, unless there are `max` of them. Its id is made from the caller's key, so a repeated
    /// request meets the first one's.
    async fn subscribe(&self, new: NewSubscription, max: usize) -> Result<Subscribed, OperationsError>;

    /// In the order they were made in, after the one with this number.
    async fn subscriptions(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Subscription>, OperationsError>;

    async fn subscription(&self, id: SubscriptionId) -> Result<Option<Subscription>, OperationsError>;

    /// Changes a subscription; nobody else does meanwhile. Gives it as it is then; `None` where there is none.
    async fn change(
        &self,
        id: SubscriptionId,
        change: Change,
    ) -> Result<Option<Subscription>, OperationsError>;

    /// Ends a subscription; its deliveries are pruned later. False where there is none.
    async fn unsubscribe(&self, id: SubscriptionId, now: Timestamp) -> Result<bool, OperationsError>;

    /// Where a partition of the log goes on. Where that is not known yet, and nobody has ever subscribed: at `end`,
    /// which was read before, and is kept.
    async fn resume(
        &self,
        store_id: Uuid,
        partition: &Partition,
        end: Option<Position>,
    ) -> Result<Option<Position>, OperationsError>;

    /// Adds deliveries and moves the position, both or neither. Deliveries to subscriptions that have gone, and those
    /// that exist already, are left out.
    async fn enqueue(&self, batch: &Enqueue, now: Timestamp) -> Result<Enqueued, OperationsError>;

    /// Makes these deliveries due, whatever has become of them before. One that is being sent just now stays as it is.
    async fn replay(&self, deliveries: &[NewDelivery], now: Timestamp) -> Result<(), OperationsError>;

    /// Takes deliveries that are due: of each subscription at most so many, those that wait longest first. Until
    /// `until` nobody else gets them.
    async fn claim(
        &self,
        claim: Uuid,
        slots: &[(SubscriptionId, usize)],
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<Delivery>, OperationsError>;

    /// Notes what has become of an attempt, unless the claim has been taken over. The claim ends.
    async fn settle(&self, claim: Uuid, settlement: &Settlement) -> Result<(), OperationsError>;

    /// Deliveries of a subscription, of these statuses (none: of all), newest first, before the one with this number.
    async fn deliveries(
        &self,
        subscription: SubscriptionId,
        status: Option<DeliveryStatus>,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Delivery>, OperationsError>;

    /// Makes one delivery due, as [`Webhooks::replay`] does; `None` where there is none.
    async fn retry(
        &self,
        subscription: SubscriptionId,
        delivery: DeliveryId,
        now: Timestamp,
    ) -> Result<Option<Delivery>, OperationsError>;

    /// Removes some of what is kept no longer, at most about `limit` rows of each subscription; says how many.
    async fn prune(&self, retention: Retention, limit: usize) -> Result<usize, OperationsError>;
}

/// See [`Webhooks::change`].
pub type Change = Box<dyn FnOnce(&mut Subscription) + Send>;

/// What a caller asks for.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    pub id: SubscriptionId,
    /// The caller's key, and SHA-256 of what was asked for under it.
    pub key: String,
    pub fingerprint: String,
    pub url: String,
    pub event_types: EventTypes,
    pub description: Option<String>,
    pub secret: Secret,
    /// Where the log ended: what comes after is delivered.
    pub after: Option<Position>,
    pub now: Timestamp,
}

/// What has become of a request to subscribe.
#[derive(Debug, Clone)]
pub enum Subscribed {
    Created(Subscription),
    /// The same request has been made before.
    Repeated(Subscription),
    /// Another request has been made under this key.
    KeyReused,
    /// The same request has been made before, and what it made was deleted since.
    Deleted,
    TooMany,
}

/// Somebody who is told of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub id: SubscriptionId,
    /// Rises from one to the next.
    pub number: u64,
    pub url: String,
    pub event_types: EventTypes,
    pub description: Option<String>,
    pub status: SubscriptionStatus,
    pub secret: Secret,
    /// Signs too, until then.
    pub previous_secret: Option<(Secret, Timestamp)>,
    /// The command that made the secret, where it is not the first one.
    pub rotated_by: Option<Uuid>,
    pub after: Option<Position>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Subscription {
    /// Whether an event of this type, at this position of the log, is for it.
    pub fn wants(&self, event_type: &str, position: Position) -> bool {
        self.status == SubscriptionStatus::Enabled
            && self.after.is_none_or(|after| position > after)
            && self.event_types.matches(event_type)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionStatus {
    Enabled,
    /// By whoever made it.
    Disabled,
    /// The receiver has answered 410.
    Gone,
}

impl SubscriptionStatus {
    pub const ALL: [Self; 3] = [Self::Enabled, Self::Disabled, Self::Gone];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Gone => "gone",
        }
    }
}

/// Deliveries of the events of a batch, and where the batch leads.
#[derive(Debug, Clone)]
pub struct Enqueue {
    pub store_id: Uuid,
    pub partition: Partition,
    pub after: Option<Position>,
    pub position: Position,
    pub deliveries: Vec<NewDelivery>,
}

/// What has become of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enqueued {
    Written {
        /// Deliveries that did not exist before.
        added: usize,
    },
    /// Somebody else has moved the position; nothing is written.
    Overtaken,
}

/// An event that a subscription is to get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    pub subscription: SubscriptionId,
    pub event: EventId,
    pub event_type: String,
    pub stream: StreamName,
    pub revision: Revision,
    pub position: Position,
    pub recorded_at: Timestamp,
    pub order: OrderId,
    pub place: Place,
}

impl NewDelivery {
    pub fn id(&self) -> DeliveryId {
        DeliveryId::of(self.subscription, self.event)
    }
}

/// Where an event stands among those of its order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Of all events of the order and its payment, in the order of the log: 1, 2, 3, …
    pub sequence: u64,
    /// Of the last one before it that the subscription asks for, too.
    pub previous: Option<u64>,
}

/// An event on its way to a subscription, or what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Rises from one to the next.
    pub number: u64,
    pub what: NewDelivery,
    pub status: DeliveryStatus,
    /// Since it was last asked for.
    pub attempts: u32,
    pub queued_at: Timestamp,
    /// When it is due, while it is pending.
    pub next_attempt_at: Option<Timestamp>,
    pub first_attempt_at: Option<Timestamp>,
    pub last_attempt_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    /// The HTTP status of the last attempt that was answered.
    pub last_status: Option<u16>,
    pub last_error: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryStatus {
    Pending,
    Delivered,
    Failed,
}

impl DeliveryStatus {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Delivered, Self::Failed];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// What an attempt has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub delivery: DeliveryId,
    pub attempted_at: Timestamp,
    pub now: Timestamp,
    /// What the receiver answered with, if it did.
    pub status: Option<u16>,
    pub error: Option<String>,
    pub next: Next,
}

/// What follows an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Delivered,
    AttemptAt(Timestamp),
    /// No further attempt.
    Failed,
}

/// Until when things are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    pub now: Timestamp,
    /// What was delivered before goes.
    pub delivered_before: Timestamp,
    /// What failed before goes.
    pub failed_before: Timestamp,
    /// What was queued before, for a subscription that is not enabled, fails.
    pub waiting_before: Timestamp,
}

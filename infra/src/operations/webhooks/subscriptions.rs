//! Subscriptions: which receiver gets which events.

use domain::{Position, Timestamp};
use uuid::Uuid;

use super::{EventTypes, SubscriptionId};
use crate::{sealing::UnreadableSecret, signature::SigningSecret};

/// The most subscriptions of one platform.
pub const SUBSCRIPTIONS_MAX: usize = 50;

/// See [`super::WebhookStore::change`].
pub type SubscriptionChange = Box<dyn FnOnce(&mut Subscription) + Send>;

/// A request to subscribe.
#[derive(Debug, Clone)]
pub struct NewSubscription {
    pub id: SubscriptionId,
    /// The caller's idempotency key, and the SHA-256 of the request made under it.
    pub key: String,
    pub fingerprint: String,
    pub url: String,
    pub event_types: EventTypes,
    pub description: Option<String>,
    pub secret: SigningSecret,
    /// The end of the log at the time of the request: later events are delivered.
    pub after: Option<Position>,
    pub now: Timestamp,
}

/// The outcome of a request to subscribe.
#[derive(Debug, Clone)]
pub enum SubscribeOutcome {
    Created(Subscription),
    /// The same request was made before. This is its subscription.
    Repeated(Subscription),
    /// Another request was made under this key.
    KeyReused,
    /// The same request was made before, and its subscription has been deleted.
    Deleted,
    /// The platform has the most subscriptions that are allowed.
    TooMany,
}

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    pub id: SubscriptionId,
    /// Increases with each new subscription.
    pub number: u64,
    pub url: String,
    pub event_types: EventTypes,
    pub description: Option<String>,
    pub status: SubscriptionStatus,
    /// While the stored secret is damaged, deliveries fail. While this process lacks its key, deliveries wait for a
    /// process that has the key. A rotation ends both.
    pub secret: Result<SigningSecret, UnreadableSecret>,
    /// Signs beside the current secret, until the given time. `None` also if the stored secret cannot be read.
    pub previous_secret: Option<(SigningSecret, Timestamp)>,
    /// The command that made the secret. `None` for the first secret.
    pub rotated_by: Option<Uuid>,
    /// Only events after this position of the log are delivered.
    pub after: Option<Position>,
    /// The first of the failures in a row that stopped the receiver's lane. `None` after a success.
    pub failing_since: Option<Timestamp>,
    /// `None` while the queue has all events up to the position of the follower.
    pub behind: Option<Behind>,
    pub created_at: Timestamp,
    /// The last change by the owner.
    pub updated_at: Timestamp,
}

/// The place in the log of a subscription that skips events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Every event up to here is queued.
    pub after: Position,
    /// The last event that was skipped. Equal to `after` while none was.
    pub skipped_to: Position,
}

impl Subscription {
    /// True if the subscription gets an event of this type, or of an unknown type, at this position of the log.
    /// A subscription that
    /// was disabled because its receiver fails gets it once it is enabled again.
    pub fn wants(&self, event_type: Option<&str>, position: Position) -> bool {
        matches!(self.status, SubscriptionStatus::Enabled | SubscriptionStatus::Failing)
            && self.after.is_none_or(|after| position > after)
            && event_type.is_none_or(|event_type| self.event_types.matches(event_type))
    }

    /// Enables the subscription, and forgets the failures of its receiver.
    pub fn enable(&mut self) {
        self.status = SubscriptionStatus::Enabled;
        self.failing_since = None;
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubscriptionStatus {
    Enabled,
    /// Disabled by its owner.
    Disabled,
    /// Disabled because the receiver answered 410.
    Gone,
    /// Disabled because every attempt failed for days.
    Failing,
}

impl SubscriptionStatus {
    pub const ALL: [Self; 4] = [Self::Enabled, Self::Disabled, Self::Gone, Self::Failing];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enabled => "enabled",
            Self::Disabled => "disabled",
            Self::Gone => "gone",
            Self::Failing => "failing",
        }
    }
}

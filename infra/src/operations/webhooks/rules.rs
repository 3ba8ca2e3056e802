//! The rules that every adapter of the webhook store follows: repeated requests, the follower's cursor,
//! leases and retention. SQL fragments name no parameters, so they are the same for SQLite and Postgres.

use domain::Timestamp;

use super::{
    AfterAttempt, AttemptOutcome, DeliveryRetention, DeliveryStatus, NewSubscription, SubscribeOutcome,
    Subscription, SubscriptionId, WebhookDelivery,
};
use crate::sealing::{SecretKeys, SecretPlace, is_sealed};

/// The name under which the follower's positions are stored.
pub const REACTOR: &str = "webhooks";

/// The columns of a subscription, in the order in which the adapters read them.
pub const SUBSCRIPTION_COLUMNS: &str =
    "id, number, url, event_types, description, status, secret, previous_secret,
     previous_secret_until, rotated_by, after, created_at, updated_at, failing_since, behind_after, skipped_to";
/// The columns of a delivery, in the order in which the adapters read them.
pub const DELIVERY_COLUMNS: &str =
    "number, subscription_id, event_id, event_type, stream, revision, position, recorded_at,
     order_id, sequence, previous_sequence, status, attempts, queued_at, next_attempt_at, first_attempt_at,
     last_attempt_at, finished_at, last_status, last_error, actor";

/// A limit as an SQL integer.
pub fn sql_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

// Requests to subscribe.

pub const COUNT_SUBSCRIPTIONS: &str = "SELECT count(*) FROM webhook_subscriptions WHERE deleted_at IS NULL";

/// A stored request to subscribe with the same id.
pub struct EarlierRequest {
    pub key: String,
    pub fingerprint: String,
    /// The subscription has been deleted.
    pub deleted: bool,
}

impl EarlierRequest {
    /// Why `new` is refused. `None` if it repeats this request and the subscription still exists.
    pub fn refuses(&self, new: &NewSubscription) -> Option<SubscribeOutcome> {
        if (&self.key, &self.fingerprint) != (&new.key, &new.fingerprint) {
            return Some(SubscribeOutcome::KeyReused);
        }
        self.deleted.then_some(SubscribeOutcome::Deleted)
    }
}

// Secrets.

/// The current secrets and the previous ones of all subscriptions that have secrets: id, secret, previous secret.
pub const STORED_SECRETS: &str =
    "SELECT id, secret, previous_secret FROM webhook_subscriptions WHERE deleted_at IS NULL";

/// The place of the current secret of a subscription.
pub fn secret_place(id: SubscriptionId) -> SecretPlace {
    SecretPlace { column: "webhook_subscriptions.secret", row: id.0 }
}

/// The place of the previous secret.
pub fn previous_secret_place(id: SubscriptionId) -> SecretPlace {
    SecretPlace { column: "webhook_subscriptions.previous_secret", row: id.0 }
}

/// What a change of a subscription writes to the columns of secrets. A stored secret that this process cannot read
/// stays as it is, unless the change replaces it.
pub struct ChangedSecrets {
    /// `None`: unchanged.
    pub secret: Option<String>,
    pub replaces_previous: bool,
    pub previous: Option<String>,
    pub previous_until: Option<Timestamp>,
}

impl ChangedSecrets {
    pub fn new(before: &Subscription, after: &Subscription, keys: &SecretKeys) -> Self {
        let is_rotated = after.secret != before.secret;
        let secret = after.secret.as_ref().ok().filter(|_| is_rotated);
        let previous = after.previous_secret.as_ref();
        Self {
            secret: secret.map(|secret| keys.seal(secret, secret_place(after.id))),
            replaces_previous: is_rotated || after.previous_secret != before.previous_secret,
            previous: previous.map(|(secret, _)| keys.seal(secret, previous_secret_place(after.id))),
            previous_until: previous.map(|(_, until)| *until),
        }
    }
}

/// The secrets of one row of [`STORED_SECRETS`], to be sealed under the first key.
pub struct SealedAgain {
    pub id: SubscriptionId,
    /// `None`: unchanged.
    pub secret: Option<String>,
    pub previous: Option<String>,
    /// One of the texts that are replaced is plain.
    pub was_plain: bool,
}

impl SealedAgain {
    /// `None` if both texts stay as they are.
    pub fn new(id: SubscriptionId, secret: &str, previous: Option<&str>, keys: &SecretKeys) -> Option<Self> {
        let sealed = keys.seal_again(secret, secret_place(id));
        let sealed_previous = previous.and_then(|text| keys.seal_again(text, previous_secret_place(id)));
        if sealed.is_none() && sealed_previous.is_none() {
            return None;
        }
        let was_plain = !is_sealed(secret) || previous.is_some_and(|text| !is_sealed(text));
        Some(Self { id, secret: sealed, previous: sealed_previous, was_plain })
    }
}

// The cursor: the position of the follower in one partition of one log.

/// Ends an insert of a cursor: it replaces the cursor of another log. It affects no row if this log already
/// has a cursor.
pub const REPLACE_CURSOR_OF_ANOTHER_LOG: &str = "ON CONFLICT (reactor, partition) DO UPDATE
     SET store_id = excluded.store_id, position = excluded.position, last_event = excluded.last_event
     WHERE reactor_positions.store_id <> excluded.store_id";

/// Moves the places of subscriptions in the log back to `position`, a parameter, if they are later.
pub fn move_back(position: &str) -> String {
    let earlier = |column| {
        format!("{column} = CASE WHEN {column} > coalesce({position}, -1) THEN {position} ELSE {column} END")
    };
    let columns = ["after", "behind_after", "skipped_to"].map(earlier);
    format!("UPDATE webhook_subscriptions SET {}", columns.join(", "))
}

/// The condition under which a new cursor starts at the end of the log, because no subscription can miss the
/// events before it. Deleted subscriptions keep their rows, so they count too.
pub const NEVER_SUBSCRIBED: &str = "NOT EXISTS (SELECT 1 FROM webhook_subscriptions)";

// Leases: while a delivery is leased, `claim` names the lease and `next_attempt_at` is its end.

/// The condition under which a delivery can be leased: it is due, and an earlier lease has ended.
pub fn leasable(now: &str) -> String {
    format!("status = 'pending' AND next_attempt_at <= {now}")
}

/// Assigns the columns of a delivery that is queued again at `now`.
pub fn requeue(now: &str) -> String {
    format!(
        "status = 'pending', attempts = 0, queued_at = {now}, next_attempt_at = {now}, claim = NULL,
         first_attempt_at = NULL, finished_at = NULL"
    )
}

/// The condition under which a delivery may be queued again: no attempt is running.
pub fn not_leased(now: &str) -> String {
    format!(
        "(webhook_deliveries.status <> 'pending' OR webhook_deliveries.claim IS NULL
          OR webhook_deliveries.next_attempt_at <= {now})"
    )
}

/// What an insert does with a delivery that exists.
#[derive(Debug, Clone, Copy)]
pub enum OnDuplicate {
    Keep,
    Requeue,
}

impl OnDuplicate {
    pub fn clause(self) -> String {
        match self {
            Self::Keep => "ON CONFLICT (id) DO NOTHING".to_owned(),
            Self::Requeue => format!(
                "ON CONFLICT (id) DO UPDATE SET {}, order_id = excluded.order_id, sequence = excluded.sequence,
                     previous_sequence = excluded.previous_sequence WHERE {}",
                requeue("excluded.queued_at"),
                not_leased("excluded.queued_at")
            ),
        }
    }
}

/// The `last_error` of a new delivery without an [`super::OrderPlace`].
pub const STREAM_UNREADABLE: &str = "a stream of the order cannot be read";

// Subscriptions that are behind.

/// Assigns the columns of a subscription that skips the events from `first` to `last`. A subscription that is
/// already behind goes back to `after` only if it has passed `first`.
pub fn skip(after: &str, first: &str, last: &str) -> String {
    format!(
        "behind_after = CASE WHEN behind_after < {first} THEN behind_after ELSE {after} END,
         skipped_to = CASE WHEN skipped_to > {last} THEN skipped_to ELSE {last} END"
    )
}

/// Assigns the columns of a subscription that has queued all events up to `position`.
pub fn caught_up_to(position: &str) -> String {
    format!(
        "behind_after = CASE WHEN skipped_to > {position} THEN {position} END,
         skipped_to = CASE WHEN skipped_to > {position} THEN skipped_to END"
    )
}

/// The columns of a delivery after an attempt.
pub struct SettledDelivery {
    pub status: DeliveryStatus,
    pub next_attempt_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
}

impl From<&AttemptOutcome> for SettledDelivery {
    fn from(outcome: &AttemptOutcome) -> Self {
        let finished = |status| Self { status, next_attempt_at: None, finished_at: Some(outcome.now) };
        match outcome.next {
            AfterAttempt::Delivered => finished(DeliveryStatus::Delivered),
            AfterAttempt::Failed => finished(DeliveryStatus::Failed),
            AfterAttempt::RetryAt(time) => {
                Self { status: DeliveryStatus::Pending, next_attempt_at: Some(time), finished_at: None }
            }
        }
    }
}

// The delivery log.

/// The statuses to list. Each is read by a query of its own, because the index has the status before the
/// number.
pub fn listed(status: Option<DeliveryStatus>) -> impl Iterator<Item = DeliveryStatus> {
    DeliveryStatus::ALL.into_iter().filter(move |one| status.is_none_or(|wanted| wanted == *one))
}

/// Merges the lists of all statuses.
pub fn newest_first(mut found: Vec<WebhookDelivery>, limit: usize) -> Vec<WebhookDelivery> {
    found.sort_by_key(|delivery| std::cmp::Reverse(delivery.number));
    found.truncate(limit);
    found
}

// Retention.

/// Subscriptions that may have rows to prune: id, whether it is deleted.
pub const PRUNABLE_SUBSCRIPTIONS: &str = "SELECT id, deleted_at IS NOT NULL
     FROM webhook_subscriptions AS subscription
     WHERE deleted_at IS NULL
        OR EXISTS (SELECT 1 FROM webhook_deliveries AS delivery WHERE delivery.subscription_id = subscription.id)";
/// Assigns the columns of a delivery that was pending for too long.
pub fn expire(now: &str) -> String {
    format!(
        "status = 'failed', finished_at = {now}, next_attempt_at = NULL, claim = NULL,
         last_error = 'expired: ' || coalesce(last_error, 'no attempt was made in time')"
    )
}

/// One statement that prunes the deliveries of a subscription.
#[derive(Debug, Clone, Copy)]
pub enum PruneStep {
    DeleteAll,
    DeleteFinished { status: DeliveryStatus, before: Timestamp },
    Expire { queued_before: Timestamp, now: Timestamp },
}

/// The steps for one row of [`PRUNABLE_SUBSCRIPTIONS`].
pub fn prune_steps(deleted: bool, retention: DeliveryRetention) -> Vec<PruneStep> {
    if deleted {
        return vec![PruneStep::DeleteAll];
    }
    let DeliveryRetention { now, delivered_before, failed_before, queued_before } = retention;
    vec![
        PruneStep::DeleteFinished { status: DeliveryStatus::Delivered, before: delivered_before },
        PruneStep::DeleteFinished { status: DeliveryStatus::Failed, before: failed_before },
        PruneStep::Expire { queued_before, now },
    ]
}

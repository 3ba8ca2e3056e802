//! Makes one attempt to deliver, and records its outcome.

use std::{sync::Arc, time::Duration};

use domain::{RecordedEvent, Timestamp};
use http::StatusCode;
use infra::{
    event_store::ReadError,
    operations::webhooks::{AfterAttempt, AttemptOutcome, Subscription, WebhookDelivery},
    signature::signatures,
};
use tokio::time;
use uuid::Uuid;

use crate::{
    Webhooks, history, message,
    schedule::RetrySchedule,
    sender::{Outgoing, SendError, Sender},
};

/// Sends deliveries and records the outcomes.
pub(crate) struct Attempter {
    pub webhooks: Webhooks,
    pub sender: Sender,
    pub schedule: RetrySchedule,
    /// Limit for everything that an attempt does, at most the duration of its lease.
    pub time_max: Duration,
}

impl std::fmt::Debug for Attempter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempter").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// A leased delivery.
#[derive(Debug)]
pub(crate) struct Lease {
    pub claim: Uuid,
    pub subscription: Arc<Subscription>,
    pub delivery: WebhookDelivery,
    /// The pause of the lane if this attempt fails.
    pub lane_pause: Option<Duration>,
}

/// What an attempt shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// The receiver did not accept the event.
    Failed,
    /// The receiver wants no more events.
    Gone,
    /// A stream of the order cannot be read. Says nothing about the receiver.
    Unreadable(String),
    /// The log or the store failed, so the attempt is repeated when its lease ends.
    Abandoned,
}

/// The result of sending.
enum Sent {
    Answered(StatusCode),
    Unanswered(SendError),
    Unreadable(String),
    /// The event cannot be sent to this subscription, now or later.
    Pointless(&'static str),
}

impl Attempter {
    pub async fn attempt(&self, lease: &Lease) -> Verdict {
        time::timeout(self.time_max, self.send_and_settle(lease)).await.unwrap_or_else(|_| {
            let id = lease.delivery.content.id();
            tracing::warn!(delivery.id = %id, "An attempt to send a webhook takes too long; it is repeated");
            Verdict::Abandoned
        })
    }

    async fn send_and_settle(&self, lease: &Lease) -> Verdict {
        let Webhooks { store, clock, .. } = &self.webhooks;
        let id = lease.delivery.content.id();
        let attempted_at = clock.now();
        let sent = match self.send(lease, attempted_at).await {
            Ok(sent) => sent,
            Err(error) => {
                tracing::warn!(delivery.id = %id, %error,
                    "Cannot read the event of a webhook; retrying when the lease ends");
                return Verdict::Abandoned;
            }
        };
        let (verdict, status, error) = judge(sent);
        let now = clock.now();
        let (next, error) = match &verdict {
            Verdict::Delivered => (AfterAttempt::Delivered, None),
            Verdict::Gone | Verdict::Abandoned => (AfterAttempt::Failed, Some(error)),
            Verdict::Failed => self.retry(lease, now, lease.lane_pause, error),
            Verdict::Unreadable(_) => self.retry(lease, now, None, error),
        };
        let status = status.map(|status| status.as_u16());
        let outcome = AttemptOutcome { delivery: id, attempted_at, now, status, error, next };
        if let Err(error) = store.settle(lease.claim, &outcome).await {
            tracing::warn!(delivery.id = %id, %error,
                "Cannot record the outcome of a webhook; it is sent again when the lease ends");
        }
        verdict
    }

    /// What follows a failed attempt, and the error to record.
    fn retry(
        &self,
        lease: &Lease,
        now: Timestamp,
        lane_pause: Option<Duration>,
        error: String,
    ) -> (AfterAttempt, Option<String>) {
        let WebhookDelivery { queued_at, attempts, .. } = lease.delivery;
        match self.schedule.next_attempt(queued_at, attempts + 1, now, fastrand::f64(), lane_pause) {
            Some(time) => (AfterAttempt::RetryAt(time), Some(error)),
            None => (AfterAttempt::Failed, Some(format!("expired: {error}"))),
        }
    }

    async fn send(&self, lease: &Lease, now: Timestamp) -> Result<Sent, ReadError> {
        let Lease { subscription, delivery, .. } = lease;
        let (content, log) = (&delivery.content, &self.webhooks.log);
        let read = log.read_stream(&content.stream, content.revision, 1).await;
        let events = match history::of_order(read)? {
            Ok(events) => events,
            Err(error) => return Ok(Sent::Unreadable(error.to_string())),
        };
        // While an event is damaged, its id may be lost. Then only its place in the stream identifies it.
        let is_it = |event: &&RecordedEvent| event.id == content.event || content.place.is_none();
        let Some(event) = events.first().filter(is_it) else {
            return Ok(Sent::Pointless("the event is no longer in the log"));
        };
        let place = match content.place {
            Some(place) => Ok(place),
            // The type was unknown while the event was damaged.
            None if event.damage.is_none() && !subscription.event_types.matches(&event.type_name) => {
                return Ok(Sent::Pointless("the subscription does not ask for this event"));
            }
            None => history::place(&**log, event, subscription).await?,
        };
        let body = match place.and_then(|place| message::body(event, place)) {
            Ok(body) => body,
            Err(error) => return Ok(Sent::Unreadable(error.to_string())),
        };
        let Some(secret) = &subscription.secret else {
            return Ok(Sent::Unanswered(SendError::NoSecret));
        };
        let id = content.id().to_string();
        let previous = subscription.previous_secret.as_ref().filter(|(_, until)| *until > now);
        let secrets: Vec<_> = std::iter::once(secret).chain(previous.map(|(previous, _)| previous)).collect();
        let signature = signatures(&secrets, &id, now, &body);
        let outgoing = Outgoing { url: &subscription.url, id, sent_at: now.as_second(), signature, body };
        Ok(self.sender.send(outgoing).await.map_or_else(Sent::Unanswered, Sent::Answered))
    }
}

/// The verdict, the status of the answer and the error to record.
fn judge(sent: Sent) -> (Verdict, Option<StatusCode>, String) {
    match sent {
        Sent::Answered(status @ StatusCode::GONE) => {
            let error = "410: the receiver wants no more events; the subscription is disabled";
            (Verdict::Gone, Some(status), error.to_owned())
        }
        Sent::Answered(status) if status.is_success() => (Verdict::Delivered, Some(status), String::new()),
        Sent::Answered(status) if status.is_redirection() => {
            (Verdict::Failed, Some(status), format!("{}: redirects are not followed", status.as_u16()))
        }
        Sent::Answered(status) => {
            (Verdict::Failed, Some(status), format!("answered with {}", status.as_u16()))
        }
        Sent::Unanswered(error) => (Verdict::Failed, None, error.to_string()),
        Sent::Unreadable(error) => (Verdict::Unreadable(error.clone()), None, error),
        Sent::Pointless(error) => (Verdict::Abandoned, None, error.to_owned()),
    }
}

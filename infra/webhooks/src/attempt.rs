//! Attempts leased deliveries of one subscription, one after another, and records the outcomes together.

use std::{sync::Arc, time::Duration};

use domain::{RecordedEvent, StreamName, Timestamp};
use http::StatusCode;
use infra::{
    event_store::ReadError,
    operations::{
        OperationsError,
        webhooks::{AfterAttempt, AttemptOutcome, DeliveryId, Subscription, WebhookDelivery},
    },
    signature::signatures,
    traces::{self, Attribute, Kind, ROLE, Span},
};
use tokio::time::{self, Instant};
use uuid::Uuid;

use crate::{
    Webhooks, history,
    measured::AttemptsMeasured,
    message,
    schedule::RetrySchedule,
    sender::{Outgoing, SendError, Sender},
};

/// Sends deliveries and records the outcomes.
pub(crate) struct Attempter {
    pub webhooks: Webhooks,
    pub sender: Sender,
    pub schedule: RetrySchedule,
    /// Limit for everything that one attempt does.
    pub time_max: Duration,
    pub measured: AttemptsMeasured,
}

impl std::fmt::Debug for Attempter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempter").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// No further delivery of a lease is attempted after this time.
const LEASE_TIME: Duration = Duration::from_millis(500);
/// Limit for each access to the store.
const STORE_TIME_MAX: Duration = Duration::from_secs(2);

/// Leased deliveries of one subscription.
#[derive(Debug)]
pub(crate) struct Lease {
    pub claim: Uuid,
    pub subscription: Arc<Subscription>,
    pub deliveries: Vec<WebhookDelivery>,
    /// The pause of the lane if the first attempt fails.
    pub lane_pause: Option<Duration>,
}

/// An attempt that has ended.
#[derive(Debug)]
pub(crate) struct Attempted {
    pub stream: StreamName,
    pub began_at: Timestamp,
    pub verdict: Verdict,
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
    /// Attempts the deliveries until one fails.
    pub async fn attempt(&self, lease: &Lease) -> Vec<Attempted> {
        let began = Instant::now();
        let (mut attempted, mut outcomes) = (Vec::new(), Vec::new());
        for delivery in &lease.deliveries {
            let may_begin = attempted.is_empty() || began.elapsed() < LEASE_TIME;
            let goes_on =
                |last: &Attempted| matches!(last.verdict, Verdict::Delivered | Verdict::Unreadable(_));
            if !may_begin || !attempted.last().is_none_or(goes_on) {
                break;
            }
            let lane_pause = lease.lane_pause.filter(|_| attempted.is_empty());
            let begun = Instant::now();
            let (ended, outcome) = self.attempt_one(lease, delivery, lane_pause).await;
            self.measured.count(&ended.verdict, begun.elapsed());
            attempted.push(ended);
            outcomes.extend(outcome);
        }
        self.record(lease, &outcomes, attempted.len()).await;
        attempted
    }

    /// Records the outcomes, and ends the leases of the deliveries that were not attempted.
    async fn record(&self, lease: &Lease, outcomes: &[AttemptOutcome], attempted: usize) {
        let Webhooks { store, clock, .. } = &self.webhooks;
        let rest: Vec<DeliveryId> =
            lease.deliveries[attempted..].iter().map(|one| one.content.id()).collect();
        let recording = async {
            if !outcomes.is_empty() {
                store.settle(lease.claim, outcomes).await?;
            }
            if !rest.is_empty() {
                store.release(lease.claim, &rest, clock.now()).await?;
            }
            Ok::<_, OperationsError>(())
        };
        let failure = match time::timeout(STORE_TIME_MAX, recording).await {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {} s", STORE_TIME_MAX.as_secs()),
        };
        tracing::warn!(subscription.id = %lease.subscription.id, attempts = outcomes.len(), error = failure,
            "Cannot record the outcomes of webhooks; they are sent again when the lease ends");
    }

    /// An attempt that the log or the store ends has no outcome.
    async fn attempt_one(
        &self,
        lease: &Lease,
        delivery: &WebhookDelivery,
        lane_pause: Option<Duration>,
    ) -> (Attempted, Option<AttemptOutcome>) {
        let (id, stream) = (delivery.content.id(), delivery.content.stream.clone());
        let began_at = self.webhooks.clock.now();
        let abandoned =
            || (Attempted { stream: stream.clone(), began_at, verdict: Verdict::Abandoned }, None);
        let sending = self.send(&lease.subscription, delivery, began_at);
        let sent = match time::timeout(self.time_max, sending).await {
            Ok(Ok(sent)) => sent,
            Ok(Err(error)) => {
                tracing::warn!(delivery.id = %id, %error,
                    "Cannot read the event of a webhook; retrying when the lease ends");
                return abandoned();
            }
            Err(_) => {
                tracing::warn!(delivery.id = %id,
                    "An attempt to send a webhook takes too long; it is repeated");
                return abandoned();
            }
        };
        let (verdict, status, error) = judge(sent);
        let now = self.webhooks.clock.now();
        let (next, error) = match &verdict {
            Verdict::Delivered => (AfterAttempt::Delivered, None),
            Verdict::Gone | Verdict::Abandoned => (AfterAttempt::Failed, Some(error)),
            Verdict::Failed => self.retry(delivery, now, lane_pause, error),
            Verdict::Unreadable(_) => self.retry(delivery, now, None, error),
        };
        let status = status.map(|status| status.as_u16());
        let outcome = AttemptOutcome { delivery: id, attempted_at: began_at, now, status, error, next };
        (Attempted { stream, began_at, verdict }, Some(outcome))
    }

    /// What follows a failed attempt, and the error to record.
    fn retry(
        &self,
        delivery: &WebhookDelivery,
        now: Timestamp,
        lane_pause: Option<Duration>,
        error: String,
    ) -> (AfterAttempt, Option<String>) {
        let WebhookDelivery { queued_at, attempts, .. } = *delivery;
        match self.schedule.next_attempt(queued_at, attempts + 1, now, fastrand::f64(), lane_pause) {
            Some(time) => (AfterAttempt::RetryAt(time), Some(error)),
            None => (AfterAttempt::Failed, Some(format!("expired: {error}"))),
        }
    }

    async fn send(
        &self,
        subscription: &Subscription,
        delivery: &WebhookDelivery,
        now: Timestamp,
    ) -> Result<Sent, ReadError> {
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
        let secret = match &subscription.secret {
            Ok(secret) => secret,
            Err(unreadable) => return Ok(Sent::Unanswered(SendError::NoSecret(unreadable.clone()))),
        };
        let id = content.id().to_string();
        let previous = subscription.previous_secret.as_ref().filter(|(_, until)| *until > now);
        let secrets: Vec<_> = std::iter::once(secret).chain(previous.map(|(previous, _)| previous)).collect();
        let signature = signatures(&secrets, &id, now, &body);
        let mut span = begin_span(subscription, delivery, event);
        let (trace, sent_at) = (span.context(), now.as_second());
        let outgoing = Outgoing { url: &subscription.url, id, sent_at, signature, trace, body };
        let answered = self.sender.send(outgoing).await;
        match &answered {
            Ok(status) => {
                let code = i64::from(status.as_u16());
                span.describe(|| [Attribute::new("http.response.status_code", code)]);
                if !status.is_success() {
                    span.fail(|| status.to_string());
                }
            }
            Err(error) => span.fail(|| error.to_string()),
        }
        Ok(answered.map_or_else(Sent::Unanswered, Sent::Answered))
    }
}

/// The span of an attempt, in the trace of its event. Without the URL, which may hold a secret.
fn begin_span(subscription: &Subscription, delivery: &WebhookDelivery, event: &RecordedEvent) -> Span {
    let mut span = Span::begin("deliver webhook", Kind::Client, traces::of_event(event));
    span.describe_event(event);
    span.describe(|| {
        [
            Attribute::new(ROLE, "webhooks"),
            Attribute::new("subscription.id", subscription.id.to_string()),
            Attribute::new("delivery.attempt", i64::from(delivery.attempts) + 1),
        ]
    });
    span
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

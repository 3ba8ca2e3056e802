//! Sends due deliveries.
//!
//! Any number of processes may send at the same time. Each leases deliveries; if a process dies, another one
//! sends its deliveries when the lease ends. So a delivery may be sent twice, always with the same
//! `webhook-id`. A failed delivery does not delay later ones; receivers restore the order from the sequence
//! numbers.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::Timestamp;
use http::StatusCode;
use infra::{
    event_store::ReadError,
    operations::{
        OperationsError,
        webhooks::{
            AfterAttempt, AttemptOutcome, DeliveryRetention, SUBSCRIPTIONS_MAX, Subscription, SubscriptionId,
            SubscriptionStatus, WebhookDelivery,
        },
    },
    signature::signatures,
};
use tokio::{
    task::{self, JoinSet},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Webhooks, message,
    schedule::RetrySchedule,
    sender::{Outgoing, Sender, SenderSetUpError},
};

/// The limits of a dispatcher.
#[derive(Debug, Clone, Copy)]
pub struct DispatcherOptions {
    /// The most concurrent requests: in total, for one subscription, and to one host.
    pub in_flight_max: usize,
    pub in_flight_per_subscription: usize,
    pub in_flight_per_host: usize,
    /// Time limit for a request and its answer together.
    pub time_max: Duration,
    pub schedule: RetrySchedule,
    /// The longest time between two searches for due deliveries.
    pub poll_every: Duration,
    /// How long a finished delivery stays in the delivery log.
    pub keep_delivered: Duration,
    pub keep_failed: Duration,
}

impl Default for DispatcherOptions {
    fn default() -> Self {
        Self {
            in_flight_max: 64,
            in_flight_per_subscription: 8,
            in_flight_per_host: 16,
            time_max: Duration::from_secs(15),
            schedule: RetrySchedule::default(),
            poll_every: Duration::from_millis(500),
            keep_delivered: Duration::from_hours(30 * 24),
            keep_failed: Duration::from_hours(90 * 24),
        }
    }
}

/// A lease lasts this much longer than the longest attempt.
const LEASE_MARGIN: Duration = Duration::from_secs(15);
/// At shutdown, running attempts get this long to finish. The others are repeated when their leases end.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
const PRUNE_INTERVAL: Duration = Duration::from_mins(10);
/// The limit of [`infra::operations::webhooks::WebhookStore::prune`].
const PRUNE_ROWS: usize = 1_000;

/// Sends due deliveries; see the module. Created by [`Webhooks::dispatcher`].
#[derive(Debug)]
pub struct WebhookDispatcher {
    attempter: Arc<Attempter>,
    options: DispatcherOptions,
    in_flight: InFlight,
    attempts: JoinSet<()>,
    /// Counts the claims. Each claim serves another subscription first, so that none is always last.
    round: usize,
    prune_at: Instant,
}

/// The subscription and the host that one attempt counts for.
#[derive(Debug, Clone)]
struct InFlightSlot {
    subscription: SubscriptionId,
    host: Arc<str>,
}

#[derive(Debug, Default)]
struct InFlight {
    slots: HashMap<task::Id, InFlightSlot>,
    subscriptions: HashMap<SubscriptionId, usize>,
    hosts: HashMap<Arc<str>, usize>,
}

impl InFlight {
    fn add(&mut self, task: task::Id, slot: InFlightSlot) {
        *self.subscriptions.entry(slot.subscription).or_default() += 1;
        *self.hosts.entry(Arc::clone(&slot.host)).or_default() += 1;
        self.slots.insert(task, slot);
    }

    fn remove(&mut self, task: task::Id) {
        fn decrement<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        let Some(slot) = self.slots.remove(&task) else { return };
        decrement(&mut self.subscriptions, &slot.subscription);
        decrement(&mut self.hosts, &slot.host);
    }
}

impl WebhookDispatcher {
    pub(crate) fn new(webhooks: Webhooks, options: DispatcherOptions) -> Result<Self, SenderSetUpError> {
        let sender = Sender::new(webhooks.guard.clone(), options.time_max)?;
        let attempter = Arc::new(Attempter { webhooks, sender, schedule: options.schedule });
        let (in_flight, attempts) = (InFlight::default(), JoinSet::new());
        Ok(Self { attempter, options, in_flight, attempts, round: 0, prune_at: Instant::now() })
    }

    /// Runs until `shutdown`, then waits up to 5 seconds for running attempts.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let more = self.claim().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "Cannot read the due webhooks; retrying");
                false
            });
            self.prune().await;
            self.wait(more, &shutdown).await;
        }
        let draining = async { while self.attempts.join_next().await.is_some() {} };
        // Attempts that are still running are aborted when the set is dropped.
        let _ = time::timeout(DRAIN_TIME_MAX, draining).await;
    }

    /// Waits until a delivery may be due. `more`: due deliveries wait for a free slot, so this also returns
    /// when an attempt ends.
    async fn wait(&mut self, more: bool, shutdown: &CancellationToken) {
        let polling = time::sleep(self.options.poll_every);
        tokio::pin!(polling);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.attempter.webhooks.due.notified() => return,
                () = &mut polling => return,
                Some(ended) = self.attempts.join_next_with_id(), if !self.attempts.is_empty() => {
                    self.release(ended);
                    while let Some(ended) = self.attempts.try_join_next_with_id() {
                        self.release(ended);
                    }
                    if more {
                        return;
                    }
                }
            }
        }
    }

    fn release(&mut self, ended: Result<(task::Id, ()), task::JoinError>) {
        match ended {
            Ok((task, ())) => self.in_flight.remove(task),
            Err(error) => {
                tracing::error!(%error, "An attempt to send a webhook panicked; it is repeated when its lease ends");
                self.in_flight.remove(error.id());
            }
        }
    }

    /// Leases due deliveries and starts their attempts. True if more deliveries may be due than there were
    /// free slots.
    async fn claim(&mut self) -> Result<bool, OperationsError> {
        let webhooks = &self.attempter.webhooks;
        let mut subscriptions = webhooks.store.subscriptions(None, SUBSCRIPTIONS_MAX).await?;
        subscriptions.retain(|subscription| subscription.status == SubscriptionStatus::Enabled);
        if subscriptions.is_empty() {
            return Ok(false);
        }
        self.round = self.round.wrapping_add(1);
        let first = self.round % subscriptions.len();
        subscriptions.rotate_left(first);
        let slots = self.free_slots(&subscriptions);
        if slots.is_empty() {
            return Ok(true);
        }
        let (claim, now) = (Uuid::new_v4(), webhooks.clock.now());
        let until = now.checked_add(self.options.time_max + LEASE_MARGIN).unwrap_or(Timestamp::MAX);
        let claimed = webhooks.store.claim(claim, &slots, now, until).await?;
        // Counted per subscription, because one may fill its slots while others have nothing due.
        let slots_filled = slots.iter().any(|(id, free)| {
            claimed.iter().filter(|delivery| delivery.content.subscription == *id).count() == *free
        });
        let by_id: HashMap<SubscriptionId, Arc<Subscription>> =
            subscriptions.into_iter().map(|one| (one.id, Arc::new(one))).collect();
        for delivery in claimed {
            let Some(subscription) = by_id.get(&delivery.content.subscription) else { continue };
            let slot = InFlightSlot { subscription: subscription.id, host: host_of(&subscription.url) };
            let (attempter, subscription) = (Arc::clone(&self.attempter), Arc::clone(subscription));
            let attempt = async move { attempter.attempt(&subscription, &delivery, claim).await };
            self.in_flight.add(self.attempts.spawn(attempt).id(), slot);
        }
        Ok(slots_filled)
    }

    /// How many attempts may start, for each subscription with free slots.
    fn free_slots(&self, subscriptions: &[Subscription]) -> Vec<(SubscriptionId, usize)> {
        let options = &self.options;
        let mut free_in_total = options.in_flight_max.saturating_sub(self.attempts.len());
        let mut free_by_host: HashMap<Arc<str>, usize> = HashMap::new();
        let mut slots = Vec::new();
        for subscription in subscriptions {
            let host = host_of(&subscription.url);
            let used_by_host = self.in_flight.hosts.get(&host).copied().unwrap_or_default();
            let free_of_host = free_by_host
                .entry(host)
                .or_insert_with(|| options.in_flight_per_host.saturating_sub(used_by_host));
            let used = self.in_flight.subscriptions.get(&subscription.id).copied().unwrap_or_default();
            let free_of_subscription = options.in_flight_per_subscription.saturating_sub(used);
            let free = free_of_subscription.min(*free_of_host).min(free_in_total);
            if free > 0 {
                *free_of_host -= free;
                free_in_total -= free;
                slots.push((subscription.id, free));
            }
        }
        slots
    }

    async fn prune(&mut self) {
        if Instant::now() < self.prune_at {
            return;
        }
        let webhooks = &self.attempter.webhooks;
        let now = webhooks.clock.now();
        let before = |duration: Duration| now.checked_sub(duration).unwrap_or(Timestamp::MIN);
        let retention = DeliveryRetention {
            now,
            delivered_before: before(self.options.keep_delivered),
            failed_before: before(self.options.keep_failed),
            waiting_before: before(self.options.schedule.give_up_after),
        };
        let pruned = webhooks.store.prune(retention, PRUNE_ROWS).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "Cannot remove expired webhook deliveries; retrying in 10 minutes");
            0
        });
        // After a full round more rows may have expired, so the next round follows at once.
        if pruned < PRUNE_ROWS {
            self.prune_at = Instant::now() + PRUNE_INTERVAL;
        }
    }
}

/// The host and port of a URL, as the key of the per-host limit.
fn host_of(url: &str) -> Arc<str> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase().into()
}

/// Sends deliveries and records the outcomes.
struct Attempter {
    webhooks: Webhooks,
    sender: Sender,
    schedule: RetrySchedule,
}

impl std::fmt::Debug for Attempter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attempter").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// The result of one attempt.
struct AttemptResult {
    status: Option<StatusCode>,
    error: Option<String>,
    /// True if a retry cannot succeed.
    permanent: bool,
}

impl AttemptResult {
    fn failed(error: &impl ToString, permanent: bool) -> Self {
        Self { status: None, error: Some(error.to_string()), permanent }
    }

    fn answered(status: StatusCode) -> Self {
        let error = match status {
            StatusCode::GONE => {
                Some("410: the receiver wants no more events; the subscription is disabled".to_owned())
            }
            status if status.is_success() => None,
            status if status.is_redirection() => {
                Some(format!("{}: redirects are not followed", status.as_u16()))
            }
            status => Some(format!("answered with {}", status.as_u16())),
        };
        Self { status: Some(status), error, permanent: status == StatusCode::GONE }
    }
}

impl Attempter {
    async fn attempt(&self, subscription: &Subscription, delivery: &WebhookDelivery, claim: Uuid) {
        let Webhooks { store, clock, .. } = &self.webhooks;
        let attempted_at = clock.now();
        let result = match self.send(subscription, delivery, attempted_at).await {
            Ok(result) => result,
            Err(error) => {
                // Not the receiver's fault, so it does not count as an attempt. It is repeated when the lease
                // ends.
                tracing::warn!(delivery.id = %delivery.content.id(), %error,
                    "Cannot read the event of a webhook; retrying when the lease ends");
                return;
            }
        };
        let now = clock.now();
        let first = delivery.first_attempt_at.unwrap_or(attempted_at);
        let retry_at = || self.schedule.next_attempt(first, delivery.attempts + 1, now, fastrand::f64());
        let next = match (&result.error, result.permanent) {
            (None, _) => AfterAttempt::Delivered,
            (Some(_), true) => AfterAttempt::Failed,
            (Some(_), false) => retry_at().map_or(AfterAttempt::Failed, AfterAttempt::RetryAt),
        };
        if result.status == Some(StatusCode::GONE) {
            self.disable(subscription, now).await;
        }
        let outcome = AttemptOutcome {
            delivery: delivery.content.id(),
            attempted_at,
            now,
            status: result.status.map(|status| status.as_u16()),
            error: result.error,
            next,
        };
        if let Err(error) = store.settle(claim, &outcome).await {
            tracing::warn!(delivery.id = %outcome.delivery, %error,
                "Cannot record the outcome of a webhook; it is sent again when the lease ends");
        }
    }

    async fn send(
        &self,
        subscription: &Subscription,
        delivery: &WebhookDelivery,
        now: Timestamp,
    ) -> Result<AttemptResult, ReadError> {
        let content = &delivery.content;
        let events = self.webhooks.log.read_stream(&content.stream, content.revision, 1).await?;
        let Some(event) = events.first().filter(|event| event.id == content.event) else {
            return Ok(AttemptResult::failed(&"the event is no longer in the log", true));
        };
        let body = match message::body(event, content.order, content.sequence) {
            Ok(body) => body,
            Err(error) => return Ok(AttemptResult::failed(&error, true)),
        };
        let id = content.id().to_string();
        let previous = subscription.previous_secret.as_ref().filter(|(_, until)| *until > now);
        let secrets: Vec<_> =
            std::iter::once(&subscription.secret).chain(previous.map(|(secret, _)| secret)).collect();
        let signature = signatures(&secrets, &id, now, &body);
        let outgoing = Outgoing { url: &subscription.url, id, sent_at: now.as_second(), signature, body };
        let sent = self.sender.send(outgoing).await;
        Ok(sent.map_or_else(|error| AttemptResult::failed(&error, false), AttemptResult::answered))
    }

    /// Disables a subscription after 410 Gone, unless its URL has changed since.
    async fn disable(&self, subscription: &Subscription, now: Timestamp) {
        let (id, url) = (subscription.id, subscription.url.clone());
        let change = Box::new(move |current: &mut Subscription| {
            if current.url == url && current.status == SubscriptionStatus::Enabled {
                current.status = SubscriptionStatus::Gone;
                current.updated_at = now;
            }
        });
        match self.webhooks.store.change(id, change).await {
            Ok(_) => {
                tracing::info!(subscription.id = %id, "Disabled a subscription; its receiver answered 410 Gone");
            }
            Err(error) => tracing::warn!(subscription.id = %id, %error,
                "Cannot disable a subscription whose receiver answered 410 Gone; retrying at its next delivery"),
        }
    }
}

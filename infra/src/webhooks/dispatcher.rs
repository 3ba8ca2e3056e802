//! Sends what is due.
//!
//! Any number of processes may do so: each claims deliveries for a while, and what a process had claimed that has died
//! is claimed by another when that time is over. So a delivery may be sent twice, always under the same `webhook-id`.
//! A delivery that fails does not hold up those behind it; their numbers tell receivers the order.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::Timestamp;
use http::StatusCode;
use tokio::{
    sync::Notify,
    task::{self, JoinSet},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    SubscriptionId,
    follower::SUBSCRIPTIONS_MAX,
    guard::Guard,
    message,
    sender::{Outgoing, Sender},
    signatures,
};
pub use super::{schedule::Schedule, sender::SetUpError};
use crate::{
    clock::Clock,
    event_store::{EventLog, ReadError},
    operations::{
        OperationsError,
        webhooks::{Delivery, Next, Retention, Settlement, Subscription, SubscriptionStatus, Webhooks},
    },
};

/// Bounds of what a dispatcher does.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Requests under way: in all, to one subscription, to one host.
    pub in_flight_max: usize,
    pub in_flight_per_subscription: usize,
    pub in_flight_per_host: usize,
    /// For a request and its answer.
    pub time_max: Duration,
    pub schedule: Schedule,
    /// How often to look for what is due, if nobody says that something is.
    pub poll_every: Duration,
    pub keep_delivered: Duration,
    pub keep_failed: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            in_flight_max: 64,
            in_flight_per_subscription: 8,
            in_flight_per_host: 16,
            time_max: Duration::from_secs(15),
            schedule: Schedule::default(),
            poll_every: Duration::from_millis(500),
            keep_delivered: Duration::from_hours(30 * 24),
            keep_failed: Duration::from_hours(90 * 24),
        }
    }
}

/// A claim outlives the longest attempt by this.
const CLAIM_MARGIN: Duration = Duration::from_secs(15);
/// At shutdown attempts under way are waited for so long. Others are made again when their claims have ended.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
const PRUNE_INTERVAL: Duration = Duration::from_mins(10);
/// Rows of a subscription that are pruned at a time.
const PRUNE_ROWS: usize = 1_000;

/// See the module.
#[derive(Debug)]
pub struct Dispatcher {
    shared: Arc<Shared>,
    due: Arc<Notify>,
    options: Options,
    in_flight: InFlight,
    attempts: JoinSet<()>,
    /// Where the next round begins, so that each subscription is first at times.
    round: usize,
    prune_at: Instant,
}

struct Shared {
    store: Arc<dyn Webhooks>,
    log: Arc<dyn EventLog>,
    sender: Sender,
    clock: Clock,
    schedule: Schedule,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("sender", &self.sender).finish_non_exhaustive()
    }
}

/// What an attempt takes up.
#[derive(Debug, Clone)]
struct Slot {
    subscription: SubscriptionId,
    host: Arc<str>,
}

#[derive(Debug, Default)]
struct InFlight {
    slots: HashMap<task::Id, Slot>,
    subscriptions: HashMap<SubscriptionId, usize>,
    hosts: HashMap<Arc<str>, usize>,
}

impl InFlight {
    fn add(&mut self, task: task::Id, slot: Slot) {
        *self.subscriptions.entry(slot.subscription).or_default() += 1;
        *self.hosts.entry(Arc::clone(&slot.host)).or_default() += 1;
        self.slots.insert(task, slot);
    }

    fn remove(&mut self, task: task::Id) {
        fn less<K: std::hash::Hash + Eq>(counts: &mut HashMap<K, usize>, key: &K) {
            if let Some(count) = counts.get_mut(key) {
                *count -= 1;
                if *count == 0 {
                    counts.remove(key);
                }
            }
        }
        let Some(slot) = self.slots.remove(&task) else { return };
        less(&mut self.subscriptions, &slot.subscription);
        less(&mut self.hosts, &slot.host);
    }
}

impl Dispatcher {
    /// `due` tells when something is.
    pub fn new(
        store: Arc<dyn Webhooks>,
        log: Arc<dyn EventLog>,
        guard: Guard,
        due: Arc<Notify>,
        clock: Clock,
        options: Options,
    ) -> Result<Self, SetUpError> {
        let sender = Sender::new(guard, options.time_max)?;
        let shared = Arc::new(Shared { store, log, sender, clock, schedule: options.schedule });
        let (in_flight, attempts) = (InFlight::default(), JoinSet::new());
        Ok(Self { shared, due, options, in_flight, attempts, round: 0, prune_at: Instant::now() })
    }

    /// Runs until `shutdown`, and then a little longer for the attempts under way.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            let more = self.claim().await.unwrap_or_else(|error| {
                tracing::warn!(%error, "It is not known which webhooks are due; trying again");
                false
            });
            self.prune().await;
            self.wait(more, &shutdown).await;
        }
        let draining = async { while self.attempts.join_next().await.is_some() {} };
        // Whatever is still under way then is dropped with the set.
        let _ = time::timeout(DRAIN_TIME_MAX, draining).await;
    }

    /// Until there may be something to do. `more`: what is due has to wait for attempts to end.
    async fn wait(&mut self, more: bool, shutdown: &CancellationToken) {
        let polling = time::sleep(self.options.poll_every);
        tokio::pin!(polling);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.due.notified() => return,
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
                tracing::error!(%error, "An attempt to send a webhook ended unexpectedly");
                self.in_flight.remove(error.id());
            }
        }
    }

    /// Begins attempts; says whether more may be due than there is room for.
    async fn claim(&mut self) -> Result<bool, OperationsError> {
        let mut subscriptions = self.shared.store.subscriptions(None, SUBSCRIPTIONS_MAX).await?;
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
        let (claim, now) = (Uuid::new_v4(), self.shared.clock.now());
        let until = now.checked_add(self.options.time_max + CLAIM_MARGIN).unwrap_or(Timestamp::MAX);
        let claimed = self.shared.store.claim(claim, &slots, now, until).await?;
        // One subscription may have used up what it has while others had nothing: counted one by one.
        let used_up = slots.iter().any(|(id, free)| {
            claimed.iter().filter(|delivery| delivery.what.subscription == *id).count() == *free
        });
        let by_id: HashMap<SubscriptionId, Arc<Subscription>> =
            subscriptions.into_iter().map(|one| (one.id, Arc::new(one))).collect();
        for delivery in claimed {
            let Some(subscription) = by_id.get(&delivery.what.subscription) else { continue };
            let slot = Slot { subscription: subscription.id, host: host_of(&subscription.url) };
            let (shared, subscription) = (Arc::clone(&self.shared), Arc::clone(subscription));
            let attempt = async move { shared.attempt(&subscription, &delivery, claim).await };
            self.in_flight.add(self.attempts.spawn(attempt).id(), slot);
        }
        Ok(used_up)
    }

    /// How many attempts may begin, of each subscription that has room.
    fn free_slots(&self, subscriptions: &[Subscription]) -> Vec<(SubscriptionId, usize)> {
        let options = &self.options;
        let mut free_in_all = options.in_flight_max.saturating_sub(self.attempts.len());
        let mut free_of_host: HashMap<Arc<str>, usize> = HashMap::new();
        let mut slots = Vec::new();
        for subscription in subscriptions {
            let host = host_of(&subscription.url);
            let used = self.in_flight.hosts.get(&host).copied().unwrap_or_default();
            let of_host =
                free_of_host.entry(host).or_insert_with(|| options.in_flight_per_host.saturating_sub(used));
            let used = self.in_flight.subscriptions.get(&subscription.id).copied().unwrap_or_default();
            let own = options.in_flight_per_subscription.saturating_sub(used);
            let free = own.min(*of_host).min(free_in_all);
            if free > 0 {
                *of_host -= free;
                free_in_all -= free;
                slots.push((subscription.id, free));
            }
        }
        slots
    }

    async fn prune(&mut self) {
        if Instant::now() < self.prune_at {
            return;
        }
        let now = self.shared.clock.now();
        let before = |duration: Duration| now.checked_sub(duration).unwrap_or(Timestamp::MIN);
        let retention = Retention {
            now,
            delivered_before: before(self.options.keep_delivered),
            failed_before: before(self.options.keep_failed),
            waiting_before: before(self.options.schedule.give_up_after),
        };
        let pruned = self.shared.store.prune(retention, PRUNE_ROWS).await;
        let pruned = pruned.unwrap_or_else(|error| {
            tracing::warn!(%error, "Old deliveries of webhooks cannot be removed; trying again later");
            0
        });
        // Some more at the next round, as long as there are that many.
        if pruned < PRUNE_ROWS {
            self.prune_at = Instant::now() + PRUNE_INTERVAL;
        }
    }
}

/// Host and port of a URL, for counting.
fn host_of(url: &str) -> Arc<str> {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    authority.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase().into()
}

/// What an attempt has come to.
struct Attempted {
    status: Option<StatusCode>,
    error: Option<String>,
    /// Trying again would not help.
    hopeless: bool,
}

impl Attempted {
    fn failed(error: &impl ToString, hopeless: bool) -> Self {
        Self { status: None, error: Some(error.to_string()), hopeless }
    }

    fn answered(status: StatusCode) -> Self {
        let error = match status {
            StatusCode::GONE => {
                Some("410: the receiver wants no more; the subscription is disabled".to_owned())
            }
            status if status.is_success() => None,
            status if status.is_redirection() => {
                Some(format!("{}: redirects are not followed", status.as_u16()))
            }
            status => Some(format!("answered with {}", status.as_u16())),
        };
        Self { status: Some(status), error, hopeless: status == StatusCode::GONE }
    }
}

impl Shared {
    async fn attempt(&self, subscription: &Subscription, delivery: &Delivery, claim: Uuid) {
        let attempted_at = self.clock.now();
        let attempted = match self.send(subscription, delivery, attempted_at).await {
            Ok(attempted) => attempted,
            Err(error) => {
                // Not the receiver's fault: it counts as no attempt, and is made again when the claim has ended.
                tracing::warn!(delivery = %delivery.what.id(), %error, "An event to be sent cannot be read");
                return;
            }
        };
        let now = self.clock.now();
        let first = delivery.first_attempt_at.unwrap_or(attempted_at);
        let again = || self.schedule.next_attempt(first, delivery.attempts + 1, now, fastrand::f64());
        let next = match (&attempted.error, attempted.hopeless) {
            (None, _) => Next::Delivered,
            (Some(_), true) => Next::Failed,
            (Some(_), false) => again().map_or(Next::Failed, Next::AttemptAt),
        };
        if attempted.status == Some(StatusCode::GONE) {
            self.end(subscription, now).await;
        }
        let settlement = Settlement {
            delivery: delivery.what.id(),
            attempted_at,
            now,
            status: attempted.status.map(|status| status.as_u16()),
            error: attempted.error,
            next,
        };
        if let Err(error) = self.store.settle(claim, &settlement).await {
            tracing::warn!(delivery = %settlement.delivery, %error, "It is not noted what became of a webhook; it is sent again");
        }
    }

    async fn send(
        &self,
        subscription: &Subscription,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Attempted, ReadError> {
        let what = &delivery.what;
        let events = self.log.read_stream(&what.stream, what.revision, 1).await?;
        let Some(event) = events.first().filter(|event| event.id == what.event) else {
            return Ok(Attempted::failed(&"the event is no longer in the log", true));
        };
        let body = match message::body(event, what.order, what.place) {
            Ok(body) => body,
            Err(error) => return Ok(Attempted::failed(&error, true)),
        };
        let id = what.id().to_string();
        let previous = subscription.previous_secret.as_ref().filter(|(_, until)| *until > now);
        let secrets: Vec<_> =
            std::iter::once(&subscription.secret).chain(previous.map(|(secret, _)| secret)).collect();
        let signature = match signatures(&secrets, &id, now, &body) {
            Ok(signature) => signature,
            Err(error) => return Ok(Attempted::failed(&error, false)),
        };
        let outgoing = Outgoing { url: &subscription.url, id, sent_at: now.as_second(), signature, body };
        let sent = self.sender.send(outgoing).await;
        Ok(sent.map_or_else(|error| Attempted::failed(&error, false), Attempted::answered))
    }

    /// The receiver wants no more; unless that was another receiver than the subscription has by now.
    async fn end(&self, subscription: &Subscription, now: Timestamp) {
        let (id, url) = (subscription.id, subscription.url.clone());
        let change = Box::new(move |current: &mut Subscription| {
            if current.url == url && current.status == SubscriptionStatus::Enabled {
                current.status = SubscriptionStatus::Gone;
                current.updated_at = now;
            }
        });
        match self.store.change(id, change).await {
            Ok(_) => {
                tracing::info!(subscription = %id, "A receiver of webhooks wants no more; the subscription is disabled");
            }
            Err(error) => tracing::warn!(subscription = %id, %error, "A subscription cannot be disabled"),
        }
    }
}

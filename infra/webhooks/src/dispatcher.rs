//! Sends due deliveries.
//!
//! Any number of processes may send at the same time. Each leases deliveries; if a process dies, another one
//! sends its deliveries when the lease ends. So a delivery may be sent twice, always with the same
//! `webhook-id`. A failed delivery does not delay later ones; receivers restore the order from the sequence
//! numbers.
//!
//! Each subscription has a lane of its own, and no limit is shared between lanes. So a receiver that fails or
//! never answers takes no place from another one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::Timestamp;
use infra::{
    measurements::number,
    operations::{
        OperationsError,
        webhooks::{
            DeliveryRetention, SUBSCRIPTIONS_MAX, Subscription, SubscriptionId, SubscriptionStatus,
            WebhookDelivery,
        },
    },
};
use tokio::{
    task::{self, JoinSet},
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Webhooks,
    attempt::{Attempted, Attempter, Lease, Verdict},
    health::{self, SealedSecrets, UnreadableStreams},
    lane::{Lane, LaneOptions},
    measured::{AttemptsMeasured, EndpointsMeasured},
    schedule::RetrySchedule,
    sender::{Sender, SenderSetUpError},
};

/// The limits of a dispatcher.
#[derive(Debug, Clone, Copy)]
pub struct DispatcherOptions {
    pub lanes: LaneOptions,
    /// Time limit for a request and its answer together.
    pub time_max: Duration,
    pub schedule: RetrySchedule,
    /// The longest time between two searches for due deliveries.
    pub poll_every: Duration,
    /// How long a finished delivery stays in the delivery log.
    pub keep_delivered: Duration,
    pub keep_failed: Duration,
    /// The time between two searches for deliveries that are too old, and for secrets to seal.
    pub prune_every: Duration,
}

impl Default for DispatcherOptions {
    fn default() -> Self {
        Self {
            lanes: LaneOptions::default(),
            time_max: Duration::from_secs(15),
            schedule: RetrySchedule::default(),
            poll_every: Duration::from_millis(500),
            keep_delivered: Duration::from_hours(30 * 24),
            keep_failed: Duration::from_hours(90 * 24),
            prune_every: Duration::from_mins(10),
        }
    }
}

/// An attempt may take this much longer than its request, for the log and the store.
const ATTEMPT_MARGIN: Duration = Duration::from_secs(10);
/// A lease lasts this much longer than its longest attempt: for the attempts before it, and for the store.
const LEASE_MARGIN: Duration = Duration::from_secs(5);
/// At shutdown, running attempts get this long to finish. The others are repeated when their leases end.
const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// The limit of [`infra::operations::webhooks::WebhookStore::prune`].
const PRUNE_ROWS: usize = 1_000;

/// Sends due deliveries; see the module. Created by [`Webhooks::dispatcher`].
#[derive(Debug)]
pub struct WebhookDispatcher {
    attempter: Arc<Attempter>,
    options: DispatcherOptions,
    /// The lanes of the enabled subscriptions whose secrets this process can open.
    lanes: HashMap<SubscriptionId, Lane>,
    leases: JoinSet<Vec<Attempted>>,
    running: HashMap<task::Id, Running>,
    unreadable: UnreadableStreams,
    sealed: SealedSecrets,
    prune_at: Instant,
    measured: EndpointsMeasured,
}

/// What is known of a running lease.
#[derive(Debug)]
struct Running {
    subscription: Arc<Subscription>,
    began: Instant,
}

impl WebhookDispatcher {
    pub(crate) fn new(webhooks: Webhooks, options: DispatcherOptions) -> Result<Self, SenderSetUpError> {
        let sender = Sender::new(webhooks.guard.clone(), options.time_max)?;
        let time_max = options.time_max + ATTEMPT_MARGIN;
        let (schedule, measured) = (options.schedule, AttemptsMeasured::new());
        let attempter = Attempter { webhooks, sender, schedule, time_max, measured };
        Ok(Self {
            attempter: Arc::new(attempter),
            options,
            lanes: HashMap::new(),
            leases: JoinSet::new(),
            running: HashMap::new(),
            unreadable: UnreadableStreams::default(),
            sealed: SealedSecrets::default(),
            prune_at: Instant::now(),
            measured: EndpointsMeasured::new(),
        })
    }

    /// Runs until `shutdown`, then waits up to 5 seconds for running attempts.
    pub async fn run(mut self, shutdown: CancellationToken) {
        while !shutdown.is_cancelled() {
            if let Err(error) = self.claim().await {
                tracing::warn!(%error, "Cannot read the due webhooks; retrying");
            }
            self.unreadable.report(&self.attempter.webhooks);
            self.prune().await;
            self.wait(&shutdown).await;
        }
        let draining = async { while self.leases.join_next().await.is_some() {} };
        // Attempts that are still running are aborted when the set is dropped.
        let _ = time::timeout(DRAIN_TIME_MAX, draining).await;
    }

    /// Waits until a delivery may be due, or until a lane that was full has a free place.
    async fn wait(&mut self, shutdown: &CancellationToken) {
        let polling = time::sleep(self.options.poll_every);
        tokio::pin!(polling);
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = self.attempter.webhooks.due.notified() => return,
                () = &mut polling => return,
                Some(ended) = self.leases.join_next_with_id(), if !self.leases.is_empty() => {
                    let mut was_full = self.end(ended).await;
                    while let Some(ended) = self.leases.try_join_next_with_id() {
                        was_full |= self.end(ended).await;
                    }
                    if was_full {
                        return;
                    }
                }
            }
        }
    }

    /// Applies what the attempts of a lease show. True if its lane was full.
    async fn end(&mut self, ended: Result<(task::Id, Vec<Attempted>), task::JoinError>) -> bool {
        let (id, attempted) = ended.unwrap_or_else(|error| {
            tracing::error!(%error, "An attempt to send a webhook panicked; it is repeated when its lease ends");
            (error.id(), Vec::new())
        });
        let Some(Running { subscription, began }) = self.running.remove(&id) else { return false };
        self.measured.leases.set(number(self.running.len()));
        let Some(lane) = self.lanes.get_mut(&subscription.id) else { return false };
        let now = Instant::now();
        let was_full = lane.free(now) == 0;
        lane.end(now - began);
        // Otherwise the owner has changed the subscription, so the attempts say nothing about its receiver.
        if lane.changed_at == subscription.updated_at {
            let delivered = attempted.iter().any(|one| one.verdict == Verdict::Delivered);
            if delivered && subscription.failing_since.is_some() {
                self.note_recovery(&subscription).await;
            }
            for one in attempted {
                self.apply(&subscription, one, now).await;
            }
        }
        was_full
    }

    async fn apply(&mut self, subscription: &Subscription, attempted: Attempted, now: Instant) {
        let Attempted { stream, began_at, verdict } = attempted;
        let Some(lane) = self.lanes.get_mut(&subscription.id) else { return };
        match verdict {
            Verdict::Delivered => {
                lane.succeed();
                self.unreadable.remove(&stream);
            }
            Verdict::Failed => {
                lane.fail(began_at, now);
                if let Some(since) = lane.stopped_since() {
                    self.note_failures(subscription, since).await;
                }
            }
            Verdict::Gone => self.disable(subscription, SubscriptionStatus::Gone).await,
            Verdict::Unreadable(error) => self.unreadable.add(&stream, &error),
            Verdict::Abandoned => {}
        }
    }

    /// Leases due deliveries and starts their attempts.
    async fn claim(&mut self) -> Result<(), OperationsError> {
        let webhooks = &self.attempter.webhooks;
        let mut subscriptions = webhooks.store.subscriptions(None, SUBSCRIPTIONS_MAX).await?;
        health::report_disabled(webhooks, &subscriptions);
        self.measured.set(&subscriptions, &self.lanes);
        self.sealed.report(webhooks, &subscriptions);
        // A process that has the key of a secret sends the deliveries.
        subscriptions
            .retain(|one| one.status == SubscriptionStatus::Enabled && health::missing_key(one).is_none());
        let enabled: HashMap<SubscriptionId, Arc<Subscription>> =
            subscriptions.into_iter().map(|one| (one.id, Arc::new(one))).collect();
        self.lanes.retain(|id, _| enabled.contains_key(id));
        let mut free_lanes: HashMap<SubscriptionId, usize> = HashMap::new();
        let mut slots = Vec::new();
        for (id, subscription) in &enabled {
            let lane = self.lane_of(subscription);
            let free = lane.free(Instant::now());
            if free > 0 {
                slots.push((*id, free * lane.lease_max()));
                free_lanes.insert(*id, free);
            }
        }
        if slots.is_empty() {
            return Ok(());
        }
        let (claim, now) = (Uuid::new_v4(), self.attempter.webhooks.clock.now());
        let lease = self.attempter.time_max + LEASE_MARGIN;
        let until = now.checked_add(lease).unwrap_or(Timestamp::MAX);
        let mut claimed: HashMap<SubscriptionId, Vec<WebhookDelivery>> = HashMap::new();
        for delivery in self.attempter.webhooks.store.claim(claim, &slots, now, until).await? {
            claimed.entry(delivery.content.subscription).or_default().push(delivery);
        }
        for (id, deliveries) in claimed {
            let (Some(subscription), Some(free)) = (enabled.get(&id), free_lanes.get(&id)) else { continue };
            let lease_max = deliveries.len().div_ceil(*free);
            let mut deliveries = deliveries.into_iter().peekable();
            while deliveries.peek().is_some() {
                self.start(claim, subscription, deliveries.by_ref().take(lease_max).collect());
            }
        }
        Ok(())
    }

    fn start(&mut self, claim: Uuid, subscription: &Arc<Subscription>, deliveries: Vec<WebhookDelivery>) {
        let Some(lane) = self.lanes.get_mut(&subscription.id) else { return };
        lane.start();
        let lane_pause = lane.pause_after_failure();
        let lease = Lease { claim, subscription: Arc::clone(subscription), deliveries, lane_pause };
        let attempter = Arc::clone(&self.attempter);
        let attempting = self.leases.spawn(async move { attempter.attempt(&lease).await });
        let running = Running { subscription: Arc::clone(subscription), began: Instant::now() };
        self.running.insert(attempting.id(), running);
        self.measured.leases.set(number(self.running.len()));
    }

    fn lane_of(&mut self, subscription: &Subscription) -> &Lane {
        let Subscription { id, updated_at, failing_since, .. } = *subscription;
        let lane =
            self.lanes.entry(id).or_insert_with(|| Lane::new(self.options.lanes, updated_at, failing_since));
        if lane.changed_at != updated_at {
            lane.renew(updated_at, failing_since);
        }
        lane
    }

    /// Stores since when a receiver fails. Disables the subscription if that is too long.
    async fn note_failures(&self, subscription: &Subscription, since: Timestamp) {
        let now = self.attempter.webhooks.clock.now();
        let Some(stored) = subscription.failing_since else {
            tracing::warn!(subscription.id = %subscription.id, failing.since = %since,
                "The receiver of a subscription fails; testing it with one request at a time");
            self.change(subscription, move |current| current.failing_since = Some(since)).await;
            return;
        };
        if stored.checked_add(self.options.lanes.disable_after).is_ok_and(|end| end <= now) {
            self.disable(subscription, SubscriptionStatus::Failing).await;
        }
    }

    async fn note_recovery(&self, subscription: &Subscription) {
        tracing::info!(subscription.id = %subscription.id, "The receiver of a subscription accepts events again");
        self.change(subscription, |current| current.failing_since = None).await;
    }

    async fn disable(&self, subscription: &Subscription, status: SubscriptionStatus) {
        let changed = self.change(subscription, move |current| current.status = status).await;
        let id = subscription.id;
        if changed && status == SubscriptionStatus::Failing {
            tracing::error!(subscription.id = %id, "Disabled a subscription, because its receiver has accepted \
                nothing for days; later events wait in the log until it is enabled again");
        } else if changed {
            tracing::info!(subscription.id = %id, "Disabled a subscription; its receiver answered 410 Gone");
        }
    }

    /// Changes an enabled subscription, unless its owner has changed it since. True if it is changed.
    async fn change(
        &self,
        subscription: &Subscription,
        change: impl FnOnce(&mut Subscription) + Send + 'static,
    ) -> bool {
        let (id, known) = (subscription.id, subscription.updated_at);
        let (sender, changed) = std::sync::mpsc::channel();
        let guarded = Box::new(move |current: &mut Subscription| {
            if current.updated_at == known && current.status == SubscriptionStatus::Enabled {
                change(current);
                let _ = sender.send(());
            }
        });
        match self.attempter.webhooks.store.change(id, guarded).await {
            Ok(_) => changed.try_recv().is_ok(),
            Err(error) => {
                tracing::warn!(subscription.id = %id, %error,
                    "Cannot store the state of a receiver; retrying after its next delivery");
                false
            }
        }
    }

    async fn prune(&mut self) {
        if Instant::now() < self.prune_at {
            return;
        }
        let webhooks = &self.attempter.webhooks;
        webhooks.seal_secrets().await;
        let now = webhooks.clock.now();
        let before = |duration: Duration| now.checked_sub(duration).unwrap_or(Timestamp::MIN);
        let retention = DeliveryRetention {
            now,
            delivered_before: before(self.options.keep_delivered),
            failed_before: before(self.options.keep_failed),
            queued_before: before(self.options.schedule.give_up_after),
        };
        let pruned = webhooks.store.prune(retention, PRUNE_ROWS).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "Cannot remove expired webhook deliveries; retrying later");
            0
        });
        // After a full round more rows may have expired, so the next round follows at once.
        if pruned < PRUNE_ROWS {
            self.prune_at = Instant::now() + self.options.prune_every;
        }
    }
}

//! Reads the events of subscriptions that are behind from the log, when their queues have room.
//!
//! A subscription waits until its queue is half empty, and then fills it in steps. The step that reaches the
//! last skipped event ends this; from then on the follower queues its events again.

use std::{collections::HashSet, time::Duration};

use domain::Timestamp;
use infra::{
    event_store::ReadError,
    operations::{
        OperationsError,
        webhooks::{
            Behind, CatchUpStep, SUBSCRIPTIONS_MAX, Subscription, SubscriptionId, SubscriptionStatus,
        },
    },
};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{Webhooks, follower::EVENT_AGE_MAX, history, queue};

/// Events per read, and so the most deliveries of one transaction.
const PAGE_EVENTS: usize = 500;
/// Pause after a round in which no subscription could continue.
const PAUSE: Duration = Duration::from_millis(500);

/// Fills the queues of subscriptions that are behind.
#[derive(Debug)]
pub(crate) struct CatchUp {
    webhooks: Webhooks,
    /// Subscriptions whose queues are being filled.
    filling: HashSet<SubscriptionId>,
}

#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] OperationsError),
}

impl CatchUp {
    pub fn new(webhooks: Webhooks) -> Self {
        Self { webhooks, filling: HashSet::new() }
    }

    /// Runs until `shutdown`.
    pub async fn run(mut self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            if !self.round().await {
                shutdown.run_until_cancelled(time::sleep(PAUSE)).await;
            }
        }
    }

    /// Makes one step for each subscription that is behind. True if any of them continued.
    async fn round(&mut self) -> bool {
        let subscriptions =
            self.webhooks.store.subscriptions(None, SUBSCRIPTIONS_MAX).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "Cannot read which subscriptions are behind; retrying");
                Vec::new()
            });
        let mut continued = false;
        for subscription in subscriptions {
            let behind = subscription.behind.filter(|_| subscription.status == SubscriptionStatus::Enabled);
            let Some(behind) = behind else {
                self.filling.remove(&subscription.id);
                continue;
            };
            match self.step(&subscription, behind).await {
                Ok(stepped) => continued |= stepped,
                Err(error) => {
                    tracing::warn!(subscription.id = %subscription.id, %error,
                        "Cannot queue the skipped events of a subscription; retrying");
                }
            }
        }
        continued
    }

    /// True if the subscription has moved on in the log.
    async fn step(&mut self, subscription: &Subscription, behind: Behind) -> Result<bool, CatchUpError> {
        let Webhooks { store, log, clock, queued_max, .. } = &self.webhooks;
        let free = queue::free_places(&self.webhooks, subscription.id).await?;
        if free == 0 {
            self.filling.remove(&subscription.id);
        } else if free >= *queued_max / 2 {
            self.filling.insert(subscription.id);
        }
        if !self.filling.contains(&subscription.id) {
            return Ok(false);
        }
        let events = log.read_all(Some(behind.after), PAGE_EVENTS).await?;
        let now = clock.now();
        let oldest = now.checked_sub(EVENT_AGE_MAX).unwrap_or(Timestamp::MIN);
        let mut wanted: Vec<history::Wanted<'_>> = events
            .iter()
            .filter(|event| queue::wants(subscription, event, oldest))
            .map(|event| (event, vec![subscription]))
            .collect();
        let position = if wanted.len() > free {
            wanted.truncate(free);
            wanted.last().map(|(event, _)| event.position)
        } else {
            events.last().map(|event| event.position)
        };
        // Without events, the subscription has stopped at an event that no other one followed.
        let Some(position) = position.or(Some(behind.after).filter(|after| *after >= behind.skipped_to))
        else {
            return Ok(false);
        };
        let deliveries = history::deliveries(&**log, wanted).await?;
        let step = CatchUpStep { subscription: subscription.id, after: behind.after, position, deliveries };
        let stepped = store.catch_up(&step, now).await?;
        if stepped && !step.deliveries.is_empty() {
            self.webhooks.due.notify_one();
        }
        Ok(stepped)
    }
}

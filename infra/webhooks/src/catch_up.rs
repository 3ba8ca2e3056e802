//! Reads the events of subscriptions that are behind from the log, when their queues have room.
//!
//! Each step fills the queue of a subscription as far as it has room. The step that reaches the last skipped
//! event ends this; from then on the follower queues its events again.

use std::time::Duration;

use domain::Timestamp;
use infra::{
    event_store::ReadError,
    operations::{
        OperationsError,
        webhooks::{Behind, CatchUpStep, SUBSCRIPTIONS_MAX, Subscription, SubscriptionStatus},
    },
};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::{Webhooks, follower::EVENT_AGE_MAX, history, queue};

/// Events per read, and so the most deliveries of one transaction.
const PAGE_EVENTS: usize = 500;
/// Pause after a round that left no queue with room and further events.
const PAUSE: Duration = Duration::from_millis(100);
/// Pause after a failure.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Fills the queues of subscriptions that are behind.
#[derive(Debug)]
pub(crate) struct CatchUp(pub Webhooks);

#[derive(Debug, thiserror::Error)]
enum CatchUpError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Store(#[from] OperationsError),
}

impl CatchUp {
    /// Runs until `shutdown`.
    pub async fn run(self, shutdown: &CancellationToken) {
        while !shutdown.is_cancelled() {
            let pause = self.round().await;
            shutdown.run_until_cancelled(time::sleep(pause)).await;
        }
    }

    /// Makes one step for each subscription that is behind. Returns the pause until the next round.
    async fn round(&self) -> Duration {
        let subscriptions = match self.0.store.subscriptions(None, SUBSCRIPTIONS_MAX).await {
            Ok(subscriptions) => subscriptions,
            Err(error) => {
                tracing::warn!(%error, "Cannot read which subscriptions are behind; retrying");
                return RETRY_PAUSE;
            }
        };
        let (mut has_room, mut failed) = (false, false);
        for subscription in subscriptions {
            let behind = subscription.behind.filter(|_| subscription.status == SubscriptionStatus::Enabled);
            let Some(behind) = behind else { continue };
            match self.step(&subscription, behind).await {
                Ok(more) => has_room |= more,
                Err(error) => {
                    failed = true;
                    tracing::warn!(subscription.id = %subscription.id, %error,
                        "Cannot queue the skipped events of a subscription; retrying");
                }
            }
        }
        match (failed, has_room) {
            (true, _) => RETRY_PAUSE,
            (false, true) => Duration::ZERO,
            (false, false) => PAUSE,
        }
    }

    /// True if there is more room.
    async fn step(&self, subscription: &Subscription, behind: Behind) -> Result<bool, CatchUpError> {
        let Webhooks { store, log, clock, due, .. } = &self.0;
        let free = queue::free_places(&self.0, subscription.id).await?;
        if free == 0 {
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
        let has_room = wanted.len() < free;
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
            due.notify_one();
        }
        Ok(stepped && has_room)
    }
}

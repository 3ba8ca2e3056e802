//! Outgoing webhooks: sends the events of orders and payments to subscribers over HTTP, as Standard Webhooks
//! (<https://www.standardwebhooks.com>) specifies.
//!
//! [`WebhookFollower`] follows the log and queues deliveries. [`WebhookDispatcher`] sends due deliveries, in a
//! lane for each endpoint, and retries them for three days. Both use the store behind [`infra::operations::webhooks::WebhookStore`]. It
//! holds no event data: each attempt reads the event from the log.

mod attempt;
mod catch_up;
mod dispatcher;
mod follower;
mod health;
mod history;
mod lane;
mod measured;
mod message;
mod queue;
mod replay;
mod schedule;
mod sender;
mod url_guard;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use domain::Timestamp;
use infra::{
    clock::Clock,
    event_source::{EventSource, layout::SourceLayout},
    event_store::EventLog,
    health::Health,
    operations::webhooks::{
        DUE_MAX, QUEUED_MAX, RefusedUrl, ReplayError, ReplayScope, Subscription, WebhookService, WebhookStore,
    },
};
use tokio::sync::Notify;

use self::queue::FreePlaces;

pub use self::{
    dispatcher::{DispatcherOptions, WebhookDispatcher},
    follower::WebhookFollower,
    lane::LaneOptions,
    schedule::RetrySchedule,
    sender::SenderSetUpError,
    url_guard::{HostNames, SystemHostNames, UrlGuard},
};

/// The webhooks of one process. Implements the service for the command API, and creates the follower and the
/// dispatcher. Clones share the store and the wake-up signal.
#[derive(Clone)]
pub struct Webhooks {
    pub store: Arc<dyn WebhookStore>,
    pub log: Arc<dyn EventLog>,
    pub guard: UrlGuard,
    pub clock: Clock,
    pub health: Health,
    /// The most due and the most pending deliveries of one subscription.
    pub due_max: usize,
    pub queued_max: usize,
    /// Signals that a delivery may be due.
    due: Arc<Notify>,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhooks").field("guard", &self.guard).finish_non_exhaustive()
    }
}

impl Webhooks {
    pub fn new(
        store: Arc<dyn WebhookStore>,
        log: Arc<dyn EventLog>,
        guard: UrlGuard,
        clock: Clock,
        health: Health,
    ) -> Self {
        Self {
            store,
            log,
            guard,
            clock,
            health,
            due_max: DUE_MAX,
            queued_max: QUEUED_MAX,
            due: Arc::new(Notify::new()),
        }
    }

    /// Creates a follower that reads `source`, at most one batch every `batch_every`.
    pub fn follower(
        &self,
        source: Box<dyn EventSource>,
        layout: Arc<dyn SourceLayout>,
        batch_every: Duration,
    ) -> WebhookFollower {
        let free_places = FreePlaces::default();
        WebhookFollower { webhooks: self.clone(), source, layout, batch_every, free_places }
    }

    /// Seals the stored secrets under the first key of the store. Only logs a failure: the dispatcher tries again.
    pub async fn seal_secrets(&self) {
        match self.store.seal_secrets().await {
            Ok(0) => {}
            Ok(sealed) => {
                tracing::info!(subscriptions = sealed, "Sealed the secrets of subscriptions");
            }
            Err(error) => {
                tracing::warn!(%error, "Cannot seal the secrets of subscriptions; retrying in some minutes");
            }
        }
    }

    /// Creates a dispatcher, which sends the deliveries of the shared store.
    pub fn dispatcher(&self, options: DispatcherOptions) -> Result<WebhookDispatcher, SenderSetUpError> {
        WebhookDispatcher::new(self.clone(), options)
    }
}

#[async_trait]
impl WebhookService for Webhooks {
    async fn check_url(&self, url: &str) -> Result<(), RefusedUrl> {
        self.guard.check(url).await
    }

    async fn replay(
        &self,
        subscription: &Subscription,
        scope: ReplayScope,
        now: Timestamp,
    ) -> Result<usize, ReplayError> {
        replay::replay(self, subscription, scope, now).await
    }

    fn wake(&self) {
        self.due.notify_one();
    }
}

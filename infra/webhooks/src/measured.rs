//! What the webhooks measure of deliveries and of receivers.

use std::{collections::HashMap, time::Duration};

use infra::{
    measurements::{
        Counter, Gauge, Histogram, WEBHOOK_ATTEMPT_SECONDS, WEBHOOK_ATTEMPTS, WEBHOOK_ENDPOINTS,
        WEBHOOK_ENDPOINTS_BEHIND, WEBHOOK_LEASES, number,
    },
    operations::webhooks::{Subscription, SubscriptionId, SubscriptionStatus},
};

use crate::{attempt::Verdict, lane::Lane};

/// The attempts, by their outcome.
#[derive(Debug)]
pub(crate) struct AttemptsMeasured {
    delivered: Counter,
    failed: Counter,
    gone: Counter,
    unreadable: Counter,
    abandoned: Counter,
    duration: Histogram,
}

impl AttemptsMeasured {
    pub fn new() -> Self {
        Self {
            delivered: WEBHOOK_ATTEMPTS.with(["delivered"]),
            failed: WEBHOOK_ATTEMPTS.with(["failed"]),
            gone: WEBHOOK_ATTEMPTS.with(["gone"]),
            unreadable: WEBHOOK_ATTEMPTS.with(["unreadable"]),
            abandoned: WEBHOOK_ATTEMPTS.with(["abandoned"]),
            duration: WEBHOOK_ATTEMPT_SECONDS.with([]),
        }
    }

    pub fn count(&self, verdict: &Verdict, took: Duration) {
        let counter = match verdict {
            Verdict::Delivered => &self.delivered,
            Verdict::Failed => &self.failed,
            Verdict::Gone => &self.gone,
            Verdict::Unreadable(_) => &self.unreadable,
            Verdict::Abandoned => &self.abandoned,
        };
        counter.increment(1);
        self.duration.record(took);
    }
}

/// The receivers, by their state.
#[derive(Debug)]
pub(crate) struct EndpointsMeasured {
    pub leases: Gauge,
    working: Gauge,
    failing: Gauge,
    disabled: Gauge,
    off: Gauge,
    behind: Gauge,
}

impl EndpointsMeasured {
    pub fn new() -> Self {
        Self {
            leases: WEBHOOK_LEASES.with([]),
            working: WEBHOOK_ENDPOINTS.with(["working"]),
            failing: WEBHOOK_ENDPOINTS.with(["failing"]),
            disabled: WEBHOOK_ENDPOINTS.with(["disabled"]),
            off: WEBHOOK_ENDPOINTS.with(["off"]),
            behind: WEBHOOK_ENDPOINTS_BEHIND.with([]),
        }
    }

    /// Shows the state of every subscription. A receiver whose lane is stopped is failing.
    pub fn set(&self, subscriptions: &[Subscription], lanes: &HashMap<SubscriptionId, Lane>) {
        let (mut working, mut failing, mut disabled, mut off) = (0, 0, 0, 0);
        for subscription in subscriptions {
            let is_stopped =
                || lanes.get(&subscription.id).is_some_and(|lane| lane.stopped_since().is_some());
            match subscription.status {
                SubscriptionStatus::Enabled if subscription.failing_since.is_some() || is_stopped() => {
                    failing += 1;
                }
                SubscriptionStatus::Enabled => working += 1,
                SubscriptionStatus::Failing => disabled += 1,
                SubscriptionStatus::Disabled | SubscriptionStatus::Gone => off += 1,
            }
        }
        self.working.set(number(working));
        self.failing.set(number(failing));
        self.disabled.set(number(disabled));
        self.off.set(number(off));
        self.behind.set(number(subscriptions.iter().filter(|one| one.behind.is_some()).count()));
    }
}

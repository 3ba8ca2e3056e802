//! Reports subscriptions and streams that need an operator.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use domain::StreamName;
use infra::{
    operations::webhooks::{Subscription, SubscriptionId, SubscriptionStatus},
    sealing::{KeyId, UnreadableSecret},
};
use tokio::time::Instant;

use crate::Webhooks;

const DISABLED: &str = "webhook_endpoints_disabled";
const UNREADABLE: &str = "webhook_streams_unreadable";
const SEALED: &str = "webhook_secrets_sealed";
/// A stream is reported until this long after its last failed attempt: the longest pause between attempts and
/// a margin.
const REPORTED_FOR: Duration = Duration::from_hours(6);
/// The most streams that are remembered.
const STREAMS_MAX: usize = 1_000;

/// The streams whose events cannot be sent, because they cannot be read.
#[derive(Debug, Default)]
pub(crate) struct UnreadableStreams(HashMap<StreamName, Instant>);

impl UnreadableStreams {
    /// Logs the first failure of a stream.
    pub fn add(&mut self, stream: &StreamName, error: &str) {
        if self.0.len() >= STREAMS_MAX && !self.0.contains_key(stream) {
            return;
        }
        if self.0.insert(stream.clone(), Instant::now()).is_none() {
            tracing::error!(%stream, error,
                "Cannot read a stream, so its events are not sent to subscribers; retrying each for three days");
        }
    }

    pub fn remove(&mut self, stream: &StreamName) {
        self.0.remove(stream);
    }

    pub fn report(&mut self, webhooks: &Webhooks) {
        self.0.retain(|_, failed_at| failed_at.elapsed() < REPORTED_FOR);
        match self.0.keys().next() {
            Some(one) => {
                let detail = format!("{} streams cannot be read, among them {one}", self.0.len());
                webhooks.health.degraded(UNREADABLE, detail);
            }
            None => webhooks.health.resolve(UNREADABLE),
        }
    }
}

/// The subscriptions whose secrets are sealed under keys that this process does not have.
#[derive(Debug, Default)]
pub(crate) struct SealedSecrets(BTreeMap<SubscriptionId, KeyId>);

impl SealedSecrets {
    /// Logs each of them once, and reports all of them.
    pub fn report(&mut self, webhooks: &Webhooks, subscriptions: &[Subscription]) {
        let sealed: BTreeMap<SubscriptionId, KeyId> =
            subscriptions.iter().filter_map(|one| Some((one.id, missing_key(one)?.clone()))).collect();
        for (id, key) in sealed.iter().filter(|(id, _)| !self.0.contains_key(id)) {
            tracing::error!(subscription.id = %id, key.id = %key, "The secret of a subscription is sealed under a key that \
                ORDERLY_SECRETS_KEY_FILE does not have; its events wait for the key, or until the secret is rotated");
        }
        if sealed.is_empty() {
            webhooks.health.resolve(SEALED);
        } else if sealed != self.0 {
            let keys: Vec<String> = sealed.iter().map(|(id, key)| format!("{id} (key {key})")).collect();
            let detail = format!(
                "their secrets are sealed under keys that ORDERLY_SECRETS_KEY_FILE does not have; add the keys, or rotate \
                 the secrets: {}",
                keys.join(", ")
            );
            webhooks.health.degraded(SEALED, detail);
        }
        self.0 = sealed;
    }
}

/// The key of the secret, if this process does not have it.
pub(crate) fn missing_key(subscription: &Subscription) -> Option<&KeyId> {
    match &subscription.secret {
        Err(UnreadableSecret::NoKey(key)) => Some(key),
        Ok(_) | Err(UnreadableSecret::Damaged) => None,
    }
}

/// Reports the subscriptions that were disabled because their receivers fail.
pub(crate) fn report_disabled(webhooks: &Webhooks, subscriptions: &[Subscription]) {
    let failing = subscriptions.iter().filter(|one| one.status == SubscriptionStatus::Failing);
    let ids: Vec<String> = failing.map(|one| one.id.to_string()).collect();
    if ids.is_empty() {
        webhooks.health.resolve(DISABLED);
    } else {
        webhooks.health.degraded(DISABLED, format!("their receivers fail: {}", ids.join(", ")));
    }
}

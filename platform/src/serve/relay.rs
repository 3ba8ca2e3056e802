//! Opens the relay, and reports topics that it refuses.

use std::sync::Arc;

use infra::{
    health::Health,
    kafka::KafkaConfig,
    relay::{Relay, RelayError, RelayOptions},
};

use super::parts::WriteSide;
use crate::stores::Operations;

/// The name of a condition in [`Health`].
const LOST_TOPICS: &str = "lost_topics";

/// Refuses topics that do not match the event log, or what followers have read.
pub(super) async fn open(
    kafka: KafkaConfig,
    write_side: &WriteSide,
    operations: &Operations,
) -> Result<Relay, RelayError> {
    let store = &write_side.events.store;
    let relay = Relay::open(kafka, store.log(), store.head(), RelayOptions::default()).await?;
    relay.comparing_with(Arc::clone(&operations.positions)).await
}

/// The process goes on without the relay: commands do not need it.
pub(super) fn report_lost_topics(health: &Health, error: &RelayError) {
    tracing::error!(%error, "The topics of Kafka do not match the event log; the relay has stopped");
    health.degraded(LOST_TOPICS, error.to_string());
}

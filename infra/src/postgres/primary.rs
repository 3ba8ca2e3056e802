//! Finds out that a server accepts no writes any more, because another one has become the primary.
//!
//! A server that becomes a standby ends its connections. But an operator, or a hosted service, may also make a server
//! read-only under its connections, and a name or a proxy may have led a connection to a standby.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use deadpool_postgres::{Hook, HookError, Metrics};
use tokio_postgres::{Client, SimpleQueryMessage};

use super::Fault;

/// A used connection is checked once in this time, and one that rested longer, before its next use.
const CHECKED_EVERY: Duration = Duration::from_secs(1);
/// A server that does not answer in this time is left to the time limits of the operation that follows.
const CHECK_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections that ended while they were idle. Clones count together.
#[derive(Debug, Clone, Default)]
pub(super) struct Losses(Arc<AtomicU64>);

impl Losses {
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// Takes a connection out of the pool if it is closed, or if its server accepts no writes.
pub(super) fn check_before_use(losses: Losses) -> Hook {
    Hook::async_fn(move |client, metrics| {
        let losses = losses.clone();
        Box::pin(async move {
            if client.is_closed() {
                losses.add();
                return Err(HookError::message("the connection is closed"));
            }
            if !is_due(metrics, Instant::now()) {
                return Ok(());
            }
            match tokio::time::timeout(CHECK_TIMEOUT, expect_primary(client)).await {
                Ok(Ok(())) | Err(_) => Ok(()),
                Ok(Err(fault)) => {
                    losses.add();
                    tracing::warn!(error = ?fault, "A connection to Postgres accepts no writes, and is replaced");
                    Err(HookError::message("the server accepts no writes"))
                }
            }
        })
    })
}

/// True for the first use in each period of the connection's life.
fn is_due(metrics: &Metrics, now: Instant) -> bool {
    let period_of = |time: Instant| {
        time.saturating_duration_since(metrics.created).as_millis() / CHECKED_EVERY.as_millis()
    };
    period_of(now) != period_of(metrics.recycled.unwrap_or(metrics.created))
}

/// Fails if the server accepts no writes, as new connections do.
pub(crate) async fn expect_primary(client: &Client) -> Result<(), Fault> {
    let answers = client.simple_query("SHOW transaction_read_only").await?;
    let refuses = answers
        .iter()
        .any(|answer| matches!(answer, SimpleQueryMessage::Row(row) if row.get(0) == Some("on")));
    if refuses { Err(Fault::Unavailable("Postgres accepts no writes".into())) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_checked_at_its_first_use_in_each_second() {
        let metrics = Metrics::default();
        let (mut metrics, created) = (metrics, metrics.created);
        let after = |millis| created + Duration::from_millis(millis);
        let mut checked = Vec::new();
        for used_at in [0, 400, 999, 1_000, 1_999, 2_001, 2_900, 9_000, 9_500] {
            if is_due(&metrics, after(used_at)) {
                checked.push(used_at);
            }
            metrics.recycled = Some(after(used_at));
        }
        assert_eq!(checked, [1_000, 2_001, 9_000]);
    }
}

//! The sweep: finds by the read models, and mends by the event store, what interleavings may leave behind.
//!
//! A reservation may land after the release that was to undo it; an order may stay `placed` when the process
//! that placed it died. The read models only propose candidates; whether anything is to be done is decided on
//! the streams themselves.

use std::{sync::Arc, time::Duration};

use domain::{OrderId, Timestamp};
use infra::read_models::{Queries, ReadModelError};
use jiff::SignedDuration;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::share::Share;
use crate::{checkout::Checkout, executor::ExecuteError};

const INTERVAL: Duration = Duration::from_secs(5);
/// An order still `placed` after this long has been left behind.
const PLACED_AGE_MAX: SignedDuration = SignedDuration::from_secs(10);
/// Orders mended in one round.
const ORDERS_MAX: usize = 1_000;

/// Sweeps now and every few seconds until `shutdown`.
pub(super) async fn run(
    checkout: Checkout,
    queries: Arc<dyn Queries>,
    share: Share,
    shutdown: CancellationToken,
) {
    let mut rounds = time::interval(INTERVAL);
    rounds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            _ = rounds.tick() => {}
        }
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            swept = sweep(&checkout, &*queries, &share, checkout.clock.now()) => if let Err(error) = swept {
                tracing::warn!(%error, "the sweep could not ask the read models; it tries again");
            },
        }
    }
}

async fn sweep(
    checkout: &Checkout,
    queries: &dyn Queries,
    share: &Share,
    now: Timestamp,
) -> Result<(), ReadModelError> {
    let ended = queries.ended_orders_with_reservations(ORDERS_MAX).await?;
    for order in ended.into_iter().filter(|order| share.has(*order)) {
        report(order, checkout.sweep_ended(order).await);
    }
    let before = now.checked_sub(PLACED_AGE_MAX).unwrap_or(Timestamp::MIN);
    let placed = queries.placed_orders_recorded_before(before, ORDERS_MAX).await?;
    for order in placed.into_iter().filter(|order| share.has(*order)) {
        report(order, checkout.sweep_placed(order).await);
    }
    Ok(())
}

fn report(order: OrderId, swept: Result<(), ExecuteError>) {
    if let Err(error) = swept {
        tracing::warn!(order.id = %order, %error, "an order could not be swept; the next round tries again");
    }
}

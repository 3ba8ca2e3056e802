//! The sweep: finds orders that an interleaving or a crash left unfinished, and finishes them.
//!
//! Two cases: a reservation is appended after the release that should have undone it; an order stays `placed`
//! because the process that placed it died. The read models only propose candidates. The streams decide
//! whether there is anything to do.

use std::{sync::Arc, time::Duration};

use domain::{OrderId, Timestamp};
use infra::read_models::{OverdueQueries, ReadModelError};
use jiff::SignedDuration;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::share::Share;
use crate::{checkout::Checkout, executor::ExecuteError};

const INTERVAL: Duration = Duration::from_secs(5);
/// If an order is `placed` for longer than this, the process that placed it has probably died.
const PLACED_AGE_MAX: SignedDuration = SignedDuration::from_secs(10);
/// Orders of each kind per round.
const ORDERS_MAX: usize = 1_000;

/// Sweeps at once and then every [`INTERVAL`] until `shutdown`.
pub(super) async fn run(
    checkout: Checkout,
    queries: Arc<dyn OverdueQueries>,
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
                tracing::warn!(%error, "Cannot read the candidates of the sweep; the next round retries");
            },
        }
    }
}

async fn sweep(
    checkout: &Checkout,
    queries: &dyn OverdueQueries,
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
        tracing::warn!(order.id = %order, %error, "Cannot sweep an order; the next round retries");
    }
}

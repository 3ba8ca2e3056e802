//! The timers: expire orders whose payment is overdue, and repeat open requests to the payment provider.
//!
//! As with the sweep, the read models propose candidates and the streams decide.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{OrderId, PaymentId};
use futures::{StreamExt, stream};
use infra::read_models::{OverdueQueries, ReadModelError};
use jiff::SignedDuration;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::share::Share;
use crate::{
    checkout::{Checkout, ProviderStatus, Trigger},
    executor::ExecuteError,
};

const INTERVAL: Duration = Duration::from_secs(1);
/// Candidates per round.
const CANDIDATES_MAX: usize = 1_000;
/// Most overdue orders per round. Only reached while every order that a round reads waits for the provider.
const DUE_MAX: usize = 100_000;
/// Orders that expire concurrently.
const EXPIRING_MAX: usize = 32;
/// A payment that changed less than this long ago is skipped: its handler or reaction is probably still at
/// work.
const RETRY_GRACE: SignedDuration = SignedDuration::from_secs(2);
/// Pause before the provider is asked again about one payment, doubled each time up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE_MIN: Duration = Duration::from_secs(2);
const RETRY_PAUSE_MAX: Duration = Duration::from_mins(5);

pub(super) struct Timers {
    checkout: Checkout,
    queries: Arc<dyn OverdueQueries>,
    share: Share,
    asking: JoinSet<(PaymentId, Result<ProviderStatus, ExecuteError>)>,
    retries: HashMap<PaymentId, Retry>,
    /// The last candidate of the previous round, if more follow it.
    after: Option<PaymentId>,
    /// Overdue orders that a round reads. Grows while the first ones all wait for the provider, so that the
    /// orders behind them still expire.
    due_max: usize,
}

/// When the provider is asked again about a payment.
#[derive(Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
    is_under_way: bool,
}

impl Timers {
    pub fn new(checkout: Checkout, queries: Arc<dyn OverdueQueries>, share: Share) -> Self {
        let (asking, retries) = (JoinSet::new(), HashMap::new());
        Self { checkout, queries, share, asking, retries, after: None, due_max: CANDIDATES_MAX }
    }

    /// Runs at once and then every [`INTERVAL`] until `shutdown`.
    pub async fn run(mut self, shutdown: CancellationToken) {
        let mut rounds = time::interval(INTERVAL);
        rounds.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                _ = rounds.tick() => {}
            }
            tokio::select! {
                biased;
                () = shutdown.cancelled() => break,
                done = self.round() => if let Err(error) = done {
                    tracing::warn!(%error, "Cannot read the candidates of the timers; the next round retries");
                },
            }
        }
        // Calls under way finish, so that their answers are recorded.
        while self.asking.join_next().await.is_some() {}
    }

    async fn round(&mut self) -> Result<(), ReadModelError> {
        self.expire_orders().await?;
        if self.checkout.provider().is_some() {
            self.ask_provider_again().await?;
        }
        Ok(())
    }

    async fn expire_orders(&mut self) -> Result<(), ReadModelError> {
        let now = self.checkout.clock.now();
        let due = self.queries.orders_due_before(now, self.due_max).await?;
        let (is_full, mut settled_any) = (due.len() >= self.due_max, false);
        let own = due.into_iter().filter(|order| self.share.has(*order));
        let settling = own.map(async |order: OrderId| (order, self.checkout.settle_due(order, now).await));
        let mut settled = stream::iter(settling).buffer_unordered(EXPIRING_MAX);
        while let Some((order, outcome)) = settled.next().await {
            match outcome {
                Ok(is_settled) => settled_any |= is_settled,
                Err(error) => {
                    tracing::warn!(order.id = %order, %error, "Cannot expire an order; the next round retries");
                }
            }
        }
        drop(settled);
        let all_wait = is_full && !settled_any;
        self.due_max = if all_wait { (2 * self.due_max).min(DUE_MAX) } else { CANDIDATES_MAX };
        Ok(())
    }

    async fn ask_provider_again(&mut self) -> Result<(), ReadModelError> {
        self.collect_answers();
        let before = self.checkout.clock.now().checked_sub(RETRY_GRACE).unwrap_or(domain::Timestamp::MIN);
        let open = self.queries.payments_awaiting_provider(before, self.after, CANDIDATES_MAX).await?;
        self.after = if open.len() < CANDIDATES_MAX { None } else { open.last().copied() };
        let now = Instant::now();
        // Forgets payments that were settled meanwhile, for example by a webhook.
        self.retries.retain(|_, retry| retry.is_under_way || now < retry.at + 2 * RETRY_PAUSE_MAX);
        for payment in open {
            let is_due =
                self.retries.get(&payment).is_none_or(|retry| !retry.is_under_way && retry.at <= now);
            if !is_due || !self.share.has(payment) {
                continue;
            }
            // All places are taken: a later round asks for this payment and those after it.
            let Some(asking) = self.checkout.try_ask_provider(payment, Trigger::Retry) else { break };
            let retry = self.retries.entry(payment).or_insert(Retry {
                at: now,
                pause: RETRY_PAUSE_MIN,
                is_under_way: true,
            });
            retry.is_under_way = true;
            self.asking.spawn(async move { (payment, asking.await) });
        }
        Ok(())
    }

    fn collect_answers(&mut self) {
        while let Some(ended) = self.asking.try_join_next() {
            match ended {
                Ok((payment, outcome)) => self.schedule_retry(payment, outcome),
                Err(error) => tracing::error!(%error, "A call of the payment provider panicked"),
            }
        }
    }

    /// Sets the time of the next request for this payment, or forgets the payment if no work is open.
    fn schedule_retry(&mut self, payment: PaymentId, outcome: Result<ProviderStatus, ExecuteError>) {
        let is_open = match outcome {
            Ok(status) => status.is_open,
            Err(error) => {
                tracing::warn!(payment.id = %payment, %error,
                    "Cannot record the answer of the payment provider; asking again later");
                true
            }
        };
        if !is_open {
            self.retries.remove(&payment);
        } else if let Some(retry) = self.retries.get_mut(&payment) {
            retry.is_under_way = false;
            retry.at = Instant::now() + retry.pause;
            retry.pause = (retry.pause * 2).min(RETRY_PAUSE_MAX);
        }
    }
}

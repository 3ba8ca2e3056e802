//! What only time brings about: orders whose payment is due, and payments that the provider is to be asked about again.
//!
//! As with the sweep, the read models propose candidates, and the streams decide.

use std::{collections::HashMap, sync::Arc, time::Duration};

use domain::{OrderId, PaymentId};
use futures::{StreamExt, stream};
use infra::read_models::{Queries, ReadModelError};
use jiff::SignedDuration;
use tokio::{
    task::JoinSet,
    time::{self, Instant},
};
use tokio_util::sync::CancellationToken;

use super::share::Share;
use crate::{
    checkout::{Attention, Checkout, Occasion},
    executor::ExecuteError,
};

const INTERVAL: Duration = Duration::from_secs(1);
/// Candidates taken up in one round.
const CANDIDATES_MAX: usize = 1_000;
/// Overdue orders taken up in one round where thousands wait for the provider.
const DUE_MAX: usize = 100_000;
/// Orders that expire side by side.
const EXPIRING_MAX: usize = 32;
/// A payment that changed just now is in good hands.
const LEFT_ALONE: SignedDuration = SignedDuration::from_secs(2);
/// From one question about a payment to the next, doubled each time.
const RETRY_FIRST: Duration = Duration::from_secs(2);
const RETRY_LAST: Duration = Duration::from_mins(5);

pub(super) struct Timers {
    checkout: Checkout,
    queries: Arc<dyn Queries>,
    share: Share,
    asking: JoinSet<(PaymentId, Result<Attention, ExecuteError>)>,
    retries: HashMap<PaymentId, Retry>,
    /// Where the last round ended, if not at the end.
    after: Option<PaymentId>,
    /// Overdue orders that a round looks at: more while the first ones all wait for the provider, so that those behind
    /// them have their turn.
    due_max: usize,
}

/// When a payment is asked about again.
#[derive(Debug)]
struct Retry {
    at: Instant,
    pause: Duration,
    is_under_way: bool,
}

impl Timers {
    pub fn new(checkout: Checkout, queries: Arc<dyn Queries>, share: Share) -> Self {
        let (asking, retries) = (JoinSet::new(), HashMap::new());
        Self { checkout, queries, share, asking, retries, after: None, due_max: CANDIDATES_MAX }
    }

    /// Now and every second until `shutdown`.
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
                    tracing::warn!(%error, "the timers could not ask the read models; they try again");
                },
            }
        }
        // A question under way is answered, so that its answer is recorded.
        while self.asking.join_next().await.is_some() {}
    }

    async fn round(&mut self) -> Result<(), ReadModelError> {
        self.expire_orders().await?;
        if self.checkout.provider().is_some() {
            self.ask_again().await?;
        }
        Ok(())
    }

    async fn expire_orders(&mut self) -> Result<(), ReadModelError> {
        let now = self.checkout.clock.now();
        let due = self.queries.orders_due_before(now, self.due_max).await?;
        let (is_full, mut settled_any) = (due.len() >= self.due_max, false);
        let due = due.into_iter().filter(|order| self.share.has(*order));
        let settling = due.map(async |order: OrderId| (order, self.checkout.settle_due(order, now).await));
        let mut settled = stream::iter(settling).buffer_unordered(EXPIRING_MAX);
        while let Some((order, outcome)) = settled.next().await {
            match outcome {
                Ok(is_settled) => settled_any |= is_settled,
                Err(error) => {
                    tracing::warn!(order.id = %order, %error, "an order whose payment is due could not be settled; the next round tries again");
                }
            }
        }
        drop(settled);
        let all_wait = is_full && !settled_any;
        self.due_max = if all_wait { (2 * self.due_max).min(DUE_MAX) } else { CANDIDATES_MAX };
        Ok(())
    }

    async fn ask_again(&mut self) -> Result<(), ReadModelError> {
        while let Some(ended) = self.asking.try_join_next() {
            match ended {
                Ok((payment, outcome)) => self.note(payment, outcome),
                Err(error) => tracing::error!(%error, "asking the payment provider ended unexpectedly"),
            }
        }
        let before = self.checkout.clock.now().checked_sub(LEFT_ALONE).unwrap_or(domain::Timestamp::MIN);
        let open = self.queries.payments_awaiting_provider(before, self.after, CANDIDATES_MAX).await?;
        self.after = if open.len() < CANDIDATES_MAX { None } else { open.last().copied() };
        let now = Instant::now();
        // Settled by somebody else meanwhile, such as a notice of the provider.
        self.retries.retain(|_, retry| retry.is_under_way || now < retry.at + 2 * RETRY_LAST);
        for payment in open {
            let is_due =
                self.retries.get(&payment).is_none_or(|retry| !retry.is_under_way && retry.at <= now);
            if !is_due || !self.share.has(payment) {
                continue;
            }
            // All places taken: a later round comes to this one.
            let Some(attending) = self.checkout.try_attend(payment, Occasion::Again) else { break };
            let retry = self.retries.entry(payment).or_insert(Retry {
                at: now,
                pause: RETRY_FIRST,
                is_under_way: true,
            });
            retry.is_under_way = true;
            self.asking.spawn(async move { (payment, attending.await) });
        }
        Ok(())
    }

    fn note(&mut self, payment: PaymentId, outcome: Result<Attention, ExecuteError>) {
        let is_open = match outcome {
            Ok(attention) => attention.is_open,
            Err(error) => {
                tracing::warn!(payment.id = %payment, %error, "what the payment provider says could not be recorded; it is asked again");
                true
            }
        };
        if !is_open {
            self.retries.remove(&payment);
        } else if let Some(retry) = self.retries.get_mut(&payment) {
            retry.is_under_way = false;
            retry.at = Instant::now() + retry.pause;
            retry.pause = (retry.pause * 2).min(RETRY_LAST);
        }
    }
}

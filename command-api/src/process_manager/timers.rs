//! The timers: expire orders whose payment is overdue, repeat open requests to the payment provider, and end
//! authorisations that have run out.

use std::{sync::Arc, time::Duration};

use domain::{OrderId, PaymentId, Timestamp};
use infra::read_models::{OrderAt, OverdueQueries, PaymentAt, ReadModelError};
use jiff::SignedDuration;

use super::patrol::{Beat, Settled};
use crate::{
    checkout::{Checkout, PROVIDER_CALLS_MAX, RunOut, Trigger},
    executor::ExecuteError,
};

const INTERVAL: Duration = Duration::from_secs(1);
/// A payment that changed less than this long ago is skipped: its handler or reaction is probably still at
/// work.
const RETRY_GRACE: SignedDuration = SignedDuration::from_secs(2);

/// Expires the orders whose payment is overdue.
pub(super) struct DueOrders {
    pub checkout: Checkout,
    pub queries: Arc<dyn OverdueQueries>,
}

impl Beat for DueOrders {
    type Candidate = OrderAt;
    type Id = OrderId;

    const WORK: &'static str = "expiry of overdue orders";
    const INTERVAL: Duration = INTERVAL;
    const PLACES: usize = 32;
    const TIME_MAX: Duration = Duration::from_secs(10);
    const PAUSE_MIN: Duration = Duration::from_secs(1);
    const PAUSE_MAX: Duration = Duration::from_mins(1);

    fn id((_, order): OrderAt) -> OrderId {
        order
    }

    async fn page(&self, after: Option<OrderAt>, limit: usize) -> Result<Vec<OrderAt>, ReadModelError> {
        self.queries.orders_due_before(self.checkout.clock.now(), after, limit).await
    }

    fn attempt(
        &self,
        order: OrderId,
    ) -> Option<impl Future<Output = Result<Settled, ExecuteError>> + Send + 'static> {
        let checkout = self.checkout.clone();
        Some(async move {
            let is_settled = checkout.settle_due(order, checkout.clock.now()).await?;
            Ok(if is_settled { Settled::Done } else { Settled::Waits })
        })
    }
}

/// Asks the provider again about payments with open work.
pub(super) struct OpenPayments {
    pub checkout: Checkout,
    pub queries: Arc<dyn OverdueQueries>,
}

impl Beat for OpenPayments {
    type Candidate = PaymentId;
    type Id = PaymentId;

    const WORK: &'static str = "requests to the payment provider";
    const INTERVAL: Duration = INTERVAL;
    const PLACES: usize = PROVIDER_CALLS_MAX;
    /// Above the time limits of the calls themselves.
    const TIME_MAX: Duration = Duration::from_mins(10);
    const PAUSE_MIN: Duration = Duration::from_secs(2);
    const PAUSE_MAX: Duration = Duration::from_mins(5);

    fn id(payment: PaymentId) -> PaymentId {
        payment
    }

    async fn page(&self, after: Option<PaymentId>, limit: usize) -> Result<Vec<PaymentId>, ReadModelError> {
        let before = self.checkout.clock.now().checked_sub(RETRY_GRACE).unwrap_or(Timestamp::MIN);
        self.queries.payments_awaiting_provider(before, after, limit).await
    }

    /// `None` while all places of provider calls are taken.
    fn attempt(
        &self,
        payment: PaymentId,
    ) -> Option<impl Future<Output = Result<Settled, ExecuteError>> + Send + 'static> {
        let asking = self.checkout.try_ask_provider(payment, Trigger::Retry)?;
        Some(async move { Ok(if asking.await?.is_open { Settled::Waits } else { Settled::Done }) })
    }
}

/// Looks up the authorisations that were to run out by now.
pub(super) struct HeldPayments {
    pub checkout: Checkout,
    pub queries: Arc<dyn OverdueQueries>,
}

impl Beat for HeldPayments {
    type Candidate = PaymentAt;
    type Id = PaymentId;

    const WORK: &'static str = "end of authorisations";
    const INTERVAL: Duration = INTERVAL;
    /// Leaves most places of provider calls to the requests.
    const PLACES: usize = PROVIDER_CALLS_MAX / 8;
    /// Above the time limit of the look-up.
    const TIME_MAX: Duration = Duration::from_mins(1);
    const PAUSE_MIN: Duration = Duration::from_secs(2);
    const PAUSE_MAX: Duration = Duration::from_hours(1);

    fn id((_, payment): PaymentAt) -> PaymentId {
        payment
    }

    async fn page(&self, after: Option<PaymentAt>, limit: usize) -> Result<Vec<PaymentAt>, ReadModelError> {
        self.queries.authorizations_run_out_by(self.checkout.clock.now(), after, limit).await
    }

    fn attempt(
        &self,
        payment: PaymentId,
    ) -> Option<impl Future<Output = Result<Settled, ExecuteError>> + Send + 'static> {
        let checkout = self.checkout.clone();
        Some(async move {
            Ok(match checkout.settle_run_out(payment).await? {
                RunOut::Settled => Settled::Done,
                RunOut::Held | RunOut::Unanswered => Settled::Waits,
            })
        })
    }
}

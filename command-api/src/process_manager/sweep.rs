//! The sweep: finishes orders that an interleaving or a crash left unfinished.
//!
//! Two cases: a reservation is appended after the release that should have undone it; an order stays `placed`
//! because the process that placed it died.

use std::{sync::Arc, time::Duration};

use domain::{OrderId, Timestamp};
use infra::read_models::{OrderAt, OverdueQueries, ReadModelError};
use jiff::SignedDuration;

use super::patrol::{Beat, Settled};
use crate::{checkout::Checkout, executor::ExecuteError};

const INTERVAL: Duration = Duration::from_secs(5);
const PAUSE_MIN: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_mins(5);
const PLACES: usize = 16;
const TIME_MAX: Duration = Duration::from_secs(30);
/// If an order is `placed` for longer than this, the process that placed it has probably died.
const PLACED_AGE_MAX: SignedDuration = SignedDuration::from_secs(10);

/// Releases the stock that ended orders still hold.
pub(super) struct EndedOrders {
    pub checkout: Checkout,
    pub queries: Arc<dyn OverdueQueries>,
}

impl Beat for EndedOrders {
    type Candidate = OrderId;
    type Id = OrderId;

    const WORK: &'static str = "release of reservations";
    const INTERVAL: Duration = INTERVAL;
    const PLACES: usize = PLACES;
    const TIME_MAX: Duration = TIME_MAX;
    const PAUSE_MIN: Duration = PAUSE_MIN;
    const PAUSE_MAX: Duration = PAUSE_MAX;

    fn id(order: OrderId) -> OrderId {
        order
    }

    async fn page(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<OrderId>, ReadModelError> {
        self.queries.ended_orders_with_reservations(after, limit).await
    }

    fn attempt(
        &self,
        order: OrderId,
    ) -> Option<impl Future<Output = Result<Settled, ExecuteError>> + Send + 'static> {
        let checkout = self.checkout.clone();
        Some(async move { checkout.sweep_ended(order).await.map(|()| Settled::Done) })
    }
}

/// Runs the reaction to OrderPlaced of orders that stayed `placed`.
pub(super) struct PlacedOrders {
    pub checkout: Checkout,
    pub queries: Arc<dyn OverdueQueries>,
}

impl Beat for PlacedOrders {
    type Candidate = OrderAt;
    type Id = OrderId;

    const WORK: &'static str = "allocation of placed orders";
    const INTERVAL: Duration = INTERVAL;
    const PLACES: usize = PLACES;
    const TIME_MAX: Duration = TIME_MAX;
    const PAUSE_MIN: Duration = PAUSE_MIN;
    const PAUSE_MAX: Duration = PAUSE_MAX;

    fn id((_, order): OrderAt) -> OrderId {
        order
    }

    async fn page(&self, after: Option<OrderAt>, limit: usize) -> Result<Vec<OrderAt>, ReadModelError> {
        let before = self.checkout.clock.now().checked_sub(PLACED_AGE_MAX).unwrap_or(Timestamp::MIN);
        self.queries.placed_orders_recorded_before(before, after, limit).await
    }

    fn attempt(
        &self,
        order: OrderId,
    ) -> Option<impl Future<Output = Result<Settled, ExecuteError>> + Send + 'static> {
        let checkout = self.checkout.clone();
        Some(async move { checkout.sweep_placed(order).await.map(|()| Settled::Done) })
    }
}

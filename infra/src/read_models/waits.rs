//! Orders and payments that wait: for operators to see, and for the process manager to act on.

use async_trait::async_trait;
use domain::{OrderId, PaymentId, Timestamp};
use uuid::Uuid;

use super::{ReadModelError, RowPage};

/// What an order waits for. Each wait normally ends within seconds, without an operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WaitKind {
    /// A placed order waits for its stock to be reserved.
    Allocation,
    /// An allocated order whose payment is overdue waits to expire.
    Expiry,
    /// An ended order waits for its reserved stock to be released.
    Release,
    /// A payment waits for a request to its provider.
    Provider,
}

impl WaitKind {
    pub const ALL: [Self; 4] = [Self::Allocation, Self::Expiry, Self::Release, Self::Provider];

    /// Orders waits that began at the same instant.
    pub fn code(self) -> u8 {
        match self {
            Self::Allocation => 0,
            Self::Expiry => 1,
            Self::Release => 2,
            Self::Provider => 3,
        }
    }

    pub(super) fn of_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| i64::from(kind.code()) == code)
    }
}

/// An order or payment that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Wait {
    pub since: Timestamp,
    /// Id of the order; of the payment for [`WaitKind::Provider`].
    pub id: Uuid,
    pub kind: WaitKind,
}

/// Selects waits, the longest first.
#[derive(Debug, Clone, Copy)]
pub struct WaitFilter {
    /// Exclusive.
    pub since_before: Timestamp,
    /// Continue after the wait with this begin, id and [`WaitKind::code`].
    pub after: Option<(Timestamp, Uuid, u8)>,
}

/// Lists waits for operators.
#[async_trait]
pub trait WaitQueries: Send + Sync + 'static {
    /// The cost grows with the current waits, not with all orders.
    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<RowPage<Wait>, ReadModelError>;
}

/// An order's place in a list by time. Lists continue after it.
pub type OrderAt = (Timestamp, OrderId);
/// A payment's place in a list by time.
pub type PaymentAt = (Timestamp, PaymentId);

/// Finds overdue work for the process manager: for its sweep, and for its timers. Every list continues after
/// `after` and has at most `limit` items; an empty page is the end.
#[async_trait]
pub trait OverdueQueries: Send + Sync + 'static {
    /// Ended orders with an open reservation, for the sweep to release. In ascending order of id.
    async fn ended_orders_with_reservations(
        &self,
        after: Option<OrderId>,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError>;

    /// Orders still `placed` that were recorded before `before`, for the sweep to allocate. Earliest placing
    /// time first.
    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError>;

    /// Orders whose payment was due at `now` or earlier and that still wait for it, earliest due time first.
    async fn orders_due_before(
        &self,
        now: Timestamp,
        after: Option<OrderAt>,
        limit: usize,
    ) -> Result<Vec<OrderAt>, ReadModelError>;

    /// Payments that wait for a request to their provider and have not changed since `updated_before`. In
    /// ascending order of id, so a caller that reads page by page gets each payment once, even if rows change
    /// meanwhile.
    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError>;

    /// Payments whose authorisation holds money and was to run out at `now` or earlier, the earliest end first.
    async fn authorizations_run_out_by(
        &self,
        now: Timestamp,
        after: Option<PaymentAt>,
        limit: usize,
    ) -> Result<Vec<PaymentAt>, ReadModelError>;
}

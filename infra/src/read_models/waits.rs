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
    /// The cost grows with the current waits, not with all orders. For releases in Postgres it grows with the
    /// open reservations.
    async fn waits(&self, filter: &WaitFilter, limit: usize) -> Result<RowPage<Wait>, ReadModelError>;
}

/// Finds overdue work for the process manager: for its sweep, and for its timers.
#[async_trait]
pub trait OverdueQueries: Send + Sync + 'static {
    /// Ended orders with an open reservation, for the sweep to release.
    async fn ended_orders_with_reservations(&self, limit: usize) -> Result<Vec<OrderId>, ReadModelError>;

    /// Orders still `placed` that were recorded before `before`, for the sweep to allocate.
    async fn placed_orders_recorded_before(
        &self,
        before: Timestamp,
        limit: usize,
    ) -> Result<Vec<OrderId>, ReadModelError>;

    /// Orders whose payment was due at `now` or earlier and that still wait for it, earliest due time first.
    async fn orders_due_before(&self, now: Timestamp, limit: usize) -> Result<Vec<OrderId>, ReadModelError>;

    /// Payments that wait for a request to their provider and have not changed since `updated_before`. In
    /// ascending order of id, after `after`. So a caller that reads page by page gets each payment once, even
    /// if rows change meanwhile.
    async fn payments_awaiting_provider(
        &self,
        updated_before: Timestamp,
        after: Option<PaymentId>,
        limit: usize,
    ) -> Result<Vec<PaymentId>, ReadModelError>;
}

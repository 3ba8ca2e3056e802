//! Lists of orders: what a list selects, and in what order it comes.

use std::cmp::Ordering;

use domain::{
    Currency, OrderId, Sku, Timestamp,
    order::{FulfilmentStatus, Order, OrderStatus, PaymentStatus, PaymentTerms},
};
use serde::{Deserialize, Serialize};

use super::{OrderSummaryRow, paging::ScannedPage};

/// Most rows that a list looks at for one page, if no index has all its filters.
pub const SCANNED_MAX: usize = 2_000;
/// Up to this number, counts are exact.
pub const COUNTED_MAX: usize = 10_000;

/// Selects orders that pass every filter. A filter by several values passes each of them; without values, it passes all.
#[derive(Debug, Clone, Default)]
pub struct OrderFilter {
    pub status: Vec<OrderStatus>,
    pub payment_status: Vec<PaymentStatus>,
    pub fulfilment_status: Vec<FulfilmentStatus>,
    pub customer_id: Option<String>,
    pub sku: Option<Sku>,
    /// The shop's reference.
    pub reference: Option<String>,
    pub country: Option<String>,
    pub currency: Option<Currency>,
    /// The provider's reference of a payment of the order.
    pub payment_reference: Option<String>,
    /// The beginning of the id, reference or customer of the order, or of the id or reference of a payment.
    pub text: Option<String>,
    pub work: Option<OrderWork>,
    /// Inclusive.
    pub placed_from: Option<Timestamp>,
    /// Exclusive.
    pub placed_to: Option<Timestamp>,
    /// Inclusive.
    pub updated_since: Option<Timestamp>,
    pub terms: Option<PaymentTerms>,
    /// The time of [`OrderWork::Overdue`].
    pub now: Timestamp,
    pub sort: OrderSort,
    pub direction: Direction,
    /// Continue after this place.
    pub after: Option<OrderPlace>,
}

/// Work that waits for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderWork {
    /// Units can be shipped: see [`Order::is_to_ship`].
    ToShip,
    /// Allocated, and not or only partly paid.
    Unpaid,
    /// More is paid than is owed, and no refund is requested for it.
    Overpaid,
    /// A refund is requested and not paid out.
    RefundDue,
    /// Units came back.
    Returns,
    /// Allocated, and a payment was declined that can be tried again.
    Declined,
    /// Money is overdue: see [`Order::overdue_from`].
    Overdue,
}

impl OrderWork {
    pub const ALL: [Self; 7] = [
        Self::ToShip,
        Self::Unpaid,
        Self::Overpaid,
        Self::RefundDue,
        Self::Returns,
        Self::Declined,
        Self::Overdue,
    ];
    /// The payment statuses of [`OrderWork::Unpaid`].
    pub const UNPAID: [PaymentStatus; 2] = [PaymentStatus::Pending, PaymentStatus::PartiallyPaid];
    /// The fulfilment statuses of [`OrderWork::Returns`].
    pub const RETURNS: [FulfilmentStatus; 2] =
        [FulfilmentStatus::PartiallyReturned, FulfilmentStatus::Returned];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::ToShip => "to_ship",
            Self::Unpaid => "unpaid",
            Self::Overpaid => "overpaid",
            Self::RefundDue => "refund_due",
            Self::Returns => "returns",
            Self::Declined => "declined",
            Self::Overdue => "overdue",
        }
    }

    /// The order in which its list comes, if the caller asks for no other.
    pub fn sort(self) -> OrderSort {
        match self {
            Self::Overdue => OrderSort::Overdue,
            Self::ToShip
            | Self::Unpaid
            | Self::Overpaid
            | Self::RefundDue
            | Self::Returns
            | Self::Declined => OrderSort::Placed,
        }
    }

    /// `has_declined_payment`: a payment of the order was declined and can be tried again, which the order does not know.
    pub fn is_of(self, order: &Order, now: Timestamp, has_declined_payment: bool) -> bool {
        let is_allocated = order.status() == OrderStatus::Allocated;
        match self {
            Self::ToShip => order.is_to_ship(),
            Self::Unpaid => is_allocated && Self::UNPAID.contains(&order.payment_status()),
            Self::Overpaid => order.overpaid().is_positive(),
            Self::RefundDue => order.refund_due().is_positive(),
            Self::Returns => Self::RETURNS.contains(&order.fulfilment_status()),
            Self::Declined => is_allocated && has_declined_payment,
            Self::Overdue => order.overdue_from().is_some_and(|from| from <= now),
        }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderSort {
    #[default]
    Placed,
    Updated,
    /// By `total`. Only with a currency.
    Total,
    /// By the time from which money is overdue. Only with [`OrderWork::Overdue`].
    Overdue,
}

impl OrderSort {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Updated => "updated",
            Self::Total => "total",
            Self::Overdue => "overdue",
        }
    }

    /// The direction in which a list comes, if the caller asks for no other: the longest overdue first, and otherwise the
    /// newest or the greatest.
    pub fn direction(self) -> Direction {
        match self {
            Self::Overdue => Direction::Asc,
            Self::Placed | Self::Updated | Self::Total => Direction::Desc,
        }
    }

    /// The place of an order.
    pub fn place(self, row: &OrderSummaryRow) -> OrderPlace {
        let time = |at: Option<Timestamp>| at.unwrap_or_default().as_microsecond();
        let key = match self {
            Self::Placed => time(row.summary.placed_at),
            Self::Updated => time(Some(row.updated_at)),
            Self::Total => row.summary.total.minor_units(),
            Self::Overdue => time(row.summary.overdue_from),
        };
        OrderPlace(key, row.order_id)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    Asc,
    #[default]
    Desc,
}

impl Direction {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Asc => "asc",
            Self::Desc => "desc",
        }
    }

    /// Orders two places as the list does.
    pub fn compare<T: Ord>(self, a: &T, b: &T) -> Ordering {
        match self {
            Self::Asc => a.cmp(b),
            Self::Desc => b.cmp(a),
        }
    }
}

/// The place of an order in a list: microseconds or minor units, then the id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct OrderPlace(pub i64, pub OrderId);

/// A page of a list.
pub type OrderPage = ScannedPage<OrderSummaryRow, OrderPlace>;

/// How many rows a list has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// At most [`COUNTED_MAX`].
    pub value: usize,
    /// False if there may be more.
    pub is_exact: bool,
}

impl Count {
    /// `counted`: rows that pass the filters, of `walked` rows that were looked at, of which there may be one more than
    /// [`COUNTED_MAX`].
    pub fn of(walked: usize, counted: usize) -> Self {
        Self { value: counted.min(COUNTED_MAX), is_exact: walked <= COUNTED_MAX }
    }
}

/// A list of each kind of work, to count.
pub(super) fn filters_of_work(now: Timestamp) -> [OrderFilter; OrderWork::ALL.len()] {
    OrderWork::ALL.map(|work| {
        let (sort, direction) = (work.sort(), work.sort().direction());
        OrderFilter { work: Some(work), now, sort, direction, ..OrderFilter::default() }
    })
}

/// The count of the numbers that a database returns: see [`Count::of`].
pub(super) fn count_of(walked: i64, counted: i64) -> Count {
    let number = |number: i64| usize::try_from(number).unwrap_or_default();
    Count::of(number(walked), number(counted))
}

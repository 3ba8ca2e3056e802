//! The three statuses of an order.

use serde::{Deserialize, Serialize};

/// The status of an order. Rejected, cancelled and expired are final.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderStatus {
    /// No event yet.
    #[default]
    New,
    /// Recorded. Its stock is being reserved.
    Placed,
    /// All its stocked units are reserved.
    Allocated,
    Rejected,
    Cancelled,
    Expired,
}

impl OrderStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Placed => "placed",
            Self::Allocated => "allocated",
            Self::Rejected => "rejected",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
        }
    }

    pub fn is_final(self) -> bool {
        match self {
            Self::Rejected | Self::Cancelled | Self::Expired => true,
            Self::New | Self::Placed | Self::Allocated => false,
        }
    }
}

/// How much of an order is paid. Computed from the state, never stored in events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    Pending,
    PartiallyPaid,
    Paid,
    PartiallyRefunded,
    Refunded,
    /// The order ended before any money was captured.
    NotDue,
}

impl PaymentStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::PartiallyPaid => "partially_paid",
            Self::Paid => "paid",
            Self::PartiallyRefunded => "partially_refunded",
            Self::Refunded => "refunded",
            Self::NotDue => "not_due",
        }
    }
}

/// How much of an order is fulfilled. Computed over its stocked lines, or over all lines if none is stocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FulfilmentStatus {
    Unfulfilled,
    PartiallyShipped,
    Shipped,
    PartiallyDelivered,
    Delivered,
    PartiallyReturned,
    Returned,
}

impl FulfilmentStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unfulfilled => "unfulfilled",
            Self::PartiallyShipped => "partially_shipped",
            Self::Shipped => "shipped",
            Self::PartiallyDelivered => "partially_delivered",
            Self::Delivered => "delivered",
            Self::PartiallyReturned => "partially_returned",
            Self::Returned => "returned",
        }
    }
}

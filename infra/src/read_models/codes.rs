//! The numbers of statuses in columns and indexes, for both databases.

use domain::order::{FulfilmentStatus, OrderStatus, PaymentStatus, PaymentTerms};

/// The statuses that stored orders can have.
pub(super) const STATUSES: [OrderStatus; 5] = [
    OrderStatus::Placed,
    OrderStatus::Allocated,
    OrderStatus::Rejected,
    OrderStatus::Cancelled,
    OrderStatus::Expired,
];

/// Stored: changing a number needs a new schema version. The index of payment statuses has those above 1.
pub(super) fn payment_status_code(status: PaymentStatus) -> i16 {
    match status {
        PaymentStatus::Paid => 0,
        PaymentStatus::NotDue => 1,
        PaymentStatus::Pending => 2,
        PaymentStatus::PartiallyPaid => 3,
        PaymentStatus::PartiallyRefunded => 4,
        PaymentStatus::Refunded => 5,
    }
}

/// The payment statuses, in the order of their numbers.
pub(super) const PAYMENT_STATUSES: [PaymentStatus; 6] = [
    PaymentStatus::Paid,
    PaymentStatus::NotDue,
    PaymentStatus::Pending,
    PaymentStatus::PartiallyPaid,
    PaymentStatus::PartiallyRefunded,
    PaymentStatus::Refunded,
];

/// Stored: changing a number needs a new schema version. The index of fulfilment statuses has those above 2.
pub(super) fn fulfilment_status_code(status: FulfilmentStatus) -> i16 {
    match status {
        FulfilmentStatus::Unfulfilled => 0,
        FulfilmentStatus::Shipped => 1,
        FulfilmentStatus::Delivered => 2,
        FulfilmentStatus::PartiallyShipped => 3,
        FulfilmentStatus::PartiallyDelivered => 4,
        FulfilmentStatus::PartiallyReturned => 5,
        FulfilmentStatus::Returned => 6,
    }
}

/// The fulfilment statuses, in the order of their numbers.
pub(super) const FULFILMENT_STATUSES: [FulfilmentStatus; 7] = [
    FulfilmentStatus::Unfulfilled,
    FulfilmentStatus::Shipped,
    FulfilmentStatus::Delivered,
    FulfilmentStatus::PartiallyShipped,
    FulfilmentStatus::PartiallyDelivered,
    FulfilmentStatus::PartiallyReturned,
    FulfilmentStatus::Returned,
];

/// Stored: changing a number needs a new schema version. The index of terms has those above 0.
pub(super) fn terms_code(terms: PaymentTerms) -> i16 {
    match terms {
        PaymentTerms::Prepaid => 0,
        PaymentTerms::OnShipment => 1,
        PaymentTerms::Net => 2,
    }
}

/// The payment status with this number.
pub(super) fn payment_status_of(code: i64) -> Option<PaymentStatus> {
    PAYMENT_STATUSES.into_iter().find(|status| i64::from(payment_status_code(*status)) == code)
}

/// The fulfilment status with this number.
pub(super) fn fulfilment_status_of(code: i64) -> Option<FulfilmentStatus> {
    FULFILMENT_STATUSES.into_iter().find(|status| i64::from(fulfilment_status_code(*status)) == code)
}

/// The terms with this number.
pub(super) fn terms_of(code: i64) -> Option<PaymentTerms> {
    PaymentTerms::ALL.into_iter().find(|terms| i64::from(terms_code(*terms)) == code)
}

//! What happens to an order at the due time of its payment.

use super::{authorization_that_holds, record_payment};
use crate::{
    Amount, Timestamp,
    order::{Order, OrderCommand},
    payment::Payment,
};

/// What a timer does with an unpaid order at its due time.
#[derive(Debug, Clone, PartialEq)]
pub enum WhenDue {
    /// The order is paid, has ended or is not due yet.
    Nothing,
    /// The payment captured or authorized money that the order has not recorded.
    Record(OrderCommand),
    /// The provider may have captured money. Its answer decides, so wait for it.
    Wait,
    Expire(OrderCommand),
}

/// Looks at the payments of the order before it expires the order: an order that was paid in time must not expire
/// because its payment is recorded late.
pub fn when_due(order: &Order, payments: &[Payment], now: Timestamp) -> WhenDue {
    let is_due = order.payment_due_at().is_some_and(|due_at| due_at <= now);
    if !order.awaits_payment() || !is_due {
        return WhenDue::Nothing;
    }
    let is_unrecorded = |payment: &&Payment| {
        let tender = payment.payment_id().and_then(|id| order.tender(id));
        payment.captured() > tender.map_or(Amount::ZERO, |tender| tender.recorded.captured)
    };
    if let Some(payment) = payments.iter().find(is_unrecorded) {
        WhenDue::Record(record_payment(payment))
    } else if let Some(command) = payments.iter().find_map(authorization_that_holds) {
        WhenDue::Record(command)
    } else if payments.iter().any(Payment::is_in_doubt) {
        WhenDue::Wait
    } else {
        WhenDue::Expire(OrderCommand::Expire { now })
    }
}

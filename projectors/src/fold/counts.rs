//! Counts by time: answered charges by the quarter hour of the answer, and sold units by the day of the order.

use domain::{
    Timestamp,
    payment::{Payment, PaymentEvent, PaymentState},
};
use infra::read_models::{CountKey, Counted, SalesDimension, SalesKey, SalesTotals, day_of, quarter_of};

/// The code of a failure that names none.
const FAILED: &str = "failed";

/// The units of each SKU that one event adds to the sales.
pub(super) fn sold(sales: &[(SalesKey, SalesTotals)]) -> Vec<(CountKey, i64)> {
    let units = |(key, sum): &(SalesKey, SalesTotals)| match &key.dimension {
        SalesDimension::Sku(sku) if sum.units != 0 => {
            Some((CountKey { counted: Counted::Sold(sku.clone()), start: day_of(key.quarter) }, sum.units))
        }
        SalesDimension::Sku(_)
        | SalesDimension::All
        | SalesDimension::Country(_)
        | SalesDimension::NoLine => None,
    };
    sales.iter().filter_map(units).collect()
}

/// The charge that one event answers: the first approval or decline since it was requested. A capture of money that is
/// authorized already answers none, and neither does a failure after an approval.
pub(super) fn answered(
    before: Option<&Payment>,
    after: &Payment,
    event: &PaymentEvent,
    recorded_at: Timestamp,
) -> Option<(CountKey, i64)> {
    let failure = match event {
        PaymentEvent::Authorized(_) | PaymentEvent::Captured(_) => None,
        PaymentEvent::Failed(_) => {
            Some(after.failure().map_or(FAILED, |failure| failure.code.as_str()).to_owned())
        }
        PaymentEvent::Requested(_)
        | PaymentEvent::ChargeRequested(_)
        | PaymentEvent::ChargePending(_)
        | PaymentEvent::CaptureRequested(_)
        | PaymentEvent::VoidRequested(_)
        | PaymentEvent::Voided(_)
        | PaymentEvent::OutcomeUnknown(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::RefundFound(_)
        | PaymentEvent::RefundPending(_)
        | PaymentEvent::RefundOutcomeUnknown(_)
        | PaymentEvent::Refunded(_)
        | PaymentEvent::RefundFailed(_)
        | PaymentEvent::Disputed(_)
        | PaymentEvent::DisputeWon(_)
        | PaymentEvent::DisputeLost(_)
        | PaymentEvent::Adjusted(_)
        | PaymentEvent::Closed(_) => return None,
    };
    // No provider answers for the credit of an exchange.
    let is_credit = after.credit().is_some();
    let is_answered = before.is_some_and(|payment| match payment.state() {
        PaymentState::Authorized | PaymentState::Captured => true,
        PaymentState::OutcomeUnknown => {
            payment.authorized().is_positive() || payment.captured().is_positive()
        }
        PaymentState::New | PaymentState::Requested | PaymentState::Failed | PaymentState::Voided => false,
    });
    let key = CountKey { counted: Counted::Charges { failure }, start: quarter_of(recorded_at) };
    (!is_credit && !is_answered).then_some((key, 1))
}

#[cfg(test)]
mod tests;

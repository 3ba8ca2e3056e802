//! Money that moved, summed by the quarter hour in which its event was recorded.

use domain::{Timestamp, payment::Payment};
use infra::read_models::{MoneyKey, MoneyTotals, quarter_of};

/// What one event moves. None if it moves no money.
pub(super) fn moved(
    before: Option<&Payment>,
    after: &Payment,
    recorded_at: Timestamp,
) -> Option<(MoneyKey, MoneyTotals)> {
    let before = before.map(MoneyTotals::of_payment).unwrap_or_default();
    let movement = MoneyTotals::of_payment(after).since(&before);
    let key = MoneyKey { currency: after.currency()?, quarter: quarter_of(recorded_at) };
    (movement != MoneyTotals::default()).then_some((key, movement))
}

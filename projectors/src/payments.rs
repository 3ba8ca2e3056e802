//! Payments, each the state that the domain folds from its stream.

use domain::{Decider, PaymentId, payment::PaymentDecider, payment::PaymentEvent};
use infra::read_models::PaymentRow;

use crate::fold::{Decoded, Poison, guarded};

pub(crate) fn fold(
    id: PaymentId,
    row: Option<&PaymentRow>,
    data: &PaymentEvent,
    event: &Decoded,
) -> Result<PaymentRow, Poison> {
    // Folded on a copy: a panic half-way must not leave half an event in the row.
    let mut payment = row.map(|row| row.payment.clone()).unwrap_or_default();
    guarded(|| PaymentDecider::evolve(&mut payment, data))?;
    // A payment that was closed before it was requested does not know its own id.
    if payment.payment_id().is_some_and(|named| named != id) {
        return Err(Poison::Contradiction("the stream is that of another payment".to_owned()));
    }
    Ok(PaymentRow {
        payment_id: id,
        revision: event.revision,
        recorded_at: row.map_or(event.recorded_at, |row| row.recorded_at),
        updated_at: event.recorded_at,
        payment,
    })
}

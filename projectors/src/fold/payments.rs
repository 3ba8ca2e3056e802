//! Payments. Each row is the state that the domain folds from the payment's stream.

use std::{collections::HashMap, sync::Arc};

use domain::{
    Decider, PaymentId, Timestamp,
    payment::{Payment, PaymentDecider, PaymentEvent},
};
use infra::read_models::{PaymentRow, RowKeys, Rows};

use crate::event::{DecodedEvent, Poison};

#[derive(Debug, Default)]
pub(super) struct PaymentFold(HashMap<PaymentId, Arc<PaymentRow>>);

impl PaymentFold {
    pub(super) fn put(&mut self, rows: Vec<Arc<PaymentRow>>) {
        self.0.extend(rows.into_iter().map(|row| (row.payment_id, row)));
    }

    pub(super) fn get(&self, id: PaymentId) -> Option<&Arc<PaymentRow>> {
        self.0.get(&id)
    }

    pub(super) fn insert(&mut self, row: Arc<PaymentRow>, touched: Option<&mut RowKeys>) {
        if let Some(touched) = touched {
            touched.payments.insert(row.payment_id);
        }
        self.0.insert(row.payment_id, row);
    }

    pub(super) fn changed(mut self, touched: &RowKeys, rows: &mut Rows) {
        rows.payments = touched.payments.iter().filter_map(|id| self.0.remove(id)).collect();
    }

    pub(super) fn all(self, rows: &mut Rows) {
        rows.payments = self.0.into_values().collect();
        rows.payments.sort_unstable_by_key(|row| row.payment_id);
    }
}

/// A failed refund that is requested again waits since its first attempt.
fn waits_since(
    before: Option<&PaymentRow>,
    payment: &Payment,
    data: &PaymentEvent,
    now: Timestamp,
) -> Option<Timestamp> {
    let waits = !payment.provider_work().is_empty() || payment.repeats_refunds();
    let earlier = before.and_then(|row| row.awaits_provider_since).filter(|_| !data.replaces_work());
    waits.then(|| earlier.unwrap_or(now))
}

pub(super) fn fold(
    id: PaymentId,
    row: Option<&PaymentRow>,
    data: &PaymentEvent,
    event: &DecodedEvent,
) -> Result<PaymentRow, Poison> {
    // Folds a copy: a panic in the middle must not leave half an event in the row.
    let mut payment = row.map(|row| row.payment.clone()).unwrap_or_default();
    PaymentDecider::evolve(&mut payment, data);
    // A payment that was closed before it was requested has no id in its state yet.
    if payment.payment_id().is_some_and(|named| named != id) {
        return Err(Poison::Contradiction("the stream holds events of another payment".to_owned()));
    }
    let mut refund_times = row.map(|row| row.refund_times.clone()).unwrap_or_default();
    refund_times.add(row.map(|row| &row.payment), &payment, event.recorded_at);
    Ok(PaymentRow {
        refund_times,
        awaits_provider_since: waits_since(row, &payment, data, event.recorded_at),
        payment_id: id,
        revision: event.revision,
        recorded_at: row.map_or(event.recorded_at, |row| row.recorded_at),
        updated_at: event.recorded_at,
        payment,
    })
}

#[cfg(test)]
mod tests;

//! Payments of orders that are not prepaid: their captures follow the shipments, and the customer may be asked again.

use super::{
    ChargeState, Payment, PaymentAdjusted, PaymentCaptureRequested, PaymentEvent, PaymentState,
    PaymentVoided, state::evolve,
};
use crate::{Amount, Timestamp, payment_terms::PaymentTerms};

impl Payment {
    /// True if the authorisation has run out at this time. The provider may not have said so yet.
    pub fn has_run_out(&self, now: Timestamp) -> bool {
        let is_doubtful =
            self.unknown_operation().is_some() || self.has_open_capture() || self.void_requested();
        self.authorized_until().is_some_and(|until| until <= now) && !is_doubtful
    }

    /// True if the provider has been asked for a capture and has not answered.
    fn has_open_capture(&self) -> bool {
        self.charge_under_way().is_some_and(|charge| charge.capture_requested > charge.captured)
    }

    /// What no authorisation holds and no charge has captured, and is asked for.
    pub(super) fn left_to_authorize(&self) -> Amount {
        if self.is_ended() {
            return Amount::ZERO;
        }
        self.amount().saturating_sub(self.authorized()).max(Amount::ZERO)
    }

    /// True if the customer may be asked for the money, or asked again.
    ///
    /// Goods of an order that is not prepaid may be shipped before they are paid, so no failure is final while the order
    /// is open. What an authorisation that ran out or was voided no longer holds is asked for again, unless the payment
    /// has ended.
    pub(super) fn may_be_tried(&self) -> bool {
        let is_prepaid = self.terms().is_prepaid();
        match self.state() {
            PaymentState::Requested => true,
            PaymentState::Failed => self.is_retryable() || !is_prepaid,
            PaymentState::Voided => !is_prepaid && !self.is_ended(),
            PaymentState::Captured => {
                !is_prepaid && !self.capturable().is_positive() && self.left_to_authorize().is_positive()
            }
            PaymentState::New | PaymentState::Authorized | PaymentState::OutcomeUnknown => false,
        }
    }

    /// True if shipped goods wait for a capture that the authorisation covers. The rest is not voided before.
    pub(super) fn owes_capture(&self) -> bool {
        let is_held = self.capturable().is_positive() && self.charge_under_way().is_some();
        is_held && self.capture_due() > self.captured()
    }
}

/// Ends an authorisation that has run out. A prepaid order would be cancelled with it, so its operator decides.
pub(super) fn end_authorization(payment: &Payment, now: Timestamp) -> Vec<PaymentEvent> {
    if payment.terms().is_prepaid() || !payment.has_run_out(now) {
        return Vec::new();
    }
    vec![PaymentVoided { reason: Some("the authorisation ran out".to_owned()), ran_out: true }.into()]
}

/// Changes what the payment is to take, or may keep after the end of its order. A late adjustment changes nothing. A
/// payment that has ended takes no more.
pub(super) fn adjust(payment: &Payment, adjusted: PaymentAdjusted) -> Vec<PaymentEvent> {
    let is_late = adjusted.number <= payment.adjustment();
    let lowers = |most: Amount| payment.amount_due_at_closing().is_none_or(|amount_due| most < amount_due);
    // The payment of a prepaid order always takes its whole amount.
    let may_take = !payment.terms().is_prepaid() && !payment.is_ended();
    let changes = may_take || adjusted.amount_due.is_some_and(lowers);
    if is_late || !changes { Vec::new() } else { vec![adjusted.into()] }
}

/// Adds the capture that shipped goods wait for. One capture is under way at a time: the next one is requested with the
/// answer to it.
pub(super) fn with_due_capture(payment: &Payment, mut events: Vec<PaymentEvent>) -> Vec<PaymentEvent> {
    if events.is_empty() || payment.terms() != PaymentTerms::OnShipment {
        return events;
    }
    let mut after = payment.clone();
    for event in &events {
        evolve(&mut after, event);
    }
    let is_busy = after.has_open_capture() || after.void_requested() || after.unknown_operation().is_some();
    let live = after.charge_under_way().filter(|charge| charge.state == ChargeState::Live);
    if let Some(charge) = live.filter(|_| !is_busy && after.owes_capture()) {
        let held = charge.authorized.saturating_sub(charge.captured);
        let amount = after.capture_due().saturating_sub(after.captured()).min(held);
        if amount.is_positive() {
            let (charge, total) = (charge.number, charge.captured.saturating_add(amount));
            events.push(PaymentCaptureRequested { charge, amount, total }.into());
        }
    }
    events
}

//! Folds the events of a payment.

use super::{Payment, PaymentState};
use crate::{
    Amount,
    payment::{
        Charge, ChargeState, Dispute, DisputeState, PaymentAuthorized, PaymentCaptured,
        PaymentChargeRequested, PaymentDisputed, PaymentEvent, PaymentRefundFound, Refund, RefundReason,
        RefundSource, RefundState,
    },
    payment_terms::PaymentTerms,
};

pub(in crate::payment) fn evolve(payment: &mut Payment, event: &PaymentEvent) {
    match event {
        PaymentEvent::Requested(requested) => {
            payment.state = PaymentState::Requested;
            payment.payment_id = Some(requested.payment_id);
            payment.order_id = Some(requested.order_id);
            payment.amount = requested.amount;
            payment.currency = Some(requested.currency);
            payment.terms = requested.terms;
            payment.credit = requested.credit;
        }
        PaymentEvent::ChargeRequested(requested) => request_charge(payment, requested),
        PaymentEvent::ChargePending(pending) => {
            payment.unknown = None;
            payment.state = payment.captured_or(PaymentState::Requested);
            payment.charge_mut(pending.charge, Some(&pending.reference)).state = ChargeState::Pending;
        }
        PaymentEvent::CaptureRequested(requested) => {
            payment.charge_mut(requested.charge, None).capture_requested = requested.total;
        }
        PaymentEvent::Authorized(authorized) => authorize(payment, authorized),
        PaymentEvent::Captured(captured) => capture(payment, captured),
        PaymentEvent::Failed(failed) => {
            payment.retryable = failed.retryable;
            payment.failure = failed.failure();
            end_without_the_rest(payment, PaymentState::Failed);
        }
        PaymentEvent::VoidRequested(_) => payment.void_requested = true,
        PaymentEvent::Voided(voided) => {
            payment.ended |= payment.terms == PaymentTerms::Net && !voided.ran_out;
            end_without_the_rest(payment, PaymentState::Voided);
        }
        PaymentEvent::OutcomeUnknown(unknown) => {
            payment.state = PaymentState::OutcomeUnknown;
            payment.unknown = Some(unknown.operation);
        }
        PaymentEvent::RefundRequested(refund) => payment.refunds.push(Refund {
            refund_id: refund.refund_id,
            amount: refund.amount,
            reason: refund.reason,
            state: RefundState::Requested,
            failed_at_provider: false,
            source: refund.source,
            part_of: refund.part_of,
            failure: None,
        }),
        PaymentEvent::RefundFound(found) => find_refund(payment, found),
        PaymentEvent::RefundPending(refund) => {
            payment.settle_refund(refund.refund_id, RefundState::Pending, true);
        }
        PaymentEvent::RefundOutcomeUnknown(refund) => {
            payment.refund_mut(refund.refund_id).state = RefundState::OutcomeUnknown;
        }
        PaymentEvent::Refunded(refund) => {
            payment.settle_refund(refund.refund_id, RefundState::Refunded, false);
            payment.refund_mut(refund.refund_id).failure = None;
        }
        PaymentEvent::RefundFailed(refund) => {
            payment.settle_refund(refund.refund_id, RefundState::Failed, refund.by_provider);
            payment.refund_mut(refund.refund_id).failure.clone_from(&refund.reason);
        }
        PaymentEvent::Disputed(disputed) => open_dispute(payment, disputed),
        PaymentEvent::DisputeWon(won) => payment.settle_dispute(&won.dispute, DisputeState::Won),
        PaymentEvent::DisputeLost(lost) => payment.settle_dispute(&lost.dispute, DisputeState::Lost),
        PaymentEvent::Adjusted(adjusted) => {
            payment.amount = adjusted.amount.unwrap_or(payment.amount);
            payment.capture_due = adjusted.capture_due;
            payment.kept_at_most = adjusted.amount_due.or(payment.kept_at_most);
            payment.adjustment = adjusted.number;
        }
        PaymentEvent::Closed(closed) => {
            payment.order_id = Some(closed.order_id);
            payment.closed = Some(closed.amount_due);
        }
    }
    // Nothing is left to void, so the requested void is settled.
    if payment.capturable() == Amount::ZERO && !payment.has_open_charge() && payment.unknown.is_none() {
        payment.void_requested = false;
    }
    assert!(payment.captured <= payment.authorized, "captured more than authorized: {payment:?}");
}

fn find_refund(payment: &mut Payment, found: &PaymentRefundFound) {
    payment.refunds.push(Refund {
        refund_id: found.refund_id,
        amount: found.amount,
        reason: RefundReason::Provider,
        state: RefundState::Pending,
        failed_at_provider: false,
        source: Some(RefundSource::Charge(found.charge)),
        part_of: None,
        failure: None,
    });
}

fn open_dispute(payment: &mut Payment, disputed: &PaymentDisputed) {
    payment.disputes.push(Dispute {
        reference: disputed.dispute.clone(),
        charge: disputed.charge,
        amount: disputed.amount,
        state: DisputeState::Open,
    });
}

fn request_charge(payment: &mut Payment, requested: &PaymentChargeRequested) {
    payment.state = payment.captured_or(PaymentState::Requested);
    payment.charges.push(Charge {
        provider: requested.provider.clone(),
        method: requested.method.clone(),
        amount: requested.amount,
        capture: requested.capture,
        ..Charge::reported(requested.charge, None)
    });
}

fn authorize(payment: &mut Payment, authorized: &PaymentAuthorized) {
    payment.state = payment.captured_or(PaymentState::Authorized);
    payment.unknown = None;
    // A closed payment requests the void again: it must give back this authorisation too.
    payment.void_requested &= payment.closed.is_none();
    if let Some(number) = authorized.charge {
        let by_others = payment.captured_by_others(number);
        let charge = payment.charge_mut(number, authorized.reference.as_ref());
        charge.authorized = charge.authorized.max(authorized.amount.saturating_sub(by_others));
        charge.state = ChargeState::Live;
    }
    payment.authorized = authorized.amount;
    payment.authorized_until = authorized.until;
    payment.authorizations += 1;
    payment.reference.clone_from(&authorized.reference);
}

fn capture(payment: &mut Payment, captured: &PaymentCaptured) {
    payment.state = PaymentState::Captured;
    payment.unknown = None;
    payment.captured = payment.captured.saturating_add(captured.amount);
    if captured.late {
        payment.captured_late = payment.captured_late.saturating_add(captured.amount);
    }
    // A provider may capture without a separate authorisation.
    payment.authorized = payment.authorized.max(payment.captured);
    if let Some(number) = captured.charge {
        let charge = payment.charge_mut(number, captured.reference.as_ref());
        charge.captured = charge.captured.saturating_add(captured.amount);
        charge.authorized = charge.authorized.max(charge.captured);
        if charge.is_open() {
            charge.state = ChargeState::Live;
        }
    }
    if captured.reference.is_some() {
        payment.reference.clone_from(&captured.reference);
    }
}

/// The charge failed or was voided, so the amount that is authorized and not captured is no longer held.
fn end_without_the_rest(payment: &mut Payment, state: PaymentState) {
    payment.state = payment.captured_or(state);
    payment.unknown = None;
    payment.authorized = payment.captured;
    payment.authorized_until = None;
    payment.authorizations += 1;
    payment.end_charge();
}

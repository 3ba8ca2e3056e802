use serde::{Deserialize, Serialize};

use super::{Operation, PaymentEvent, RefundReason};
use crate::{Amount, Currency, OrderId, PaymentId, RefundId};

/// Where a payment stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// No event yet, or closed before it was ever requested.
    #[default]
    New,
    Requested,
    Authorized,
    /// Some of the amount, or all of it: see the amounts. Stays so when the rest then fails or is voided.
    Captured,
    Failed,
    Voided,
    /// The provider's answer was lost; to be reconciled, never repeated blindly.
    OutcomeUnknown,
}

impl PaymentState {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Requested => "requested",
            Self::Authorized => "authorized",
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Voided => "voided",
            Self::OutcomeUnknown => "outcome_unknown",
        }
    }
}

/// A payment, folded from its stream. Amounts are cumulative, in minor units.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payment {
    state: PaymentState,
    payment_id: Option<PaymentId>,
    order_id: Option<OrderId>,
    currency: Option<Currency>,
    amount: Amount,
    authorized: Amount,
    captured: Amount,
    refunds: Vec<Refund>,
    unknown: Option<Operation>,
    retryable: bool,
    void_requested: bool,
    closed: Option<Amount>,
    reference: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    pub refund_id: RefundId,
    pub amount: Amount,
    pub reason: RefundReason,
    pub state: RefundState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    Requested,
    Refunded,
    Failed,
}

/// The part of a payment that answers to commands tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentSummary {
    pub state: PaymentState,
    pub order_id: Option<OrderId>,
    pub currency: Option<Currency>,
    pub amount: Amount,
    pub authorized: Amount,
    pub captured: Amount,
    pub refunded: Amount,
    /// Refunds asked for by the order that failed.
    pub refunds_failed: Amount,
    pub closed: bool,
}

impl Payment {
    pub fn state(&self) -> PaymentState {
        self.state
    }

    pub fn payment_id(&self) -> Option<PaymentId> {
        self.payment_id
    }

    pub fn order_id(&self) -> Option<OrderId> {
        self.order_id
    }

    pub fn currency(&self) -> Option<Currency> {
        self.currency
    }

    /// What was requested.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    pub fn authorized(&self) -> Amount {
        self.authorized
    }

    pub fn captured(&self) -> Amount {
        self.captured
    }

    /// Authorized and neither captured nor given back.
    pub fn capturable(&self) -> Amount {
        self.authorized.saturating_sub(self.captured)
    }

    pub fn refunds(&self) -> &[Refund] {
        &self.refunds
    }

    pub fn refund(&self, id: RefundId) -> Option<&Refund> {
        self.refunds.iter().find(|refund| refund.refund_id == id)
    }

    pub fn refunded(&self) -> Amount {
        self.sum_of_refunds(|refund| refund.state == RefundState::Refunded)
    }

    /// Refunds asked for by the order, not by the closing, that failed.
    pub fn refunds_failed(&self) -> Amount {
        self.sum_of_refunds(|refund| {
            refund.state == RefundState::Failed && refund.reason != RefundReason::OrderClosed
        })
    }

    /// What may still be asked back: captured, less the refunds under way and done.
    pub fn refundable(&self) -> Amount {
        self.captured.saturating_sub(self.sum_of_refunds(|refund| refund.state != RefundState::Failed))
    }

    /// What a closed payment has captured beyond what its order keeps, and has not asked back yet.
    pub(super) fn excess(&self, amount_due: Amount) -> Amount {
        let beyond_due = self.captured.saturating_sub(amount_due);
        let asked_back = self.sum_of_refunds(|refund| {
            refund.reason == RefundReason::OrderClosed && refund.state != RefundState::Failed
        });
        // What the order itself asked for may have taken more than its share: then less is left to give back.
        beyond_due.saturating_sub(asked_back).min(self.refundable()).max(Amount::ZERO)
    }

    pub fn unknown_operation(&self) -> Option<Operation> {
        self.unknown
    }

    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    pub fn void_requested(&self) -> bool {
        self.void_requested
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// What the ended order keeps; none while the order goes on.
    pub fn amount_due_at_closing(&self) -> Option<Amount> {
        self.closed
    }

    /// The provider's own id of the latest authorisation or capture.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    pub fn summary(&self) -> PaymentSummary {
        PaymentSummary {
            state: self.state,
            order_id: self.order_id,
            currency: self.currency,
            amount: self.amount,
            authorized: self.authorized,
            captured: self.captured,
            refunded: self.refunded(),
            refunds_failed: self.refunds_failed(),
            closed: self.is_closed(),
        }
    }

    fn sum_of_refunds(&self, counts: impl Fn(&Refund) -> bool) -> Amount {
        let counted = self.refunds.iter().filter(|refund| counts(refund));
        counted.fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount))
    }

    fn settle_refund(&mut self, id: RefundId, state: RefundState) {
        let refund = self.refunds.iter_mut().find(|refund| refund.refund_id == id);
        refund.expect("decide settles only refunds that were requested").state = state;
    }
}

pub(super) fn evolve(payment: &mut Payment, event: &PaymentEvent) {
    match event {
        PaymentEvent::Requested(requested) => {
            payment.state = PaymentState::Requested;
            payment.payment_id = Some(requested.payment_id);
            payment.order_id = Some(requested.order_id);
            payment.amount = requested.amount;
            payment.currency = Some(requested.currency);
        }
        PaymentEvent::Authorized(authorized) => {
            let captured_some = payment.captured.is_positive();
            payment.state = if captured_some { PaymentState::Captured } else { PaymentState::Authorized };
            payment.unknown = None;
            // Whatever was asked for before: this authorisation has to be given back too.
            payment.void_requested = false;
            payment.authorized = authorized.amount;
            payment.reference.clone_from(&authorized.reference);
        }
        PaymentEvent::Captured(captured) => {
            payment.state = PaymentState::Captured;
            payment.unknown = None;
            payment.captured = payment.captured.saturating_add(captured.amount);
            // A provider may capture without a separate authorisation.
            payment.authorized = payment.authorized.max(payment.captured);
            if captured.reference.is_some() {
                payment.reference.clone_from(&captured.reference);
            }
        }
        PaymentEvent::Failed(failed) => {
            let captured_some = payment.captured.is_positive();
            payment.state = if captured_some { PaymentState::Captured } else { PaymentState::Failed };
            payment.unknown = None;
            payment.retryable = failed.retryable;
            payment.authorized = payment.captured;
        }
        PaymentEvent::VoidRequested(_) => payment.void_requested = true,
        PaymentEvent::Voided(_) => {
            let captured_some = payment.captured.is_positive();
            payment.state = if captured_some { PaymentState::Captured } else { PaymentState::Voided };
            payment.unknown = None;
            payment.authorized = payment.captured;
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
        }),
        PaymentEvent::Refunded(refund) => payment.settle_refund(refund.refund_id, RefundState::Refunded),
        PaymentEvent::RefundFailed(refund) => payment.settle_refund(refund.refund_id, RefundState::Failed),
        PaymentEvent::Closed(closed) => {
            payment.order_id = Some(closed.order_id);
            payment.closed = Some(closed.amount_due);
        }
    }
    if payment.capturable() == Amount::ZERO {
        payment.void_requested = false;
    }
    assert!(payment.captured <= payment.authorized, "captured more than authorized: {payment:?}");
    assert!(payment.refunded() <= payment.captured, "refunded more than captured: {payment:?}");
}

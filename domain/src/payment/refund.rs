//! Refunds: what is requested of the provider or of an operator, and what the provider reports.
//!
//! The provider's last word is recorded, also against an earlier one: a refund that an operator recorded as failed
//! may be paid, and a paid refund may come back. A failure that the provider itself reports is final, because no
//! provider pays a failed refund later; so a late copy of an earlier report changes nothing.

use serde::{Deserialize, Serialize};

use super::{
    Payment, PaymentEvent, PaymentRefundFailed, PaymentRefundFound, PaymentRefundOutcomeUnknown,
    PaymentRefundPending, PaymentRefunded, PaymentRefusal, RefundReason, RefundSource,
};
use crate::{Amount, RefundId, heap::HeapBytes, text::truncated};

/// A refund, folded from the payment's events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refund {
    pub refund_id: RefundId,
    pub amount: Amount,
    pub reason: RefundReason,
    pub state: RefundState,
    /// The provider itself has reported the failure. An operator's word may still be wrong.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub failed_at_provider: bool,
    /// None if the build that requested it did not record the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<RefundSource>,
    /// The refund of the order that this is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<RefundId>,
    /// Why it failed. None unless it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

impl HeapBytes for Refund {
    fn heap_bytes(&self) -> usize {
        let Self {
            refund_id: _,
            amount: _,
            reason: _,
            state: _,
            failed_at_provider: _,
            source: _,
            part_of: _,
            failure,
        } = self;
        failure.heap_bytes()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefundState {
    Requested,
    /// The provider has accepted it and has not paid it out yet.
    Pending,
    /// The provider's answer was lost. The refund is requested again until the provider answers.
    OutcomeUnknown,
    Refunded,
    Failed,
}

impl RefundState {
    /// True if the refund is neither paid nor failed.
    pub fn is_open(self) -> bool {
        match self {
            Self::Requested | Self::Pending | Self::OutcomeUnknown => true,
            Self::Refunded | Self::Failed => false,
        }
    }
}

/// What a provider reports of a refund, also of one that this payment did not request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefundReport {
    pub refund_id: RefundId,
    /// The number of the refunded charge, if the provider names it.
    pub charge: Option<u32>,
    pub amount: Amount,
    /// The provider's id of the refund.
    pub reference: String,
    pub outcome: RefundOutcome,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RefundOutcome {
    Pending,
    Refunded,
    Failed { reason: Option<String> },
}

type Decided = Result<Vec<PaymentEvent>, PaymentRefusal>;

/// The events that a report adds to what is recorded. None for a repeated or late report.
pub(super) fn events_of_report(payment: &Payment, report: RefundReport) -> Decided {
    let RefundReport { refund_id, charge, amount, reference, outcome } = report;
    if !amount.is_positive() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    let reference = truncated(&reference);
    let Some(known) = payment.refund(refund_id) else {
        let charge = charge.or(payment.charge_with_money()).unwrap_or_default();
        let found = PaymentRefundFound { refund_id, charge, amount, reference: reference.clone() };
        let settled = match outcome {
            RefundOutcome::Pending => None,
            RefundOutcome::Refunded => Some(PaymentRefunded { refund_id, amount, reference }.into()),
            // Also recorded, so that a late copy of an earlier report does not pay the refund.
            RefundOutcome::Failed { reason } => Some(failed_at_provider(refund_id, amount, reason)),
        };
        return Ok([found.into()].into_iter().chain(settled).collect());
    };
    let amount = known.amount;
    let is_contradicted = match (&outcome, known.state) {
        (RefundOutcome::Pending, RefundState::Requested | RefundState::OutcomeUnknown) => true,
        (RefundOutcome::Pending, RefundState::Pending)
        | (RefundOutcome::Pending | RefundOutcome::Refunded, RefundState::Refunded) => false,
        (RefundOutcome::Failed { .. }, _)
        | (RefundOutcome::Pending | RefundOutcome::Refunded, RefundState::Failed) => {
            !known.failed_at_provider
        }
        (RefundOutcome::Refunded, state) => state.is_open(),
    };
    if !is_contradicted {
        return Ok(Vec::new());
    }
    Ok(vec![match outcome {
        RefundOutcome::Pending => PaymentRefundPending { refund_id }.into(),
        RefundOutcome::Refunded => PaymentRefunded { refund_id, amount, reference }.into(),
        RefundOutcome::Failed { reason } => failed_at_provider(refund_id, amount, reason),
    }])
}

fn failed_at_provider(refund_id: RefundId, amount: Amount, reason: Option<String>) -> PaymentEvent {
    let reason = reason.and_then(|reason| truncated(&reason));
    PaymentRefundFailed { refund_id, amount, reason, by_provider: true }.into()
}

/// Records that the answer to a request was lost. A refund that the provider has accepted is not in doubt.
pub(super) fn mark_outcome_unknown(refund: &Refund) -> Vec<PaymentEvent> {
    match refund.state {
        RefundState::Requested => {
            vec![PaymentRefundOutcomeUnknown { refund_id: refund.refund_id }.into()]
        }
        RefundState::Pending | RefundState::OutcomeUnknown | RefundState::Refunded | RefundState::Failed => {
            Vec::new()
        }
    }
}

/// What an operator records as paid.
pub(super) fn record_refunded(payment: &Payment, refund: &Refund, reference: Option<String>) -> Decided {
    let Refund { refund_id, amount, .. } = *refund;
    check_operator_may_settle(payment, refund)?;
    match refund.state {
        RefundState::Refunded => Ok(Vec::new()),
        RefundState::Failed => Err(PaymentRefusal::RefundSettled),
        RefundState::Requested | RefundState::Pending | RefundState::OutcomeUnknown => {
            Ok(vec![PaymentRefunded { refund_id, amount, reference }.into()])
        }
    }
}

/// What an operator records as failed.
pub(super) fn record_refund_failed(payment: &Payment, refund: &Refund, reason: Option<String>) -> Decided {
    let Refund { refund_id, amount, .. } = *refund;
    check_operator_may_settle(payment, refund)?;
    match refund.state {
        RefundState::Failed => Ok(Vec::new()),
        RefundState::Refunded => Err(PaymentRefusal::RefundSettled),
        RefundState::Requested | RefundState::Pending | RefundState::OutcomeUnknown => {
            Ok(vec![PaymentRefundFailed { refund_id, amount, reason, by_provider: false }.into()])
        }
    }
}

/// Refuses the word of an operator about an open refund whose outcome the provider will report.
fn check_operator_may_settle(payment: &Payment, refund: &Refund) -> Result<(), PaymentRefusal> {
    let is_known_there = match refund.state {
        RefundState::Requested | RefundState::Pending => payment.is_refunded_by_provider(refund),
        RefundState::OutcomeUnknown | RefundState::Refunded | RefundState::Failed => false,
    };
    if is_known_there { Err(PaymentRefusal::RefundUnderWay) } else { Ok(()) }
}

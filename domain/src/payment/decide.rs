use super::{
    Payment, PaymentAuthorized, PaymentCaptured, PaymentClosed, PaymentCommand, PaymentEvent, PaymentFailed,
    PaymentOutcomeUnknown, PaymentRefundFailed, PaymentRefundRequested, PaymentRefunded, PaymentRequested,
    PaymentState, PaymentVoidRequested, PaymentVoided, RefundReason, RefundState, Source, state::evolve,
};
use crate::{Amount, RefundId, order::TEXT_CHARS_MAX};

/// Why a payment command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    #[error("there is no such payment")]
    NotFound,
    #[error("the payment is {}, which does not allow this", .0.as_str())]
    WrongState(PaymentState),
    #[error("the order of this payment has ended: nothing more is authorized or captured")]
    Closed,
    #[error("an amount is more than zero")]
    InvalidAmount,
    #[error("{member} is empty or has more than {TEXT_CHARS_MAX} characters or a control character")]
    InvalidText { member: &'static str },
    #[error("{requested} was to be authorized, and {amount} was requested of the customer (minor units)")]
    AboveRequested { requested: Amount, amount: Amount },
    #[error("{requested} was to be captured, and {capturable} is authorized (minor units)")]
    AboveAuthorized { requested: Amount, capturable: Amount },
    #[error("{requested} was to be refunded, and {refundable} can be refunded (minor units)")]
    AboveCaptured { requested: Amount, refundable: Amount },
    #[error("the payment has no refund {0}")]
    UnknownRefund(RefundId),
    #[error("the refund is settled otherwise already")]
    RefundSettled,
    #[error("a payment has at most {REFUNDS_MAX} refunds")]
    TooManyRefunds,
}

/// Above what an order can ask for (returns and refunds by hand), so that a reaction is never refused for it.
const REFUNDS_MAX: usize = 4 * crate::order::PARTS_MAX;

type Decided = Result<Vec<PaymentEvent>, PaymentRefusal>;

pub(super) fn decide(payment: &Payment, command: PaymentCommand) -> Decided {
    check_texts(&command)?;
    match command {
        PaymentCommand::Request { payment_id, order_id, amount, currency } => {
            // Closed before it was requested: the order ended first, and no money is to be asked for.
            if payment.state() != PaymentState::New || payment.is_closed() {
                return Ok(Vec::new());
            }
            Ok(vec![PaymentRequested { payment_id, order_id, amount, currency }.into()])
        }
        PaymentCommand::Close { .. } if payment.is_closed() => Ok(Vec::new()),
        PaymentCommand::Close { order_id, amount_due } => {
            Ok(with_what_closing_asks(payment, PaymentClosed { order_id, amount_due }.into()))
        }
        _ if payment.state() == PaymentState::New => Err(PaymentRefusal::NotFound),
        PaymentCommand::Authorize { amount, reference, source } => {
            authorize(payment, amount.unwrap_or(payment.amount()), reference, source)
        }
        PaymentCommand::Capture { amount, reference, source } => {
            capture(payment, amount.unwrap_or(payment.capturable()), reference, source)
        }
        PaymentCommand::Fail { reason, retryable } => match payment.state() {
            PaymentState::Requested | PaymentState::Authorized | PaymentState::OutcomeUnknown => {
                Ok(vec![PaymentFailed { reason, retryable }.into()])
            }
            // For good, after a failure that could have been retried.
            PaymentState::Failed if payment.is_retryable() && !retryable => {
                Ok(vec![PaymentFailed { reason, retryable }.into()])
            }
            PaymentState::Failed => Ok(Vec::new()),
            state @ (PaymentState::New | PaymentState::Captured | PaymentState::Voided) => {
                Err(PaymentRefusal::WrongState(state))
            }
        },
        PaymentCommand::Void { reason } => match payment.state() {
            PaymentState::Voided => Ok(Vec::new()),
            PaymentState::Requested | PaymentState::Authorized | PaymentState::OutcomeUnknown => {
                Ok(vec![PaymentVoided { reason }.into()])
            }
            PaymentState::Captured if payment.capturable().is_positive() => {
                Ok(vec![PaymentVoided { reason }.into()])
            }
            state @ (PaymentState::New | PaymentState::Captured | PaymentState::Failed) => {
                Err(PaymentRefusal::WrongState(state))
            }
        },
        PaymentCommand::MarkOutcomeUnknown { operation } => match payment.state() {
            PaymentState::OutcomeUnknown if payment.unknown_operation() == Some(operation) => Ok(Vec::new()),
            PaymentState::Failed if !payment.is_retryable() => {
                Err(PaymentRefusal::WrongState(payment.state()))
            }
            PaymentState::Voided => Err(PaymentRefusal::WrongState(payment.state())),
            PaymentState::New
            | PaymentState::Requested
            | PaymentState::Authorized
            | PaymentState::Captured
            | PaymentState::Failed
            | PaymentState::OutcomeUnknown => Ok(vec![PaymentOutcomeUnknown { operation }.into()]),
        },
        PaymentCommand::RequestRefund { refund_id, amount, reason } => {
            request_refund(payment, refund_id, amount, reason)
        }
        PaymentCommand::RecordRefunded { refund_id, reference } => {
            let refund = payment.refund(refund_id).ok_or(PaymentRefusal::UnknownRefund(refund_id))?;
            match refund.state {
                RefundState::Requested => {
                    Ok(vec![PaymentRefunded { refund_id, amount: refund.amount, reference }.into()])
                }
                RefundState::Refunded => Ok(Vec::new()),
                RefundState::Failed => Err(PaymentRefusal::RefundSettled),
            }
        }
        PaymentCommand::RecordRefundFailed { refund_id, reason } => {
            let refund = payment.refund(refund_id).ok_or(PaymentRefusal::UnknownRefund(refund_id))?;
            match refund.state {
                RefundState::Requested => {
                    let failed = PaymentRefundFailed { refund_id, amount: refund.amount, reason };
                    Ok(with_what_closing_asks(payment, failed.into()))
                }
                RefundState::Failed => Ok(Vec::new()),
                RefundState::Refunded => Err(PaymentRefusal::RefundSettled),
            }
        }
    }
}

fn check_texts(command: &PaymentCommand) -> Result<(), PaymentRefusal> {
    let (member, text) = match command {
        PaymentCommand::Authorize { reference, .. }
        | PaymentCommand::Capture { reference, .. }
        | PaymentCommand::RecordRefunded { reference, .. } => ("reference", reference),
        PaymentCommand::Fail { reason, .. }
        | PaymentCommand::Void { reason }
        | PaymentCommand::RecordRefundFailed { reason, .. } => ("reason", reason),
        PaymentCommand::Request { .. }
        | PaymentCommand::MarkOutcomeUnknown { .. }
        | PaymentCommand::RequestRefund { .. }
        | PaymentCommand::Close { .. } => return Ok(()),
    };
    let fits = text.as_ref().is_none_or(|text| {
        !text.is_empty() && text.chars().count() <= TEXT_CHARS_MAX && !text.chars().any(char::is_control)
    });
    if fits { Ok(()) } else { Err(PaymentRefusal::InvalidText { member }) }
}

fn authorize(payment: &Payment, amount: Amount, reference: Option<String>, source: Source) -> Decided {
    if !amount.is_positive() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    // An operator who says what became of a lost answer: that the authorisation stands.
    let reconciles = source == Source::Operator && payment.state() == PaymentState::OutcomeUnknown;
    if source == Source::Operator {
        if payment.is_closed() && !reconciles {
            return Err(PaymentRefusal::Closed);
        }
        let raised = amount > payment.authorized();
        match payment.state() {
            PaymentState::Requested | PaymentState::OutcomeUnknown => {}
            PaymentState::Failed if payment.is_retryable() => {}
            PaymentState::Authorized | PaymentState::Captured if raised => {}
            state @ (PaymentState::New
            | PaymentState::Authorized
            | PaymentState::Captured
            | PaymentState::Failed
            | PaymentState::Voided) => return Err(PaymentRefusal::WrongState(state)),
        }
        if amount > payment.amount() {
            return Err(PaymentRefusal::AboveRequested { requested: amount, amount: payment.amount() });
        }
    }
    // A report that was overtaken by the capture of the same money adds nothing.
    if amount <= payment.authorized() && !reconciles {
        return Ok(Vec::new());
    }
    let amount = amount.max(payment.authorized());
    Ok(with_what_closing_asks(payment, PaymentAuthorized { amount, reference }.into()))
}

fn capture(payment: &Payment, amount: Amount, reference: Option<String>, source: Source) -> Decided {
    if source == Source::Operator {
        if payment.is_closed() && payment.state() != PaymentState::OutcomeUnknown {
            return Err(PaymentRefusal::Closed);
        }
        let may_have_authorized = matches!(
            payment.state(),
            PaymentState::Authorized | PaymentState::Captured | PaymentState::OutcomeUnknown
        );
        if !may_have_authorized || !payment.capturable().is_positive() {
            return Err(PaymentRefusal::WrongState(payment.state()));
        }
        if amount > payment.capturable() {
            let capturable = payment.capturable();
            return Err(PaymentRefusal::AboveAuthorized { requested: amount, capturable });
        }
    }
    if !amount.is_positive() || payment.captured().checked_add(amount).is_err() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    Ok(with_what_closing_asks(payment, PaymentCaptured { amount, reference }.into()))
}

/// The event, and what a closed payment owes after it: the void of what it still holds authorized, and the
/// refund of what it has captured beyond what its order keeps. A refund that failed is asked for again, under
/// a new id.
fn with_what_closing_asks(payment: &Payment, event: PaymentEvent) -> Vec<PaymentEvent> {
    let mut after = payment.clone();
    evolve(&mut after, &event);
    let mut events = vec![event];
    let Some(amount_due) = after.amount_due_at_closing() else { return events };
    if after.capturable().is_positive() && !after.void_requested() {
        events.push(PaymentVoidRequested {}.into());
    }
    let amount = after.excess(amount_due);
    // A payment that was closed before it was requested has no id, and no money.
    if let Some(payment_id) = after.payment_id().filter(|_| amount.is_positive()) {
        let refund_id = RefundId::of_closing(payment_id, after.refunds().len() as u64);
        events.push(PaymentRefundRequested { refund_id, amount, reason: RefundReason::OrderClosed }.into());
    }
    events
}

fn request_refund(payment: &Payment, id: RefundId, amount: Amount, reason: RefundReason) -> Decided {
    if let Some(known) = payment.refund(id) {
        return if known.amount == amount { Ok(Vec::new()) } else { Err(PaymentRefusal::RefundSettled) };
    }
    if !amount.is_positive() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    if payment.refunds().len() >= REFUNDS_MAX {
        return Err(PaymentRefusal::TooManyRefunds);
    }
    let refundable = payment.refundable();
    if amount > refundable {
        return Err(PaymentRefusal::AboveCaptured { requested: amount, refundable });
    }
    Ok(vec![PaymentRefundRequested { refund_id: id, amount, reason }.into()])
}

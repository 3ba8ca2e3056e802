use super::{
    CHARGES_MAX, Charge, ChargeState, InvalidToken, NewCharge, Payment, PaymentAuthorized,
    PaymentCaptureRequested, PaymentCaptured, PaymentChargeRequested, PaymentClosed, PaymentCommand,
    PaymentEvent, PaymentFailed, PaymentOutcomeUnknown, PaymentRefundFailed, PaymentRefundRequested,
    PaymentRefunded, PaymentRequested, PaymentState, PaymentVoidRequested, PaymentVoided, RefundReason,
    RefundState, report, state::evolve,
};
use crate::{
    Amount, RefundId, order,
    text::{self, TEXT_CHARS_MAX},
};

/// Why a payment command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PaymentRefusal {
    #[error("there is no such payment")]
    NotFound,
    #[error("the payment is {}, which does not allow this", .0.as_str())]
    WrongState(PaymentState),
    #[error("the order of this payment has ended: nothing more is authorized or captured")]
    Closed,
    #[error("the provider has a charge under way: it says what becomes of it")]
    ChargeUnderWay,
    #[error("a payment has at most {CHARGES_MAX} charges")]
    TooManyCharges,
    #[error(transparent)]
    InvalidToken(#[from] InvalidToken),
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
const REFUNDS_MAX: usize = 4 * order::PARTS_MAX;

type Decided = Result<Vec<PaymentEvent>, PaymentRefusal>;

pub(super) fn decide(payment: &Payment, command: PaymentCommand) -> Decided {
    check_texts(&command)?;
    match command {
        PaymentCommand::Request { payment_id, order_id, amount, currency, charge } => {
            // Closed before it was requested: the order ended first, and no money is to be asked for.
            if payment.state() != PaymentState::New || payment.is_closed() {
                return Ok(Vec::new());
            }
            let requested = PaymentRequested { payment_id, order_id, amount, currency };
            let charge = charge.map(|new| first_charge(new, 1, amount).into());
            Ok([requested.into()].into_iter().chain(charge).collect())
        }
        PaymentCommand::Close { .. } if payment.is_closed() => Ok(Vec::new()),
        PaymentCommand::Close { order_id, amount_due } => {
            Ok(with_what_closing_asks(payment, vec![PaymentClosed { order_id, amount_due }.into()]))
        }
        _ if payment.state() == PaymentState::New => Err(PaymentRefusal::NotFound),
        PaymentCommand::Charge(new) => charge(payment, new),
        PaymentCommand::Report { report: reported, is_answer } => {
            report::news(payment, reported, is_answer).map(|events| with_what_closing_asks(payment, events))
        }
        PaymentCommand::Authorize { amount, reference } => {
            authorize(payment, amount.unwrap_or(payment.amount()), reference)
        }
        PaymentCommand::Capture { amount, reference } => {
            capture(payment, amount.unwrap_or(payment.capturable()), reference)
        }
        PaymentCommand::Fail { .. } if is_the_providers_to_say(payment) => {
            Err(PaymentRefusal::ChargeUnderWay)
        }
        PaymentCommand::Fail { reason, retryable } => match payment.state() {
            PaymentState::Requested | PaymentState::Authorized | PaymentState::OutcomeUnknown => {
                Ok(vec![PaymentFailed { reason, retryable }.into()])
            }
            // For good, after a failure that could have been retried; or once more, which is recorded lest a late repeat
            // of this command fails what is authorized meanwhile.
            PaymentState::Failed if payment.is_retryable() => {
                Ok(vec![PaymentFailed { reason, retryable }.into()])
            }
            PaymentState::Failed => Ok(Vec::new()),
            state @ (PaymentState::New | PaymentState::Captured | PaymentState::Voided) => {
                Err(PaymentRefusal::WrongState(state))
            }
        },
        // Also after a lost answer: only when the provider has given the charge up will it take nothing later.
        PaymentCommand::Void { .. } if payment.charge_under_way().is_some() && is_open_there(payment) => {
            let asked_already = payment.void_requested();
            Ok(if asked_already { Vec::new() } else { vec![PaymentVoidRequested {}.into()] })
        }
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
        // Somebody else has heard what became of the charge: there is no doubt about it, and nobody would look it up.
        PaymentCommand::MarkOutcomeUnknown { .. }
            if payment.charge().is_some_and(|charge| charge.state == ChargeState::Ended) =>
        {
            Ok(Vec::new())
        }
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
                    Ok(with_what_closing_asks(payment, vec![failed.into()]))
                }
                RefundState::Failed => Ok(Vec::new()),
                RefundState::Refunded => Err(PaymentRefusal::RefundSettled),
            }
        }
    }
}

fn check_texts(command: &PaymentCommand) -> Result<(), PaymentRefusal> {
    let (member, value) = match command {
        PaymentCommand::Authorize { reference, .. }
        | PaymentCommand::Capture { reference, .. }
        | PaymentCommand::RecordRefunded { reference, .. } => ("reference", reference),
        PaymentCommand::Fail { reason, .. }
        | PaymentCommand::Void { reason }
        | PaymentCommand::RecordRefundFailed { reason, .. } => ("reason", reason),
        PaymentCommand::Request { charge: Some(charge), .. } | PaymentCommand::Charge(charge) => {
            return Ok(charge.check()?);
        }
        PaymentCommand::Report { .. }
        | PaymentCommand::Request { charge: None, .. }
        | PaymentCommand::MarkOutcomeUnknown { .. }
        | PaymentCommand::RequestRefund { .. }
        | PaymentCommand::Close { .. } => return Ok(()),
    };
    match value {
        Some(given) => text::check(given).map_err(|_| PaymentRefusal::InvalidText { member }),
        None => Ok(()),
    }
}

/// Nothing can be said by hand of a charge that the provider will report on; of a lost answer, an operator can.
fn is_the_providers_to_say(payment: &Payment) -> bool {
    payment.charge_under_way().is_some() && payment.unknown_operation().is_none()
}

/// Whether the provider holds something, or may yet take it.
fn is_open_there(payment: &Payment) -> bool {
    payment.is_voidable() || payment.unknown_operation().is_some()
}

fn first_charge(new: NewCharge, number: u32, amount: Amount) -> PaymentChargeRequested {
    let NewCharge { provider, method, capture } = new;
    PaymentChargeRequested { charge: number, provider, method, amount, capture }
}

fn charge(payment: &Payment, new: NewCharge) -> Decided {
    if payment.is_closed() {
        return Err(PaymentRefusal::Closed);
    }
    if payment.charge_under_way().is_some() || payment.is_in_doubt() {
        return Err(PaymentRefusal::ChargeUnderWay);
    }
    let may_be_tried = match payment.state() {
        PaymentState::Requested => true,
        PaymentState::Failed => payment.is_retryable(),
        PaymentState::New
        | PaymentState::Authorized
        | PaymentState::Captured
        | PaymentState::Voided
        | PaymentState::OutcomeUnknown => false,
    };
    if !may_be_tried {
        return Err(PaymentRefusal::WrongState(payment.state()));
    }
    let number = payment.charge().map_or(0, |last| last.number) + 1;
    if number > CHARGES_MAX {
        return Err(PaymentRefusal::TooManyCharges);
    }
    Ok(vec![first_charge(new, number, payment.amount()).into()])
}

/// What an operator says of a lost answer counts for the charge that it was lost of, as if the provider had said it.
fn charge_in_doubt(payment: &Payment) -> Option<u32> {
    payment.charge_under_way().map(|charge| charge.number)
}

fn authorize(payment: &Payment, amount: Amount, reference: Option<String>) -> Decided {
    if !amount.is_positive() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    if is_the_providers_to_say(payment) {
        return Err(PaymentRefusal::ChargeUnderWay);
    }
    // An operator who says what became of a lost answer: that the authorisation stands.
    let reconciles = payment.state() == PaymentState::OutcomeUnknown;
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
    let (amount, charge) = (amount.max(payment.authorized()), charge_in_doubt(payment));
    Ok(with_what_closing_asks(payment, vec![PaymentAuthorized { amount, reference, charge }.into()]))
}

fn capture(payment: &Payment, amount: Amount, reference: Option<String>) -> Decided {
    let is_in_doubt = payment.state() == PaymentState::OutcomeUnknown;
    if payment.is_closed() && !is_in_doubt {
        return Err(PaymentRefusal::Closed);
    }
    let may_have_authorized = match payment.state() {
        PaymentState::Authorized | PaymentState::Captured | PaymentState::OutcomeUnknown => true,
        PaymentState::New | PaymentState::Requested | PaymentState::Failed | PaymentState::Voided => false,
    };
    if !may_have_authorized || !payment.capturable().is_positive() {
        return Err(PaymentRefusal::WrongState(payment.state()));
    }
    if amount > payment.capturable() {
        let capturable = payment.capturable();
        return Err(PaymentRefusal::AboveAuthorized { requested: amount, capturable });
    }
    if !amount.is_positive() || payment.captured().checked_add(amount).is_err() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    match payment.charge_under_way() {
        Some(charge) if !is_in_doubt => request_capture(payment, charge, amount),
        _ => {
            let charge = charge_in_doubt(payment);
            Ok(with_what_closing_asks(payment, vec![PaymentCaptured { amount, reference, charge }.into()]))
        }
    }
}

fn request_capture(payment: &Payment, charge: &Charge, amount: Amount) -> Decided {
    let is_asked_for_already = charge.capture_requested > charge.captured;
    if is_asked_for_already || payment.void_requested() || charge.state != ChargeState::Live {
        return Err(PaymentRefusal::ChargeUnderWay);
    }
    let (charge, total) = (charge.number, charge.captured.saturating_add(amount));
    Ok(vec![PaymentCaptureRequested { charge, amount, total }.into()])
}

/// The events, and what a closed payment owes after them: the void of what it still holds authorized or may yet be
/// charged, and the refund of what it has captured beyond what its order keeps. A refund that failed is asked for
/// again, under a new id.
fn with_what_closing_asks(payment: &Payment, mut events: Vec<PaymentEvent>) -> Vec<PaymentEvent> {
    let mut after = payment.clone();
    for event in &events {
        evolve(&mut after, event);
    }
    let Some(amount_due) = after.amount_due_at_closing().filter(|_| !events.is_empty()) else {
        return events;
    };
    if after.is_voidable() && !after.void_requested() {
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

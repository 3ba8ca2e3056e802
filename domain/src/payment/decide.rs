use super::{
    CHARGES_MAX, Charge, ChargeState, NewCharge, Operation, Payment, PaymentAuthorized,
    PaymentCaptureRequested, PaymentCaptured, PaymentChargeRequested, PaymentClosed, PaymentCommand,
    PaymentEvent, PaymentFailed, PaymentKind, PaymentOutcomeUnknown, PaymentRefusal, PaymentRequested,
    PaymentState, PaymentTerms, PaymentVoidRequested, PaymentVoided, Refund, RefundReason, credit, dispute,
    refund,
    report::events_of_report,
    sources::{closing_refunds, request_refund, retry_refund},
    state::evolve,
    terms,
};
use crate::{Amount, RefundId, text};

type Decided = Result<Vec<PaymentEvent>, PaymentRefusal>;

pub(super) fn decide(payment: &Payment, command: PaymentCommand) -> Decided {
    check_texts(&command)?;
    if payment.credit().is_some() {
        return credit::decide(payment, command);
    }
    decide_on_money(payment, command)
}

/// The decision on any payment that is not a credit, and on what a credit has in common with it.
pub(super) fn decide_on_money(payment: &Payment, command: PaymentCommand) -> Decided {
    match command {
        PaymentCommand::Request { payment_id, order_id, amount, currency, charge, terms, credit } => {
            let requested = PaymentRequested { payment_id, order_id, amount, currency, terms, credit };
            Ok(request(payment, requested, charge))
        }
        PaymentCommand::Close { .. } if payment.is_closed() => Ok(Vec::new()),
        PaymentCommand::Close { order_id, amount_due, refund } => {
            close(payment, PaymentClosed { order_id, amount_due }, refund)
        }
        // It will be requested with the amount that it is to take.
        PaymentCommand::Adjust(_) if payment.state() == PaymentState::New => Ok(Vec::new()),
        _ if payment.state() == PaymentState::New => Err(PaymentRefusal::NotFound),
        PaymentCommand::GiveCredit => Err(PaymentRefusal::WrongState(payment.state())),
        PaymentCommand::Charge(new) => charge(payment, new),
        PaymentCommand::Report { report, is_answer } => {
            let events = events_of_report(payment, report, is_answer)?;
            Ok(with_closing_effects(payment, terms::with_due_capture(payment, events)))
        }
        PaymentCommand::Authorize { amount, reference } => {
            authorize(payment, amount, reference).map(|events| terms::with_due_capture(payment, events))
        }
        PaymentCommand::Capture { amount, reference } => {
            capture(payment, amount, reference).map(|events| terms::with_due_capture(payment, events))
        }
        PaymentCommand::Fail { reason, retryable } => fail(payment, reason, retryable),
        PaymentCommand::Void { reason } => void(payment, reason),
        PaymentCommand::MarkOutcomeUnknown { operation } => mark_outcome_unknown(payment, operation),
        PaymentCommand::RequestRefund { refund_id, amount, reason } => {
            request_refund(payment, refund_id, amount, reason)
        }
        PaymentCommand::RetryRefund { refund_id, by_hand } => {
            retry_refund(payment, known_refund(payment, refund_id)?, by_hand)
        }
        PaymentCommand::ReportRefund(report) => {
            refund::events_of_report(payment, report).map(|events| with_closing_effects(payment, events))
        }
        PaymentCommand::ReportDispute(report) => {
            dispute::events_of_report(payment, report).map(|events| with_closing_effects(payment, events))
        }
        PaymentCommand::MarkRefundOutcomeUnknown { refund_id } => {
            Ok(refund::mark_outcome_unknown(known_refund(payment, refund_id)?))
        }
        PaymentCommand::RecordRefunded { refund_id, reference } => {
            refund::record_refunded(payment, known_refund(payment, refund_id)?, reference)
        }
        PaymentCommand::EndAuthorization { now } => Ok(terms::end_authorization(payment, now)),
        PaymentCommand::Adjust(adjusted) => {
            let events = terms::with_due_capture(payment, terms::adjust(payment, adjusted));
            Ok(with_closing_effects(payment, events))
        }
        PaymentCommand::RecordRefundFailed { refund_id, reason } => {
            let failed = refund::record_refund_failed(payment, known_refund(payment, refund_id)?, reason)?;
            Ok(with_closing_effects(payment, failed))
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
        | PaymentCommand::GiveCredit
        | PaymentCommand::Request { charge: None, .. }
        | PaymentCommand::MarkOutcomeUnknown { .. }
        | PaymentCommand::RequestRefund { .. }
        | PaymentCommand::RetryRefund { .. }
        | PaymentCommand::ReportRefund(_)
        | PaymentCommand::ReportDispute(_)
        | PaymentCommand::MarkRefundOutcomeUnknown { .. }
        | PaymentCommand::EndAuthorization { .. }
        | PaymentCommand::Adjust(_)
        | PaymentCommand::Close { .. } => return Ok(()),
    };
    match value {
        Some(given) => text::check(given).map_err(|_| PaymentRefusal::InvalidText { member }),
        None => Ok(()),
    }
}

/// True if the provider has a charge and will report its outcome, so an operator must not record one.
///
/// False after a lost answer: an operator may then record the outcome.
fn provider_will_report(payment: &Payment) -> bool {
    payment.charge_under_way().is_some() && payment.unknown_operation().is_none()
}

/// True if the provider holds an authorisation of this payment or may still take money.
fn is_open_at_provider(payment: &Payment) -> bool {
    payment.is_voidable() || payment.unknown_operation().is_some()
}

/// Returns no events if the payment was requested before, or was closed because its order ended first.
fn request(payment: &Payment, requested: PaymentRequested, new: Option<NewCharge>) -> Vec<PaymentEvent> {
    if payment.state() != PaymentState::New || payment.is_closed() {
        return Vec::new();
    }
    let under_terms = new.map(|new| new.under(requested.terms));
    let first_charge = under_terms.map(|new| charge_requested(new, 1, requested.amount).into());
    [requested.into()].into_iter().chain(first_charge).collect()
}

fn charge_requested(new: NewCharge, number: u32, amount: Amount) -> PaymentChargeRequested {
    let NewCharge { provider, method, capture } = new;
    PaymentChargeRequested { charge: number, provider, method, amount, capture }
}

fn charge(payment: &Payment, new: NewCharge) -> Decided {
    if payment.is_closed() {
        return Err(PaymentRefusal::Closed);
    }
    let new = new.under(payment.terms());
    // The customer comes back for the action that this charge waits for.
    let is_waiting = |charge: &Charge| charge.is_open() && charge.is_same(&new);
    if payment.charge_under_way().is_some_and(is_waiting) {
        return Ok(Vec::new());
    }
    if payment.charge_under_way().is_some() || payment.is_in_doubt() {
        return Err(PaymentRefusal::ChargeUnderWay);
    }
    let amount = payment.left_to_authorize();
    if !payment.may_be_tried() || !amount.is_positive() {
        return Err(PaymentRefusal::WrongState(payment.state()));
    }
    let number = payment.charge().map_or(0, |last| last.number) + 1;
    if number > CHARGES_MAX {
        return Err(PaymentRefusal::TooManyCharges);
    }
    Ok(vec![charge_requested(new, number, amount).into()])
}

/// The charge whose answer was lost. What an operator records for it counts as if the provider had reported
/// it, so a later report does not add the amount again.
fn charge_in_doubt(payment: &Payment) -> Option<u32> {
    payment.charge_under_way().map(|charge| charge.number)
}

fn authorize(payment: &Payment, amount: Option<Amount>, reference: Option<String>) -> Decided {
    if provider_will_report(payment) {
        return Err(PaymentRefusal::ChargeUnderWay);
    }
    // An operator resolves a lost answer: the authorisation exists.
    let resolves_doubt = payment.state() == PaymentState::OutcomeUnknown;
    if payment.is_closed() && !resolves_doubt {
        return Err(PaymentRefusal::Closed);
    }
    if payment.kind() == Some(PaymentKind::Provider) && !resolves_doubt {
        return Err(PaymentRefusal::OfProvider);
    }
    let (known, left) = if resolves_doubt {
        (Amount::ZERO, payment.amount())
    } else {
        (payment.authorized(), payment.left_to_authorize())
    };
    let amount = amount.unwrap_or(left);
    match payment.state() {
        PaymentState::Requested | PaymentState::OutcomeUnknown => {}
        PaymentState::Failed | PaymentState::Voided if payment.may_be_tried() => {}
        PaymentState::Authorized | PaymentState::Captured if left.is_positive() => {}
        state @ (PaymentState::New
        | PaymentState::Authorized
        | PaymentState::Captured
        | PaymentState::Failed
        | PaymentState::Voided) => return Err(PaymentRefusal::WrongState(state)),
    }
    if !amount.is_positive() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    if amount > left {
        return Err(PaymentRefusal::AboveRequested { requested: amount, left });
    }
    let authorized = PaymentAuthorized {
        amount: known.saturating_add(amount).max(payment.authorized()),
        reference,
        charge: charge_in_doubt(payment),
        until: None,
    };
    Ok(with_closing_effects(payment, vec![authorized.into()]))
}

fn capture(payment: &Payment, amount: Option<Amount>, reference: Option<String>) -> Decided {
    let is_in_doubt = payment.state() == PaymentState::OutcomeUnknown;
    if payment.is_closed() && !is_in_doubt {
        return capture_late(payment, amount, reference);
    }
    let amount = amount.unwrap_or(payment.capturable());
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
        Some(_) | None => {
            let charge = charge_in_doubt(payment);
            Ok(with_closing_effects(
                payment,
                vec![PaymentCaptured { amount, reference, charge, late: false }.into()],
            ))
        }
    }
}

/// Records money that arrived by hand after the order had ended. It needs no authorisation, and nothing refunds it
/// by itself: the order shows it as overpaid, and an operator refunds it.
fn capture_late(payment: &Payment, amount: Option<Amount>, reference: Option<String>) -> Decided {
    if payment.charge_under_way().is_some() {
        return Err(PaymentRefusal::Closed);
    }
    let amount = amount.ok_or(PaymentRefusal::Closed)?;
    if payment.kind() == Some(PaymentKind::Provider) {
        return Err(PaymentRefusal::OfProvider);
    }
    if !amount.is_positive() || payment.captured().checked_add(amount).is_err() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    Ok(vec![PaymentCaptured { amount, reference, charge: None, late: true }.into()])
}

fn request_capture(payment: &Payment, charge: &Charge, amount: Amount) -> Decided {
    let is_already_requested = charge.capture_requested > charge.captured;
    if is_already_requested || payment.void_requested() || charge.state != ChargeState::Live {
        return Err(PaymentRefusal::ChargeUnderWay);
    }
    let total = charge.captured.saturating_add(amount);
    Ok(vec![PaymentCaptureRequested { charge: charge.number, amount, total }.into()])
}

fn fail(payment: &Payment, reason: Option<String>, retryable: bool) -> Decided {
    if provider_will_report(payment) {
        return Err(PaymentRefusal::ChargeUnderWay);
    }
    match payment.state() {
        PaymentState::Requested | PaymentState::Authorized | PaymentState::OutcomeUnknown => {
            Ok(vec![PaymentFailed::of_reason(reason, retryable).into()])
        }
        // A retryable failure may become final. Record a repeated failure too: otherwise a delayed duplicate
        // could fail a later authorisation.
        PaymentState::Failed if payment.is_retryable() => {
            Ok(vec![PaymentFailed::of_reason(reason, retryable).into()])
        }
        PaymentState::Failed => Ok(Vec::new()),
        state @ (PaymentState::New | PaymentState::Captured | PaymentState::Voided) => {
            Err(PaymentRefusal::WrongState(state))
        }
    }
}

fn void(payment: &Payment, reason: Option<String>) -> Decided {
    // Requests the void after a lost answer too: only the provider can ensure that the charge takes no money
    // later.
    if payment.charge_under_way().is_some() && is_open_at_provider(payment) {
        let is_already_requested = payment.void_requested();
        return Ok(if is_already_requested { Vec::new() } else { vec![PaymentVoidRequested {}.into()] });
    }
    // The payment of a net order asks for its money after a failure too, until it is voided.
    if payment.terms() == PaymentTerms::Net && payment.may_be_tried() && !payment.is_closed() {
        return Ok(vec![PaymentVoided { reason, ran_out: false }.into()]);
    }
    match payment.state() {
        PaymentState::Voided => Ok(Vec::new()),
        PaymentState::Requested | PaymentState::Authorized | PaymentState::OutcomeUnknown => {
            Ok(vec![PaymentVoided { reason, ran_out: false }.into()])
        }
        PaymentState::Captured if payment.capturable().is_positive() => {
            Ok(vec![PaymentVoided { reason, ran_out: false }.into()])
        }
        state @ (PaymentState::New | PaymentState::Captured | PaymentState::Failed) => {
            Err(PaymentRefusal::WrongState(state))
        }
    }
}

fn mark_outcome_unknown(payment: &Payment, operation: Operation) -> Decided {
    // Ignores a lost answer of an ended charge: ended charges are not looked up, so the doubt would last for
    // ever.
    if payment.charge().is_some_and(|charge| charge.state == ChargeState::Ended) {
        return Ok(Vec::new());
    }
    match payment.state() {
        PaymentState::OutcomeUnknown if payment.unknown_operation() == Some(operation) => Ok(Vec::new()),
        PaymentState::Failed if !payment.is_retryable() => Err(PaymentRefusal::WrongState(payment.state())),
        PaymentState::Voided => Err(PaymentRefusal::WrongState(payment.state())),
        PaymentState::New
        | PaymentState::Requested
        | PaymentState::Authorized
        | PaymentState::Captured
        | PaymentState::Failed
        | PaymentState::OutcomeUnknown => Ok(vec![PaymentOutcomeUnknown { operation }.into()]),
    }
}

fn close(payment: &Payment, closed: PaymentClosed, refund: Option<(RefundId, Amount)>) -> Decided {
    let mut events = vec![closed.into()];
    let refund = refund.map(|(refund_id, amount)| (refund_id, amount.min(payment.refundable())));
    if let Some((refund_id, amount)) = refund.filter(|(_, amount)| amount.is_positive()) {
        events.extend(request_refund(payment, refund_id, amount, RefundReason::OrderClosed)?);
    }
    Ok(with_closing_effects(payment, events))
}

/// Adds the effects of closing to the events of a closed payment: the void of an open charge or
/// authorisation, and the refund of the captured amount that its order does not keep.
///
/// A refund that failed is requested again under a new id, up to a limit.
pub(super) fn with_closing_effects(payment: &Payment, mut events: Vec<PaymentEvent>) -> Vec<PaymentEvent> {
    let mut after = payment.clone();
    for event in &events {
        evolve(&mut after, event);
    }
    let Some(amount_due) = after.amount_due_at_closing().filter(|_| !events.is_empty()) else {
        return events;
    };
    if after.is_voidable() && !after.void_requested() && !after.owes_capture() {
        events.push(PaymentVoidRequested {}.into());
    }
    events.extend(closing_refunds(&after, after.excess(amount_due)));
    events
}

fn known_refund(payment: &Payment, id: RefundId) -> Result<&Refund, PaymentRefusal> {
    payment.refund(id).ok_or(PaymentRefusal::UnknownRefund(id))
}

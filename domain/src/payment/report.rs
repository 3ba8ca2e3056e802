//! What a provider reports, made into events.

use super::{
    ChargeEnding, ChargeState, Payment, PaymentAuthorized, PaymentCaptured, PaymentChargePending,
    PaymentEvent, PaymentFailed, PaymentRefusal, PaymentVoided, ProviderReport, state::evolve,
};
use crate::{Amount, text::truncated};

/// What a report adds to what is known: nothing where it comes again, or was overtaken.
pub(super) fn news(
    payment: &Payment,
    report: ProviderReport,
    is_answer: bool,
) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    let ProviderReport { charge: number, reference, authorized, captured, ending } = report;
    let reference = truncated(&reference).unwrap_or_else(|| "unknown".to_owned());
    if authorized.is_negative() || captured.is_negative() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    let known = payment.charges().iter().find(|charge| charge.number == number);
    let known_authorized = known.map_or(Amount::ZERO, |charge| charge.authorized);
    let known_captured = known.map_or(Amount::ZERO, |charge| charge.captured);
    let has_ended = known.is_some_and(|charge| charge.state == ChargeState::Ended);
    let ends_doubt = is_answer && payment.unknown_operation().is_some();
    let is_latest = payment.charge().is_none_or(|latest| latest.number <= number);

    let mut after = payment.clone();
    let mut events: Vec<PaymentEvent> = Vec::new();
    let mut add = |after: &mut Payment, event: PaymentEvent| {
        evolve(after, &event);
        events.push(event);
    };

    // A report of an authorisation that was given back since tells of the past.
    let still_held = authorized > captured && ending.is_none() && !has_ended;
    if still_held && authorized > known_authorized {
        let amount = payment.captured_apart_from(number).checked_add(authorized);
        let amount = amount.map_err(|_| PaymentRefusal::InvalidAmount)?.max(payment.authorized());
        let (reference, charge) = (Some(reference.clone()), Some(number));
        add(&mut after, PaymentAuthorized { amount, reference, charge }.into());
    }
    if captured > known_captured {
        let amount = captured.saturating_sub(known_captured);
        if after.captured().checked_add(amount).is_err() {
            return Err(PaymentRefusal::InvalidAmount);
        }
        let (reference, charge) = (Some(reference.clone()), Some(number));
        add(&mut after, PaymentCaptured { amount, reference, charge }.into());
    }
    let has_captured = after.charge().is_none_or(|charge| charge.captured.is_positive());
    let is_given_up = after.is_voidable() || after.unknown_operation().is_some();
    let is_first_sign = known.is_none_or(|charge| charge.state == ChargeState::Requested);
    match ending {
        // Of an earlier charge it is known, and a later one goes on.
        _ if has_ended || !is_latest => {}
        // What was captured has not failed.
        Some(ChargeEnding::Failed { reason, retryable }) if !has_captured => {
            let reason = reason.and_then(|reason| truncated(&reason));
            add(&mut after, PaymentFailed { reason, retryable }.into());
        }
        Some(ChargeEnding::Voided) if is_given_up => {
            add(&mut after, PaymentVoided { reason: None }.into());
        }
        None if authorized == Amount::ZERO && captured == Amount::ZERO && (is_first_sign || ends_doubt) => {
            add(&mut after, PaymentChargePending { charge: number, reference: reference.clone() }.into());
        }
        Some(_) | None => {}
    }
    // The lost answer is found: what was asked for was not done, and things stand as before.
    if events.is_empty() && ends_doubt && is_latest && authorized.is_positive() {
        let (amount, charge) = (payment.authorized(), Some(number));
        if amount.is_positive() {
            events.push(PaymentAuthorized { amount, reference: Some(reference), charge }.into());
        }
    }
    Ok(events)
}

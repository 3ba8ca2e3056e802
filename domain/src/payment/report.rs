//! Turns a provider's report into events.

use super::{
    Charge, ChargeEnding, ChargeState, Payment, PaymentAuthorized, PaymentCaptured, PaymentChargePending,
    PaymentEvent, PaymentFailed, PaymentRefusal, PaymentVoided, ProviderReport, dispute, refund,
    state::evolve,
};
use crate::{Amount, Timestamp, text::truncated};

/// The events that a report adds to what is recorded. None for a repeated or late report.
pub(super) fn events_of_report(
    payment: &Payment,
    mut report: ProviderReport,
    is_answer: bool,
) -> Result<Vec<PaymentEvent>, PaymentRefusal> {
    if report.authorized.is_negative() || report.captured.is_negative() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    let (refunds, disputes) = (std::mem::take(&mut report.refunds), std::mem::take(&mut report.disputes));
    let mut reading = Reading::new(payment, &report, is_answer);
    reading.read_amounts(&report)?;
    reading.read_ending(report.ending, report.authorized == Amount::ZERO && report.captured == Amount::ZERO);
    reading.read_resolved_doubt(report.authorized);
    for report in refunds {
        let events = refund::events_of_report(&reading.after, report)?;
        for event in events {
            reading.add(event);
        }
    }
    for report in disputes {
        let events = dispute::events_of_report(&reading.after, report)?;
        for event in events {
            reading.add(event);
        }
    }
    Ok(reading.events)
}

/// A report, read step by step against the recorded charge.
struct Reading<'a> {
    before: &'a Payment,
    /// The charge as recorded before the report.
    known: Option<&'a Charge>,
    /// The number of the reported charge.
    number: u32,
    reference: String,
    authorized_until: Option<Timestamp>,
    /// True if the report answers a call and the outcome of an operation was unknown before.
    ends_doubt: bool,
    /// The payment after `events`.
    after: Payment,
    events: Vec<PaymentEvent>,
}

impl<'a> Reading<'a> {
    fn new(payment: &'a Payment, report: &ProviderReport, is_answer: bool) -> Self {
        Self {
            before: payment,
            known: payment.charges().iter().find(|charge| charge.number == report.charge),
            number: report.charge,
            reference: truncated(&report.reference).unwrap_or_else(|| "unknown".to_owned()),
            authorized_until: report.authorized_until,
            ends_doubt: is_answer && payment.unknown_operation().is_some(),
            after: payment.clone(),
            events: Vec::new(),
        }
    }

    fn add(&mut self, event: PaymentEvent) {
        evolve(&mut self.after, &event);
        self.events.push(event);
    }

    fn has_ended(&self) -> bool {
        self.known.is_some_and(|charge| charge.state == ChargeState::Ended)
    }

    /// True if no charge after this one was requested.
    fn is_latest(&self) -> bool {
        self.before.charge().is_none_or(|latest| latest.number <= self.number)
    }

    fn authorized(&self, amount: Amount) -> PaymentEvent {
        let (reference, charge) = (Some(self.reference.clone()), Some(self.number));
        PaymentAuthorized { amount, reference, charge, until: self.authorized_until }.into()
    }

    /// True if the authorisation of this charge runs out later than recorded, or its end was not known.
    fn is_held_longer(&self) -> bool {
        let is_certain = self.before.unknown_operation().is_none() && !self.before.is_closed();
        let is_held = self.is_latest() && self.before.capturable().is_positive();
        is_certain && is_held && self.authorized_until > self.before.authorized_until()
    }

    /// Adds the amounts that exceed the recorded ones.
    fn read_amounts(&mut self, report: &ProviderReport) -> Result<(), PaymentRefusal> {
        let known_authorized = self.known.map_or(Amount::ZERO, |charge| charge.authorized);
        let known_captured = self.known.map_or(Amount::ZERO, |charge| charge.captured);
        let (authorized, captured) = (report.authorized, report.captured);
        // Record an authorisation only while the provider holds it. A late report may still show one that has
        // ended since.
        let is_still_held = authorized > captured && report.ending.is_none() && !self.has_ended();
        if is_still_held && authorized > known_authorized {
            let by_others = self.before.captured_by_others(self.number);
            let total = by_others.checked_add(authorized).map_err(|_| PaymentRefusal::InvalidAmount)?;
            self.add(self.authorized(total.max(self.before.authorized())));
        } else if is_still_held && authorized == known_authorized && self.is_held_longer() {
            self.add(self.authorized(self.before.authorized()));
        }
        if captured > known_captured {
            let amount = captured.saturating_sub(known_captured);
            if self.after.captured().checked_add(amount).is_err() {
                return Err(PaymentRefusal::InvalidAmount);
            }
            let (reference, charge) = (Some(self.reference.clone()), Some(self.number));
            self.add(PaymentCaptured { amount, reference, charge, late: false }.into());
        }
        Ok(())
    }

    /// Adds the end of the charge, or that it is pending. `is_untouched` is true if the report shows no
    /// authorized and no captured amount.
    fn read_ending(&mut self, ending: Option<ChargeEnding>, is_untouched: bool) {
        // The end of this charge is recorded, or a later charge is under way.
        if self.has_ended() || !self.is_latest() {
            return;
        }
        match ending {
            Some(ChargeEnding::Failed { reason, retryable }) => {
                // A charge that captured money has not failed.
                let has_captured = self.after.charge().is_none_or(|charge| charge.captured.is_positive());
                if !has_captured {
                    let reason = reason.and_then(|reason| truncated(&reason));
                    self.add(PaymentFailed::of_reason(reason, retryable).into());
                }
            }
            Some(ChargeEnding::Voided) => {
                let has_rest = self.after.is_voidable() || self.after.unknown_operation().is_some();
                if has_rest {
                    let ran_out = !self.before.void_requested() && !self.before.is_closed();
                    self.add(PaymentVoided { reason: None, ran_out }.into());
                }
            }
            None => {
                let is_first_sign = self.known.is_none_or(|charge| charge.state == ChargeState::Requested);
                if is_untouched && (is_first_sign || self.ends_doubt) {
                    let (charge, reference) = (self.number, self.reference.clone());
                    self.add(PaymentChargePending { charge, reference }.into());
                }
            }
        }
    }

    /// The lost operation was not done: record the unchanged authorisation, so the outcome is known again.
    fn read_resolved_doubt(&mut self, authorized: Amount) {
        let is_unchanged = self.events.is_empty() && self.is_latest() && authorized.is_positive();
        let amount = self.before.authorized();
        if self.ends_doubt && is_unchanged && amount.is_positive() {
            self.add(self.authorized(amount));
        }
    }
}

mod evolve;

use serde::{Deserialize, Serialize};

pub(super) use self::evolve::evolve;
use super::{
    Charge, ChargeState, Dispute, DisputeState, Operation, PaymentFailure, PaymentTerms, ProviderWork,
    Refund, RefundReason, RefundSource, RefundState,
};
use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, Timestamp, credit::CreditSource, heap::HeapBytes,
};

/// The state of a payment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentState {
    /// No event yet, or closed before it was requested.
    #[default]
    New,
    Requested,
    Authorized,
    /// A part of the amount or all of it: see [`Payment::captured`]. The state stays if the rest fails or is
    /// voided later.
    Captured,
    Failed,
    Voided,
    /// The provider's answer was lost. The outcome must be looked up before anything is repeated.
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
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    captured_late: Amount,
    refunds: Vec<Refund>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    disputes: Vec<Dispute>,
    /// Counts the events that lowered an amount that the order records: see [`Payment::corrections`].
    #[serde(default, skip_serializing_if = "is_zero")]
    corrections: u32,
    /// Sorted by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    charges: Vec<Charge>,
    unknown: Option<Operation>,
    retryable: bool,
    /// Why the latest charge failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    failure: Option<PaymentFailure>,
    void_requested: bool,
    /// See [`Payment::is_ended`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    ended: bool,
    closed: Option<Amount>,
    /// See [`PaymentAdjusted::amount_due`](super::PaymentAdjusted::amount_due).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept_at_most: Option<Amount>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credit: Option<CreditSource>,
    reference: Option<String>,
    #[serde(default, skip_serializing_if = "PaymentTerms::is_prepaid")]
    terms: PaymentTerms,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    authorized_until: Option<Timestamp>,
    /// See [`Payment::authorizations`].
    #[serde(default, skip_serializing_if = "is_zero")]
    authorizations: u32,
    /// See [`Payment::capture_due`].
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    capture_due: Amount,
    /// The number of the latest [`PaymentAdjusted`](super::PaymentAdjusted).
    #[serde(default, skip_serializing_if = "is_zero")]
    adjustment: u32,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde requires")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// The part of a payment that answers to commands contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentStateSummary {
    pub state: PaymentState,
    pub order_id: Option<OrderId>,
    pub currency: Option<Currency>,
    pub amount: Amount,
    pub authorized: Amount,
    pub authorized_until: Option<Timestamp>,
    pub captured: Amount,
    pub refunded: Amount,
    /// Taken by disputes that are open or lost.
    pub disputed: Amount,
    /// Failed refunds that the order requested.
    pub refunds_failed: Amount,
    pub closed: bool,
    /// Why the payment failed.
    pub failure: Option<PaymentFailure>,
    /// A failed payment can be tried again.
    pub retryable: bool,
    /// The provider has work to do for this payment.
    pub asks_provider: bool,
}

impl Payment {
    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let Self {
            state: _,
            payment_id: _,
            order_id: _,
            currency: _,
            amount: _,
            authorized: _,
            captured: _,
            captured_late: _,
            refunds,
            disputes,
            corrections: _,
            charges,
            unknown: _,
            retryable: _,
            failure,
            void_requested: _,
            ended: _,
            closed: _,
            kept_at_most: _,
            credit: _,
            reference,
            terms: _,
            authorized_until: _,
            authorizations: _,
            capture_due: _,
            adjustment: _,
        } = self;
        refunds.heap_bytes()
            + disputes.heap_bytes()
            + charges.heap_bytes()
            + failure.heap_bytes()
            + reference.heap_bytes()
    }

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

    /// The amount requested of the customer.
    pub fn amount(&self) -> Amount {
        self.amount
    }

    pub fn authorized(&self) -> Amount {
        self.authorized
    }

    pub fn captured(&self) -> Amount {
        self.captured
    }

    /// Recorded by hand after the order had ended. `captured` includes it.
    pub fn captured_late(&self) -> Amount {
        self.captured_late
    }

    /// The terms of the order.
    pub fn terms(&self) -> PaymentTerms {
        self.terms
    }

    /// When the authorisation runs out, if that is known. None without an authorisation.
    pub fn authorized_until(&self) -> Option<Timestamp> {
        self.authorized_until.filter(|_| self.capturable().is_positive())
    }

    /// Counts the authorisations and their ends.
    pub fn authorizations(&self) -> u32 {
        self.authorizations
    }

    /// What the order asked to have captured by now, without a command for each capture.
    pub fn capture_due(&self) -> Amount {
        self.capture_due
    }

    pub(super) fn adjustment(&self) -> u32 {
        self.adjustment
    }

    /// Authorized, and neither captured nor voided.
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

    /// Failed refunds that the order requested. Automatic refunds of a closed payment are not included.
    pub fn refunds_failed(&self) -> Amount {
        self.sum_of_refunds(|refund| {
            refund.state == RefundState::Failed
                && matches!(refund.reason, RefundReason::Return | RefundReason::Requested)
        })
    }

    /// Refunds that the provider made without a request, and that have not failed.
    pub fn refunded_at_provider(&self) -> Amount {
        self.sum_of_refunds(|refund| {
            refund.state != RefundState::Failed && refund.reason == RefundReason::Provider
        })
    }

    pub fn disputes(&self) -> &[Dispute] {
        &self.disputes
    }

    /// The money that open and lost disputes took.
    pub fn disputed(&self) -> Amount {
        let taken = self.disputes.iter().filter(|dispute| dispute.state.takes_money());
        taken.fold(Amount::ZERO, |sum, dispute| sum.saturating_add(dispute.amount))
    }

    /// How often the provider's word lowered an amount that the order records. Between two corrections these
    /// amounts only grow, so two reports with the same number are in the order of their amounts.
    pub fn corrections(&self) -> u32 {
        self.corrections
    }

    /// The captured amount minus the refunds that are requested or done, and minus what disputes took.
    pub fn refundable(&self) -> Amount {
        let refunds = self.sum_of_refunds(|refund| refund.state != RefundState::Failed);
        self.captured.saturating_sub(refunds).saturating_sub(self.disputed()).max(Amount::ZERO)
    }

    /// What a closed payment must still refund: captured in time, not kept by its order, not given back at the
    /// provider, not disputed, and not requested yet.
    pub(super) fn excess(&self, amount_due: Amount) -> Amount {
        let returned = self.refunded_at_provider().saturating_add(self.disputed());
        let in_time = self.captured.saturating_sub(self.captured_late);
        let not_kept = in_time.saturating_sub(amount_due).saturating_sub(returned);
        let requested_by_closing = self.sum_of_refunds(|refund| {
            refund.reason == RefundReason::OrderClosed && refund.state != RefundState::Failed
        });
        // Refunds that the order requested may leave less than that to refund.
        not_kept.saturating_sub(requested_by_closing).min(self.refundable()).max(Amount::ZERO)
    }

    /// The latest charge that captured money.
    pub(super) fn charge_with_money(&self) -> Option<u32> {
        self.charges.iter().rev().find(|charge| charge.captured.is_positive()).map(|charge| charge.number)
    }

    /// True if the provider pays this refund. False if an operator does.
    pub(super) fn is_refunded_by_provider(&self, refund: &Refund) -> bool {
        match self.source_of(refund) {
            RefundSource::Charge(_) => true,
            RefundSource::Manual => false,
        }
    }

    /// Every charge, sorted by number.
    pub fn charges(&self) -> &[Charge] {
        &self.charges
    }

    /// The latest charge: the only one that may still take money.
    pub fn charge(&self) -> Option<&Charge> {
        self.charges.last()
    }

    /// The charge that is open or live. While there is one, only the provider captures and voids.
    pub fn charge_under_way(&self) -> Option<&Charge> {
        self.charge().filter(|charge| charge.state != ChargeState::Ended)
    }

    /// True if the provider may have taken money that is not recorded: an answer was lost or has not arrived
    /// yet.
    pub fn is_in_doubt(&self) -> bool {
        self.unknown.is_some() || self.charge().is_some_and(|charge| charge.state == ChargeState::Requested)
    }

    /// What the provider must do now. Empty if nothing is open there.
    pub fn provider_work(&self) -> Vec<ProviderWork> {
        let mut work: Vec<ProviderWork> =
            self.charge().and_then(|charge| self.work_on(charge)).into_iter().collect();
        // The provider settles by itself what it refunds without a request.
        let is_requested =
            |refund: &&Refund| refund.state.is_open() && refund.reason != RefundReason::Provider;
        work.extend(self.refunds.iter().filter(is_requested).filter_map(
            |refund| match self.source_of(refund) {
                RefundSource::Charge(charge) => {
                    Some(ProviderWork::Refund { charge, refund_id: refund.refund_id, amount: refund.amount })
                }
                RefundSource::Manual => None,
            },
        ));
        work
    }

    fn work_on(&self, charge: &Charge) -> Option<ProviderWork> {
        let number = charge.number;
        match charge.state {
            ChargeState::Ended => None,
            // A void needs no look-up first: its answer says how much was captured before.
            _ if self.void_requested => Some(ProviderWork::Void(number)),
            _ if self.unknown.is_some() => Some(ProviderWork::LookUp(number)),
            ChargeState::Requested => Some(ProviderWork::Charge(number)),
            ChargeState::Pending => Some(ProviderWork::LookUp(number)),
            ChargeState::Live if charge.capture_requested > charge.captured => Some(ProviderWork::Capture {
                charge: number,
                amount: charge.capture_requested.saturating_sub(charge.captured),
                total: charge.capture_requested,
            }),
            ChargeState::Live => None,
        }
    }

    pub fn unknown_operation(&self) -> Option<Operation> {
        self.unknown
    }

    pub fn is_retryable(&self) -> bool {
        self.retryable
    }

    /// Why the payment failed. None unless it is failed, or if an earlier build recorded the failure.
    pub fn failure(&self) -> Option<&PaymentFailure> {
        self.failure.as_ref().filter(|_| self.state == PaymentState::Failed)
    }

    pub fn void_requested(&self) -> bool {
        self.void_requested
    }

    /// True if the payment of a net order was voided on request: it asks for no more money, and its order may ask
    /// another payment for it.
    pub fn is_ended(&self) -> bool {
        self.ended
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// What the ended order keeps. None while the order is open.
    pub fn amount_due_at_closing(&self) -> Option<Amount> {
        self.closed.map(|amount_due| self.kept_at_most.map_or(amount_due, |most| amount_due.min(most)))
    }

    /// Set for the credit of an exchange.
    pub fn credit(&self) -> Option<CreditSource> {
        self.credit
    }

    /// The provider's own id of the latest authorisation or capture.
    pub fn reference(&self) -> Option<&str> {
        self.reference.as_deref()
    }

    pub fn summary(&self) -> PaymentStateSummary {
        PaymentStateSummary {
            state: self.state,
            order_id: self.order_id,
            currency: self.currency,
            amount: self.amount,
            authorized: self.authorized,
            authorized_until: self.authorized_until(),
            captured: self.captured,
            refunded: self.refunded(),
            disputed: self.disputed(),
            refunds_failed: self.refunds_failed(),
            closed: self.is_closed(),
            failure: self.failure().cloned(),
            retryable: self.retryable,
            asks_provider: !self.provider_work().is_empty(),
        }
    }

    /// The amount that operators recorded or other charges captured.
    pub(super) fn captured_by_others(&self, charge: u32) -> Amount {
        let of_charge = self.charges.iter().find(|known| known.number == charge);
        self.captured.saturating_sub(of_charge.map_or(Amount::ZERO, |known| known.captured))
    }

    /// True if an authorized amount is not captured, or an open charge may still authorize one.
    pub(super) fn is_voidable(&self) -> bool {
        self.capturable().is_positive() || self.has_open_charge()
    }

    fn sum_of_refunds(&self, counts: impl Fn(&Refund) -> bool) -> Amount {
        let counted = self.refunds.iter().filter(|refund| counts(refund));
        counted.fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount))
    }

    /// The charge with this number. Adds it if this payment did not request it.
    fn charge_mut(&mut self, number: u32, reference: Option<&String>) -> &mut Charge {
        let index = match self.charges.binary_search_by_key(&number, |charge| charge.number) {
            Ok(index) => index,
            Err(index) => {
                self.charges.insert(index, Charge::reported(number, None));
                index
            }
        };
        let charge = &mut self.charges[index];
        if reference.is_some() {
            charge.reference = reference.cloned();
        }
        charge
    }

    fn end_charge(&mut self) {
        if let Some(charge) = self.charges.last_mut() {
            charge.state = ChargeState::Ended;
            charge.capture_requested = charge.captured;
        }
    }

    fn has_open_charge(&self) -> bool {
        self.charge().is_some_and(Charge::is_open)
    }

    /// [`PaymentState::Captured`] if money was captured, otherwise `state`.
    fn captured_or(&self, state: PaymentState) -> PaymentState {
        if self.captured.is_positive() { PaymentState::Captured } else { state }
    }

    fn refund_mut(&mut self, id: RefundId) -> &mut Refund {
        let refund = self.refunds.iter_mut().find(|refund| refund.refund_id == id);
        refund.expect("decide settles only refunds that the payment has")
    }

    fn settle_refund(&mut self, id: RefundId, state: RefundState, at_provider: bool) {
        let refund = self.refund_mut(id);
        let before = refund.state;
        refund.state = state;
        refund.failed_at_provider = state == RefundState::Failed && at_provider;
        let was_counted = match before {
            RefundState::Failed => state != RefundState::Failed,
            RefundState::Refunded => state != RefundState::Refunded,
            RefundState::Requested | RefundState::Pending | RefundState::OutcomeUnknown => {
                refund.reason == RefundReason::Provider && state == RefundState::Failed
            }
        };
        self.corrections += u32::from(was_counted);
    }

    fn settle_dispute(&mut self, reference: &str, state: DisputeState) {
        let dispute = self.disputes.iter_mut().find(|dispute| dispute.reference == reference);
        let dispute = dispute.expect("decide settles only disputes that the payment has");
        self.corrections += u32::from(dispute.state.takes_money() && !state.takes_money());
        dispute.state = state;
    }
}

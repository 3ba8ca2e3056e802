use serde::{Deserialize, Serialize};

use super::{
    Charge, ChargeState, Operation, PaymentAuthorized, PaymentCaptured, PaymentChargeRequested, PaymentEvent,
    ProviderWork, RefundReason,
};
use crate::{Amount, Currency, OrderId, PaymentId, RefundId, heap::HeapBytes};

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
    refunds: Vec<Refund>,
    /// Sorted by number.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    charges: Vec<Charge>,
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

/// The part of a payment that answers to commands contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaymentStateSummary {
    pub state: PaymentState,
    pub order_id: Option<OrderId>,
    pub currency: Option<Currency>,
    pub amount: Amount,
    pub authorized: Amount,
    pub captured: Amount,
    pub refunded: Amount,
    /// Failed refunds that the order requested.
    pub refunds_failed: Amount,
    pub closed: bool,
    /// The provider has work to do for this payment.
    pub asks_provider: bool,
}

impl HeapBytes for Refund {
    fn heap_bytes(&self) -> usize {
        let Self { refund_id: _, amount: _, reason: _, state: _ } = self;
        0
    }
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
            refunds,
            charges,
            unknown: _,
            retryable: _,
            void_requested: _,
            closed: _,
            reference,
        } = self;
        refunds.heap_bytes() + charges.heap_bytes() + reference.heap_bytes()
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
            refund.state == RefundState::Failed && refund.reason != RefundReason::OrderClosed
        })
    }

    /// The captured amount minus the refunds that are requested or done.
    pub fn refundable(&self) -> Amount {
        self.captured.saturating_sub(self.sum_of_refunds(|refund| refund.state != RefundState::Failed))
    }

    /// What a closed payment must still refund: captured, not kept by its order, and not requested yet.
    pub(super) fn excess(&self, amount_due: Amount) -> Amount {
        let not_kept = self.captured.saturating_sub(amount_due);
        let requested_by_closing = self.sum_of_refunds(|refund| {
            refund.reason == RefundReason::OrderClosed && refund.state != RefundState::Failed
        });
        // Refunds that the order requested may leave less than that to refund.
        not_kept.saturating_sub(requested_by_closing).min(self.refundable()).max(Amount::ZERO)
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
        // Refund from the latest charge that captured money: earlier charges ended without any.
        if let Some(charge) = self.charges.iter().rev().find(|charge| charge.captured.is_positive()) {
            let open = self.refunds.iter().filter(|refund| refund.state == RefundState::Requested);
            work.extend(open.map(|refund| ProviderWork::Refund {
                charge: charge.number,
                refund_id: refund.refund_id,
                amount: refund.amount,
            }));
        }
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

    pub fn void_requested(&self) -> bool {
        self.void_requested
    }

    pub fn is_closed(&self) -> bool {
        self.closed.is_some()
    }

    /// What the ended order keeps. None while the order is open.
    pub fn amount_due_at_closing(&self) -> Option<Amount> {
        self.closed
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
            captured: self.captured,
            refunded: self.refunded(),
            refunds_failed: self.refunds_failed(),
            closed: self.is_closed(),
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
            end_without_the_rest(payment, PaymentState::Failed);
        }
        PaymentEvent::VoidRequested(_) => payment.void_requested = true,
        PaymentEvent::Voided(_) => end_without_the_rest(payment, PaymentState::Voided),
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
    // Nothing is left to void, so the requested void is settled.
    if payment.capturable() == Amount::ZERO && !payment.has_open_charge() && payment.unknown.is_none() {
        payment.void_requested = false;
    }
    assert!(payment.captured <= payment.authorized, "captured more than authorized: {payment:?}");
    assert!(payment.refunded() <= payment.captured, "refunded more than captured: {payment:?}");
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
    payment.reference.clone_from(&authorized.reference);
}

fn capture(payment: &mut Payment, captured: &PaymentCaptured) {
    payment.state = PaymentState::Captured;
    payment.unknown = None;
    payment.captured = payment.captured.saturating_add(captured.amount);
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
    payment.end_charge();
}

//! The ledger of the simulated payment provider.

use std::{collections::BTreeMap, time::Duration};

use domain::{
    Amount, PaymentId, RefundId,
    payment::{ChargeEnding, ProviderReport},
};
use infra::payment_provider::{ChargeRequest, NoticeContent, RefundAnswer};

/// Names a charge: its payment and its number.
pub type ChargeName = (PaymentId, u32);

/// Everything the provider stores. Times are durations since the start of the run.
#[derive(Debug, Default)]
pub struct Ledger {
    pub charges: BTreeMap<ChargeName, Charge>,
    pub refunds: BTreeMap<RefundId, Refund>,
    /// Notices that are not acknowledged yet, by their number in the queue.
    pub notices: BTreeMap<u64, OutgoingNotice>,
    /// The contents of all notices. A notice carries only its index here.
    pub contents: Vec<NoticeContent>,
    /// Charge requests that the network delivers later.
    pub late: Vec<(Duration, ChargeRequest)>,
    /// How many notices were queued so far. The number of the latest one.
    pub queued: u64,
}

#[derive(Debug)]
pub struct Charge {
    pub amount: Amount,
    pub is_automatic: bool,
    pub authorized: Amount,
    pub captured: Amount,
    pub ending: Option<ChargeEnding>,
    /// Until this time the charge waits for the customer or a bank.
    pub pending_until: Option<Duration>,
}

#[derive(Debug)]
pub struct Refund {
    pub charge: ChargeName,
    pub amount: Amount,
    pub answer: RefundAnswer,
    pub pending_until: Option<Duration>,
}

#[derive(Debug)]
pub struct OutgoingNotice {
    pub due: Duration,
    /// The index in [`Ledger::contents`].
    pub content: usize,
}

impl Charge {
    pub fn report(&self, number: u32) -> ProviderReport {
        ProviderReport {
            charge: number,
            reference: format!("ch_{number}"),
            authorized: self.authorized,
            captured: self.captured,
            ending: self.ending.clone(),
            refunds: Vec::new(),
            disputes: Vec::new(),
        }
    }

    pub fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    pub fn approve(&mut self) {
        self.authorized = self.amount;
        if self.is_automatic {
            self.captured = self.amount;
        }
    }

    pub fn decline(&mut self, retryable: bool) {
        self.ending = Some(ChargeEnding::Failed { reason: Some("declined".to_owned()), retryable });
    }
}

impl Ledger {
    /// True if nothing is pending and nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.notices.is_empty()
            && self.late.is_empty()
            && self.charges.values().all(|charge| charge.pending_until.is_none())
            && self.refunds.values().all(|refund| refund.pending_until.is_none())
    }

    /// The captured and the refunded amount of a payment, in minor units.
    pub fn totals(&self, payment: PaymentId) -> (i64, i64) {
        let of_payment = |name: &ChargeName| name.0 == payment;
        let charges = self.charges.iter().filter(|(name, _)| of_payment(name));
        let captured = charges.map(|(_, charge)| charge.captured.minor_units()).sum();
        let refunds = self.refunds.values().filter(|refund| of_payment(&refund.charge));
        let refunded = refunds.filter(|refund| matches!(refund.answer, RefundAnswer::Refunded { .. }));
        (captured, refunded.map(|refund| refund.amount.minor_units()).sum())
    }

    /// The authorized amount of a payment that is neither captured nor voided, in minor units.
    pub fn held(&self, payment: PaymentId) -> i64 {
        let charges = self.charges.iter().filter(|(name, charge)| name.0 == payment && charge.is_open());
        charges.map(|(_, charge)| charge.authorized.saturating_sub(charge.captured).minor_units()).sum()
    }
}

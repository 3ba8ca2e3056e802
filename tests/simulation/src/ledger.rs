//! The ledger of the simulated payment provider.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use domain::{
    Amount, PaymentId, RefundId,
    payment::{ChargeEnding, DisputeState, ProviderReport, RefundOutcome, RefundReport},
};
use infra::payment_provider::{ChargeRequest, NoticeContent, RefundAnswer};

use crate::own_moves::OwnMove;

/// Names a charge: its payment and its number.
pub type ChargeName = (PaymentId, u32);

/// Everything the provider stores. Times are durations since the start of the run.
#[derive(Debug, Default)]
pub struct Ledger {
    pub charges: BTreeMap<ChargeName, Charge>,
    pub refunds: BTreeMap<RefundId, Refund>,
    pub disputes: BTreeMap<String, Dispute>,
    /// The charges whose own moves are drawn.
    pub planned: BTreeSet<ChargeName>,
    /// What the provider will do without a request.
    pub own_moves: Vec<OwnMove>,
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
    /// True if it waits for the customer, who has to confirm it.
    pub needs_action: bool,
}

#[derive(Debug)]
pub struct Refund {
    pub charge: ChargeName,
    pub amount: Amount,
    pub answer: RefundAnswer,
    pub pending_until: Option<Duration>,
    /// False if the provider made it by itself.
    pub is_requested: bool,
}

#[derive(Debug)]
pub struct Dispute {
    pub charge: ChargeName,
    pub amount: Amount,
    pub state: DisputeState,
}

#[derive(Debug)]
pub struct OutgoingNotice {
    pub due: Duration,
    /// The index in [`Ledger::contents`].
    pub content: usize,
}

/// The provider's id of a charge.
pub fn reference_of(name: ChargeName) -> String {
    format!("ch_{}_{}", name.0, name.1)
}

/// The charge with this id.
pub fn name_of_reference(reference: &str) -> Option<ChargeName> {
    let (payment, number) = reference.strip_prefix("ch_")?.rsplit_once('_')?;
    Some((payment.parse().ok()?, number.parse().ok()?))
}

/// The payment that a notice concerns.
fn payment_of(content: &NoticeContent) -> Option<PaymentId> {
    match content {
        NoticeContent::Charge { payment_id, .. }
        | NoticeContent::Refund { payment_id, .. }
        | NoticeContent::Dispute { payment_id, .. } => Some(*payment_id),
        NoticeContent::Moved { reference } => name_of_reference(reference).map(|name| name.0),
        NoticeContent::Other => None,
    }
}

impl Refund {
    pub fn report(&self, id: RefundId) -> RefundReport {
        let outcome = match self.answer.clone() {
            RefundAnswer::Pending => RefundOutcome::Pending,
            RefundAnswer::Refunded { .. } => RefundOutcome::Refunded,
            RefundAnswer::Failed { reason } => RefundOutcome::Failed { reason: Some(reason) },
        };
        let (charge, reference) = (Some(self.charge.1), "re".to_owned());
        RefundReport { refund_id: id, charge, amount: self.amount, reference, outcome }
    }

    fn counts(&self) -> bool {
        !matches!(self.answer, RefundAnswer::Failed { .. })
    }
}

impl Charge {
    /// Without refunds and disputes.
    pub fn report(&self, name: ChargeName) -> ProviderReport {
        ProviderReport {
            charge: name.1,
            reference: reference_of(name),
            authorized: self.authorized,
            captured: self.captured,
            authorized_until: None,
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
    /// True if nothing is pending and nothing is under way, except for notices of the payments that are held up.
    pub fn is_quiet(&self, held_up: &BTreeSet<PaymentId>) -> bool {
        let waits = |notice: &OutgoingNotice| {
            let payment = self.contents.get(notice.content).and_then(payment_of);
            payment.is_none_or(|payment| !held_up.contains(&payment))
        };
        !self.notices.values().any(waits)
            && self.late.is_empty()
            && self.own_moves.is_empty()
            && self.charges.values().all(|charge| charge.pending_until.is_none())
            && self.refunds.values().all(|refund| refund.pending_until.is_none())
    }

    /// The state of a charge with its refunds and disputes, as a look-up reports it.
    pub fn report(&self, name: ChargeName) -> Option<ProviderReport> {
        let refunds = self.refunds.iter().filter(|(_, refund)| refund.charge == name);
        let disputes = self.disputes.iter().filter(|(_, dispute)| dispute.charge == name);
        Some(ProviderReport {
            refunds: refunds.map(|(id, refund)| refund.report(*id)).collect(),
            disputes: disputes.map(|(id, dispute)| dispute.report(id)).collect(),
            ..self.charges.get(&name)?.report(name)
        })
    }

    /// What a charge captured and neither a refund nor a dispute took, in minor units.
    pub fn left(&self, name: ChargeName) -> i64 {
        let captured = self.charges.get(&name).map_or(0, |charge| charge.captured.minor_units());
        let refunds = self.refunds.values().filter(|refund| refund.charge == name && refund.counts());
        captured
            - refunds.map(|refund| refund.amount.minor_units()).sum::<i64>()
            - self.disputed(|of| of == name)
    }

    /// What disputes took, in minor units.
    fn disputed(&self, is_of: impl Fn(ChargeName) -> bool) -> i64 {
        // Not by the domain's own rule, which this ledger checks.
        let taken = self.disputes.values().filter(|one| is_of(one.charge) && one.state != DisputeState::Won);
        taken.map(|dispute| dispute.amount.minor_units()).sum()
    }

    /// The captured, the refunded and the disputed amount of a payment, in minor units.
    pub fn totals(&self, payment: PaymentId) -> (i64, i64, i64) {
        let of_payment = |name: &ChargeName| name.0 == payment;
        let charges = self.charges.iter().filter(|(name, _)| of_payment(name));
        let captured = charges.map(|(_, charge)| charge.captured.minor_units()).sum();
        let refunds = self.refunds.values().filter(|refund| of_payment(&refund.charge));
        let refunded = refunds.filter(|refund| matches!(refund.answer, RefundAnswer::Refunded { .. }));
        let refunded = refunded.map(|refund| refund.amount.minor_units()).sum();
        (captured, refunded, self.disputed(|name| name.0 == payment))
    }

    /// The authorized amount of a payment that is neither captured nor voided, in minor units.
    pub fn held(&self, payment: PaymentId) -> i64 {
        let charges = self.charges.iter().filter(|(name, charge)| name.0 == payment && charge.is_open());
        charges.map(|(_, charge)| charge.authorized.saturating_sub(charge.captured).minor_units()).sum()
    }
}

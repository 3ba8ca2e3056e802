//! Where the money of a payment is: in charges of the provider, or recorded by hand. No refund asks a source for more
//! than it holds.

use serde::Serialize;

use super::{
    CLOSING_ATTEMPTS_MAX, ChargeState, Payment, PaymentEvent, PaymentRefundFailed, PaymentRefundRequested,
    PaymentRefusal, Refund, RefundReason, RefundSource, RefundState,
};
use crate::{Amount, RefundId};

/// How the money of a payment comes. A payment of one kind takes no money of the other, so each refund has one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentKind {
    /// A provider takes it by charges.
    Provider,
    /// An operator records it.
    Manual,
    /// The credit of an exchange: no money moves for it.
    Credit,
}

type Decided = Result<Vec<PaymentEvent>, PaymentRefusal>;

impl Payment {
    /// The source of a refund. Builds that did not record it sent every refund to the latest charge with money.
    pub fn source_of(&self, refund: &Refund) -> RefundSource {
        let latest = || self.charge_with_money().map_or(RefundSource::Manual, RefundSource::Charge);
        refund.source.unwrap_or_else(latest)
    }

    /// How the money of this payment comes. None until its first use. A charge that failed without money leaves the
    /// choice open.
    pub fn kind(&self) -> Option<PaymentKind> {
        if self.credit().is_some() {
            return Some(PaymentKind::Credit);
        }
        let mut charges = self.charges().iter();
        if charges.any(|charge| charge.state != ChargeState::Ended || charge.captured.is_positive()) {
            Some(PaymentKind::Provider)
        } else {
            self.authorized().is_positive().then_some(PaymentKind::Manual)
        }
    }

    /// What the source captured, minus its refunds that have not failed, minus its disputes.
    fn held_by(&self, source: RefundSource) -> Amount {
        let captured = match source {
            RefundSource::Charge(number) => {
                let charge = self.charges().iter().find(|charge| charge.number == number);
                charge.map_or(Amount::ZERO, |charge| charge.captured)
            }
            RefundSource::Manual => {
                let by_charges = self.charges().iter().map(|charge| charge.captured);
                self.captured().saturating_sub(by_charges.fold(Amount::ZERO, Amount::saturating_add))
            }
        };
        let refunds = self.refunds().iter().filter(|refund| refund.state != RefundState::Failed);
        let refunded = refunds.filter(|refund| self.source_of(refund) == source).map(|refund| refund.amount);
        let disputes = self.disputes().iter().filter(|dispute| dispute.state.takes_money());
        let disputed = disputes
            .filter(|dispute| source == RefundSource::Charge(dispute.charge))
            .map(|dispute| dispute.amount);
        captured.saturating_sub(refunded.chain(disputed).fold(Amount::ZERO, Amount::saturating_add))
    }

    /// Every source: the charges, the latest first, and then the money recorded by hand.
    fn sources(&self) -> Vec<RefundSource> {
        let charges = self.charges().iter().rev().map(|charge| RefundSource::Charge(charge.number));
        charges.chain([RefundSource::Manual]).collect()
    }

    /// Every source, that of the latest money first.
    fn sources_by_time(&self) -> Vec<RefundSource> {
        let mut sources = self.sources();
        if self.captured_late().is_positive() {
            sources.rotate_right(1);
        }
        sources
    }

    /// Divides an amount over the sources, in their order. Also returns what none of them holds.
    fn divided(&self, amount: Amount, sources: Vec<RefundSource>) -> (Vec<(RefundSource, Amount)>, Amount) {
        let (mut parts, mut rest) = (Vec::new(), amount.min(self.refundable()));
        let beyond = amount.saturating_sub(rest);
        for source in sources {
            let part = self.held_by(source).min(rest);
            if part.is_positive() {
                parts.push((source, part));
                rest = rest.saturating_sub(part);
            }
        }
        (parts, rest.saturating_add(beyond))
    }

    /// True if the payment repeats an automatic refund, or is about to: its last attempt has just failed.
    pub fn repeats_refunds(&self) -> bool {
        let owed = self.amount_due_at_closing().map(|amount_due| self.excess(amount_due));
        owed.is_some_and(|amount| !closing_refunds(self, amount).is_empty())
    }

    /// True if automatic refunds of this source have failed too often.
    fn is_given_up(&self, source: RefundSource) -> bool {
        let failed = self.refunds().iter().filter(|refund| {
            refund.state == RefundState::Failed
                && refund.reason == RefundReason::OrderClosed
                && self.source_of(refund) == source
        });
        failed.count() >= CLOSING_ATTEMPTS_MAX
    }
}

/// Requests a refund of the order from the sources that hold its amount: the first part under the id of the refund,
/// each further one under an id of its own.
pub(super) fn request_refund(
    payment: &Payment,
    id: RefundId,
    amount: Amount,
    reason: RefundReason,
) -> Decided {
    let is_part = |refund: &&Refund| refund.refund_id == id || refund.part_of == Some(id);
    let known: Vec<Amount> = payment.refunds().iter().filter(is_part).map(|refund| refund.amount).collect();
    if !known.is_empty() {
        let total = known.into_iter().fold(Amount::ZERO, Amount::saturating_add);
        return if total == amount { Ok(Vec::new()) } else { Err(PaymentRefusal::RefundSettled) };
    }
    if !amount.is_positive() {
        return Err(PaymentRefusal::InvalidAmount);
    }
    let (parts, rest) = payment.divided(amount, payment.sources_by_time());
    let mut events = Vec::new();
    let mut request = |source: Option<RefundSource>, amount| {
        let (refund_id, part_of) = match events.len() {
            0 => (id, None),
            number => (RefundId::of_part(id, number as u64), Some(id)),
        };
        let requested = PaymentRefundRequested { refund_id, amount, reason, source, part_of };
        events.push(PaymentEvent::from(requested));
        refund_id
    };
    for (source, part) in parts {
        request(Some(source), part);
    }
    if rest.is_positive() {
        let refund_id = request(None, rest);
        let reason = Some("the payment does not hold this money any more".to_owned());
        events.push(PaymentRefundFailed { refund_id, amount: rest, reason, by_provider: false }.into());
    }
    Ok(events)
}

/// Requests the refunds of a closed payment that give back `amount`. Omits the sources whose refunds failed too often.
pub(super) fn closing_refunds(payment: &Payment, amount: Amount) -> Vec<PaymentEvent> {
    // A payment that was closed before it was requested has no id and no money.
    let Some(payment_id) = payment.payment_id() else { return Vec::new() };
    let mut sources = payment.sources();
    sources.retain(|source| !payment.is_given_up(*source));
    let (parts, _) = payment.divided(amount, sources);
    let earlier = payment.refunds().len() as u64;
    let numbered = (earlier..).zip(parts);
    let request = |(number, (source, amount))| {
        let refund_id = RefundId::of_closing(payment_id, number);
        closing_refund(refund_id, amount, source)
    };
    numbered.map(request).collect()
}

/// Requests an automatic refund that has failed again, as long as the payment owes it.
pub(super) fn retry_refund(payment: &Payment, refund: &Refund, by_hand: bool) -> Decided {
    let is_automatic = refund.reason == RefundReason::OrderClosed && refund.state == RefundState::Failed;
    let (Some(amount_due), Some(payment_id), true) =
        (payment.amount_due_at_closing(), payment.payment_id(), is_automatic)
    else {
        return Err(PaymentRefusal::NotRetryable);
    };
    let source = payment.source_of(refund);
    let amount = payment.excess(amount_due).min(refund.amount).min(payment.held_by(source));
    if !amount.is_positive() {
        return Err(PaymentRefusal::NotRetryable);
    }
    let refund_id = RefundId::of_closing(payment_id, payment.refunds().len() as u64);
    Ok(vec![closing_refund(refund_id, amount, if by_hand { RefundSource::Manual } else { source })])
}

fn closing_refund(refund_id: RefundId, amount: Amount, source: RefundSource) -> PaymentEvent {
    let (reason, source) = (RefundReason::OrderClosed, Some(source));
    PaymentRefundRequested { refund_id, amount, reason, source, part_of: None }.into()
}

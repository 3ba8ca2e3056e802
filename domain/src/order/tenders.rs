//! The payments of an order: what each was asked for, holds and gives back. A tender is one source of money.

use serde::{Deserialize, Serialize};

use super::{
    LineAmount, Order, OrderPaymentAdded, OrderPaymentEnded, OrderPaymentRecorded, OrderRefund, OrderRefusal,
    OrderStatus, PAYMENTS_MAX, RefundRecord, TenderEnding, balance, decide::Decided, leaving::decide_cancel,
};
use crate::{
    Amount, PaymentId, RefundId, credit::CreditSource, new_charge::NewCharge, payment_terms::PaymentTerms,
    shares,
};

/// A payment of an order, as the order knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tender {
    pub payment_id: PaymentId,
    /// What it was requested for, in minor units.
    pub amount: Amount,
    /// Its amounts as recorded last.
    pub recorded: OrderPaymentRecorded,
    /// Set if it asks for no more money although the order goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<TenderEnding>,
    /// What it may keep of the money that it captures, once the order has ended: its part of what the customer owed
    /// at the end, and what the order itself refunds. It refunds all other money, also money that arrives later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_at_closing: Option<Amount>,
    /// The changes of the order when it was added. Only later ones adjust it: see [`Order::adjustments_of_payments`].
    #[serde(default, skip_serializing_if = "super::event::is_zero")]
    pub(super) added_at: u32,
}

/// The part of a payment that answers to commands on its order contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenderSummary {
    pub payment_id: PaymentId,
    pub amount: Amount,
    pub status: TenderStatus,
    /// The charge that the order was placed with.
    pub charge: Option<NewCharge>,
    /// Set for the credit of an exchange.
    pub credit: Option<CreditSource>,
}

/// The status of a payment, as far as its order knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TenderStatus {
    Requested,
    /// A part of the amount or all of it.
    Captured,
    Failed,
    Voided,
}

impl TenderStatus {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Captured => "captured",
            Self::Failed => "failed",
            Self::Voided => "voided",
        }
    }
}

impl Tender {
    pub(super) fn new(payment_id: PaymentId, amount: Amount) -> Self {
        let recorded =
            OrderPaymentRecorded { payment_id: Some(payment_id), ..OrderPaymentRecorded::default() };
        Self { payment_id, amount, recorded, ending: None, kept_at_closing: None, added_at: 0 }
    }

    pub fn status(&self) -> TenderStatus {
        match self.ending {
            _ if self.recorded.captured.is_positive() => TenderStatus::Captured,
            Some(TenderEnding::Failed) => TenderStatus::Failed,
            Some(TenderEnding::Voided) => TenderStatus::Voided,
            None => TenderStatus::Requested,
        }
    }

    /// What it still asks the customer for.
    pub fn asks_for(&self) -> Amount {
        match (self.ending, self.kept_at_closing) {
            (None, None) => self.amount.saturating_sub(self.recorded.captured).max(Amount::ZERO),
            (Some(_), _) | (_, Some(_)) => Amount::ZERO,
        }
    }
}

impl Order {
    /// Its payments, in the order in which they were added.
    pub fn tenders(&self) -> &[Tender] {
        &self.tenders
    }

    pub fn tender(&self, payment_id: PaymentId) -> Option<&Tender> {
        self.tenders.iter().find(|tender| tender.payment_id == payment_id)
    }

    /// The first payment.
    pub fn payment_id(&self) -> Option<PaymentId> {
        self.tenders.first().map(|tender| tender.payment_id)
    }

    pub fn captured(&self) -> Amount {
        self.recorded_in_all(|recorded| recorded.captured)
    }

    pub fn refunded(&self) -> Amount {
        self.recorded_in_all(|recorded| recorded.refunded)
    }

    pub fn refunds_failed(&self) -> Amount {
        self.recorded_in_all(|recorded| recorded.refunds_failed)
    }

    /// Refunds that the provider made without a request. [`Order::refunded`] includes those that are paid.
    pub fn refunded_at_provider(&self) -> Amount {
        self.recorded_in_all(|recorded| recorded.refunded_at_provider)
    }

    /// Taken from the captured amount by disputes that are open or lost.
    pub fn disputed(&self) -> Amount {
        self.recorded_in_all(|recorded| recorded.disputed)
    }

    fn recorded_in_all(&self, of: impl Fn(&OrderPaymentRecorded) -> Amount) -> Amount {
        sum(self.tenders.iter().map(|tender| of(&tender.recorded)))
    }

    pub(super) fn tender_summaries(&self) -> Vec<TenderSummary> {
        let charge_of = |index: usize| {
            let placed = self.placed.as_ref()?;
            let charges = placed.payments.iter().map(|payment| payment.charge.as_ref());
            charges.chain(placed.payment.as_ref().map(Some)).nth(index)?.cloned()
        };
        let summary = |(index, tender): (usize, &Tender)| TenderSummary {
            payment_id: tender.payment_id,
            amount: tender.amount,
            status: tender.status(),
            charge: charge_of(index),
            credit: self.placed.as_ref().and_then(|placed| placed.payments.get(index)?.credit),
        };
        self.tenders.iter().enumerate().map(summary).collect()
    }

    /// The tender that an event or a command names. None names the first.
    pub(super) fn tender_mut(&mut self, payment_id: Option<PaymentId>) -> &mut Tender {
        let is_named = |tender: &&mut Tender| payment_id.is_none_or(|id| id == tender.payment_id);
        let known = self.tenders.iter_mut().find(is_named);
        known.expect("decide names only payments that the order has")
    }

    /// The captured amount without refunds that are done or requested, and without what pays other orders.
    pub fn kept(&self) -> Amount {
        let by_tenders = sum(self.tenders.iter().map(|tender| self.kept_of(tender)));
        by_tenders.saturating_sub(self.credited())
    }

    /// What a tender keeps. What disputes took and what the provider refunded without a request is gone too.
    fn kept_of(&self, tender: &Tender) -> Amount {
        let OrderPaymentRecorded {
            captured, refunded, refunds_failed, refunded_at_provider, disputed, ..
        } = tender.recorded;
        let requested = self.refunds_requested(tender, |_| true).saturating_sub(refunds_failed);
        let on_request = refunded.saturating_sub(refunded_at_provider).max(requested);
        captured.saturating_sub(disputed).saturating_sub(refunded_at_provider).saturating_sub(on_request)
    }

    /// What a refund may be: what the order keeps, without the money that the payments of an ended order refund by
    /// themselves. Money that arrived after the order had ended is refundable.
    pub fn refundable(&self) -> Amount {
        let by_tenders = sum(self.tenders.iter().map(|tender| self.refundable_of(tender)));
        by_tenders.min(self.kept()).max(Amount::ZERO)
    }

    fn refundable_of(&self, tender: &Tender) -> Amount {
        let OrderPaymentRecorded { captured, captured_late, .. } = tender.recorded;
        let kept = self.kept_of(tender);
        let kept = tender.kept_at_closing.map_or(kept, |kept_at_closing| {
            let to_keep = kept_at_closing.saturating_add(captured_late);
            kept.min(captured.min(to_keep).saturating_sub(self.requested_by_hand(tender)))
        });
        kept.max(Amount::ZERO)
    }

    /// What a refund from this payment, or without one from any, may be.
    pub(super) fn refundable_from(&self, payment_id: Option<PaymentId>) -> Amount {
        let Some(payment_id) = payment_id else { return self.refundable() };
        let of_tender = self.tender(payment_id).map_or(Amount::ZERO, |tender| self.refundable_of(tender));
        of_tender.min(self.refundable())
    }

    /// Refunds that the order requested, without failed ones.
    pub(super) fn refunds_not_failed(&self) -> Amount {
        let of_tender = |tender: &Tender| {
            let requested = self.refunds_requested(tender, |_| true);
            requested.saturating_sub(tender.recorded.refunds_failed).max(Amount::ZERO)
        };
        sum(self.tenders.iter().map(of_tender))
    }

    /// The refunds of a tender that it does not repeat by itself, without failed ones.
    fn requested_by_hand(&self, tender: &Tender) -> Amount {
        let requested = self.refunds_requested(tender, |at_closing| !at_closing);
        requested.saturating_sub(tender.recorded.refunds_failed).max(Amount::ZERO)
    }

    /// The sum of the refunds that the order requested of a tender, failed ones included. `counts` takes
    /// [`RefundRecord::at_closing`]. Earlier builds refunded the first tender without naming it.
    fn refunds_requested(&self, tender: &Tender, counts: impl Fn(bool) -> bool) -> Amount {
        let is_counted = |refund: &&RefundRecord| {
            counts(refund.at_closing) && refund.payment_id.or(self.payment_id()) == Some(tender.payment_id)
        };
        sum(self.refunds.iter().filter(is_counted).map(|refund| refund.amount))
    }

    /// Decides what each tender of an order that ends now may keep: see [`Tender::kept_at_closing`]. `refunds` go back
    /// at the end. The money that pays other orders is kept too. The oldest money is kept first. What the customer still owes may come from the tenders that ask
    /// for it.
    pub(super) fn close_tenders(&mut self, refunds: &[OrderRefund]) {
        let mut left = self.owed().saturating_add(self.credited());
        let mut take = |at_most: Amount| {
            let taken = left.min(at_most.max(Amount::ZERO));
            left = left.saturating_sub(taken);
            taken
        };
        let refunded = |tender: &Tender| {
            sum(refunds.iter().filter(|part| part.payment_id == tender.payment_id).map(|part| part.amount))
        };
        let held = self.tenders.iter();
        let held: Vec<Amount> =
            held.map(|tender| take(self.kept_of(tender).saturating_sub(refunded(tender)))).collect();
        let asked: Vec<Amount> = self.tenders.iter().map(|tender| take(tender.asks_for())).collect();
        let kept = self.tenders.iter().zip(held.into_iter().zip(asked)).map(|(tender, (held, asked))| {
            held.saturating_add(asked).saturating_add(self.requested_by_hand(tender))
        });
        let mut kept: Vec<Amount> = kept.collect();
        if let Some(first) = kept.first_mut() {
            *first = first.saturating_add(left);
        }
        for (tender, kept) in self.tenders.iter_mut().zip(kept) {
            tender.kept_at_closing = Some(kept);
        }
    }

    /// Lowers what the tenders of an ended order may keep, because units came back that were not paid: the newest first,
    /// and none below what it holds.
    pub(super) fn keep_less(&mut self, amount: Amount) {
        let held = |tender: &Tender| self.kept_of(tender).saturating_add(self.requested_by_hand(tender));
        let held: Vec<Amount> = self.tenders.iter().map(held).collect();
        let mut rest = amount;
        for (tender, held) in self.tenders.iter_mut().zip(held).rev() {
            let Some(kept) = tender.kept_at_closing else { continue };
            let less = kept.saturating_sub(held).min(rest).max(Amount::ZERO);
            rest = rest.saturating_sub(less);
            tender.kept_at_closing = Some(kept.saturating_sub(less));
        }
    }

    /// Divides a refund over the tenders that hold it: the given one, or all, the newest first.
    pub(super) fn divided(
        &self,
        refund_id: RefundId,
        amount: Amount,
        source: Option<PaymentId>,
    ) -> Vec<OrderRefund> {
        let (mut refunds, mut rest) = (Vec::new(), amount);
        let tenders = self.tenders.iter().rev();
        for tender in tenders.filter(|tender| source.is_none_or(|id| id == tender.payment_id)) {
            let part = self.refundable_of(tender).min(rest);
            if part.is_positive() {
                let payment_id = tender.payment_id;
                let is_first = refunds.is_empty();
                let refund_id =
                    if is_first { refund_id } else { RefundId::of_payment(refund_id, payment_id) };
                refunds.push(OrderRefund { refund_id, payment_id, amount: part });
                rest = rest.saturating_sub(part);
            }
        }
        refunds
    }

    /// The refunds of the latest command that requested any.
    pub(super) fn latest_refunds(&self) -> Vec<OrderRefund> {
        let Some(last) = self.refunds.last() else { return Vec::new() };
        let first = last.part_of.unwrap_or(last.refund_id);
        let latest =
            self.refunds.iter().filter(|refund| refund.refund_id == first || refund.part_of == Some(first));
        let with_payment = latest.filter_map(|refund| {
            let (refund_id, amount) = (refund.refund_id, refund.amount);
            refund.payment_id.map(|payment_id| OrderRefund { refund_id, payment_id, amount })
        });
        with_payment.collect()
    }

    /// What is to be paid and no payment asks for.
    pub fn unclaimed(&self) -> Amount {
        let asked = sum(self.tenders.iter().map(Tender::asks_for));
        self.amount_due().saturating_sub(asked).max(Amount::ZERO)
    }
}

pub(super) fn decide_record(order: &Order, reported: &OrderPaymentRecorded) -> Decided {
    let Some(payment_id) = reported.payment_id.or(order.payment_id()) else {
        return Err(OrderRefusal::NoPayment);
    };
    let tender = order.tender(payment_id).ok_or(OrderRefusal::UnknownPayment(payment_id))?;
    let known = tender.recorded;
    let recorded = match reported.corrections.cmp(&known.corrections) {
        std::cmp::Ordering::Less => known,
        // Cumulative amounts only grow, so the larger amount is the later one and a late report changes nothing.
        std::cmp::Ordering::Equal => OrderPaymentRecorded {
            payment_id: known.payment_id,
            captured: reported.captured.max(known.captured),
            refunded: reported.refunded.max(known.refunded),
            refunds_failed: reported.refunds_failed.max(known.refunds_failed),
            refunded_at_provider: reported.refunded_at_provider.max(known.refunded_at_provider),
            disputed: reported.disputed.max(known.disputed),
            captured_late: reported.captured_late.max(known.captured_late),
            corrections: known.corrections,
        },
        std::cmp::Ordering::Greater => OrderPaymentRecorded { payment_id: known.payment_id, ..*reported },
    };
    if recorded == known {
        return Ok(Vec::new());
    }
    Ok(vec![recorded.into()])
}

pub(super) fn decide_add(
    order: &Order,
    payment_id: PaymentId,
    amount: Option<Amount>,
    charge: Option<NewCharge>,
) -> Decided {
    if order.tender(payment_id).is_some() {
        return Ok(Vec::new());
    }
    if order.status() != OrderStatus::Allocated {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    if amount.is_some_and(|amount| !amount.is_positive()) {
        return Err(super::InvalidOrder::PaymentAmount { payment: None }.into());
    }
    if let Some(charge) = &charge {
        charge.check().map_err(super::InvalidOrder::from)?;
    }
    if order.tenders().len() >= PAYMENTS_MAX {
        return Err(OrderRefusal::TooManyParts);
    }
    if order.terms() == PaymentTerms::OnShipment {
        return Err(OrderRefusal::TermsOfOnePayment);
    }
    let unclaimed = order.unclaimed();
    let amount = amount.unwrap_or(unclaimed);
    if amount > unclaimed || !amount.is_positive() {
        return Err(OrderRefusal::PaymentTooLarge { unclaimed });
    }
    Ok(vec![OrderPaymentAdded { payment_id, amount, charge }.into()])
}

/// A payment that fails for good or is voided ends the order only if no other payment is left and no money arrived.
/// The payment of an order that is not prepaid may be charged again, so it goes on asking for its money. A void of the
/// payment of a net order leaves its open money to other payments.
pub(super) fn decide_end(
    order: &Order,
    payment_id: PaymentId,
    ending: TenderEnding,
    captured: Amount,
) -> Decided {
    let tender = order.tender(payment_id).ok_or(OrderRefusal::UnknownPayment(payment_id))?;
    if order.status().is_final() || tender.ending.is_some() {
        return Ok(Vec::new());
    }
    let ended = || vec![OrderPaymentEnded { payment_id, ending }.into()];
    match (order.terms(), ending) {
        (PaymentTerms::Net, TenderEnding::Failed) => return Ok(Vec::new()),
        (PaymentTerms::Net, TenderEnding::Voided) => return Ok(ended()),
        (PaymentTerms::Prepaid | PaymentTerms::OnShipment, _) => {}
    }
    let mut others = order.tenders().iter().filter(|other| other.payment_id != payment_id);
    let is_last = others.all(|other| other.ending.is_some());
    let has_money = captured.is_positive() || order.captured().is_positive();
    let is_to_ship = order.lines().iter().any(|line| line.open() > 0);
    if is_last && !has_money && !order.is_paid() && is_to_ship {
        return decide_cancel(order, super::NewCancellation::of_the_rest(payment_id.into(), ending.into()));
    }
    Ok(if order.terms().is_prepaid() { ended() } else { Vec::new() })
}

/// Adds the refunds of an event. An event of version 1 lists none: it has one, with this id and amount.
pub(super) fn request_refunds(
    order: &mut Order,
    refunds: &[OrderRefund],
    only: (RefundId, Amount),
    lines: &[LineAmount],
) {
    let (refund_id, amount) = only;
    if refunds.is_empty() && amount.is_positive() {
        let (payment_id, lines) = (order.payment_id(), part_of(amount, lines));
        let record = RefundRecord { refund_id, payment_id, amount, lines, at_closing: false, part_of: None };
        order.refunds.push(record);
    }
    record_refunds(order, refunds, lines, false);
}

/// `lines`: what the refunds together are for. The first refund is for the first lines.
pub(super) fn record_refunds(
    order: &mut Order,
    refunds: &[OrderRefund],
    lines: &[LineAmount],
    at_closing: bool,
) {
    let mut left = part_of(sum(refunds.iter().map(|refund| refund.amount)), lines);
    let first = refunds.first().map(|refund| refund.refund_id);
    for OrderRefund { refund_id, payment_id, amount } in refunds.iter().copied() {
        let mut lines = Vec::new();
        let mut rest = amount;
        for part in &mut left {
            let taken = part.amount.min(rest);
            if taken.is_positive() {
                lines.push(LineAmount { line: part.line, amount: taken });
                part.amount = part.amount.saturating_sub(taken);
                rest = rest.saturating_sub(taken);
            }
        }
        let part_of = first.filter(|first| *first != refund_id);
        let payment_id = Some(payment_id);
        order.refunds.push(RefundRecord { refund_id, payment_id, amount, lines, at_closing, part_of });
    }
}

/// The amounts of the lines, reduced in proportion if they add up to more than the refund.
pub(super) fn part_of(refund: Amount, lines: &[LineAmount]) -> Vec<LineAmount> {
    let weights: Vec<Amount> = lines.iter().map(|part| part.amount).collect();
    let parts = if balance::sum(lines) <= refund { Some(weights) } else { shares::spread(refund, &weights) };
    let parts = lines.iter().zip(parts.unwrap_or_default());
    let parts = parts.map(|(part, amount)| LineAmount { line: part.line, amount });
    parts.filter(|part| part.amount.is_positive()).collect()
}

fn sum(amounts: impl Iterator<Item = Amount>) -> Amount {
    amounts.fold(Amount::ZERO, Amount::saturating_add)
}

//! Payment terms: when an order ships, what a shipment captures, and whether the order can expire.
//!
//! - `prepaid`: ships when it is paid.
//! - `on_shipment`: ships when what it then owes for shipped goods is authorized. Its payment is to have captured
//!   what the customer would owe if the rest were cancelled then: the worth of the shipped units and, with the first
//!   shipment, the adjustments that are not spread. So the captures of all shipments together are exactly what the
//!   customer owes.
//! - `net`: ships when it is allocated. Its money is due later, and it never expires.

use super::{
    LineQuantity, Order, OrderAuthorizationRecorded, OrderEvent, OrderRefusal, OrderStatus, PlaceOrder,
    Tender,
};
use crate::{Amount, PaymentId, Timestamp, payment::PaymentAdjusted, payment_terms::PaymentTerms};

impl Order {
    /// Orders of version 1 are prepaid.
    pub fn terms(&self) -> PaymentTerms {
        self.placed.as_ref().and_then(|placed| placed.terms).unwrap_or_default()
    }

    /// What the payments have authorized, what is captured included. Known only of an order that ships on an
    /// authorisation. An authorisation counts until its end is recorded: see [`Order::authorized_until`].
    pub fn authorized(&self) -> Amount {
        self.authorized_where(|_| true)
    }

    /// When the first authorisation of this order runs out, or ran out.
    pub fn authorized_until(&self) -> Option<Timestamp> {
        self.authorizations.iter().filter_map(|known| known.until).min()
    }

    /// What the customer would owe if the units that are not shipped were cancelled now. 0 before the first shipment.
    pub fn owed_for_shipped(&self) -> Amount {
        if self.status.is_final() {
            self.owed()
        } else if self.is_unshipped() {
            Amount::ZERO
        } else {
            self.owed_once_shipped(&[])
        }
    }

    /// What is still to be paid for shipped goods.
    pub fn due_for_shipped(&self) -> Amount {
        self.owed_for_shipped().saturating_sub(self.kept()).max(Amount::ZERO)
    }

    /// True if units wait for their shipment alone: a prepaid order is paid, and an authorisation covers what all units
    /// of an order that ships on one make due. An authorisation counts until its end is recorded.
    pub fn is_to_ship(&self) -> bool {
        let may_ship = || match self.terms() {
            PaymentTerms::Prepaid | PaymentTerms::Net => check_ready(self).is_ok(),
            PaymentTerms::OnShipment => {
                self.to_capture(self.owed()) <= self.authorized().max(self.captured())
            }
        };
        self.status() == OrderStatus::Allocated && self.has_open_units() && may_ship()
    }

    /// From when on the money of the order is overdue, if it is not paid by then. `None` if no money is due, or if the
    /// order expires instead. An order that ships on an authorisation is overdue from the start: its money is due with
    /// each shipment.
    pub fn overdue_from(&self) -> Option<Timestamp> {
        let is_open = match self.status {
            OrderStatus::Allocated | OrderStatus::Cancelled => true,
            OrderStatus::New | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired => false,
        };
        match self.terms() {
            PaymentTerms::Net if is_open && self.amount_due().is_positive() => self.payment_due_at(),
            PaymentTerms::OnShipment if is_open && self.due_for_shipped().is_positive() => self.placed_at(),
            PaymentTerms::Prepaid | PaymentTerms::OnShipment | PaymentTerms::Net => None,
        }
    }

    /// What each payment is to take after units left or were shipped, and how much of it is to be captured by now. Also
    /// what an ended order keeps of it. Empty for a prepaid order that has not ended.
    ///
    /// Refunds that the order requested are added, because these amounts are compared with what was captured in all.
    pub(crate) fn adjustments_of_payments(&self) -> Vec<(PaymentId, PaymentAdjusted)> {
        let due = match self.terms() {
            PaymentTerms::OnShipment => self.to_capture(self.owed_for_shipped()),
            PaymentTerms::Prepaid | PaymentTerms::Net => Amount::ZERO,
        };
        let number = self.changes();
        let follows = |tender: &Tender| {
            let is_changed = number > tender.added_at;
            is_changed && (!self.terms().is_prepaid() || tender.kept_at_closing.is_some())
        };
        let tenders = self.tenders().iter().zip(self.amounts_to_take());
        let adjusted = |(tender, amount): (&Tender, Amount)| {
            let amount = Some(amount).filter(|_| !self.terms().is_prepaid());
            let amount_due = tender.kept_at_closing;
            (tender.payment_id, PaymentAdjusted { amount, capture_due: due, amount_due, number })
        };
        tenders.filter(|(tender, _)| follows(tender)).map(adjusted).collect()
    }

    /// What each payment is to take in all. The only payment of an order that ships on an authorisation takes all.
    ///
    /// The payments of a net order take at most what they were asked for, the oldest first, and keep what they
    /// captured. One that has ended takes no more. What is left is unclaimed: see [`Order::unclaimed`].
    fn amounts_to_take(&self) -> Vec<Amount> {
        let whole = self.to_capture(self.owed());
        if self.terms() == PaymentTerms::OnShipment {
            return self.tenders().iter().map(|_| whole).collect();
        }
        let mut rest = whole.saturating_sub(self.captured()).max(Amount::ZERO);
        let take = |tender: &Tender| {
            let captured = tender.recorded.captured;
            let at_most = if tender.ending.is_some() { captured } else { tender.amount };
            let more = at_most.saturating_sub(captured).max(Amount::ZERO).min(rest);
            rest = rest.saturating_sub(more);
            captured.saturating_add(more)
        };
        self.tenders().iter().map(take).collect()
    }

    /// False if the order never expires, or not any more.
    ///
    /// An authorisation may run out. Then the customer is asked again, so the order stays open.
    pub(super) fn can_expire(&self) -> bool {
        match self.terms() {
            PaymentTerms::Prepaid => true,
            PaymentTerms::OnShipment => self.authorizations.is_empty(),
            PaymentTerms::Net => false,
        }
    }

    /// True if the customer has paid what is due by now: for an order that ships on an authorisation, what was
    /// shipped.
    pub(super) fn is_settled(&self) -> bool {
        match self.terms() {
            PaymentTerms::Prepaid | PaymentTerms::Net => self.is_paid(),
            PaymentTerms::OnShipment => self.kept() >= self.owed_for_shipped(),
        }
    }

    /// What the customer owes by now once shipped units of this value are back.
    pub(super) fn owed_after_return(&self, value: Amount) -> Amount {
        match self.terms() {
            PaymentTerms::Prepaid | PaymentTerms::Net => self.owed_without(value),
            PaymentTerms::OnShipment => self.owed_for_shipped().saturating_sub(value).max(Amount::ZERO),
        }
    }

    /// What the customer owes less once these units are cancelled, less what was already refunded for them.
    ///
    /// An order that ships on an authorisation has been paid for shipped units only, so a refund for a line is for
    /// them first.
    pub(super) fn value_of_open(&self, part: LineQuantity) -> Amount {
        let refunded = self.refunded_for(part.line);
        let refunded = match self.terms() {
            PaymentTerms::Prepaid | PaymentTerms::Net => refunded,
            PaymentTerms::OnShipment => refunded.saturating_sub(self.worth_of_shipped(part.line)),
        };
        self.worth_of_open(part).saturating_sub(refunded.max(Amount::ZERO)).max(Amount::ZERO)
    }

    /// [`Order::owed_for_shipped`] after these units are shipped too.
    fn owed_once_shipped(&self, shipping: &[LineQuantity]) -> Amount {
        let mut open: Vec<u32> = self.lines().iter().map(super::Line::open).collect();
        for part in shipping {
            if let Some(open) = (part.line as usize).checked_sub(1).and_then(|index| open.get_mut(index)) {
                *open = open.saturating_sub(part.quantity);
            }
        }
        let parts = (1..).zip(open).map(|(line, quantity)| LineQuantity { line, quantity });
        let values = parts.filter(|part| part.quantity > 0).map(|part| self.value_of_open(part));
        self.owed_without(values.fold(Amount::ZERO, Amount::saturating_add))
    }

    /// What is to be captured in all so that the order keeps `owed`, beside what it refunds and what it pays for other
    /// orders.
    fn to_capture(&self, owed: Amount) -> Amount {
        owed.saturating_add(self.refunds_not_failed()).saturating_add(self.credited())
    }

    /// What is authorized at this time, what is captured included.
    fn authorized_at(&self, now: Timestamp) -> Amount {
        let alive = self.authorized_where(|known| known.until.is_none_or(|until| now < until));
        alive.max(self.captured())
    }

    fn authorized_where(&self, counts: impl Fn(&OrderAuthorizationRecorded) -> bool) -> Amount {
        let counted = self.authorizations.iter().filter(|known| counts(known));
        counted.fold(Amount::ZERO, |sum, known| sum.saturating_add(known.authorized))
    }

    /// Counts the events that may change what the payments are to take, so that a late adjustment changes nothing. The
    /// end of the order adjusts no payment: it closes them.
    pub(super) fn changes(&self) -> u32 {
        let undone = self.shipments.iter().filter(|shipment| shipment.is_undone()).count();
        let refunds = self.refunds.iter().filter(|refund| !refund.at_closing).count();
        let taken_back = self.credits.iter().map(|credit| credit.times_taken_back as usize).sum::<usize>();
        let parts = self.shipments.len() + undone + self.returns.len() + self.cancellations.len();
        let count = parts + taken_back + refunds;
        u32::try_from(count).unwrap_or(u32::MAX)
    }
}

/// Checks that each shipment can be captured: the provider captures in parts, and the order has one payment. The money
/// of a shipment is not divided over several authorisations, of which some may have run out.
pub(super) fn check_supported(place: &PlaceOrder) -> Result<(), OrderRefusal> {
    if place.terms != PaymentTerms::OnShipment {
        return Ok(());
    }
    if !place.payments.is_empty() {
        return Err(OrderRefusal::TermsOfOnePayment);
    }
    if place.captures_in_parts { Ok(()) } else { Err(OrderRefusal::TermsNotSupported) }
}

/// Checks that the order may ship at all, before its lines are looked at.
pub(super) fn check_ready(order: &Order) -> Result<(), OrderRefusal> {
    match order.terms() {
        PaymentTerms::Prepaid if order.is_paid() => Ok(()),
        PaymentTerms::Prepaid => {
            let is_all_refunded = order.captured().is_positive() && !order.kept().is_positive();
            Err(if is_all_refunded { OrderRefusal::AllRefunded } else { OrderRefusal::NotPaid })
        }
        PaymentTerms::OnShipment | PaymentTerms::Net => Ok(()),
    }
}

/// Checks that what these units make due is authorized.
pub(super) fn check_authorized(
    order: &Order,
    shipping: &[LineQuantity],
    now: Timestamp,
) -> Result<(), OrderRefusal> {
    if order.terms() != PaymentTerms::OnShipment {
        return Ok(());
    }
    let needed = order.to_capture(order.owed_once_shipped(shipping));
    let authorized = order.authorized_at(now);
    if needed <= authorized { Ok(()) } else { Err(OrderRefusal::NotAuthorized { needed, authorized }) }
}

/// Records what a payment has authorized, unless a later report is known. Only an order that ships on an authorisation
/// needs to know it, and only once there was one.
pub(super) fn record_authorization(order: &Order, reported: OrderAuthorizationRecorded) -> Vec<OrderEvent> {
    let known = order.authorizations.iter().find(|known| known.payment_id == reported.payment_id);
    let is_late = known.map_or(reported.authorized.is_zero(), |known| known.number >= reported.number);
    let is_followed = order.terms() == PaymentTerms::OnShipment && !order.status().is_final();
    if is_late || !is_followed { Vec::new() } else { vec![reported.into()] }
}

/// Whether units of an order that is not paid yet can be cancelled one by one. The payment of a prepaid order asks for
/// the whole total until it is paid.
pub(super) fn may_cancel_units(order: &Order) -> bool {
    match order.terms() {
        PaymentTerms::Prepaid => order.is_paid(),
        PaymentTerms::OnShipment | PaymentTerms::Net => true,
    }
}

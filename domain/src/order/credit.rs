//! Credits of exchanges: what an order pays for other orders out of its own money.
//!
//! The order counts a credit like a refund, but the money stays where it is. So its payments may hold more than the
//! order keeps. When the new order refunds a part of the credit, the order takes this part back and refunds it.

use serde::{Deserialize, Serialize};

use super::{
    LineAmount, Order, OrderCreditTakenBack, OrderEvent, OrderReturned, PaymentTerms,
    tenders::{part_of, record_refunds},
};
use crate::{Amount, ExchangeId, OrderId, RefundId, ReturnId, credit::CreditSource, heap::HeapBytes};

/// A credit, as the order that gave it knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreditRecord {
    pub exchange_id: ExchangeId,
    pub return_id: ReturnId,
    /// The new order.
    pub order_id: OrderId,
    /// What was given, in minor units.
    pub amount: Amount,
    /// What the new order gave back of it.
    #[serde(default, skip_serializing_if = "Amount::is_zero")]
    pub taken_back: Amount,
    #[serde(default)]
    pub times_taken_back: u32,
    /// What the amount is for: the returned lines.
    pub lines: Vec<LineAmount>,
}

impl CreditRecord {
    /// What the new order still has of it.
    pub fn outstanding(&self) -> Amount {
        self.amount.saturating_sub(self.taken_back)
    }
}

impl HeapBytes for CreditRecord {
    fn heap_bytes(&self) -> usize {
        let Self {
            exchange_id: _,
            return_id: _,
            order_id: _,
            amount: _,
            taken_back: _,
            times_taken_back: _,
            lines,
        } = self;
        lines.heap_bytes()
    }
}

impl Order {
    /// What it pays for other orders: the credits of its exchanges, in the order in which they were given.
    pub fn credits(&self) -> &[CreditRecord] {
        &self.credits
    }

    /// The sum of its credits, without what was taken back.
    pub fn credited(&self) -> Amount {
        self.credits.iter().fold(Amount::ZERO, |sum, credit| sum.saturating_add(credit.outstanding()))
    }

    /// True if the units of this exchange are back.
    pub fn has_exchanged(&self, exchange_id: ExchangeId) -> bool {
        self.credits.iter().any(|credit| credit.exchange_id == exchange_id)
    }

    /// Set for the new order of an exchange.
    pub fn exchange_of(&self) -> Option<CreditSource> {
        let placed = self.placed.as_ref()?;
        placed.payments.iter().find_map(|payment| payment.credit)
    }

    /// What the customer owes by now, under the terms of the order.
    fn owed_by_now(&self) -> Amount {
        match self.terms() {
            PaymentTerms::Prepaid | PaymentTerms::Net => self.owed(),
            PaymentTerms::OnShipment => self.owed_for_shipped(),
        }
    }
}

/// Takes back a part of a credit. It is refunded as far as the order then holds more than the customer owes.
pub(super) fn take_back(
    order: &Order,
    exchange_id: ExchangeId,
    refund_id: RefundId,
    amount: Amount,
) -> Vec<OrderEvent> {
    let known = order.credits.iter().find(|credit| credit.exchange_id == exchange_id);
    let outstanding = known.map_or(Amount::ZERO, CreditRecord::outstanding);
    let amount = amount.min(outstanding);
    if !amount.is_positive() {
        return Vec::new();
    }
    let mut taken = OrderCreditTakenBack { exchange_id, refund_id, amount, refunds: Vec::new() };
    let mut after = order.clone();
    evolve_taken_back(&mut after, &taken);
    let beyond_owed = after.refundable().saturating_sub(after.owed_by_now());
    let refund = amount.min(beyond_owed).max(Amount::ZERO);
    taken.refunds = after.divided(refund_id, refund, None);
    vec![taken.into()]
}

/// Records the credit of a return. `values` is what each returned line was worth. Returns what the credit leaves of
/// it for a refund.
pub(super) fn give(
    order: &mut Order,
    returned: &OrderReturned,
    mut values: Vec<LineAmount>,
) -> Vec<LineAmount> {
    let Some(credit) = returned.credit else { return values };
    let lines = part_of(credit.amount, &values);
    for given in &lines {
        let of_line = values.iter_mut().filter(|value| value.line == given.line);
        of_line.for_each(|value| value.amount = value.amount.saturating_sub(given.amount));
    }
    order.credits.push(CreditRecord {
        exchange_id: credit.exchange_id,
        return_id: returned.return_id,
        order_id: credit.order_id,
        amount: credit.amount,
        taken_back: Amount::ZERO,
        times_taken_back: 0,
        lines,
    });
    values
}

pub(super) fn evolve_taken_back(order: &mut Order, taken: &OrderCreditTakenBack) {
    let known = order.credits.iter_mut().find(|credit| credit.exchange_id == taken.exchange_id);
    let credit = known.expect("decide takes back only credits that the order gave");
    credit.taken_back = credit.taken_back.saturating_add(taken.amount);
    credit.times_taken_back += 1;
    let lines = credit.lines.clone();
    record_refunds(order, &taken.refunds, &lines, false);
}

//! The money of an order: what the customer owes, has paid and gets back.

use super::{
    LineAmount, LineQuantity, Order, OrderEvent, OrderPaid, OrderStatus, PaymentStatus, PaymentTerms,
    evolve::evolve,
};
use crate::{
    Amount,
    shares::{AdjustmentKind, worth_of_first},
};

impl Order {
    /// What the customer owes in all: the worth of the units that are neither cancelled nor returned, plus the
    /// adjustments that are not spread, less reductions of the price. 0 or more.
    pub fn owed(&self) -> Amount {
        self.owed.max(Amount::ZERO)
    }

    /// What the customer still has to pay.
    pub fn amount_due(&self) -> Amount {
        self.owed().saturating_sub(self.kept()).max(Amount::ZERO)
    }

    /// What was paid beyond what the customer owes, and no refund is requested for. Without the money that the
    /// payments of an ended order refund by themselves.
    pub fn overpaid(&self) -> Amount {
        self.refundable().saturating_sub(self.owed()).max(Amount::ZERO)
    }

    /// What goes back to the customer and is not paid out yet: refunds that are requested, and the money that the
    /// payments of an ended order refund by themselves.
    pub fn refund_due(&self) -> Amount {
        let left = self.captured().saturating_sub(self.disputed()).saturating_sub(self.refunded());
        left.saturating_sub(self.credited()).saturating_sub(self.refundable()).max(Amount::ZERO)
    }

    /// True if the customer has paid what is owed, net of refunds. An order with a total of 0 is paid when it is
    /// allocated; an ended order, if it was paid before it ended. An order of version 1 stays paid.
    pub fn is_paid(&self) -> bool {
        let is_net = self.placed.as_ref().is_some_and(|placed| placed.terms.is_some());
        match self.status {
            OrderStatus::Allocated if is_net => self.kept() >= self.owed(),
            OrderStatus::New
            | OrderStatus::Placed
            | OrderStatus::Allocated
            | OrderStatus::Rejected
            | OrderStatus::Cancelled
            | OrderStatus::Expired => self.paid,
        }
    }

    /// True if the order goes on, or ended after a shipment, and the customer has paid all that is owed.
    fn is_paid_in_full(&self) -> bool {
        let asks_for_money = match self.status {
            OrderStatus::Allocated => true,
            OrderStatus::Cancelled => !self.is_unshipped(),
            OrderStatus::New | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired => false,
        };
        asks_for_money && self.kept() >= self.owed()
    }

    /// True if the order is open, not paid and no part of it is shipped, and its terms let it expire: only then does
    /// it.
    pub fn awaits_payment(&self) -> bool {
        match self.status {
            OrderStatus::Placed | OrderStatus::Allocated => {
                !self.is_paid() && self.is_unshipped() && self.can_expire()
            }
            OrderStatus::New | OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => false,
        }
    }

    pub(super) fn is_unshipped(&self) -> bool {
        self.lines.iter().all(|line| line.shipped == 0)
    }

    pub fn payment_status(&self) -> PaymentStatus {
        if self.refunded().is_positive() {
            let is_all_refunded = self.refunded() >= self.captured();
            return if is_all_refunded { PaymentStatus::Refunded } else { PaymentStatus::PartiallyRefunded };
        }
        if self.captured().is_positive() {
            let is_enough = self.kept() >= self.owed();
            return if is_enough { PaymentStatus::Paid } else { PaymentStatus::PartiallyPaid };
        }
        match self.status {
            OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => PaymentStatus::NotDue,
            OrderStatus::Allocated if self.is_paid() => PaymentStatus::Paid,
            OrderStatus::New | OrderStatus::Placed | OrderStatus::Allocated => PaymentStatus::Pending,
        }
    }

    /// By how much a refund by hand, of which a part names lines, reduces the price, so that the customer owes
    /// less. What was paid too much goes back first.
    ///
    /// Goodwill neither stops the shipment of a paid order nor makes it overdue. A refund of all the money does,
    /// while units are still to be shipped.
    pub(super) fn lowers_owed(&self, refund: Amount, for_lines: Amount) -> Amount {
        let takes_all = refund >= self.kept();
        let is_to_ship = self.lines.iter().any(|line| line.open() > 0);
        // An order that ships on an authorisation holds only money for shipped goods.
        let holds_money_for_more = self.terms() != PaymentTerms::OnShipment;
        let stops_shipping = takes_all && is_to_ship && holds_money_for_more;
        let is_reduction = self.status.is_final() || (self.is_settled() && !stops_shipping);
        if !is_reduction {
            return Amount::ZERO;
        }
        let owed_by_now = if holds_money_for_more { self.owed() } else { self.owed_for_shipped() };
        let overpaid = self.kept().saturating_sub(owed_by_now).max(Amount::ZERO);
        let beyond_overpaid = refund.saturating_sub(for_lines).saturating_sub(overpaid);
        for_lines.saturating_add(beyond_overpaid.max(Amount::ZERO))
    }

    /// What the customer owes in all once units of this value have left.
    pub(super) fn owed_without(&self, value: Amount) -> Amount {
        self.owed.saturating_sub(value).max(Amount::ZERO)
    }

    /// What the customer owes less once these shipped units are back, less what was already refunded for them.
    pub(super) fn value_of(&self, part: LineQuantity) -> Amount {
        let returned = self.line(part.line).map_or(0, |line| line.returned);
        let worth = self.worth_between(part.line, returned, returned.saturating_add(part.quantity));
        worth.saturating_sub(self.refunded_for(part.line)).max(Amount::ZERO)
    }

    /// What units of a line are worth that will not be shipped.
    pub(super) fn worth_of_open(&self, part: LineQuantity) -> Amount {
        let left = self.line(part.line).map_or(0, |line| line.quantity - line.cancelled);
        self.worth_between(part.line, left.saturating_sub(part.quantity), left)
    }

    /// What the shipped units of a line are worth that are not back.
    pub(super) fn worth_of_shipped(&self, line: u32) -> Amount {
        let units = self.line(line).map_or((0, 0), |line| (line.returned, line.shipped));
        self.worth_between(line, units.0, units.1)
    }

    /// What was refunded for this line, and is not taken off the value of a unit that left it.
    pub(super) fn refunded_for(&self, number: u32) -> Amount {
        let Some(line) = self.line(number) else { return Amount::ZERO };
        let live = self.worth_between(number, line.returned, line.quantity - line.cancelled);
        live.saturating_sub(line.balance).max(Amount::ZERO)
    }

    /// What the units of a line from one place to another are worth. Units ship and come back from the first one on, and
    /// are cancelled from the last one on. So no cancellation or return changes what other units are worth.
    fn worth_between(&self, line: u32, from: u32, to: u32) -> Amount {
        let Some(line) = self.line(line) else { return Amount::ZERO };
        let worth_of_first = |count| worth_of_first(count, line.quantity, line.total());
        worth_of_first(to).saturating_sub(worth_of_first(from))
    }

    /// The sum of the adjustments that are not spread over the lines.
    pub fn unspread(&self) -> Amount {
        let is_added =
            |kind: Option<AdjustmentKind>| kind.is_none_or(|kind| kind.is_added(self.prices_include_tax()));
        let unspread = self.adjustments().iter().filter(|one| !one.spread && is_added(one.kind));
        unspread.fold(Amount::ZERO, |sum, adjustment| sum.saturating_add(adjustment.amount))
    }
}

/// Adds that the order is paid, if these events make it so: money came in, or the customer owes less.
pub(super) fn with_paid(order: &Order, mut events: Vec<OrderEvent>) -> Vec<OrderEvent> {
    if order.is_paid() || !events.iter().any(may_pay) {
        return events;
    }
    let mut after = order.clone();
    for event in &events {
        evolve(&mut after, event);
    }
    if after.is_paid_in_full() {
        events.push(OrderPaid {}.into());
    }
    events
}

/// True if an order may be paid after this event and not before it.
fn may_pay(event: &OrderEvent) -> bool {
    match event {
        OrderEvent::Allocated(allocated) => allocated.payment_id.is_none(),
        OrderEvent::PaymentRecorded(_)
        | OrderEvent::Returned(_)
        | OrderEvent::RefundRequested(_)
        | OrderEvent::CreditTakenBack(_)
        | OrderEvent::LinesCancelled(_)
        | OrderEvent::Cancelled(_) => true,
        OrderEvent::Placed(_)
        | OrderEvent::Rejected(_)
        | OrderEvent::PaymentAdded(_)
        | OrderEvent::PaymentEnded(_)
        | OrderEvent::Paid(_)
        | OrderEvent::Shipped(_)
        | OrderEvent::Delivered(_)
        | OrderEvent::ShipmentUndone(_)
        | OrderEvent::DueMoved(_)
        | OrderEvent::AuthorizationRecorded(_)
        | OrderEvent::Expired(_) => false,
    }
}

/// The sum of amounts of lines.
pub(super) fn sum(lines: &[LineAmount]) -> Amount {
    lines.iter().fold(Amount::ZERO, |sum, part| sum.saturating_add(part.amount))
}

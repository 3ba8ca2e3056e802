//! The money of an order: what the customer owes, has paid and gets back.

use super::{LineAmount, LineQuantity, Order, OrderStatus, PaymentStatus};
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
        left.saturating_sub(self.refundable()).max(Amount::ZERO)
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

    /// True if the order is open, not paid and no part of it is shipped: only then can it expire.
    pub fn awaits_payment(&self) -> bool {
        match self.status {
            OrderStatus::Placed | OrderStatus::Allocated => !self.is_paid() && self.is_unshipped(),
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
        let is_reduction = self.status.is_final() || (self.is_paid() && !(takes_all && is_to_ship));
        if !is_reduction {
            return Amount::ZERO;
        }
        let beyond_overpaid = refund.saturating_sub(for_lines).saturating_sub(self.overpaid());
        for_lines.saturating_add(beyond_overpaid.max(Amount::ZERO))
    }

    /// What the customer owes in all once units of this value have left.
    pub(super) fn owed_without(&self, value: Amount) -> Amount {
        self.owed.saturating_sub(value).max(Amount::ZERO)
    }

    /// What the customer owes less once these units leave their line, less what was already refunded for them.
    pub(super) fn value_of(&self, part: LineQuantity) -> Amount {
        let Some(line) = self.line(part.line) else { return Amount::ZERO };
        let left = line.cancelled + line.returned;
        let worth_after = |count| {
            line.total().saturating_sub(worth_of_first(
                left.saturating_add(count),
                line.quantity,
                line.total(),
            ))
        };
        let already_refunded = worth_after(0).saturating_sub(line.balance).max(Amount::ZERO);
        let worth = worth_after(0).saturating_sub(worth_after(part.quantity));
        worth.saturating_sub(already_refunded).max(Amount::ZERO)
    }

    /// The sum of the adjustments that are not spread over the lines.
    pub fn unspread(&self) -> Amount {
        let is_added =
            |kind: Option<AdjustmentKind>| kind.is_none_or(|kind| kind.is_added(self.prices_include_tax()));
        let unspread = self.adjustments().iter().filter(|one| !one.spread && is_added(one.kind));
        unspread.fold(Amount::ZERO, |sum, adjustment| sum.saturating_add(adjustment.amount))
    }
}

/// The sum of amounts of lines.
pub(super) fn sum(lines: &[LineAmount]) -> Amount {
    lines.iter().fold(Amount::ZERO, |sum, part| sum.saturating_add(part.amount))
}

//! The money of an order: what the customer owes, has paid and gets back.

use super::{LineAmount, LineQuantity, Order, OrderPaymentRecorded, OrderRefund, OrderStatus, PaymentStatus};
use crate::{Amount, shares::worth_of_first};

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

    /// What was paid beyond what the customer owes, and no refund is requested for.
    pub fn overpaid(&self) -> Amount {
        self.kept().saturating_sub(self.owed()).max(Amount::ZERO)
    }

    /// The captured amount without refunds that are done or requested.
    pub fn kept(&self) -> Amount {
        self.kept_of(&self.payment_recorded())
    }

    /// [`Order::kept`] once its payment has these amounts.
    ///
    /// What disputes took and what the provider refunded without a request is gone too.
    pub(super) fn kept_of(&self, amounts: &OrderPaymentRecorded) -> Amount {
        let OrderPaymentRecorded {
            captured, refunded, refunds_failed, refunded_at_provider, disputed, ..
        } = *amounts;
        let requested = self.refunds_requested(|_| true).saturating_sub(refunds_failed);
        let on_request = refunded.saturating_sub(refunded_at_provider).max(requested);
        captured.saturating_sub(disputed).saturating_sub(refunded_at_provider).saturating_sub(on_request)
    }

    /// What a refund may be: what the order keeps, without the money that the payment of an ended order refunds by
    /// itself. Money that arrived after the order had ended is refundable.
    pub fn refundable(&self) -> Amount {
        let kept = self.kept_at_closing.map_or(self.kept(), |kept_at_closing| {
            let to_keep = kept_at_closing.saturating_add(self.captured_late);
            let by_hand = self.captured.min(to_keep).saturating_sub(self.requested_by_hand());
            self.kept().min(by_hand)
        });
        kept.max(Amount::ZERO)
    }

    /// What the payment of an ended order may keep of the money that it captures: what the customer owed at the
    /// end, and what the order itself refunds. The payment refunds all other money, also money that arrives later.
    /// None while the order is open.
    pub fn kept_at_closing(&self) -> Option<Amount> {
        self.kept_at_closing
    }

    /// [`Order::kept_at_closing`] of an order that ends now.
    pub(super) fn to_keep(&self) -> Amount {
        self.owed().saturating_add(self.requested_by_hand())
    }

    /// Refunds that the payment does not repeat by itself, without failed ones.
    fn requested_by_hand(&self) -> Amount {
        let requested = self.refunds_requested(|at_closing| !at_closing);
        requested.saturating_sub(self.refunds_failed).max(Amount::ZERO)
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
        if self.refunded.is_positive() {
            let is_all_refunded = self.refunded >= self.captured;
            return if is_all_refunded { PaymentStatus::Refunded } else { PaymentStatus::PartiallyRefunded };
        }
        if self.captured.is_positive() {
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

    /// Divides a refund over the payments of the order.
    pub(super) fn divided(&self, refund_id: crate::RefundId, amount: Amount) -> Vec<OrderRefund> {
        let payment = self.payment_id.filter(|_| amount.is_positive());
        payment.map(|payment_id| OrderRefund { refund_id, payment_id, amount }).into_iter().collect()
    }

    /// The refunds of the latest command that requested any.
    pub(super) fn latest_refunds(&self) -> Vec<OrderRefund> {
        let latest = self.refunds.last().into_iter();
        let with_payment = latest.filter_map(|refund| {
            let (refund_id, amount) = (refund.refund_id, refund.amount);
            refund.payment_id.map(|payment_id| OrderRefund { refund_id, payment_id, amount })
        });
        with_payment.collect()
    }

    /// The sum of the refunds that the order requested, failed ones included. `counts` takes
    /// [`RefundRecord::at_closing`](super::RefundRecord::at_closing).
    fn refunds_requested(&self, counts: impl Fn(bool) -> bool) -> Amount {
        let counted = self.refunds.iter().filter(|refund| counts(refund.at_closing));
        counted.fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount))
    }

    /// The sum of the adjustments that are not spread over the lines.
    pub(super) fn unspread(&self) -> Amount {
        let unspread = self.adjustments().iter().filter(|adjustment| !adjustment.spread);
        unspread.fold(Amount::ZERO, |sum, adjustment| sum.saturating_add(adjustment.amount))
    }
}

/// The sum of amounts of lines.
pub(super) fn sum(lines: &[LineAmount]) -> Amount {
    lines.iter().fold(Amount::ZERO, |sum, part| sum.saturating_add(part.amount))
}

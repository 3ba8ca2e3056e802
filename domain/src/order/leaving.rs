//! Units that leave an order, and money that goes back: cancellations, returns and refunds by hand.

use super::{
    CancelReason, CancelledLine, InvalidOrder, LineAmount, LineQuantity, NewCancellation, NewReturn, Order,
    OrderCancelled, OrderLinesCancelled, OrderRefundRequested, OrderRefusal, OrderReturned, OrderStatus,
    PARTS_MAX, ReturnedLine, balance,
    decide::{Decided, open_quantities},
    placing::check_texts,
    terms,
};
use crate::{Amount, PaymentId, RefundId, credit::CreditGiven};

/// The return of shipped units. `credit` is the part of their value that pays the new order of an exchange.
pub(crate) fn returned(
    order: &Order,
    new_return: NewReturn,
    credit: Option<CreditGiven>,
) -> Result<OrderReturned, OrderRefusal> {
    if !order.exists() {
        return Err(OrderRefusal::NotFound);
    }
    let NewReturn { return_id, lines, refund_amount, reason } = new_return;
    check_texts(&[("reason", reason.as_ref())])?;
    check_distinct(lines.iter().map(|part| part.line))?;
    if order.returns().len() >= PARTS_MAX {
        return Err(OrderRefusal::TooManyParts);
    }
    let mut returned = Vec::with_capacity(lines.len());
    let mut total = Amount::ZERO;
    for part in lines {
        let line = order.line(part.line).ok_or(OrderRefusal::UnknownLine(part.line))?;
        let returnable = line.shipped - line.returned;
        if part.quantity == 0 || part.quantity > returnable {
            let (line, requested) = (part.line, part.quantity);
            return Err(OrderRefusal::NotReturnable { line, requested, returnable });
        }
        let value = order.value_of(LineQuantity { line: part.line, quantity: part.quantity });
        total = total.saturating_add(value);
        let (line, quantity, restock) = (part.line, part.quantity, part.restock);
        returned.push(ReturnedLine { line, quantity, restock, value: Some(value) });
    }
    let owed_after = order.owed_after_return(total);
    let Settled { mut refund_amount, withheld } = settle(order, owed_after, Some(total), refund_amount)?;
    if let Some(credit) = credit {
        check_refundable(credit.amount, refund_amount)?;
        refund_amount = refund_amount.saturating_sub(credit.amount);
    }
    let refunds = order.divided(return_id.into(), refund_amount, None);
    Ok(OrderReturned { return_id, lines: returned, refund_amount, withheld, reason, refunds, credit })
}

/// The money of units that leave.
struct Settled {
    refund_amount: Amount,
    /// See [`OrderReturned::withheld`].
    withheld: Amount,
}

/// Decides what is refunded for units that leave. `owed_after` is what the customer owes without them. If no amount is
/// requested, the customer gets back what was paid beyond it, at most `at_most`.
fn settle(
    order: &Order,
    owed_after: Amount,
    at_most: Option<Amount>,
    requested: Option<Amount>,
) -> Result<Settled, OrderRefusal> {
    let beyond = order.kept().saturating_sub(owed_after).max(Amount::ZERO);
    let due_back = at_most.map_or(beyond, |at_most| beyond.min(at_most));
    let refund_amount = requested.unwrap_or(due_back);
    if refund_amount.is_negative() {
        return Err(InvalidOrder::RefundAmount.into());
    }
    check_refundable(refund_amount, order.refundable())?;
    Ok(Settled { refund_amount, withheld: due_back.saturating_sub(refund_amount) })
}

pub(super) fn decide_cancel(order: &Order, cancellation: NewCancellation) -> Decided {
    let NewCancellation { cancellation_id, reason, note, lines, refund_amount } = cancellation;
    check_texts(&[("note", note.as_ref())])?;
    // A failed or voided payment does not cancel an order that was paid meanwhile, has ended or has shipped whole.
    let payment_is_the_reason = match reason {
        CancelReason::PaymentFailed | CancelReason::PaymentVoided => true,
        CancelReason::Requested => false,
    };
    let is_all_shipped = open_quantities(order).is_empty();
    if payment_is_the_reason && (order.is_paid() || order.status().is_final() || is_all_shipped) {
        return Ok(Vec::new());
    }
    match order.status() {
        OrderStatus::Cancelled if lines.is_none() => return Ok(Vec::new()),
        OrderStatus::Placed | OrderStatus::Allocated => {}
        OrderStatus::New | OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => {
            return Err(OrderRefusal::WrongStatus(order.status()));
        }
    }
    let (units, is_whole) = units_to_cancel(order, lines)?;
    let value_of = |part: &LineQuantity| {
        let LineQuantity { line, quantity } = *part;
        CancelledLine { line, quantity, value: Some(order.value_of_open(*part)) }
    };
    let lines: Vec<CancelledLine> = units.iter().map(value_of).collect();
    let values = lines.iter().filter_map(|line| line.value);
    let total = values.fold(Amount::ZERO, Amount::saturating_add);
    let owed_after = order.owed_without(total);
    if !is_whole {
        let Settled { refund_amount, withheld } = settle(order, owed_after, Some(total), refund_amount)?;
        let refunds = order.divided(cancellation_id.into(), refund_amount, None);
        return Ok(vec![OrderLinesCancelled { cancellation_id, note, lines, withheld, refunds }.into()]);
    }
    // Shipping and fees stay due for what was shipped, and drop out if nothing was.
    let unspread = if order.is_unshipped() { order.unspread() } else { Amount::ZERO };
    let owed_after = order.owed_without(total.saturating_add(unspread));
    let Settled { refund_amount, withheld } = settle(order, owed_after, None, refund_amount)?;
    let mut owed = owed_after.saturating_add(withheld).max(Amount::ZERO);
    if order.is_unshipped() {
        // An order that ended without a shipment asks for no more money.
        owed = owed.min(order.kept().saturating_sub(refund_amount).max(Amount::ZERO));
    }
    let refunds = order.divided(cancellation_id.into(), refund_amount, None);
    Ok(vec![OrderCancelled { reason, note, lines, owed, refunds }.into()])
}

/// The units to cancel, and whether no other unit is left to ship.
fn units_to_cancel(
    order: &Order,
    requested: Option<Vec<LineQuantity>>,
) -> Result<(Vec<LineQuantity>, bool), OrderRefusal> {
    let open = open_quantities(order);
    if open.is_empty() {
        return Err(OrderRefusal::NothingToCancel);
    }
    let Some(units) = requested else { return Ok((open, true)) };
    check_distinct(units.iter().map(|part| part.line))?;
    for part in &units {
        let line = order.line(part.line).ok_or(OrderRefusal::UnknownLine(part.line))?;
        if part.quantity == 0 || part.quantity > line.open() {
            let (line, requested, cancellable) = (part.line, part.quantity, line.open());
            return Err(OrderRefusal::NotCancellable { line, requested, cancellable });
        }
    }
    let count = |units: &[LineQuantity]| units.iter().map(|part| u64::from(part.quantity)).sum::<u64>();
    let is_whole = count(&units) == count(&open);
    if !is_whole && order.status() != OrderStatus::Allocated {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    if !is_whole && !terms::may_cancel_units(order) {
        return Err(OrderRefusal::NotPaid);
    }
    Ok((units, is_whole))
}

pub(super) fn decide_refund(
    order: &Order,
    (refund_id, amount): (RefundId, Amount),
    lines: Vec<LineAmount>,
    payment_id: Option<PaymentId>,
    reason: Option<String>,
) -> Decided {
    check_texts(&[("reason", reason.as_ref())])?;
    if !amount.is_positive() || lines.iter().any(|part| !part.amount.is_positive()) {
        return Err(InvalidOrder::RefundAmount.into());
    }
    if !lines.is_empty() {
        check_distinct(lines.iter().map(|part| part.line))?;
    }
    if balance::sum(&lines) > amount {
        return Err(InvalidOrder::LinesAboveRefund.into());
    }
    if order.refunds().len() >= 2 * PARTS_MAX {
        return Err(OrderRefusal::TooManyParts);
    }
    if let Some(payment_id) = payment_id.filter(|id| order.tender(*id).is_none()) {
        return Err(OrderRefusal::UnknownPayment(payment_id));
    }
    check_refundable(amount, order.refundable_from(payment_id))?;
    for part in &lines {
        let line = order.line(part.line).ok_or(OrderRefusal::UnknownLine(part.line))?;
        if part.amount > line.balance {
            let (line, requested, refundable) = (part.line, part.amount, line.balance.max(Amount::ZERO));
            return Err(OrderRefusal::LineRefundTooLarge { line, requested, refundable });
        }
    }
    let lowers_owed = Some(order.lowers_owed(amount, balance::sum(&lines)));
    let refunds = order.divided(refund_id, amount, payment_id);
    Ok(vec![OrderRefundRequested { refund_id, amount, lines, lowers_owed, reason, refunds }.into()])
}

fn check_refundable(requested: Amount, refundable: Amount) -> Result<(), OrderRefusal> {
    if requested > refundable {
        return Err(OrderRefusal::RefundTooLarge { requested, refundable });
    }
    Ok(())
}

pub(super) fn check_distinct(lines: impl Iterator<Item = u32>) -> Result<(), InvalidOrder> {
    let mut seen = std::collections::HashSet::new();
    let mut count = 0;
    for line in lines {
        count += 1;
        seen.insert(line);
    }
    if count == 0 || seen.len() < count { Err(InvalidOrder::RepeatedLine) } else { Ok(()) }
}

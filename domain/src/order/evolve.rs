//! The fold of an order's events. Events of earlier versions lack the worth of the units that leave; it is then
//! computed as those builds did: version 1 has no shares, so a unit is worth its price.

use super::{
    CancellationRecord, CancelledLine, Line, LineAmount, LineQuantity, Order, OrderCancelled, OrderEvent,
    OrderLine, OrderLinesCancelled, OrderPlaced, OrderRefund, OrderRefundRequested, OrderReturned,
    OrderStatus, RefundRecord, ReturnRecord, Shipment, balance, state::Placed,
};
use crate::{Amount, RefundId, ShipmentId, shares};

pub(super) fn evolve(order: &mut Order, event: &OrderEvent) {
    match event {
        OrderEvent::Placed(placed) => place(order, placed),
        OrderEvent::Allocated(allocated) => {
            order.status = OrderStatus::Allocated;
            order.payment_id = allocated.payment_id;
            order.paid = allocated.payment_id.is_none();
        }
        OrderEvent::Rejected(rejected) => {
            order.status = OrderStatus::Rejected;
            order.shortages.clone_from(&rejected.shortages);
            owe_nothing(order);
        }
        OrderEvent::PaymentRecorded(payment) => {
            order.captured = payment.captured;
            order.refunded = payment.refunded;
            order.refunds_failed = payment.refunds_failed;
            order.refunded_at_provider = payment.refunded_at_provider;
            order.disputed = payment.disputed;
            order.captured_late = payment.captured_late;
            order.payment_corrections = payment.corrections;
        }
        OrderEvent::Paid(_) => order.paid = true,
        OrderEvent::Shipped(shipped) => {
            for part in &shipped.lines {
                order.line_mut(part.line).shipped += part.quantity;
            }
            order.shipments.push(Shipment {
                shipment_id: shipped.shipment_id,
                lines: shipped.lines.clone(),
                carrier: shipped.carrier.clone(),
                tracking_number: shipped.tracking_number.clone(),
                delivered: false,
                undone_among: None,
            });
        }
        OrderEvent::Delivered(delivered) => deliver(order, delivered.shipment_id),
        OrderEvent::ShipmentUndone(undone) => {
            for part in &undone.lines {
                order.line_mut(part.line).shipped -= part.quantity;
            }
            let shipments = order.shipments.len();
            order.shipment_mut(undone.shipment_id).undone_among = Some(shipments);
        }
        OrderEvent::DueMoved(moved) => {
            let placed =
                order.placed.as_mut().expect("decide moves the due time only of an order that was placed");
            placed.payment_due_at = moved.payment_due_at;
        }
        OrderEvent::Returned(returned) => take_back(order, returned),
        OrderEvent::RefundRequested(refund) => refund_by_hand(order, refund),
        OrderEvent::LinesCancelled(cancelled) => cancel_lines(order, cancelled),
        OrderEvent::Cancelled(cancelled) => cancel(order, cancelled),
        OrderEvent::Expired(_) => {
            for line in &mut order.lines {
                line.cancelled = line.quantity - line.shipped;
            }
            order.status = OrderStatus::Expired;
            owe_nothing(order);
        }
    }
}

fn place(order: &mut Order, placed: &OrderPlaced) {
    let as_line = |line: &OrderLine| {
        let mut line = Line {
            sku: line.sku.clone(),
            quantity: line.quantity,
            unit_price: line.unit_price,
            stocked: line.stocked,
            shipped: 0,
            delivered: 0,
            returned: 0,
            cancelled: 0,
            adjustments: line.adjustments.clone(),
            shares: line.shares,
            balance: Amount::ZERO,
        };
        line.balance = line.total();
        line
    };
    order.status = OrderStatus::Placed;
    order.lines = placed.lines.iter().map(as_line).collect();
    order.owed = placed.total;
    order.placed = Some(Placed {
        order_id: placed.order_id,
        customer_id: placed.customer_id.clone(),
        currency: placed.currency,
        country: placed.country.clone(),
        adjustments: placed.adjustments.clone(),
        total: placed.total,
        reference: placed.reference.clone(),
        metadata: placed.metadata.clone(),
        placed_at: placed.placed_at,
        payment_due_at: placed.payment_due_at,
        terms: placed.terms,
        payment: placed.payment.clone(),
    });
}

fn deliver(order: &mut Order, id: ShipmentId) {
    let shipment = order.shipment_mut(id);
    shipment.delivered = true;
    for part in shipment.lines.clone() {
        order.line_mut(part.line).delivered += part.quantity;
    }
}

fn take_back(order: &mut Order, returned: &OrderReturned) {
    let mut values = Vec::with_capacity(returned.lines.len());
    for part in &returned.lines {
        let units = LineQuantity { line: part.line, quantity: part.quantity };
        values.push(leave(order, units, part.value));
        order.line_mut(part.line).returned += part.quantity;
    }
    let value = balance::sum(&values);
    order.owed = order.owed_without(value).saturating_add(returned.withheld);
    order.returns.push(ReturnRecord {
        return_id: returned.return_id,
        lines: returned.lines.clone(),
        refund_amount: returned.refund_amount,
    });
    request_refunds(order, &returned.refunds, (returned.return_id.into(), returned.refund_amount), &values);
}

fn refund_by_hand(order: &mut Order, refund: &OrderRefundRequested) {
    let reduction = refund.lowers_owed.unwrap_or_else(|| order.lowers_owed(refund.amount, Amount::ZERO));
    if reduction.is_positive() {
        for part in &refund.lines {
            let line = order.line_mut(part.line);
            line.balance = line.balance.saturating_sub(part.amount);
        }
        order.owed = order.owed.saturating_sub(reduction);
    }
    request_refunds(order, &refund.refunds, (refund.refund_id, refund.amount), &refund.lines);
}

fn cancel_lines(order: &mut Order, cancelled: &OrderLinesCancelled) {
    let values = cancel_units(order, &cancelled.lines);
    order.owed = order.owed_without(balance::sum(&values)).saturating_add(cancelled.withheld);
    let cancellation_id = cancelled.cancellation_id;
    order.cancellations.push(CancellationRecord { cancellation_id, lines: cancelled.lines.clone() });
    record_refunds(order, &cancelled.refunds, &values, false);
}

fn cancel(order: &mut Order, cancelled: &OrderCancelled) {
    let is_version_1 = cancelled.lines.iter().all(|part| part.value.is_none());
    let values = cancel_units(order, &cancelled.lines);
    let value = balance::sum(&values);
    order.owed = match is_version_1 {
        true if order.is_unshipped() => Amount::ZERO,
        true => order.owed_without(value),
        false => cancelled.owed,
    };
    // Version 1 closed the payment with what the order keeps in all.
    order.kept_at_closing = Some(if is_version_1 { cancelled.owed } else { order.to_keep() });
    order.status = OrderStatus::Cancelled;
    order.cancel_reason = Some(cancelled.reason);
    record_refunds(order, &cancelled.refunds, &values, true);
}

fn cancel_units(order: &mut Order, lines: &[CancelledLine]) -> Vec<LineAmount> {
    let mut values = Vec::with_capacity(lines.len());
    for part in lines {
        let units = LineQuantity { line: part.line, quantity: part.quantity };
        values.push(leave(order, units, part.value));
        order.line_mut(part.line).cancelled += part.quantity;
    }
    values
}

/// Takes the value of units that leave off the balance of their line. Returns it.
fn leave(order: &mut Order, units: LineQuantity, recorded: Option<Amount>) -> LineAmount {
    let value = recorded.unwrap_or_else(|| order.value_of(units));
    let line = order.line_mut(units.line);
    line.balance = line.balance.saturating_sub(value);
    LineAmount { line: units.line, amount: value }
}

fn owe_nothing(order: &mut Order) {
    order.owed = Amount::ZERO;
    for line in &mut order.lines {
        line.balance = Amount::ZERO;
    }
    order.kept_at_closing = Some(order.to_keep());
}

/// Adds the refunds of an event. An event of version 1 lists none: it has one, with this id and amount.
fn request_refunds(
    order: &mut Order,
    refunds: &[OrderRefund],
    only: (RefundId, Amount),
    lines: &[LineAmount],
) {
    let (refund_id, amount) = only;
    if refunds.is_empty() && amount.is_positive() {
        let (payment_id, lines) = (order.payment_id, part_of(amount, lines));
        order.refunds.push(RefundRecord { refund_id, payment_id, amount, lines, at_closing: false });
    }
    record_refunds(order, refunds, lines, false);
}

/// `lines`: what the refunds together are for.
fn record_refunds(order: &mut Order, refunds: &[OrderRefund], lines: &[LineAmount], at_closing: bool) {
    for OrderRefund { refund_id, payment_id, amount } in refunds.iter().copied() {
        let (payment_id, lines) = (Some(payment_id), part_of(amount, lines));
        order.refunds.push(RefundRecord { refund_id, payment_id, amount, lines, at_closing });
    }
}

/// The amounts of the lines, reduced in proportion if they add up to more than the refund.
fn part_of(refund: Amount, lines: &[LineAmount]) -> Vec<LineAmount> {
    let weights: Vec<Amount> = lines.iter().map(|part| part.amount).collect();
    let parts = if balance::sum(lines) <= refund { Some(weights) } else { shares::spread(refund, &weights) };
    let parts = lines.iter().zip(parts.unwrap_or_default());
    let parts = parts.map(|(part, amount)| LineAmount { line: part.line, amount });
    parts.filter(|part| part.amount.is_positive()).collect()
}

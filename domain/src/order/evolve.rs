//! The fold of an order's events. Events of earlier versions lack the worth of the units that leave; it is then
//! computed as those builds did: version 1 has no shares, so a unit is worth its price.

use super::{
    CancellationRecord, CancelledLine, Line, LineAmount, LineQuantity, Order, OrderAuthorizationRecorded,
    OrderCancelled, OrderEvent, OrderLine, OrderLinesCancelled, OrderPaymentRecorded, OrderPlaced,
    OrderRefundRequested, OrderReturned, OrderStatus, ReturnRecord, Shipment, Tender, balance, credit,
    state::Placed,
    tenders::{record_refunds, request_refunds},
};
use crate::{Amount, ShipmentId};

pub(super) fn evolve(order: &mut Order, event: &OrderEvent) {
    match event {
        OrderEvent::Placed(placed) => place(order, placed),
        OrderEvent::Allocated(allocated) => {
            order.status = OrderStatus::Allocated;
            order.paid = allocated.payment_id.is_none();
            order.tenders = if allocated.payments.is_empty() {
                let only = allocated.payment_id.map(|id| Tender::new(id, order.total()));
                only.into_iter().collect()
            } else {
                let tenders = allocated.payments.iter();
                tenders.map(|tender| Tender::new(tender.payment_id, tender.amount)).collect()
            };
        }
        OrderEvent::Rejected(rejected) => {
            order.status = OrderStatus::Rejected;
            order.shortages.clone_from(&rejected.shortages);
            owe_nothing(order);
        }
        OrderEvent::PaymentRecorded(recorded) => {
            let tender = order.tender_mut(recorded.payment_id);
            tender.recorded = OrderPaymentRecorded { payment_id: Some(tender.payment_id), ..*recorded };
        }
        OrderEvent::PaymentAdded(added) => {
            let added_at = order.changes();
            order.tenders.push(Tender { added_at, ..Tender::new(added.payment_id, added.amount) });
        }
        OrderEvent::PaymentEnded(ended) => {
            order.tender_mut(Some(ended.payment_id)).ending = Some(ended.ending);
        }
        OrderEvent::Paid(_) => order.paid = true,
        OrderEvent::AuthorizationRecorded(recorded) => record_authorization(order, *recorded),
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
        OrderEvent::CreditTakenBack(taken) => credit::evolve_taken_back(order, taken),
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

fn record_authorization(order: &mut Order, recorded: OrderAuthorizationRecorded) {
    let mut known = order.authorizations.iter_mut();
    match known.find(|known| known.payment_id == recorded.payment_id) {
        Some(known) => *known = recorded,
        None => order.authorizations.push(recorded),
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
            tax_included: placed.prices_include_tax,
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
        prices_include_tax: placed.prices_include_tax,
        reference: placed.reference.clone(),
        metadata: placed.metadata.clone(),
        placed_at: placed.placed_at,
        payment_due_at: placed.payment_due_at,
        terms: placed.terms,
        payment: placed.payment.clone(),
        payments: placed.payments.clone(),
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
    let owed_before = order.owed();
    order.owed = order.owed_without(value).saturating_add(returned.withheld);
    let not_paid = owed_before.saturating_sub(order.owed()).saturating_sub(returned.refund_amount);
    order.keep_less(not_paid);
    order.returns.push(ReturnRecord {
        return_id: returned.return_id,
        lines: returned.lines.clone(),
        refund_amount: returned.refund_amount,
    });
    let values = credit::give(order, returned, values);
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
    match order.tenders.first_mut().filter(|_| is_version_1) {
        // Version 1 closed its only payment with what the order keeps in all.
        Some(tender) => tender.kept_at_closing = Some(cancelled.owed),
        None => order.close_tenders(&cancelled.refunds),
    }
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
    order.close_tenders(&[]);
}

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Adjustment, CancelReason, FulfilmentStatus, LineQuantity, OrderEvent, OrderLine, OrderPlaced,
    OrderStatus, PaymentStatus, ReturnLine, Shortage,
};
use crate::{
    Amount, Currency, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp, heap::HeapBytes,
    new_charge::NewCharge,
};

/// An order, folded from its stream.
///
/// The read models store this type, and each type inside it, as JSON. A new field therefore needs
/// `#[serde(default)]`, or a new schema version in both adapters (SQLite and Postgres): otherwise the stored
/// rows fail to decode.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    status: OrderStatus,
    placed: Option<Placed>,
    lines: Vec<Line>,
    shortages: Vec<Shortage>,
    payment_id: Option<PaymentId>,
    captured: Amount,
    refunded: Amount,
    refunds_failed: Amount,
    /// Refunds of returns and refunds by hand. The automatic refunds of a closed payment are not included.
    refunds: Vec<RefundRecord>,
    paid: bool,
    shipments: Vec<Shipment>,
    returns: Vec<ReturnRecord>,
    cancel_reason: Option<CancelReason>,
    /// Set when the order ends. Until then the total is due.
    amount_due: Option<Amount>,
}

/// The content of [`OrderPlaced`], without the lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    order_id: OrderId,
    customer_id: Option<String>,
    currency: Currency,
    country: Option<String>,
    adjustments: Vec<Adjustment>,
    total: Amount,
    reference: Option<String>,
    metadata: BTreeMap<String, String>,
    placed_at: Timestamp,
    payment_due_at: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    payment: Option<NewCharge>,
}

impl HeapBytes for Placed {
    fn heap_bytes(&self) -> usize {
        let Self {
            order_id: _,
            customer_id,
            currency: _,
            country,
            adjustments,
            total: _,
            reference,
            metadata,
            placed_at: _,
            payment_due_at: _,
            payment,
        } = self;
        customer_id.heap_bytes()
            + country.heap_bytes()
            + adjustments.heap_bytes()
            + reference.heap_bytes()
            + metadata.heap_bytes()
            + payment.heap_bytes()
    }
}

/// A line with its progress, in units.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub sku: Sku,
    pub quantity: u32,
    pub unit_price: Amount,
    pub stocked: bool,
    pub shipped: u32,
    pub delivered: u32,
    pub returned: u32,
    pub cancelled: u32,
}

impl Line {
    /// Units that can still be shipped.
    pub fn open(&self) -> u32 {
        self.quantity - self.shipped - self.cancelled
    }

    /// Units times price.
    pub fn value(&self) -> Amount {
        self.unit_price.saturating_mul(self.quantity)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub shipment_id: ShipmentId,
    pub lines: Vec<LineQuantity>,
    pub carrier: Option<String>,
    pub tracking_number: Option<String>,
    pub delivered: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnRecord {
    pub return_id: ReturnId,
    pub lines: Vec<ReturnLine>,
    pub refund_amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRecord {
    pub refund_id: RefundId,
    pub amount: Amount,
}

/// The part of an order that answers to commands contain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrderStateSummary {
    pub status: OrderStatus,
    pub payment_status: PaymentStatus,
    pub fulfilment_status: FulfilmentStatus,
    pub currency: Option<Currency>,
    pub total: Amount,
    pub captured: Amount,
    pub refunded: Amount,
    pub payment_id: Option<PaymentId>,
    pub new_charge: Option<NewCharge>,
    pub shortages: Vec<Shortage>,
}

impl Order {
    pub fn status(&self) -> OrderStatus {
        self.status
    }

    pub fn exists(&self) -> bool {
        self.status != OrderStatus::New
    }

    pub fn order_id(&self) -> Option<OrderId> {
        self.placed.as_ref().map(|placed| placed.order_id)
    }

    pub fn customer_id(&self) -> Option<&str> {
        self.placed.as_ref().and_then(|placed| placed.customer_id.as_deref())
    }

    pub fn country(&self) -> Option<&str> {
        self.placed.as_ref().and_then(|placed| placed.country.as_deref())
    }

    pub fn currency(&self) -> Option<Currency> {
        self.placed.as_ref().map(|placed| placed.currency)
    }

    pub fn reference(&self) -> Option<&str> {
        self.placed.as_ref().and_then(|placed| placed.reference.as_deref())
    }

    pub fn metadata(&self) -> Option<&BTreeMap<String, String>> {
        self.placed.as_ref().map(|placed| &placed.metadata)
    }

    pub fn placed_at(&self) -> Option<Timestamp> {
        self.placed.as_ref().map(|placed| placed.placed_at)
    }

    pub fn payment_due_at(&self) -> Option<Timestamp> {
        self.placed.as_ref().and_then(|placed| placed.payment_due_at)
    }

    /// The charge that the order was placed with.
    pub fn new_charge(&self) -> Option<&NewCharge> {
        self.placed.as_ref().and_then(|placed| placed.payment.as_ref())
    }

    pub fn adjustments(&self) -> &[Adjustment] {
        self.placed.as_ref().map_or(&[], |placed| &placed.adjustments)
    }

    /// Lines plus adjustments, as placed.
    pub fn total(&self) -> Amount {
        self.placed.as_ref().map_or(Amount::ZERO, |placed| placed.total)
    }

    /// What the customer owes in total: the total minus what a cancellation or an expiry removed.
    pub fn amount_due(&self) -> Amount {
        self.amount_due.unwrap_or(self.total())
    }

    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The line with this number, from 1.
    pub fn line(&self, number: u32) -> Option<&Line> {
        (number as usize).checked_sub(1).and_then(|index| self.lines.get(index))
    }

    pub fn shortages(&self) -> &[Shortage] {
        &self.shortages
    }

    pub fn payment_id(&self) -> Option<PaymentId> {
        self.payment_id
    }

    pub fn captured(&self) -> Amount {
        self.captured
    }

    pub fn refunded(&self) -> Amount {
        self.refunded
    }

    pub fn refunds_failed(&self) -> Amount {
        self.refunds_failed
    }

    pub fn refunds(&self) -> &[RefundRecord] {
        &self.refunds
    }

    pub fn shipments(&self) -> &[Shipment] {
        &self.shipments
    }

    pub fn returns(&self) -> &[ReturnRecord] {
        &self.returns
    }

    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.cancel_reason
    }

    /// True if the amount due was captured. An order with a total of 0 is paid when it is allocated.
    pub fn is_paid(&self) -> bool {
        self.paid
    }

    /// True if the order is open and not paid: only then can it expire.
    pub fn awaits_payment(&self) -> bool {
        match self.status {
            OrderStatus::Placed | OrderStatus::Allocated => !self.paid,
            OrderStatus::New | OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => false,
        }
    }

    /// What may still be refunded: the captured amount up to the amount due, minus the refunds requested and
    /// not failed.
    pub fn refundable(&self) -> Amount {
        let kept = self.captured.min(self.amount_due.unwrap_or(Amount::MAX));
        let requested =
            self.refunds.iter().fold(Amount::ZERO, |sum, refund| sum.saturating_add(refund.amount));
        kept.saturating_sub(requested.saturating_sub(self.refunds_failed)).max(Amount::ZERO)
    }

    pub fn payment_status(&self) -> PaymentStatus {
        if self.refunded.is_positive() {
            let is_all_refunded = self.refunded >= self.captured;
            return if is_all_refunded { PaymentStatus::Refunded } else { PaymentStatus::PartiallyRefunded };
        }
        if self.captured.is_positive() {
            let is_all_captured = self.captured >= self.amount_due();
            return if is_all_captured { PaymentStatus::Paid } else { PaymentStatus::PartiallyPaid };
        }
        match self.status {
            OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => PaymentStatus::NotDue,
            OrderStatus::Allocated if self.paid => PaymentStatus::Paid,
            OrderStatus::New | OrderStatus::Placed | OrderStatus::Allocated => PaymentStatus::Pending,
        }
    }

    pub fn fulfilment_status(&self) -> FulfilmentStatus {
        let any_stocked = self.lines.iter().any(|line| line.stocked);
        let counted = || self.lines.iter().filter(move |line| line.stocked || !any_stocked);
        let units = |of: fn(&Line) -> u32| counted().map(|line| u64::from(of(line))).sum::<u64>();
        let shipped = units(|line| line.shipped);
        let delivered = units(|line| line.delivered);
        let returned = units(|line| line.returned);
        let all_shipped = units(Line::open) == 0;
        if shipped == 0 {
            FulfilmentStatus::Unfulfilled
        } else if returned > 0 {
            let is_all_returned = returned == shipped && all_shipped;
            if is_all_returned { FulfilmentStatus::Returned } else { FulfilmentStatus::PartiallyReturned }
        } else if delivered > 0 {
            let is_all_delivered = delivered == shipped && all_shipped;
            if is_all_delivered { FulfilmentStatus::Delivered } else { FulfilmentStatus::PartiallyDelivered }
        } else if all_shipped {
            FulfilmentStatus::Shipped
        } else {
            FulfilmentStatus::PartiallyShipped
        }
    }

    pub fn summary(&self) -> OrderStateSummary {
        OrderStateSummary {
            status: self.status,
            payment_status: self.payment_status(),
            fulfilment_status: self.fulfilment_status(),
            currency: self.currency(),
            total: self.total(),
            captured: self.captured,
            refunded: self.refunded,
            payment_id: self.payment_id,
            new_charge: self.new_charge().cloned(),
            shortages: self.shortages.clone(),
        }
    }

    /// Bytes on the heap.
    pub(super) fn heap_bytes(&self) -> usize {
        let Self {
            status: _,
            placed,
            lines,
            shortages,
            payment_id: _,
            captured: _,
            refunded: _,
            refunds_failed: _,
            refunds,
            paid: _,
            shipments,
            returns,
            cancel_reason: _,
            amount_due: _,
        } = self;
        placed.heap_bytes()
            + lines.heap_bytes()
            + shortages.heap_bytes()
            + refunds.heap_bytes()
            + shipments.heap_bytes()
            + returns.heap_bytes()
    }

    fn line_mut(&mut self, number: u32) -> &mut Line {
        let index = (number as usize).wrapping_sub(1);
        self.lines.get_mut(index).expect("decide names only lines that the order has")
    }
}

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
            order.amount_due = Some(Amount::ZERO);
        }
        OrderEvent::PaymentRecorded(payment) => {
            order.captured = payment.captured;
            order.refunded = payment.refunded;
            order.refunds_failed = payment.refunds_failed;
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
            });
        }
        OrderEvent::Delivered(delivered) => deliver(order, delivered.shipment_id),
        OrderEvent::Returned(returned) => {
            for part in &returned.lines {
                order.line_mut(part.line).returned += part.quantity;
            }
            order.returns.push(ReturnRecord {
                return_id: returned.return_id,
                lines: returned.lines.clone(),
                refund_amount: returned.refund_amount,
            });
            if returned.refund_amount.is_positive() {
                let refund_id = returned.return_id.into();
                order.refunds.push(RefundRecord { refund_id, amount: returned.refund_amount });
            }
        }
        OrderEvent::RefundRequested(refund) => {
            order.refunds.push(RefundRecord { refund_id: refund.refund_id, amount: refund.amount });
        }
        OrderEvent::Cancelled(cancelled) => {
            for part in &cancelled.lines {
                order.line_mut(part.line).cancelled += part.quantity;
            }
            order.status = OrderStatus::Cancelled;
            order.cancel_reason = Some(cancelled.reason);
            order.amount_due = Some(cancelled.amount_due);
        }
        OrderEvent::Expired(_) => {
            for line in &mut order.lines {
                line.cancelled = line.quantity - line.shipped;
            }
            order.status = OrderStatus::Expired;
            order.amount_due = Some(Amount::ZERO);
        }
    }
}

fn place(order: &mut Order, placed: &OrderPlaced) {
    let as_line = |line: &OrderLine| Line {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        stocked: line.stocked,
        shipped: 0,
        delivered: 0,
        returned: 0,
        cancelled: 0,
    };
    order.status = OrderStatus::Placed;
    order.lines = placed.lines.iter().map(as_line).collect();
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
        payment: placed.payment.clone(),
    });
}

fn deliver(order: &mut Order, id: ShipmentId) {
    let known = order.shipments.iter_mut().find(|shipment| shipment.shipment_id == id);
    let shipment = known.expect("decide delivers only shipments that the order has");
    shipment.delivered = true;
    for part in shipment.lines.clone() {
        order.line_mut(part.line).delivered += part.quantity;
    }
}

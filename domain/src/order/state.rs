use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Adjustment, CancelReason, CancelledLine, CreditRecord, FulfilmentStatus, LineAdjustment, LineAmount,
    LineQuantity, NewTender, OrderAuthorizationRecorded, OrderRefund, OrderStatus, PaymentStatus,
    PaymentTerms, ReturnedLine, Shortage, Tender, TenderSummary,
};
use crate::{
    Amount, CancellationId, Currency, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp,
    heap::HeapBytes,
    new_charge::NewCharge,
    shares::{AdjustmentKind, Shares},
};

/// An order, folded from its stream.
///
/// The read models store this type, and each type inside it, as JSON. A new field therefore needs
/// `#[serde(default)]`, or a new schema version in both adapters (SQLite and Postgres): otherwise the stored
/// rows fail to decode.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Order {
    pub(super) status: OrderStatus,
    pub(super) placed: Option<Placed>,
    pub(super) lines: Vec<Line>,
    pub(super) shortages: Vec<Shortage>,
    /// Its payments, in the order in which they were added.
    pub(super) tenders: Vec<Tender>,
    /// What each payment has authorized. Empty unless the order ships on an authorisation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) authorizations: Vec<OrderAuthorizationRecorded>,
    /// Refunds that the order requested, in order.
    pub(super) refunds: Vec<RefundRecord>,
    pub(super) paid: bool,
    pub(super) shipments: Vec<Shipment>,
    pub(super) returns: Vec<ReturnRecord>,
    /// What it pays for other orders.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) credits: Vec<CreditRecord>,
    /// Cancellations after which the order went on.
    pub(super) cancellations: Vec<CancellationRecord>,
    pub(super) cancel_reason: Option<CancelReason>,
    /// What the customer owes: the balances of the lines, and what belongs to no line. [`Order::owed`] cuts it at 0.
    pub(super) owed: Amount,
}

/// The content of [`OrderPlaced`](super::OrderPlaced), without the lines.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Placed {
    pub(super) order_id: OrderId,
    pub(super) customer_id: Option<String>,
    pub(super) currency: Currency,
    pub(super) country: Option<String>,
    pub(super) adjustments: Vec<Adjustment>,
    pub(super) total: Amount,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) prices_include_tax: bool,
    pub(super) reference: Option<String>,
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) placed_at: Timestamp,
    pub(super) payment_due_at: Option<Timestamp>,
    pub(super) terms: Option<PaymentTerms>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) payment: Option<NewCharge>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) payments: Vec<NewTender>,
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
            prices_include_tax: _,
            reference,
            metadata,
            placed_at: _,
            payment_due_at: _,
            terms: _,
            payment,
            payments,
        } = self;
        customer_id.heap_bytes()
            + country.heap_bytes()
            + adjustments.heap_bytes()
            + reference.heap_bytes()
            + metadata.heap_bytes()
            + payment.heap_bytes()
            + payments.heap_bytes()
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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub adjustments: Vec<LineAdjustment>,
    #[serde(default, skip_serializing_if = "Shares::is_zero")]
    pub shares: Shares,
    /// True if the price contains the taxes of the line.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub tax_included: bool,
    /// What the customer owes for the units that are neither cancelled nor returned: their worth, less what was
    /// refunded for them.
    pub balance: Amount,
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

    /// The line's adjustments and its share of one kind.
    pub fn adjusted(&self, kind: AdjustmentKind) -> Amount {
        let of_kind = self.adjustments.iter().filter(|adjustment| adjustment.kind == kind);
        of_kind.fold(self.shares.of_kind(kind), |sum, adjustment| sum.saturating_add(adjustment.amount))
    }

    /// What all units of the line cost: units times price, the line's adjustments and its shares. The price may
    /// contain the taxes.
    pub fn total(&self) -> Amount {
        let added = AdjustmentKind::ALL.into_iter().filter(|kind| kind.is_added(self.tax_included));
        added.fold(self.value(), |sum, kind| sum.saturating_add(self.adjusted(kind)))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shipment {
    pub shipment_id: ShipmentId,
    pub lines: Vec<LineQuantity>,
    pub carrier: Option<String>,
    pub tracking_number: Option<String>,
    pub delivered: bool,
    /// Set if the shipment never left, so that its units are to be shipped again: how many shipments the order had
    /// when this one was undone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_among: Option<usize>,
}

impl Shipment {
    pub fn is_undone(&self) -> bool {
        self.undone_among.is_some()
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnRecord {
    pub return_id: ReturnId,
    pub lines: Vec<ReturnedLine>,
    pub refund_amount: Amount,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CancellationRecord {
    pub cancellation_id: CancellationId,
    pub lines: Vec<CancelledLine>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefundRecord {
    pub refund_id: RefundId,
    /// None only if an earlier build refunded an order without a payment.
    pub payment_id: Option<PaymentId>,
    pub amount: Amount,
    /// The lines that it is for. What they leave of the amount is for the whole order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<LineAmount>,
    /// True if the order ended with it. Its payment repeats it by itself if it fails.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub at_closing: bool,
    /// The first part of the refund, if it is divided over several payments and this is a further part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part_of: Option<RefundId>,
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
    /// The first payment.
    pub payment_id: Option<PaymentId>,
    pub payments: Vec<TenderSummary>,
    /// What the latest command with a refund refunds to which payment.
    pub latest_refunds: Vec<OrderRefund>,
    pub terms: PaymentTerms,
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

    pub fn adjustments(&self) -> &[Adjustment] {
        self.placed.as_ref().map_or(&[], |placed| &placed.adjustments)
    }

    /// True if unit prices, shipping and fees contain the taxes of the adjustments.
    pub fn prices_include_tax(&self) -> bool {
        self.placed.as_ref().is_some_and(|placed| placed.prices_include_tax)
    }

    /// Lines plus adjustments, as placed. The total of each line plus the adjustments that are not spread is
    /// the same amount.
    pub fn total(&self) -> Amount {
        self.placed.as_ref().map_or(Amount::ZERO, |placed| placed.total)
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

    pub fn refunds(&self) -> &[RefundRecord] {
        &self.refunds
    }

    pub fn shipments(&self) -> &[Shipment] {
        &self.shipments
    }

    pub fn returns(&self) -> &[ReturnRecord] {
        &self.returns
    }

    /// Cancellations after which the order went on.
    pub fn cancellations(&self) -> &[CancellationRecord] {
        &self.cancellations
    }

    pub fn cancel_reason(&self) -> Option<CancelReason> {
        self.cancel_reason
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

    /// True if units that count for the fulfilment are neither shipped nor cancelled.
    pub(super) fn has_open_units(&self) -> bool {
        let any_stocked = self.lines.iter().any(|line| line.stocked);
        self.lines.iter().any(|line| (line.stocked || !any_stocked) && line.open() > 0)
    }

    pub fn summary(&self) -> OrderStateSummary {
        OrderStateSummary {
            status: self.status,
            payment_status: self.payment_status(),
            fulfilment_status: self.fulfilment_status(),
            currency: self.currency(),
            total: self.total(),
            captured: self.captured(),
            refunded: self.refunded(),
            payment_id: self.payment_id(),
            payments: self.tender_summaries(),
            latest_refunds: self.latest_refunds(),
            terms: self.terms(),
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
            tenders,
            authorizations,
            refunds,
            paid: _,
            shipments,
            returns,
            credits,
            cancellations,
            cancel_reason: _,
            owed: _,
        } = self;
        placed.heap_bytes()
            + lines.heap_bytes()
            + shortages.heap_bytes()
            + tenders.heap_bytes()
            + refunds.heap_bytes()
            + shipments.heap_bytes()
            + returns.heap_bytes()
            + credits.heap_bytes()
            + cancellations.heap_bytes()
            + authorizations.heap_bytes()
    }

    pub(super) fn shipment_mut(&mut self, id: ShipmentId) -> &mut Shipment {
        let known = self.shipments.iter_mut().find(|shipment| shipment.shipment_id == id);
        known.expect("decide names only shipments that the order has")
    }

    pub(super) fn line_mut(&mut self, number: u32) -> &mut Line {
        let index = (number as usize).wrapping_sub(1);
        self.lines.get_mut(index).expect("decide names only lines that the order has")
    }
}

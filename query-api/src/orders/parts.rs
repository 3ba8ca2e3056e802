//! The shipments, returns and refunds of an order.

use std::collections::{BTreeSet, HashMap};

use domain::{
    Amount, PaymentId, RefundId, ReturnId, ShipmentId, Timestamp,
    order::{self, LineQuantity},
    payment::{Payment, RefundState},
};
use infra::{
    http::vocabulary::RefundStateWord,
    read_models::{OrderTimes, Queries, ReadModelError, RefundTimes},
};
use serde::Serialize;
use utoipa::ToSchema;

#[derive(Debug, Serialize, ToSchema)]
pub struct Shipment<'a> {
    #[schema(value_type = String, format = "uuid")]
    shipment_id: ShipmentId,
    lines: Vec<ShipmentLine>,
    carrier: Option<&'a str>,
    tracking_number: Option<&'a str>,
    delivered: bool,
    /// When the shipment was recorded.
    #[schema(value_type = Option<String>, format = "date-time")]
    shipped_at: Option<Timestamp>,
    /// Null until it is delivered.
    #[schema(value_type = Option<String>, format = "date-time")]
    delivered_at: Option<Timestamp>,
    /// True if it never left: its units are to be shipped again.
    undone: bool,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ShipmentLine {
    /// The number of the order's line.
    line: u32,
    quantity: u32,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct Return {
    #[schema(value_type = String, format = "uuid")]
    return_id: ReturnId,
    /// When the return was recorded.
    #[schema(value_type = Option<String>, format = "date-time")]
    returned_at: Option<Timestamp>,
    lines: Vec<ReturnedLine>,
    /// 0: no refund.
    #[schema(value_type = i64)]
    refund_amount: Amount,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct ReturnedLine {
    /// The number of the order's line.
    line: u32,
    quantity: u32,
    /// True if the units were added to stock.
    restock: bool,
    /// What the units were worth, less what was refunded for them before. Null for a return that an earlier build
    /// recorded.
    #[schema(value_type = Option<i64>)]
    value: Option<Amount>,
}

#[derive(Debug, Serialize, ToSchema)]
pub struct OrderRefund {
    #[schema(value_type = String, format = "uuid")]
    refund_id: RefundId,
    /// The payment that pays it out.
    #[schema(value_type = Option<String>, format = "uuid")]
    payment_id: Option<PaymentId>,
    #[schema(value_type = i64)]
    amount: Amount,
    /// How far its payment is with it.
    #[schema(value_type = RefundStateWord)]
    status: RefundState,
    #[schema(value_type = Option<String>, format = "date-time")]
    requested_at: Option<Timestamp>,
    /// When it was paid out, or failed. Null until then.
    #[schema(value_type = Option<String>, format = "date-time")]
    settled_at: Option<Timestamp>,
    /// The lines that it is for. What they leave of the amount is for the whole order.
    lines: Vec<RefundedLine>,
}

/// What a refund is for.
#[derive(Debug, Serialize, ToSchema)]
pub struct RefundedLine {
    /// The number of the order's line.
    line: u32,
    #[schema(value_type = i64)]
    amount: Amount,
}

/// How far the payments of an order are with its refunds.
#[derive(Debug, Default)]
pub struct Refunds(HashMap<RefundId, (RefundState, Option<Timestamp>)>);

impl Refunds {
    /// Reads the payments that the refunds of an order go to.
    pub(crate) async fn read(queries: &dyn Queries, order: &order::Order) -> Result<Self, ReadModelError> {
        let mut refunds = Self::default();
        for payment_id in Self::payments(order) {
            let Some(row) = queries.payment(payment_id).await? else { continue };
            refunds.add(&row.payment, &row.refund_times);
        }
        Ok(refunds)
    }

    /// The payments that the refunds of an order go to.
    pub(crate) fn payments(order: &order::Order) -> BTreeSet<PaymentId> {
        order.refunds().iter().filter_map(|refund| refund.payment_id).collect()
    }

    pub(crate) fn add(&mut self, payment: &Payment, times: &RefundTimes) {
        self.0.extend(payment.refunds().iter().map(|refund| {
            let settled_at = times.settled.get(&refund.refund_id).copied();
            (refund.refund_id, (refund.state, settled_at))
        }));
    }

    /// True if a refund of the order may still change without an event of the order.
    pub(super) fn may_change(&self, order: &order::Order) -> bool {
        order.refunds().iter().any(|refund| self.of(refund.refund_id).0 != RefundState::Refunded)
    }

    /// A payment records a refund some time after its order has requested it.
    fn of(&self, id: RefundId) -> (RefundState, Option<Timestamp>) {
        self.0.get(&id).copied().unwrap_or((RefundState::Requested, None))
    }
}

impl<'a> Shipment<'a> {
    pub(super) fn of(shipment: &'a order::Shipment, times: &OrderTimes) -> Self {
        let line = |line: &LineQuantity| ShipmentLine { line: line.line, quantity: line.quantity };
        Self {
            shipment_id: shipment.shipment_id,
            lines: shipment.lines.iter().map(line).collect(),
            carrier: shipment.carrier.as_deref(),
            tracking_number: shipment.tracking_number.as_deref(),
            delivered: shipment.delivered,
            shipped_at: times.shipped.get(&shipment.shipment_id).copied(),
            delivered_at: times.delivered.get(&shipment.shipment_id).copied(),
            undone: shipment.is_undone(),
        }
    }
}

impl Return {
    pub(super) fn of(returned: &order::ReturnRecord, times: &OrderTimes) -> Self {
        let line = |line: &order::ReturnedLine| ReturnedLine {
            line: line.line,
            quantity: line.quantity,
            restock: line.restock,
            value: line.value,
        };
        Self {
            return_id: returned.return_id,
            returned_at: times.returned.get(&returned.return_id).copied(),
            lines: returned.lines.iter().map(line).collect(),
            refund_amount: returned.refund_amount,
        }
    }
}

impl OrderRefund {
    pub(super) fn of(refund: &order::RefundRecord, times: &OrderTimes, refunds: &Refunds) -> Self {
        let line = |part: &order::LineAmount| RefundedLine { line: part.line, amount: part.amount };
        let (status, settled_at) = refunds.of(refund.refund_id);
        Self {
            refund_id: refund.refund_id,
            payment_id: refund.payment_id,
            amount: refund.amount,
            status,
            requested_at: times.refunds_requested.get(&refund.refund_id).copied(),
            settled_at,
            lines: refund.lines.iter().map(line).collect(),
        }
    }
}

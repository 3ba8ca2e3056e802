use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    Adjustment, CancelReason, LineAdjustment, LineAmount, LineQuantity, NewTender,
    OrderAuthorizationRecorded, OrderPaymentRecorded, OrderPlaced, Shortage, TenderEnding,
};
use crate::{
    Amount, CancellationId, Currency, ExchangeId, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku,
    Timestamp, credit::CreditGiven, new_charge::NewCharge, payment_terms::PaymentTerms,
};

/// Commands to an order.
#[derive(Debug, Clone, PartialEq)]
pub enum OrderCommand {
    Place(Box<PlaceOrder>),
    /// All stocked units are reserved. `payment_id` is the first payment to request if the total is not 0.
    Allocate {
        payment_id: PaymentId,
    },
    /// Some stocked units could not be reserved.
    Reject {
        shortages: Vec<Shortage>,
    },
    /// Records the amounts of a payment. They are cumulative, so late and repeated reports change nothing.
    RecordPayment(OrderPaymentRecorded),
    /// Records what a payment has authorized. A late report changes nothing.
    RecordAuthorization(OrderAuthorizationRecorded),
    /// Asks for money from one more source. Without `amount`: all that no payment asks for yet.
    AddPayment {
        payment_id: PaymentId,
        amount: Option<Amount>,
        charge: Option<NewCharge>,
    },
    /// A payment failed for good or was voided, after it had captured this much. The order ends with its last payment
    /// if none captured money.
    EndPayment {
        payment_id: PaymentId,
        ending: TenderEnding,
        captured: Amount,
    },
    /// Ships these units. Without `lines`: every unit that is neither shipped nor cancelled. `now` is the time of the
    /// request.
    Ship {
        shipment_id: ShipmentId,
        lines: Option<Vec<LineQuantity>>,
        carrier: Option<String>,
        tracking_number: Option<String>,
        now: Timestamp,
    },
    /// A shipment arrived.
    Deliver {
        shipment_id: ShipmentId,
    },
    /// A shipment never left.
    UndoShipment {
        shipment_id: ShipmentId,
        reason: Option<String>,
    },
    /// The payment is due at another time. None: never. `now` is the time of the request.
    MoveDue {
        payment_due_at: Option<Timestamp>,
        now: Timestamp,
    },
    Return(NewReturn),
    /// Places the new order of an exchange, as its intent recorded it.
    PlaceExchanged(Box<OrderPlaced>),
    /// Records the return of an exchange and gives its credit.
    ReturnForCredit {
        new_return: NewReturn,
        credit: CreditGiven,
    },
    /// The new order of an exchange refunded this part of its credit: it goes back to where the money is.
    TakeBackCredit {
        exchange_id: ExchangeId,
        refund_id: RefundId,
        amount: Amount,
    },
    /// Refunds money without a return.
    Refund {
        refund_id: RefundId,
        amount: Amount,
        lines: Vec<LineAmount>,
        /// The payment that pays it out. None: the payments that hold it, the newest first.
        payment_id: Option<PaymentId>,
        reason: Option<String>,
    },
    Cancel(NewCancellation),
    /// Ends an order whose payment was not captured in time. `now` is the time of the timer.
    Expire {
        now: Timestamp,
    },
}

/// An order as the caller sends it, with its id and its times.
#[derive(Debug, Clone, PartialEq)]
pub struct PlaceOrder {
    pub order_id: OrderId,
    /// None for a guest.
    pub customer_id: Option<String>,
    pub currency: Currency,
    pub country: Option<String>,
    pub lines: Vec<NewLine>,
    pub adjustments: Vec<Adjustment>,
    /// True if unit prices, shipping and fees contain the taxes of the adjustments.
    pub prices_include_tax: bool,
    pub reference: Option<String>,
    pub metadata: BTreeMap<String, String>,
    pub placed_at: Timestamp,
    /// The time of the request.
    pub now: Timestamp,
    /// When the payment is due. Then an unpaid order expires, unless its terms say otherwise. None: never.
    pub payment_due_at: Option<Timestamp>,
    pub terms: PaymentTerms,
    /// True if an authorisation can be captured in several parts: the payment provider does so, or there is none.
    pub captures_in_parts: bool,
    /// Charge to request once stock is reserved. None: a later command requests a charge or records a
    /// payment.
    pub payment: Option<NewCharge>,
    /// The payments of the order, in place of one of the whole total. They add up to the total at most.
    pub payments: Vec<NewTender>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewLine {
    pub sku: Sku,
    pub quantity: u32,
    pub unit_price: Amount,
    /// False for postage, fees and services, which are never reserved.
    pub stocked: bool,
    pub adjustments: Vec<LineAdjustment>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewReturn {
    pub return_id: ReturnId,
    pub lines: Vec<ReturnLine>,
    /// None: the value of the returned units, if it was paid. Zero: no refund.
    pub refund_amount: Option<Amount>,
    pub reason: Option<String>,
}

/// Cancels units that are not shipped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCancellation {
    pub cancellation_id: CancellationId,
    /// With a payment reason it changes nothing if the order is paid or has ended.
    pub reason: CancelReason,
    pub note: Option<String>,
    /// None: every unit that is not shipped. If no other unit is left, the order ends.
    pub lines: Option<Vec<LineQuantity>>,
    /// None: the value of the cancelled units, if it was paid.
    pub refund_amount: Option<Amount>,
}

/// Units that come back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReturnLine {
    pub line: u32,
    pub quantity: u32,
    /// True if the units return to stock.
    pub restock: bool,
}

impl NewCancellation {
    /// Cancels every unit that is not shipped.
    pub fn of_the_rest(cancellation_id: CancellationId, reason: CancelReason) -> Self {
        Self { cancellation_id, reason, note: None, lines: None, refund_amount: None }
    }
}

impl OrderCommand {
    /// The name of [`OrderCommand::Place`].
    pub const PLACE: &str = "order.place";

    /// Stored in metadata, and part of the ids of reactions, so it never changes.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Place(_) => Self::PLACE,
            Self::Allocate { .. } => "order.allocate",
            Self::Reject { .. } => "order.reject",
            Self::RecordPayment(_) => "order.record_payment",
            Self::RecordAuthorization(_) => "order.record_authorization",
            Self::AddPayment { .. } => "order.add_payment",
            Self::EndPayment { .. } => "order.end_payment",
            Self::Ship { .. } => "order.ship",
            Self::Deliver { .. } => "order.deliver",
            Self::UndoShipment { .. } => "order.undo_shipment",
            Self::MoveDue { .. } => "order.move_due",
            Self::Return(_) => "order.return",
            Self::PlaceExchanged(_) => "order.place_exchanged",
            Self::ReturnForCredit { .. } => "order.return_for_credit",
            Self::TakeBackCredit { .. } => "order.take_back_credit",
            Self::Refund { .. } => "order.refund",
            Self::Cancel(_) => "order.cancel",
            Self::Expire { .. } => "order.expire",
        }
    }
}

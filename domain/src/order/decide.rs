use std::collections::BTreeMap;

use super::{
    AllocatedTender, EVENT_BYTES_MAX, InvalidOrder, LineQuantity, Order, OrderAllocated, OrderCommand,
    OrderDelivered, OrderDueMoved, OrderEvent, OrderExpired, OrderPlaced, OrderRejected, OrderShipmentUndone,
    OrderShipped, OrderStatus, PARTS_MAX, PAYMENTS_MAX, PlaceOrder, balance, credit, leaving,
    placing::{self, check_texts},
    size, tenders, terms,
};
use crate::{Amount, PaymentId, ShipmentId, Sku, Timestamp};

/// Why an order command is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderRefusal {
    #[error("the order does not exist")]
    NotFound,
    #[error(transparent)]
    Invalid(#[from] InvalidOrder),
    #[error("the order is {}, and this status does not allow the command", .0.as_str())]
    WrongStatus(OrderStatus),
    #[error("the order is not paid yet")]
    NotPaid,
    #[error(
        "after this shipment {needed} must be authorized, and {authorized} is (minor units); charge the payment again \
         (POST /v1/payments/{{id}}/charge)"
    )]
    NotAuthorized { needed: Amount, authorized: Amount },
    #[error("the payment provider captures an authorisation only once, so it cannot capture each shipment")]
    TermsNotSupported,
    #[error(
        "an order that ships on an authorisation has one payment, for its total, and no other can be added"
    )]
    TermsOfOnePayment,
    #[error("the order has no line {0}")]
    UnknownLine(u32),
    #[error("line {line}: {requested} units were requested and {shippable} can be shipped")]
    NotShippable { line: u32, requested: u32, shippable: u32 },
    #[error("all that was paid is refunded; cancel the order (POST /v1/orders/{{id}}/cancel)")]
    AllRefunded,
    #[error("line {line}: {requested} units were requested and {cancellable} can be cancelled")]
    NotCancellable { line: u32, requested: u32, cancellable: u32 },
    #[error(
        "line {line}: a refund of {requested} was requested and {refundable} can be refunded (minor units)"
    )]
    LineRefundTooLarge { line: u32, requested: Amount, refundable: Amount },
    #[error("line {line}: {requested} units were requested and {returnable} can be returned")]
    NotReturnable { line: u32, requested: u32, returnable: u32 },
    #[error("the order has no unit left to ship")]
    NothingToShip,
    #[error("every unit was shipped, so none can be cancelled; use a return")]
    NothingToCancel,
    #[error("the order has no shipment {0}")]
    UnknownShipment(ShipmentId),
    #[error("the order has no such shipment")]
    NoSuchShipment,
    #[error("the shipment was delivered, or units of it are back; use a return")]
    ShipmentArrived,
    #[error("the shipment was undone")]
    ShipmentUndone,
    #[error("a refund of {requested} was requested and {refundable} can be refunded (minor units)")]
    RefundTooLarge { requested: Amount, refundable: Amount },
    #[error("the payment is not due before {due_at}")]
    NotDueYet { due_at: Timestamp },
    #[error("the order has no due time, so it never expires")]
    NeverDue,
    #[error(
        "its largest event has {bytes} bytes, and an event has at most {EVENT_BYTES_MAX}; divide the order"
    )]
    TooLarge { bytes: usize },
    #[error(
        "an order has at most {PARTS_MAX} shipments, {PARTS_MAX} returns, {} refunds and {PAYMENTS_MAX} payments",
        2 * PARTS_MAX
    )]
    TooManyParts,
    #[error("the order has no payment {0}")]
    UnknownPayment(PaymentId),
    #[error("the order has no payment")]
    NoPayment,
    #[error("{unclaimed} is to be paid and not asked for by another payment (minor units)")]
    PaymentTooLarge { unclaimed: Amount },
}

pub(super) type Decided = Result<Vec<OrderEvent>, OrderRefusal>;

pub(super) fn decide(order: &Order, command: OrderCommand) -> Decided {
    decide_command(order, command).map(|events| balance::with_paid(order, events))
}

fn decide_command(order: &Order, command: OrderCommand) -> Decided {
    match command {
        OrderCommand::Place(place) => decide_place(order, *place),
        OrderCommand::PlaceExchanged(_) if order.exists() => Ok(Vec::new()),
        OrderCommand::PlaceExchanged(placed) => Ok(vec![(*placed).into()]),
        _ if !order.exists() => Err(OrderRefusal::NotFound),
        OrderCommand::Allocate { .. } | OrderCommand::Reject { .. }
            if order.status() != OrderStatus::Placed =>
        {
            Ok(Vec::new())
        }
        OrderCommand::Allocate { payment_id } => Ok(vec![allocated(order, payment_id).into()]),
        OrderCommand::Reject { shortages } => Ok(vec![OrderRejected { shortages }.into()]),
        OrderCommand::RecordPayment(reported) => tenders::decide_record(order, &reported),
        OrderCommand::RecordAuthorization(reported) => Ok(terms::record_authorization(order, reported)),
        OrderCommand::AddPayment { payment_id, amount, charge } => {
            tenders::decide_add(order, payment_id, amount, charge)
        }
        OrderCommand::EndPayment { payment_id, ending, captured } => {
            tenders::decide_end(order, payment_id, ending, captured)
        }
        OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now } => {
            check_texts(&[("carrier", carrier.as_ref()), ("tracking_number", tracking_number.as_ref())])?;
            let shipped = decide_shipped_lines(order, lines)?;
            terms::check_authorized(order, &shipped, now)?;
            Ok(vec![OrderShipped { shipment_id, lines: shipped, carrier, tracking_number }.into()])
        }
        OrderCommand::Deliver { shipment_id } => decide_deliver(order, shipment_id),
        OrderCommand::UndoShipment { shipment_id, reason } => decide_undo(order, shipment_id, reason),
        OrderCommand::MoveDue { payment_due_at, now } => decide_move_due(order, payment_due_at, now),
        OrderCommand::Return(new_return) => Ok(vec![leaving::returned(order, new_return, None)?.into()]),
        OrderCommand::ReturnForCredit { new_return, credit } => {
            Ok(vec![leaving::returned(order, new_return, Some(credit))?.into()])
        }
        OrderCommand::TakeBackCredit { exchange_id, refund_id, amount } => {
            Ok(credit::take_back(order, exchange_id, refund_id, amount))
        }
        OrderCommand::Refund { refund_id, amount, lines, payment_id, reason } => {
            leaving::decide_refund(order, (refund_id, amount), lines, payment_id, reason)
        }
        OrderCommand::Cancel(cancellation) => leaving::decide_cancel(order, cancellation),
        OrderCommand::Expire { now } => decide_expire(order, now),
    }
}

fn allocated(order: &Order, payment_id: PaymentId) -> OrderAllocated {
    let placed = order.placed.as_ref();
    let payments = placed.map_or(&[][..], |placed| &placed.payments);
    let tender_id = |number| match (number, order.order_id()) {
        (1, _) | (_, None) => payment_id,
        (number, Some(order_id)) => PaymentId::of_tender(order_id, number),
    };
    let payments = (1..).zip(payments);
    let payments = payments
        .map(|(number, payment)| AllocatedTender { payment_id: tender_id(number), amount: payment.amount });
    let is_to_pay = order.total().is_positive();
    OrderAllocated { payment_id: is_to_pay.then_some(payment_id), payments: payments.collect() }
}

fn decide_deliver(order: &Order, shipment_id: ShipmentId) -> Decided {
    match order.shipments().iter().find(|shipment| shipment.shipment_id == shipment_id) {
        None => Err(OrderRefusal::UnknownShipment(shipment_id)),
        Some(shipment) if shipment.is_undone() => Err(OrderRefusal::ShipmentUndone),
        Some(shipment) if shipment.delivered => Ok(Vec::new()),
        Some(_) => Ok(vec![OrderDelivered { shipment_id }.into()]),
    }
}

fn decide_undo(order: &Order, shipment_id: ShipmentId, reason: Option<String>) -> Decided {
    check_texts(&[("reason", reason.as_ref())])?;
    let known = order.shipments().iter().find(|shipment| shipment.shipment_id == shipment_id);
    let shipment = known.ok_or(OrderRefusal::NoSuchShipment)?;
    if shipment.is_undone() {
        return Ok(Vec::new());
    }
    if order.status() != OrderStatus::Allocated {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    // A return does not name its shipment, so the other shipments of a line must account for all its returns.
    let is_partly_returned = shipment
        .lines
        .iter()
        .any(|part| order.line(part.line).is_none_or(|line| line.shipped < line.returned + part.quantity));
    if shipment.delivered || is_partly_returned {
        return Err(OrderRefusal::ShipmentArrived);
    }
    let lines = shipment.lines.clone();
    Ok(vec![OrderShipmentUndone { shipment_id, lines, reason }.into()])
}

fn decide_move_due(order: &Order, payment_due_at: Option<Timestamp>, now: Timestamp) -> Decided {
    if order.status().is_final() {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    if order.payment_due_at() == payment_due_at {
        return Ok(Vec::new());
    }
    placing::check_due(payment_due_at, now)?;
    placing::check_terms(order.terms(), payment_due_at)?;
    Ok(vec![OrderDueMoved { payment_due_at }.into()])
}

fn decide_place(order: &Order, place: PlaceOrder) -> Decided {
    if order.exists() {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    Ok(vec![new_order(place)?.into()])
}

/// The event that places a new order.
pub(crate) fn new_order(place: PlaceOrder) -> Result<OrderPlaced, OrderRefusal> {
    terms::check_supported(&place)?;
    let placed = placing::placed(place)?;
    size::check(&placed)?;
    Ok(placed)
}

fn decide_shipped_lines(
    order: &Order,
    lines: Option<Vec<LineQuantity>>,
) -> Result<Vec<LineQuantity>, OrderRefusal> {
    if order.status() != OrderStatus::Allocated {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    terms::check_ready(order)?;
    if order.shipments().len() >= PARTS_MAX {
        return Err(OrderRefusal::TooManyParts);
    }
    let Some(requested_lines) = lines else {
        let rest = open_quantities(order);
        return if rest.is_empty() { Err(OrderRefusal::NothingToShip) } else { Ok(rest) };
    };
    leaving::check_distinct(requested_lines.iter().map(|part| part.line))?;
    for part in &requested_lines {
        let line = order.line(part.line).ok_or(OrderRefusal::UnknownLine(part.line))?;
        if part.quantity == 0 || part.quantity > line.open() {
            let (requested, shippable) = (part.quantity, line.open());
            return Err(OrderRefusal::NotShippable { line: part.line, requested, shippable });
        }
    }
    Ok(requested_lines)
}

/// The units that can still be shipped, per line.
pub(super) fn open_quantities(order: &Order) -> Vec<LineQuantity> {
    let open = (1..).zip(order.lines()).map(|(line, state)| LineQuantity { line, quantity: state.open() });
    open.filter(|part| part.quantity > 0).collect()
}

fn decide_expire(order: &Order, now: Timestamp) -> Decided {
    if !order.awaits_payment() {
        return Ok(Vec::new());
    }
    match order.payment_due_at() {
        None => Err(OrderRefusal::NeverDue),
        Some(due_at) if now < due_at => Err(OrderRefusal::NotDueYet { due_at }),
        Some(_) => Ok(vec![OrderExpired {}.into()]),
    }
}

/// The stocked units of these lines, added up per SKU: what a shipment or a return moves in stock.
pub(crate) fn units_by_sku(order: &Order, parts: impl Iterator<Item = LineQuantity>) -> BTreeMap<Sku, u32> {
    let mut units = BTreeMap::new();
    for part in parts {
        if let Some(line) = order.line(part.line).filter(|line| line.stocked) {
            *units.entry(line.sku.clone()).or_default() += part.quantity;
        }
    }
    units
}

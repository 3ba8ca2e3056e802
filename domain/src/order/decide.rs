use std::collections::BTreeMap;

use super::{
    ADJUSTMENTS_MAX, CancelReason, LINE_QUANTITY_MAX, LINES_MAX, LineQuantity, METADATA_ENTRIES_MAX,
    NewReturn, ORDER_VALUE_MAX, Order, OrderAllocated, OrderCancelled, OrderCommand, OrderDelivered,
    OrderEvent, OrderExpired, OrderLine, OrderPaid, OrderPaymentRecorded, OrderPlaced, OrderRefundRequested,
    OrderRejected, OrderReturned, OrderShipped, OrderStatus, PARTS_MAX, PlaceOrder,
};
use crate::{
    Amount, RefundId, ShipmentId, Sku, Timestamp,
    money::AmountOutOfRange,
    new_charge::InvalidToken,
    stock::UNITS_MAX,
    text::{self, TEXT_CHARS_MAX},
};

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
    #[error("the order has no line {0}")]
    UnknownLine(u32),
    #[error("line {line}: {requested} units were requested and {shippable} can be shipped")]
    NotShippable { line: u32, requested: u32, shippable: u32 },
    #[error("line {line}: {requested} units were requested and {returnable} can be returned")]
    NotReturnable { line: u32, requested: u32, returnable: u32 },
    #[error("the order has no unit left to ship")]
    NothingToShip,
    #[error("every unit was shipped, so none can be cancelled; use a return")]
    NothingToCancel,
    #[error("the order has no shipment {0}")]
    UnknownShipment(ShipmentId),
    #[error("a refund of {requested} was requested and {refundable} can be refunded (minor units)")]
    RefundTooLarge { requested: Amount, refundable: Amount },
    #[error("the payment is not due before {due_at}")]
    NotDueYet { due_at: Timestamp },
    #[error("the order has no due time, so it never expires")]
    NeverDue,
    #[error("an order has at most {PARTS_MAX} shipments, {PARTS_MAX} returns and {} refunds", 2 * PARTS_MAX)]
    TooManyParts,
}

/// Why the content of a command is invalid. Each text names the member of the request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidOrder {
    #[error("an order has 1 to {LINES_MAX} lines")]
    LineCount,
    #[error("line {line}: a quantity is between 1 and {LINE_QUANTITY_MAX} units")]
    Quantity { line: usize },
    #[error("an order has at most {UNITS_MAX} units in total")]
    UnitCount,
    #[error("line {line}: a unit price is not negative")]
    NegativePrice { line: usize },
    #[error("lines and adjustments add up to more than {ORDER_VALUE_MAX} minor units")]
    TotalOutOfRange,
    #[error("lines and adjustments add up to less than 0")]
    NegativeTotal,
    #[error("an order has at most {ADJUSTMENTS_MAX} adjustments")]
    AdjustmentCount,
    #[error("metadata has at most {METADATA_ENTRIES_MAX} entries")]
    MetadataCount,
    #[error("{member} is empty or has more than {TEXT_CHARS_MAX} characters or a control character")]
    Text { member: &'static str },
    #[error("name at least one line, and each line once")]
    RepeatedLine,
    #[error("a refund amount is more than 0")]
    RefundAmount,
    #[error("payment: {0}")]
    Payment(#[from] InvalidToken),
}

impl From<AmountOutOfRange> for InvalidOrder {
    fn from(_: AmountOutOfRange) -> Self {
        Self::TotalOutOfRange
    }
}

type Decided = Result<Vec<OrderEvent>, OrderRefusal>;

pub(super) fn decide(order: &Order, command: OrderCommand) -> Decided {
    match command {
        OrderCommand::Place(place) => decide_place(order, *place),
        _ if !order.exists() => Err(OrderRefusal::NotFound),
        OrderCommand::Allocate { .. } | OrderCommand::Reject { .. }
            if order.status() != OrderStatus::Placed =>
        {
            Ok(Vec::new())
        }
        OrderCommand::Allocate { payment_id } => {
            let is_to_pay = order.total().is_positive();
            Ok(vec![OrderAllocated { payment_id: is_to_pay.then_some(payment_id) }.into()])
        }
        OrderCommand::Reject { shortages } => Ok(vec![OrderRejected { shortages }.into()]),
        OrderCommand::RecordPayment { captured, refunded, refunds_failed } => {
            Ok(record_payment(order, captured, refunded, refunds_failed))
        }
        OrderCommand::Ship { shipment_id, lines, carrier, tracking_number } => {
            check_texts(&[("carrier", carrier.as_ref()), ("tracking_number", tracking_number.as_ref())])?;
            let shipped = decide_shipped_lines(order, lines)?;
            Ok(vec![OrderShipped { shipment_id, lines: shipped, carrier, tracking_number }.into()])
        }
        OrderCommand::Deliver { shipment_id } => decide_deliver(order, shipment_id),
        OrderCommand::Return(new_return) => decide_return(order, new_return),
        OrderCommand::Refund { refund_id, amount, reason } => decide_refund(order, refund_id, amount, reason),
        OrderCommand::Cancel { reason, note } => decide_cancel(order, reason, note),
        OrderCommand::Expire { now } => decide_expire(order, now),
    }
}

fn decide_deliver(order: &Order, shipment_id: ShipmentId) -> Decided {
    match order.shipments().iter().find(|shipment| shipment.shipment_id == shipment_id) {
        None => Err(OrderRefusal::UnknownShipment(shipment_id)),
        Some(shipment) if shipment.delivered => Ok(Vec::new()),
        Some(_) => Ok(vec![OrderDelivered { shipment_id }.into()]),
    }
}

fn decide_place(order: &Order, place: PlaceOrder) -> Decided {
    if order.exists() {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    validate(&place)?;
    let total = total(&place)?;
    let lines = place.lines.into_iter().map(|line| OrderLine {
        sku: line.sku,
        quantity: line.quantity,
        unit_price: line.unit_price,
        stocked: line.stocked,
    });
    Ok(vec![
        OrderPlaced {
            order_id: place.order_id,
            customer_id: place.customer_id,
            currency: place.currency,
            country: place.country,
            lines: lines.collect(),
            adjustments: place.adjustments,
            total,
            reference: place.reference,
            metadata: place.metadata,
            placed_at: place.placed_at,
            payment_due_at: place.payment_due_at,
            payment: place.payment,
        }
        .into(),
    ])
}

fn validate(place: &PlaceOrder) -> Result<(), InvalidOrder> {
    if place.lines.is_empty() || place.lines.len() > LINES_MAX {
        return Err(InvalidOrder::LineCount);
    }
    for (number, line) in (1..).zip(&place.lines) {
        if !(1..=LINE_QUANTITY_MAX).contains(&line.quantity) {
            return Err(InvalidOrder::Quantity { line: number });
        }
        if line.unit_price.is_negative() {
            return Err(InvalidOrder::NegativePrice { line: number });
        }
    }
    let units: u64 = place.lines.iter().map(|line| u64::from(line.quantity)).sum();
    if units > u64::from(UNITS_MAX) {
        return Err(InvalidOrder::UnitCount);
    }
    if place.adjustments.len() > ADJUSTMENTS_MAX {
        return Err(InvalidOrder::AdjustmentCount);
    }
    if place.metadata.len() > METADATA_ENTRIES_MAX {
        return Err(InvalidOrder::MetadataCount);
    }
    check_texts(&[
        ("customer_id", place.customer_id.as_ref()),
        ("country", place.country.as_ref()),
        ("reference", place.reference.as_ref()),
    ])?;
    if let Some(charge) = &place.payment {
        charge.check()?;
    }
    for adjustment in &place.adjustments {
        check_text("adjustments.code", &adjustment.code)?;
    }
    for (key, value) in &place.metadata {
        check_text("metadata", key)?;
        // An empty metadata value is valid: the shop owns this data.
        if !value.is_empty() {
            check_text("metadata", value)?;
        }
    }
    Ok(())
}

fn total(place: &PlaceOrder) -> Result<Amount, InvalidOrder> {
    let mut sum = Amount::ZERO;
    for line in &place.lines {
        sum = add(sum, line.unit_price.checked_mul(line.quantity)?)?;
    }
    for adjustment in &place.adjustments {
        sum = add(sum, adjustment.amount)?;
    }
    if sum.is_negative() { Err(InvalidOrder::NegativeTotal) } else { Ok(sum) }
}

/// Adds a part of an order's value. Refuses a sum beyond ±[`ORDER_VALUE_MAX`].
fn add(sum: Amount, part: Amount) -> Result<Amount, InvalidOrder> {
    let sum = sum.checked_add(part)?;
    if sum.minor_units().abs() > ORDER_VALUE_MAX { Err(InvalidOrder::TotalOutOfRange) } else { Ok(sum) }
}

fn check_texts(members: &[(&'static str, Option<&String>)]) -> Result<(), InvalidOrder> {
    members.iter().try_for_each(|(member, value)| value.map_or(Ok(()), |value| check_text(member, value)))
}

fn check_text(member: &'static str, value: &str) -> Result<(), InvalidOrder> {
    text::check(value).map_err(|_| InvalidOrder::Text { member })
}

fn record_payment(order: &Order, captured: Amount, refunded: Amount, failed: Amount) -> Vec<OrderEvent> {
    // Cumulative amounts only grow, so the larger amount is the later one and a late report changes nothing.
    let recorded = OrderPaymentRecorded {
        captured: captured.max(order.captured()),
        refunded: refunded.max(order.refunded()),
        refunds_failed: failed.max(order.refunds_failed()),
    };
    let unchanged = recorded.captured == order.captured()
        && recorded.refunded == order.refunded()
        && recorded.refunds_failed == order.refunds_failed();
    if unchanged {
        return Vec::new();
    }
    let is_unpaid = order.status() == OrderStatus::Allocated && !order.is_paid();
    let becomes_paid = is_unpaid && recorded.captured >= order.amount_due();
    let mut events = vec![recorded.into()];
    if becomes_paid {
        events.push(OrderPaid {}.into());
    }
    events
}

fn decide_shipped_lines(
    order: &Order,
    lines: Option<Vec<LineQuantity>>,
) -> Result<Vec<LineQuantity>, OrderRefusal> {
    if order.status() != OrderStatus::Allocated {
        return Err(OrderRefusal::WrongStatus(order.status()));
    }
    if !order.is_paid() {
        return Err(OrderRefusal::NotPaid);
    }
    if order.shipments().len() >= PARTS_MAX {
        return Err(OrderRefusal::TooManyParts);
    }
    let Some(requested_lines) = lines else {
        let rest = open_quantities(order);
        return if rest.is_empty() { Err(OrderRefusal::NothingToShip) } else { Ok(rest) };
    };
    check_distinct(requested_lines.iter().map(|part| part.line))?;
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
fn open_quantities(order: &Order) -> Vec<LineQuantity> {
    let open = (1..).zip(order.lines()).map(|(line, state)| LineQuantity { line, quantity: state.open() });
    open.filter(|part| part.quantity > 0).collect()
}

fn check_distinct(lines: impl Iterator<Item = u32>) -> Result<(), InvalidOrder> {
    let mut seen = std::collections::HashSet::new();
    let mut count = 0;
    for line in lines {
        count += 1;
        seen.insert(line);
    }
    if count == 0 || seen.len() < count { Err(InvalidOrder::RepeatedLine) } else { Ok(()) }
}

fn decide_return(order: &Order, new_return: NewReturn) -> Decided {
    check_texts(&[("reason", new_return.reason.as_ref())])?;
    check_distinct(new_return.lines.iter().map(|part| part.line))?;
    if order.returns().len() >= PARTS_MAX {
        return Err(OrderRefusal::TooManyParts);
    }
    let mut value = Amount::ZERO;
    for part in &new_return.lines {
        let line = order.line(part.line).ok_or(OrderRefusal::UnknownLine(part.line))?;
        let returnable = line.shipped - line.returned;
        if part.quantity == 0 || part.quantity > returnable {
            return Err(OrderRefusal::NotReturnable {
                line: part.line,
                requested: part.quantity,
                returnable,
            });
        }
        value = value.saturating_add(line.unit_price.saturating_mul(part.quantity));
    }
    let refund_amount = new_return.refund_amount.unwrap_or(value);
    if refund_amount.is_negative() {
        return Err(InvalidOrder::RefundAmount.into());
    }
    check_refundable(order, refund_amount)?;
    Ok(vec![
        OrderReturned {
            return_id: new_return.return_id,
            lines: new_return.lines,
            refund_amount,
            reason: new_return.reason,
        }
        .into(),
    ])
}

fn decide_refund(order: &Order, refund_id: RefundId, amount: Amount, reason: Option<String>) -> Decided {
    check_texts(&[("reason", reason.as_ref())])?;
    if !amount.is_positive() {
        return Err(InvalidOrder::RefundAmount.into());
    }
    if order.refunds().len() >= 2 * PARTS_MAX {
        return Err(OrderRefusal::TooManyParts);
    }
    check_refundable(order, amount)?;
    Ok(vec![OrderRefundRequested { refund_id, amount, reason }.into()])
}

fn check_refundable(order: &Order, requested: Amount) -> Result<(), OrderRefusal> {
    let refundable = order.refundable();
    if requested > refundable {
        return Err(OrderRefusal::RefundTooLarge { requested, refundable });
    }
    Ok(())
}

fn decide_cancel(order: &Order, reason: CancelReason, note: Option<String>) -> Decided {
    check_texts(&[("note", note.as_ref())])?;
    // A failed or voided payment does not cancel an order that was paid meanwhile or has ended.
    let payment_is_the_reason = match reason {
        CancelReason::PaymentFailed | CancelReason::PaymentVoided => true,
        CancelReason::Requested => false,
    };
    if payment_is_the_reason && (order.is_paid() || order.status().is_final()) {
        return Ok(Vec::new());
    }
    match order.status() {
        OrderStatus::Cancelled => return Ok(Vec::new()),
        OrderStatus::Placed | OrderStatus::Allocated => {}
        OrderStatus::New | OrderStatus::Rejected | OrderStatus::Expired => {
            return Err(OrderRefusal::WrongStatus(order.status()));
        }
    }
    let lines = open_quantities(order);
    if lines.is_empty() {
        return Err(OrderRefusal::NothingToCancel);
    }
    let nothing_shipped = order.lines().iter().all(|line| line.shipped == 0);
    let amount_due = if nothing_shipped { Amount::ZERO } else { due_without(order, &lines) };
    Ok(vec![OrderCancelled { reason, note, lines, amount_due }.into()])
}

/// The total minus the value of the cancelled units, at least 0: a discount may exceed the value that is
/// left.
fn due_without(order: &Order, cancelled: &[LineQuantity]) -> Amount {
    let value = cancelled.iter().fold(Amount::ZERO, |sum, part| {
        let price = order.line(part.line).map_or(Amount::ZERO, |line| line.unit_price);
        sum.saturating_add(price.saturating_mul(part.quantity))
    });
    order.total().saturating_sub(value).max(Amount::ZERO)
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

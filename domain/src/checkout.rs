//! The checkout policy: which commands follow which event. Pure; the process manager runs it.
//!
//! The order stream alone decides the outcome of an order; stock and payments follow it. No reaction undoes
//! its own work: only a durable rejection, cancellation or expiry releases stock. A reaction does nothing if
//! the order has moved on since its event.

mod due;
mod exchanging;

use std::collections::BTreeMap;

pub use self::{
    due::{WhenDue, when_due},
    exchanging::{ExchangeView, exchange_event_has_reaction, payment_of_credit, react_to_exchange},
};
use crate::{
    Amount, ExchangeId, OrderId, PaymentId, RefundId, ShipmentId, Sku, StreamName,
    exchange::ExchangeCommand,
    order::{
        CancelledLine, LineQuantity, Order, OrderAllocated, OrderAuthorizationRecorded, OrderCommand,
        OrderEvent, OrderEventKind, OrderPaymentRecorded, OrderRefund, OrderStateSummary, OrderStatus,
        PlaceOrder, RefundRecord, Shortage, TenderEnding, units_by_sku,
    },
    payment::{Payment, PaymentCommand, PaymentEvent, PaymentEventKind, PaymentState, RefundReason},
    payment_terms::PaymentTerms,
    receipt::{ReceiptEvent, ReceiptItem},
    stock::StockCommand,
};

/// What follows an event.
#[derive(Debug, Clone, PartialEq)]
pub enum Reaction {
    /// No command follows.
    None,
    /// Reserve every SKU; then [`settle`] decides between allocation and rejection.
    Reserve(BTreeMap<Sku, u32>),
    /// Send these commands, in any order.
    Send(Vec<Step>),
}

/// A command and its target stream.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Stock(Sku, StockCommand),
    Payment(PaymentId, PaymentCommand),
    Order(OrderId, OrderCommand),
    Exchange(ExchangeId, ExchangeCommand),
}

impl Step {
    pub fn target(&self) -> StreamName {
        match self {
            Self::Stock(sku, _) => sku.clone().into(),
            Self::Payment(id, _) => (*id).into(),
            Self::Order(id, _) => (*id).into(),
            Self::Exchange(id, _) => (*id).into(),
        }
    }

    pub fn command_name(&self) -> &'static str {
        match self {
            Self::Stock(_, command) => command.name(),
            Self::Payment(_, command) => command.name(),
            Self::Order(_, command) => command.name(),
            Self::Exchange(_, command) => command.name(),
        }
    }
}

/// True if [`react_to_order`] can have a reaction to an event of this kind.
///
/// The process manager skips the other kinds without decoding them.
pub fn order_event_has_reaction(kind: OrderEventKind) -> bool {
    match kind {
        OrderEventKind::Placed
        | OrderEventKind::Allocated
        | OrderEventKind::Rejected
        | OrderEventKind::Shipped
        | OrderEventKind::Returned
        | OrderEventKind::ShipmentUndone
        | OrderEventKind::CreditTakenBack
        | OrderEventKind::RefundRequested
        | OrderEventKind::LinesCancelled
        | OrderEventKind::PaymentAdded
        | OrderEventKind::Cancelled
        | OrderEventKind::Expired => true,
        OrderEventKind::PaymentRecorded
        | OrderEventKind::PaymentEnded
        | OrderEventKind::Paid
        | OrderEventKind::AuthorizationRecorded
        | OrderEventKind::Delivered
        | OrderEventKind::DueMoved => false,
    }
}

/// True if [`react_to_payment`] can have a reaction to an event of this kind.
///
/// The process manager skips the other kinds without decoding them.
pub fn payment_event_has_reaction(kind: PaymentEventKind) -> bool {
    match kind {
        PaymentEventKind::Authorized
        | PaymentEventKind::Captured
        | PaymentEventKind::Refunded
        | PaymentEventKind::RefundFailed
        | PaymentEventKind::RefundFound
        | PaymentEventKind::RefundPending
        | PaymentEventKind::Disputed
        | PaymentEventKind::DisputeWon
        | PaymentEventKind::DisputeLost
        | PaymentEventKind::Failed
        | PaymentEventKind::Voided => true,
        PaymentEventKind::Requested
        | PaymentEventKind::ChargeRequested
        | PaymentEventKind::ChargePending
        | PaymentEventKind::CaptureRequested
        | PaymentEventKind::VoidRequested
        | PaymentEventKind::OutcomeUnknown
        | PaymentEventKind::RefundRequested
        | PaymentEventKind::RefundOutcomeUnknown
        | PaymentEventKind::Adjusted
        | PaymentEventKind::Closed => false,
    }
}

/// True if an event of this kind adds work to [`Payment::provider_work`], look-ups excluded.
///
/// Timers start the look-ups: the provider already has the request, so only its answer is missing.
pub fn payment_event_asks_provider(kind: PaymentEventKind) -> bool {
    match kind {
        PaymentEventKind::ChargeRequested
        | PaymentEventKind::CaptureRequested
        | PaymentEventKind::VoidRequested
        | PaymentEventKind::RefundRequested => true,
        PaymentEventKind::Requested
        | PaymentEventKind::ChargePending
        | PaymentEventKind::Authorized
        | PaymentEventKind::Captured
        | PaymentEventKind::Failed
        | PaymentEventKind::Voided
        | PaymentEventKind::OutcomeUnknown
        | PaymentEventKind::RefundFound
        | PaymentEventKind::RefundPending
        | PaymentEventKind::RefundOutcomeUnknown
        | PaymentEventKind::Refunded
        | PaymentEventKind::RefundFailed
        | PaymentEventKind::Disputed
        | PaymentEventKind::DisputeWon
        | PaymentEventKind::DisputeLost
        | PaymentEventKind::Adjusted
        | PaymentEventKind::Closed => false,
    }
}

/// The reaction to an event of an order. `order` is its current state, which may be later than the event.
pub fn react_to_order(order_id: OrderId, event: &OrderEvent, order: &Order) -> Reaction {
    match event {
        OrderEvent::Placed(_) => {
            let is_undecided = order.status() == OrderStatus::Placed;
            if is_undecided { Reaction::Reserve(reservations(order)) } else { Reaction::None }
        }
        OrderEvent::Allocated(allocated) => {
            let mut requests = payment_requests(order_id, &order.summary());
            requests.retain(|(payment_id, _)| is_of_allocation(allocated, *payment_id));
            if requests.is_empty() {
                return Reaction::None;
            }
            let step = |(payment_id, request)| Step::Payment(payment_id, request);
            Reaction::Send(requests.into_iter().map(step).collect())
        }
        OrderEvent::PaymentAdded(added) => {
            let Some(currency) = order.currency().filter(|_| !order.status().is_final()) else {
                return Reaction::None;
            };
            let (payment_id, amount, charge) = (added.payment_id, added.amount, added.charge.clone());
            let terms = order.terms();
            let request = PaymentCommand::Request {
                payment_id,
                order_id,
                amount,
                currency,
                charge,
                terms,
                credit: None,
            };
            Reaction::Send(vec![Step::Payment(payment_id, request)])
        }
        OrderEvent::Rejected(_) | OrderEvent::Cancelled(_) | OrderEvent::Expired(_) => {
            Reaction::Send(closing_steps(order_id, order))
        }
        OrderEvent::Shipped(shipped) => {
            let shipment_id = shipped.shipment_id;
            let units = units_by_sku(order, shipped.lines.iter().copied());
            let ship =
                |(sku, quantity)| Step::Stock(sku, StockCommand::Ship { order_id, shipment_id, quantity });
            Reaction::Send(units.into_iter().map(ship).chain(adjustments(order)).collect())
        }
        OrderEvent::ShipmentUndone(undone) => {
            let shipment_id = undone.shipment_id;
            let shipments = shipments_before_undo(order, shipment_id);
            let unship = |(sku, quantity)| {
                let shipments = shipments.clone();
                Step::Stock(sku, StockCommand::Unship { order_id, shipment_id, quantity, shipments })
            };
            let units = units_by_sku(order, undone.lines.iter().copied());
            Reaction::Send(units.into_iter().map(unship).chain(adjustments(order)).collect())
        }
        OrderEvent::Returned(returned) => {
            let return_id = returned.return_id;
            let restocked = returned.lines.iter().filter(|part| part.restock);
            let parts = restocked.map(|part| LineQuantity { line: part.line, quantity: part.quantity });
            let put_back =
                |(sku, quantity)| Step::Stock(sku, StockCommand::Return { order_id, return_id, quantity });
            let mut steps: Vec<Step> = units_by_sku(order, parts).into_iter().map(put_back).collect();
            let only = (return_id.into(), returned.refund_amount);
            steps.extend(refund_steps(order, &returned.refunds, only, RefundReason::Return));
            steps.extend(adjustments(order));
            Reaction::Send(steps)
        }
        OrderEvent::CreditTakenBack(taken) => {
            let only = (taken.refund_id, Amount::ZERO);
            let mut steps = refund_steps(order, &taken.refunds, only, RefundReason::Requested);
            steps.extend(adjustments(order));
            Reaction::Send(steps)
        }
        OrderEvent::RefundRequested(request) => {
            let only = (request.refund_id, request.amount);
            let mut steps = refund_steps(order, &request.refunds, only, RefundReason::Requested);
            steps.extend(adjustments(order));
            Reaction::Send(steps)
        }
        OrderEvent::LinesCancelled(cancelled) => {
            let cancellation_id = cancelled.cancellation_id;
            let release = |(sku, quantity)| {
                Step::Stock(sku, StockCommand::ReleasePart { order_id, cancellation_id, quantity })
            };
            let units = cancelled.lines.iter().map(units_of);
            let mut steps: Vec<Step> = units_by_sku(order, units).into_iter().map(release).collect();
            let only = (cancellation_id.into(), Amount::ZERO);
            steps.extend(refund_steps(order, &cancelled.refunds, only, RefundReason::Requested));
            steps.extend(adjustments(order));
            Reaction::Send(steps)
        }
        OrderEvent::PaymentRecorded(_)
        | OrderEvent::PaymentEnded(_)
        | OrderEvent::Paid(_)
        | OrderEvent::AuthorizationRecorded(_)
        | OrderEvent::Delivered(_)
        | OrderEvent::DueMoved(_) => Reaction::None,
    }
}

/// What the payments of an order that is not prepaid are to take from now on.
fn adjustments(order: &Order) -> impl Iterator<Item = Step> {
    let adjustments = order.adjustments_of_payments().into_iter();
    adjustments.map(|(payment_id, adjusted)| Step::Payment(payment_id, PaymentCommand::Adjust(adjusted)))
}

/// False for a payment that was added later, which is requested by the event that added it.
fn is_of_allocation(allocated: &OrderAllocated, payment_id: PaymentId) -> bool {
    allocated.payment_id == Some(payment_id)
        || allocated.payments.iter().any(|payment| payment.payment_id == payment_id)
}

/// The other shipments that the order had when it undid this one. Later ones are still to reduce the reservation.
fn shipments_before_undo(order: &Order, undone: ShipmentId) -> Vec<ShipmentId> {
    let shipment = order.shipments().iter().find(|shipment| shipment.shipment_id == undone);
    let count = shipment.and_then(|shipment| shipment.undone_among).unwrap_or_default();
    let ids = order.shipments().iter().take(count).map(|shipment| shipment.shipment_id);
    ids.filter(|id| *id != undone).collect()
}

/// The reaction to an event of a payment. `payment` is its current state, which may be later than the event.
pub fn react_to_payment(event: &PaymentEvent, payment: &Payment) -> Reaction {
    let Some(order_id) = payment.order_id() else { return Reaction::None };
    let of_amounts = match event {
        PaymentEvent::Captured(_)
        | PaymentEvent::Refunded(_)
        | PaymentEvent::RefundFailed(_)
        | PaymentEvent::RefundFound(_)
        | PaymentEvent::RefundPending(_)
        | PaymentEvent::Disputed(_)
        | PaymentEvent::DisputeWon(_)
        | PaymentEvent::DisputeLost(_) => Some(record_payment(payment)),
        PaymentEvent::Failed(failed) if !failed.retryable && is_open_and_uncaptured(payment) => {
            let ends_order = payment.terms() != PaymentTerms::Net;
            ends_order.then(|| end_payment(payment, TenderEnding::Failed))
        }
        PaymentEvent::Voided(voided) if !payment.is_closed() => {
            let ends_payment = match payment.terms() {
                PaymentTerms::Prepaid => true,
                // The customer is asked again for an authorisation that ran out.
                PaymentTerms::OnShipment => payment.state() == PaymentState::Voided && !voided.ran_out,
                // Its open money may be asked of another payment.
                PaymentTerms::Net => !voided.ran_out,
            };
            ends_payment.then(|| end_payment(payment, TenderEnding::Voided))
        }
        PaymentEvent::Failed(_)
        | PaymentEvent::Voided(_)
        | PaymentEvent::Requested(_)
        | PaymentEvent::ChargeRequested(_)
        | PaymentEvent::ChargePending(_)
        | PaymentEvent::CaptureRequested(_)
        | PaymentEvent::Authorized(_)
        | PaymentEvent::VoidRequested(_)
        | PaymentEvent::OutcomeUnknown(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::RefundOutcomeUnknown(_)
        | PaymentEvent::Adjusted(_)
        | PaymentEvent::Closed(_) => None,
    };
    let of_authorization = changes_authorization(event).then(|| authorization_to_record(payment)).flatten();
    let commands = of_authorization.into_iter().chain(of_amounts);
    let steps = commands.map(|command| Step::Order(order_id, command));
    let steps: Vec<Step> = steps.chain(exchanging::credit_back(event, payment)).collect();
    if steps.is_empty() { Reaction::None } else { Reaction::Send(steps) }
}

fn changes_authorization(event: &PaymentEvent) -> bool {
    match event {
        PaymentEvent::Authorized(_) | PaymentEvent::Failed(_) | PaymentEvent::Voided(_) => true,
        PaymentEvent::Requested(_)
        | PaymentEvent::ChargeRequested(_)
        | PaymentEvent::ChargePending(_)
        | PaymentEvent::CaptureRequested(_)
        | PaymentEvent::Captured(_)
        | PaymentEvent::VoidRequested(_)
        | PaymentEvent::OutcomeUnknown(_)
        | PaymentEvent::RefundRequested(_)
        | PaymentEvent::RefundFound(_)
        | PaymentEvent::RefundPending(_)
        | PaymentEvent::RefundOutcomeUnknown(_)
        | PaymentEvent::Refunded(_)
        | PaymentEvent::RefundFailed(_)
        | PaymentEvent::Disputed(_)
        | PaymentEvent::DisputeWon(_)
        | PaymentEvent::DisputeLost(_)
        | PaymentEvent::Adjusted(_)
        | PaymentEvent::Closed(_) => false,
    }
}

/// Records on the order what its payment has authorized. `None` if the order does not ship on it.
fn authorization_to_record(payment: &Payment) -> Option<OrderCommand> {
    if payment.terms() != PaymentTerms::OnShipment {
        return None;
    }
    Some(OrderCommand::RecordAuthorization(OrderAuthorizationRecorded {
        payment_id: payment.payment_id()?,
        authorized: payment.authorized(),
        until: payment.authorized_until(),
        number: payment.authorizations(),
    }))
}

/// [`authorization_to_record`] if it holds money.
fn authorization_that_holds(payment: &Payment) -> Option<OrderCommand> {
    authorization_to_record(payment).filter(|_| payment.authorized().is_positive())
}

/// The commands that follow an event of a receipt: each SKU receives its units. They go to the SKUs in the order
/// of the receipt.
pub fn react_to_receipt(event: &ReceiptEvent) -> Vec<Step> {
    match event {
        ReceiptEvent::Accepted(accepted) => {
            let receive = |item: &ReceiptItem| {
                let ReceiptItem { sku, quantity, reference } = item.clone();
                Step::Stock(sku, StockCommand::ReceiveAccepted { quantity, reference })
            };
            accepted.items.iter().map(receive).collect()
        }
    }
}

/// Records the payment's cumulative amounts on its order.
fn record_payment(payment: &Payment) -> OrderCommand {
    OrderCommand::RecordPayment(OrderPaymentRecorded {
        payment_id: payment.payment_id(),
        captured: payment.captured(),
        refunded: payment.refunded(),
        refunds_failed: payment.refunds_failed(),
        refunded_at_provider: payment.refunded_at_provider(),
        disputed: payment.disputed(),
        captured_late: payment.captured_late(),
        corrections: payment.corrections(),
    })
}

fn end_payment(payment: &Payment, ending: TenderEnding) -> OrderCommand {
    let payment_id = payment.payment_id().expect("a payment that has an order was requested");
    OrderCommand::EndPayment { payment_id, ending, captured: payment.captured() }
}

fn is_open_and_uncaptured(payment: &Payment) -> bool {
    payment.captured() == Amount::ZERO && !payment.is_closed()
}

/// The reservations that an order needs before it is allocated: units per stocked SKU, lines added up.
pub fn reservations(order: &Order) -> BTreeMap<Sku, u32> {
    stocked_units(order.lines().iter().map(|line| (&line.sku, line.quantity, line.stocked)))
}

/// [`reservations`] of an order before it is placed.
pub fn reservations_of_new_order(order: &PlaceOrder) -> BTreeMap<Sku, u32> {
    stocked_units(order.lines.iter().map(|line| (&line.sku, line.quantity, line.stocked)))
}

fn stocked_units<'a>(lines: impl Iterator<Item = (&'a Sku, u32, bool)>) -> BTreeMap<Sku, u32> {
    let mut units = BTreeMap::new();
    for (sku, quantity, _) in lines.filter(|(_, _, stocked)| *stocked) {
        let sum: &mut u32 = units.entry(sku.clone()).or_default();
        // This may run before the order is validated, so the sum may exceed the limit of an order.
        *sum = sum.saturating_add(quantity);
    }
    units
}

/// The command that ends a round of reservations: allocate if no SKU is short, otherwise reject.
pub fn settle(order_id: OrderId, shortages: Vec<Shortage>) -> OrderCommand {
    if shortages.is_empty() {
        OrderCommand::Allocate { payment_id: PaymentId::of_order(order_id) }
    } else {
        OrderCommand::Reject { shortages }
    }
}

/// The commands that request the payments of an allocated order. None if its total is 0 or it has ended.
pub fn payment_requests(order_id: OrderId, order: &OrderStateSummary) -> Vec<(PaymentId, PaymentCommand)> {
    let Some(currency) = order.currency.filter(|_| !order.status.is_final()) else { return Vec::new() };
    let terms = order.terms;
    let requests = order.payments.iter().map(|tender| {
        let (payment_id, amount, charge) = (tender.payment_id, tender.amount, tender.charge.clone());
        let credit = tender.credit;
        (
            payment_id,
            PaymentCommand::Request { payment_id, order_id, amount, currency, charge, terms, credit },
        )
    });
    requests.collect()
}

/// Releases the unshipped stock of an ended order. The sweep sends these steps again for open reservations.
pub fn releases(order_id: OrderId, order: &Order) -> Vec<Step> {
    // Cancellations after which the order went on have released their units themselves.
    let mut released: BTreeMap<u32, u32> = BTreeMap::new();
    for part in order.cancellations().iter().flat_map(|cancellation| &cancellation.lines) {
        *released.entry(part.line).or_default() += part.quantity;
    }
    let unshipped = (1..).zip(order.lines()).map(|(line, state)| {
        let gone = state.shipped + released.get(&line).copied().unwrap_or_default();
        LineQuantity { line, quantity: state.quantity - gone }
    });
    let unshipped = unshipped.filter(|part| part.quantity > 0);
    let release = |(sku, quantity)| Step::Stock(sku, StockCommand::Release { order_id, quantity });
    units_by_sku(order, unshipped).into_iter().map(release).collect()
}

fn units_of(part: &CancelledLine) -> LineQuantity {
    LineQuantity { line: part.line, quantity: part.quantity }
}

fn closing_steps(order_id: OrderId, order: &Order) -> Vec<Step> {
    let mut steps = releases(order_id, order);
    for tender in order.tenders() {
        let Some(amount_due) = tender.kept_at_closing else { continue };
        let is_its_own =
            |refund: &&RefundRecord| refund.at_closing && refund.payment_id == Some(tender.payment_id);
        let refund = order.refunds().iter().find(is_its_own).map(|refund| (refund.refund_id, refund.amount));
        let command = PaymentCommand::Close { order_id, amount_due, refund };
        steps.push(Step::Payment(tender.payment_id, command));
    }
    steps
}

/// Requests the refunds of an event. An event of version 1 lists none: it has one, with this id and amount.
fn refund_steps(
    order: &Order,
    refunds: &[OrderRefund],
    only: (RefundId, Amount),
    reason: RefundReason,
) -> Vec<Step> {
    let request = |OrderRefund { refund_id, payment_id, amount }| {
        Step::Payment(payment_id, PaymentCommand::RequestRefund { refund_id, amount, reason })
    };
    if refunds.is_empty() {
        let (refund_id, amount) = only;
        let payment_id = order.payment_id().filter(|_| amount.is_positive());
        return payment_id
            .map(|payment_id| request(OrderRefund { refund_id, payment_id, amount }))
            .into_iter()
            .collect();
    }
    refunds.iter().copied().map(request).collect()
}

#[cfg(test)]
mod tests;

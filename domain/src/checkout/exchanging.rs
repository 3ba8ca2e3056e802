//! The parts of the policy that concern exchanges. The steps of an exchange depend on each other's outcomes, so each is
//! decided on the states that the ones before have left: see [`crate::exchange`].

use super::{Reaction, Step, payment_requests, reservations};
use crate::{
    CancellationId, ExchangeId, PaymentId,
    decider::Versioned,
    exchange::{
        Exchange, ExchangeCommand, ExchangeEventKind, ExchangeOutcome, ExchangeRequested, ExchangeSettled,
        RefusedBecause,
    },
    order::{CancelReason, NewCancellation, Order, OrderCommand, OrderStatus, returned},
    payment::{Payment, PaymentCommand, PaymentEvent, PaymentState},
};

/// True if steps follow an event of this kind.
pub fn exchange_event_has_reaction(kind: ExchangeEventKind) -> bool {
    match kind {
        ExchangeEventKind::Requested | ExchangeEventKind::Refused => true,
        ExchangeEventKind::Settled => false,
    }
}

/// An exchange, and what it changes, as they are now.
#[derive(Debug)]
pub struct ExchangeView<'a> {
    pub exchange_id: ExchangeId,
    pub requested: &'a ExchangeRequested,
    pub exchange: &'a Exchange,
    /// The order whose units come back.
    pub first: &'a Versioned<Order>,
    pub new: &'a Versioned<Order>,
    /// The credit: the first payment of the new order.
    pub payment: &'a Payment,
}

/// The payment of the new order that is the credit.
pub fn payment_of_credit(requested: &ExchangeRequested) -> PaymentId {
    PaymentId::of_order(requested.order.order_id)
}

/// The next step of an exchange. None: it has ended, and its new order is cancelled if it was refused.
///
/// Another process may take a step in between, so a step may be refused. Then the next step is decided again.
pub fn react_to_exchange(view: &ExchangeView<'_>) -> Reaction {
    let ExchangeView { exchange_id, requested, exchange, first, new, payment } = *view;
    let new_id = requested.order.order_id;
    let decide = |command| send(Step::Exchange(exchange_id, command));
    match exchange.outcome() {
        Some(ExchangeOutcome::Settled(_)) => return Reaction::None,
        Some(ExchangeOutcome::Refused(_)) => return cancel(exchange_id, &new.state),
        None => {}
    }
    if first.state.has_exchanged(exchange_id) {
        if !payment.captured().is_positive() {
            return send(Step::Payment(payment_of_credit(requested), PaymentCommand::GiveCredit));
        }
        let of_return = |record: &&crate::order::ReturnRecord| record.return_id == requested.return_id;
        let record = first.state.returns().iter().find(of_return);
        return decide(ExchangeCommand::Settle(ExchangeSettled {
            refund_amount: record.map(|record| record.refund_amount).unwrap_or_default(),
            return_revision: first.revision.unwrap_or_default(),
            order_revision: new.revision.unwrap_or_default(),
        }));
    }
    match new.state.status() {
        OrderStatus::New => send(Step::Order(new_id, OrderCommand::PlaceExchanged(requested.order.clone()))),
        OrderStatus::Placed => Reaction::Reserve(reservations(&new.state)),
        OrderStatus::Rejected => decide(ExchangeCommand::Refuse(RefusedBecause::InsufficientStock)),
        OrderStatus::Cancelled | OrderStatus::Expired => {
            decide(ExchangeCommand::Refuse(RefusedBecause::OrderEnded))
        }
        OrderStatus::Allocated => exchange_of_allocated(view),
    }
}

/// The new order has its stock: the units come back, or the exchange is refused.
fn exchange_of_allocated(view: &ExchangeView<'_>) -> Reaction {
    let ExchangeView { exchange_id, requested, first, new, payment, .. } = *view;
    if payment.state() == PaymentState::New {
        let requests = payment_requests(requested.order.order_id, &new.state.summary()).into_iter();
        let steps = requests.map(|(payment_id, request)| Step::Payment(payment_id, request));
        return Reaction::Send(steps.collect());
    }
    match returned(&first.state, requested.new_return(), Some(requested.credit)) {
        Ok(_) => {
            let (new_return, credit) = (requested.new_return(), requested.credit);
            send(Step::Order(requested.order_id, OrderCommand::ReturnForCredit { new_return, credit }))
        }
        Err(refusal) => {
            let because = RefusedBecause::of_return(&refusal);
            send(Step::Exchange(exchange_id, ExchangeCommand::Refuse(because)))
        }
    }
}

/// Cancels the new order of a refused exchange, unless it has ended.
fn cancel(exchange_id: ExchangeId, new: &Order) -> Reaction {
    let is_open = match new.status() {
        OrderStatus::Placed | OrderStatus::Allocated => true,
        OrderStatus::New | OrderStatus::Rejected | OrderStatus::Cancelled | OrderStatus::Expired => false,
    };
    let Some(order_id) = new.order_id().filter(|_| is_open) else { return Reaction::None };
    let cancellation_id = CancellationId::of_command(exchange_id.into());
    let note = Some("its exchange was refused".to_owned());
    let cancellation =
        NewCancellation { note, ..NewCancellation::of_the_rest(cancellation_id, CancelReason::Requested) };
    send(Step::Order(order_id, OrderCommand::Cancel(cancellation)))
}

fn send(step: Step) -> Reaction {
    Reaction::Send(vec![step])
}

/// A refund of a credit goes back to the order that has its money.
pub(super) fn credit_back(event: &PaymentEvent, payment: &Payment) -> Option<Step> {
    let (PaymentEvent::Refunded(refunded), Some(source)) = (event, payment.credit()) else { return None };
    let (exchange_id, refund_id, amount) = (source.exchange_id, refunded.refund_id, refunded.amount);
    Some(Step::Order(source.order_id, OrderCommand::TakeBackCredit { exchange_id, refund_id, amount }))
}

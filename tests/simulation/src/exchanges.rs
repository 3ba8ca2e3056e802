//! Checks exchanges: units come back and the new order has their credit, or neither.

use domain::{
    Event, ExchangeId, StreamName,
    checkout::payment_of_credit,
    exchange::{ExchangeDecider, ExchangeEvent, ExchangeOutcome, ExchangeRequested},
    order::{CreditRecord, OrderDecider},
    payment::PaymentDecider,
};

use crate::{
    environment::Environment,
    request::{Action, Answer, Request},
};

/// The exchanges that were requested.
fn requested(env: &Environment) -> Vec<(ExchangeId, ExchangeRequested)> {
    let log = env.log.lock();
    let of_event = |event: &domain::RecordedEvent| match (&event.stream, event.decode()) {
        (StreamName::Exchange(id), Ok(Event::Exchange(ExchangeEvent::Requested(requested)))) => {
            Some((*id, requested))
        }
        _ => None,
    };
    log.events().iter().filter_map(of_event).collect()
}

/// True if a stream that the exchange needs has a damaged event.
fn needs_damaged(env: &Environment, id: ExchangeId, requested: &ExchangeRequested) -> bool {
    let (new, payment) = (requested.order.order_id, payment_of_credit(requested));
    let stock = requested.order.lines.iter().map(|line| StreamName::from(line.sku.clone()));
    let mut streams =
        [id.into(), requested.order_id.into(), new.into(), payment.into()].into_iter().chain(stock);
    let damaged = env.log.lock().damaged_stream();
    damaged.is_some_and(|damaged| streams.any(|stream| stream == damaged))
}

/// Describes each exchange that has not ended, or that one of its orders does not show.
pub fn exchanged_in_part(env: &Environment) -> Vec<String> {
    let requested = requested(env).into_iter().filter(|(id, requested)| !needs_damaged(env, *id, requested));
    requested.filter_map(|(id, requested)| fault(env, id, &requested)).collect()
}

fn fault(env: &Environment, id: ExchangeId, requested: &ExchangeRequested) -> Option<String> {
    let exchange = env.folded::<ExchangeDecider>(&id.into(), usize::MAX);
    let first = env.folded::<OrderDecider>(&requested.order_id.into(), usize::MAX);
    let new = env.folded::<OrderDecider>(&requested.order.order_id.into(), usize::MAX);
    let payment = env.folded::<PaymentDecider>(&payment_of_credit(requested).into(), usize::MAX);
    let credit = first.credits().iter().find(|credit| credit.exchange_id == id);
    let outstanding = credit.map(CreditRecord::outstanding).unwrap_or_default();
    let used = payment.captured().saturating_sub(payment.refunded());
    match exchange.outcome() {
        None => Some(format!("everything drains: exchange-{id} has no outcome")),
        _ if used != outstanding => {
            Some(format!("money agrees: exchange-{id} gives {outstanding}, and {used} is used of it"))
        }
        Some(ExchangeOutcome::Settled(_)) if credit.map(|given| given.amount) != Some(payment.captured()) => {
            Some(format!("all or nothing: exchange-{id} is settled, and gave {credit:?}"))
        }
        Some(ExchangeOutcome::Refused(_)) if credit.is_some() || !new.status().is_final() => {
            Some(format!("all or nothing: exchange-{id} is refused, and its new order is {:?}", new.status()))
        }
        Some(ExchangeOutcome::Settled(_) | ExchangeOutcome::Refused(_)) => None,
    }
}

/// Checks the answer to an exchange against the durable events.
pub fn exchanged_as_answered(env: &Environment, request: &Request, answer: &Answer) -> Result<(), String> {
    let types: Vec<String> = {
        let log = env.log.lock();
        log.stream(&request.stream()).map(|event| event.type_name.to_string()).collect()
    };
    let has = |type_name: &str| types.iter().any(|found| found == type_name);
    let is_recorded = answer.body["order_id"].is_string();
    let holds = match (answer.status.is_success(), is_recorded, answer.code()) {
        (true, ..) => has("exchange.settled.v1"),
        (
            false,
            true,
            "insufficient_stock" | "order_status" | "quantity_unavailable" | "refund_too_large",
        ) => has("exchange.refused.v1"),
        // A twin of the request may have been accepted since.
        (
            false,
            false,
            "insufficient_stock"
            | "quantity_unavailable"
            | "nothing_to_credit"
            | "too_many_parts"
            | "invalid_request"
            | "projections_behind",
        ) => true,
        // A log that went back has lost the first order.
        (false, false, "not_found") => {
            matches!(&request.action, Action::Exchange { order, .. } if env.len_of(&(*order).into()) == 0)
        }
        (false, ..) => return Err("no state explains this refusal".to_owned()),
    };
    if holds { Ok(()) } else { Err(format!("durable answers: the exchange has {types:?}")) }
}

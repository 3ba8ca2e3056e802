//! Checks each answer against the events that are durable when it is given.

use command_api::error::Refusal;
use domain::{
    Decider, OrderId, StreamName, Timestamp, order::OrderDecider, payment::PaymentDecider,
    stock::StockDecider,
};
use infra::http::Code;

use crate::{
    environment::Environment,
    exchanges, isolation, receipts,
    request::{Action, Answer, Request},
};

/// Checks an answer. `seen_from` is the number of events of the request's stream when the request was sent.
pub fn judge(env: &Environment, request: &Request, answer: &Answer, seen_from: usize) -> Result<(), String> {
    let fault = |what: &str| Err(format!("{what}: {request:?} was answered {answer:?}"));
    if answer.code() == "stream_unreadable" && isolation::needs_undecodable_stream(env, request) {
        return Ok(());
    }
    if answer.status.is_server_error() && !answer.is_temporary() {
        return fault("an internal error");
    }
    if answer.is_temporary() {
        return Ok(());
    }
    if let Err(lost) = everything_named_is_durable(env, answer) {
        return fault(&format!("durable answers: {lost}"));
    }
    let name = request.name();
    let is_recorded = answer.status.is_success() || is_recorded_refusal(request, answer);
    if is_recorded && answer.status != http::StatusCode::ACCEPTED {
        let first = env.first_answer(&name, answer);
        let same = first.status == answer.status && without_revisions(&first) == without_revisions(answer);
        let was_recorded = !command_events(env, request).is_empty();
        if was_recorded && !same && !shows_present_state(env, request) {
            return fault(&format!("the answer to a retry differs from the first one ({first:?})"));
        }
    }
    if matches!(request.action, Action::Place { .. }) {
        return placed_as_answered(env, request, answer).or_else(|why| fault(&why));
    }
    if let Action::ReceiveMany { items } = &request.action {
        return receipts::received_as_answered(env, request, items, answer).or_else(|why| fault(&why));
    }
    if matches!(request.action, Action::Exchange { .. }) {
        return exchanges::exchanged_as_answered(env, request, answer).or_else(|why| fault(&why));
    }
    if answer.status.is_success() {
        let is_durable = !command_events(env, request).is_empty();
        if is_durable || any_ruling(env, request, seen_from, Ruling::Unchanged) {
            return Ok(());
        }
        return fault("durable answers: no event of the request is durable");
    }
    if env.recorded_answer(&name).is_some() && !command_events(env, request).is_empty() {
        return fault("a recorded request was refused");
    }
    let len = env.len_of(&request.stream());
    let code = |count| match ruling(env, request, count) {
        Some(Ruling::Refused(code)) => Some(code.as_str()),
        Some(Ruling::Recorded | Ruling::Unchanged) | None => None,
    };
    if (seen_from..=len).any(|count| code(count) == Some(answer.code())) {
        return Ok(());
    }
    fault("no durable state of its stream since the request explains this refusal")
}

/// True if the platform has recorded the refusal, so every retry gets the same one.
fn is_recorded_refusal(request: &Request, answer: &Answer) -> bool {
    matches!(request.action, Action::Place { .. } | Action::Exchange { .. })
        && answer.body["order_id"].is_string()
}

/// True if a retry is answered with the present state: reports of the provider may have changed the payment.
fn shows_present_state(env: &Environment, request: &Request) -> bool {
    let stream = request.stream();
    matches!(stream, StreamName::Payment(_))
        && !env.folded::<PaymentDecider>(&stream, usize::MAX).charges().is_empty()
}

/// The body without `revisions`: another task may have changed the order between two answers.
fn without_revisions(answer: &Answer) -> serde_json::Value {
    let mut body = answer.body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("revisions");
    }
    body
}

fn everything_named_is_durable(env: &Environment, answer: &Answer) -> Result<(), String> {
    let revisions = answer.body["revisions"].as_object();
    for (stream, revision) in revisions.into_iter().flatten() {
        let name: StreamName = stream.parse().map_err(|error| format!("{error}"))?;
        let number = revision.as_u64().ok_or("a revision is not a number")?;
        if number >= env.len_of(&name) as u64 {
            return Err(format!("{stream} has no durable revision {number}"));
        }
    }
    Ok(())
}

/// The types of the durable events of the request's command.
fn command_events(env: &Environment, request: &Request) -> Vec<String> {
    let id = request.command_id();
    let log = env.log.lock();
    let events = log.stream(&request.stream());
    let own = events.filter(|event| event.decode_metadata().is_ok_and(|metadata| metadata.command_id == id));
    own.map(|event| event.type_name.to_string()).collect()
}

fn placed_as_answered(env: &Environment, request: &Request, answer: &Answer) -> Result<(), String> {
    let order_id = OrderId::of_command(request.command_id());
    let stream = StreamName::from(order_id);
    let durable: Vec<String> = {
        let log = env.log.lock();
        log.stream(&stream).map(|event| event.type_name.to_string()).collect()
    };
    let settled_as = |type_name: &str| {
        let revision = answer.body["revision"].as_u64().unwrap_or(u64::MAX);
        let at = usize::try_from(revision).ok().and_then(|revision| durable.get(revision));
        at.is_some_and(|found| found == type_name)
    };
    let holds = match (answer.status.as_u16(), answer.code()) {
        (202, _) => durable.first().is_some_and(|first| first == "order.placed.v2"),
        (201, _) => {
            let payment: Option<StreamName> =
                answer.body["payment_id"].as_str().and_then(|id| format!("payment-{id}").parse().ok());
            // A free order is paid when it is allocated.
            let is_allocated =
                settled_as("order.allocated.v1") || (payment.is_none() && settled_as("order.paid.v1"));
            is_allocated && payment.is_none_or(|payment| env.len_of(&payment) > 0)
        }
        (409, "insufficient_stock") => settled_as("order.rejected.v1"),
        (409, "order_status") => settled_as("order.cancelled.v2") || settled_as("order.expired.v1"),
        // It arrived after its due time, perhaps because of faults.
        (422, "invalid_request") if is_overdue(env, request) => durable.is_empty(),
        _ => return Err("a well-formed order was refused".to_owned()),
    };
    if holds { Ok(()) } else { Err(format!("durable answers: the order's durable events are {durable:?}")) }
}

/// True if the payment of a new order is due before a time that the platform's clock has shown.
fn is_overdue(env: &Environment, request: &Request) -> bool {
    let Action::Place { body, .. } = &request.action else { return false };
    let due_at = body["payment_due_at"].as_str().and_then(|due_at| due_at.parse::<Timestamp>().ok());
    due_at.is_some_and(|due_at| due_at < env.latest_time())
}

/// The domain's decision on a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ruling {
    Recorded,
    Unchanged,
    Refused(Code),
}

/// True if the domain gives this ruling on some state of the stream after `from` or more events.
fn any_ruling(env: &Environment, request: &Request, from: usize, expected: Ruling) -> bool {
    let len = env.len_of(&request.stream());
    (from..=len).any(|count| ruling(env, request, count) == Some(expected))
}

/// The domain's decision after the first `count` durable events of the stream. None for a placing and a bulk
/// receipt: their outcome depends on several streams.
fn ruling(env: &Environment, request: &Request, count: usize) -> Option<Ruling> {
    let stream = request.stream();
    let revision = (count as u64).checked_sub(1);
    if request.if_revision.is_some_and(|wanted| Some(wanted) != revision) {
        return Some(Ruling::Refused(Code::PreconditionFailed));
    }
    Some(match stream {
        StreamName::Stock(_) => {
            let stock = env.folded::<StockDecider>(&stream, count);
            ruling_of(StockDecider::decide(&stock, request.stock_command()?))
        }
        StreamName::Order(_) => {
            let order = env.folded::<OrderDecider>(&stream, count);
            ruling_of(OrderDecider::decide(&order, request.order_command()?))
        }
        StreamName::Payment(_) => {
            let payment = env.folded::<PaymentDecider>(&stream, count);
            ruling_of(PaymentDecider::decide(&payment, request.payment_command()?))
        }
        // Its outcome depends on several streams.
        StreamName::Receipt(_) | StreamName::Exchange(_) => return None,
    })
}

fn ruling_of<E, R: Refusal>(decided: Result<Vec<E>, R>) -> Ruling {
    match decided {
        Ok(events) if events.is_empty() => Ruling::Unchanged,
        Ok(_) => Ruling::Recorded,
        Err(refusal) => Ruling::Refused(refusal.problem().code),
    }
}

//! Judges each answer at the moment it is given, by what is durable at that moment.

use domain::{OrderId, StreamName, payment::PaymentDecider};

use crate::{
    request::{Action, Answer, Request, Ruling},
    world::World,
};

/// `seen_from`: how many events the request's stream had when the request was sent.
pub fn judge(world: &World, request: &Request, answer: &Answer, seen_from: usize) -> Result<(), String> {
    let fault = |what: &str| Err(format!("{what}: {request:?} was answered {answer:?}"));
    if answer.status.is_server_error() && !answer.is_passing() {
        return fault("an internal error");
    }
    if answer.is_passing() {
        return Ok(());
    }
    if let Err(lost) = everything_named_is_durable(world, answer) {
        return fault(&format!("durable answers: {lost}"));
    }
    let name = request.name();
    let is_recorded = answer.status.is_success() || is_recorded_refusal(request, answer);
    if is_recorded && answer.status != http::StatusCode::ACCEPTED {
        let first = world.first_answer(&name, answer);
        let same = first.status == answer.status && without_revisions(&first) == without_revisions(answer);
        let was_recorded = !command_events(world, request).is_empty();
        if was_recorded && !same && !is_told_how_it_stands(world, request) {
            return fault(&format!("a retry was answered otherwise than at first ({first:?})"));
        }
    }
    if matches!(request.action, Action::Place { .. }) {
        return placed_as_answered(world, request, answer).or_else(|why| fault(&why));
    }
    if answer.status.is_success() {
        let is_durable = !command_events(world, request).is_empty();
        if is_durable || some_ruling(world, request, seen_from, Ruling::Unchanged) {
            return Ok(());
        }
        return fault("durable answers: nothing of it is durable");
    }
    if world.recorded_answer(&name).is_some() && !command_events(world, request).is_empty() {
        return fault("refused after it was recorded");
    }
    let len = world.len_of(&request.stream());
    let code = |count| match request.ruling(world, count) {
        Some(Ruling::Refused(code)) => Some(code.as_str()),
        Some(Ruling::Recorded | Ruling::Unchanged) | None => None,
    };
    if (seen_from..=len).any(|count| code(count) == Some(answer.code())) {
        return Ok(());
    }
    fault("no durable state of its stream since it was sent refuses it so")
}

/// A refusal that is the answer to this request for ever.
fn is_recorded_refusal(request: &Request, answer: &Answer) -> bool {
    matches!(request.action, Action::Place { .. }) && answer.body["order_id"].is_string()
}

/// What the provider says may come between two answers: both tell how the payment stands.
fn is_told_how_it_stands(world: &World, request: &Request) -> bool {
    let stream = request.stream();
    matches!(stream, StreamName::Payment(_))
        && !world.folded::<PaymentDecider>(&stream, usize::MAX).charges().is_empty()
}

/// The order may have been told meanwhile, or by somebody else.
fn without_revisions(answer: &Answer) -> serde_json::Value {
    let mut body = answer.body.clone();
    if let Some(members) = body.as_object_mut() {
        members.remove("revisions");
    }
    body
}

fn some_ruling(world: &World, request: &Request, from: usize, ruling: Ruling) -> bool {
    let len = world.len_of(&request.stream());
    (from..=len).any(|count| request.ruling(world, count) == Some(ruling))
}

fn everything_named_is_durable(world: &World, answer: &Answer) -> Result<(), String> {
    let revisions = answer.body["revisions"].as_object();
    for (stream, revision) in revisions.into_iter().flatten() {
        let name: StreamName = stream.parse().map_err(|error| format!("{error}"))?;
        let revision = revision.as_u64().ok_or("a revision is no number")?;
        if revision >= world.len_of(&name) as u64 {
            return Err(format!("{stream} has no durable revision {revision}"));
        }
    }
    Ok(())
}

/// The types of the durable events of the request's own command.
fn command_events(world: &World, request: &Request) -> Vec<String> {
    let id = request.command_id();
    let log = world.log.lock();
    let events = log.stream(&request.stream());
    let own = events.filter(|event| event.decode_metadata().is_ok_and(|metadata| metadata.command_id == id));
    own.map(|event| event.type_name.to_string()).collect()
}

fn placed_as_answered(world: &World, request: &Request, answer: &Answer) -> Result<(), String> {
    let order_id = OrderId::of_command(request.command_id());
    let stream = StreamName::from(order_id);
    let durable: Vec<String> = {
        let log = world.log.lock();
        log.stream(&stream).map(|event| event.type_name.to_string()).collect()
    };
    let settled_as = |type_name: &str| {
        let revision = answer.body["revision"].as_u64().unwrap_or(u64::MAX);
        let at = usize::try_from(revision).ok().and_then(|revision| durable.get(revision));
        at.is_some_and(|found| found == type_name)
    };
    let holds = match (answer.status.as_u16(), answer.code()) {
        (202, _) => durable.first().is_some_and(|first| first == "order.placed.v1"),
        (201, _) => {
            let payment: Option<StreamName> =
                answer.body["payment_id"].as_str().and_then(|id| format!("payment-{id}").parse().ok());
            settled_as("order.allocated.v1") && payment.is_none_or(|payment| world.len_of(&payment) > 0)
        }
        (409, "insufficient_stock") => settled_as("order.rejected.v1"),
        (409, "order_status") => settled_as("order.cancelled.v1") || settled_as("order.expired.v1"),
        _ => return Err("an order that is well formed is not refused".to_owned()),
    };
    if holds { Ok(()) } else { Err(format!("durable answers: the order's durable events are {durable:?}")) }
}

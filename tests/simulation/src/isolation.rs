//! Failures that last until an operator ends them, and that concern a part of the work: the provider never answers
//! calls about some payments, and an event in the middle of the log is damaged. All other work must finish meanwhile,
//! and this work when the failure has ended (invariant *isolation*).

use std::{
    collections::BTreeSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use domain::{
    EventId, NewEvent, OrderId, PaymentId, Sku, StreamName,
    order::{Order, OrderDecider},
    payment::PaymentDecider,
};
use infra::{
    event_store::{Append, ExpectedRevision},
    operations::parked::ParkedReactions,
    payment_provider::NoticeContent,
};
use serde_json::json;
use uuid::Uuid;

use crate::{
    environment::Environment,
    ledger::name_of_reference,
    memory::{Calm, Log, MemoryOperations},
    plan::{BUNDLE_SKUS, UNREADABLE_SKU},
    request::{Action, Request},
    unfinished::payment_ids,
    wall_clock::WallClock,
};

/// Half of the damage is in the last events, which a process may not have read before it died.
const LAST_EVENTS: usize = 10;

/// The stream of [`UNREADABLE_SKU`].
pub fn unreadable_stream() -> StreamName {
    stock_stream(UNREADABLE_SKU)
}

fn stock_stream(sku: &str) -> StreamName {
    Sku::new(sku).expect("the name is valid").into()
}

/// Appends an event of a later build to the stream of [`UNREADABLE_SKU`].
pub fn append_unreadable_event(log: &mut Log) {
    let metadata =
        json!({"command_id": Uuid::nil(), "command": "stock.receive", "correlation_id": Uuid::nil()});
    let event = NewEvent {
        id: EventId(Uuid::nil()),
        type_name: "stock.received.v99",
        data: b"{}".to_vec(),
        metadata: metadata.to_string().into_bytes().into(),
    };
    let stream = unreadable_stream();
    let append = Append { stream, expected: ExpectedRevision::NoStream, events: vec![event], epoch: None };
    let appended = log.append(&append, WallClock::true_time(Duration::ZERO));
    appended.expect("the log is empty");
}

/// True if the provider does not answer calls about this payment now.
pub fn hangs(env: &Environment, payment: PaymentId) -> bool {
    let hanging = env.plan.provider_hangs.filter(|_| !env.lasting_failures_ended.load(Ordering::Relaxed));
    hanging.is_some_and(|hanging| hanging.from <= env.elapsed() && hanging.concerns(payment))
}

/// True if the platform cannot take this notice now, because it has to look up a charge that hangs.
pub fn hangs_notice(env: &Environment, number: u64) -> bool {
    let ledger = env.ledger.lock();
    let notice = ledger.notices.get(&number);
    match notice.and_then(|notice| ledger.contents.get(notice.content)) {
        Some(NoticeContent::Moved { reference }) => {
            name_of_reference(reference).is_some_and(|name| hangs(env, name.0))
        }
        Some(
            NoticeContent::Charge { .. }
            | NoticeContent::Refund { .. }
            | NoticeContent::Dispute { .. }
            | NoticeContent::Other,
        )
        | None => false,
    }
}

/// Damages one event. Never the last one: a store with a damaged end does not start.
pub fn damage_an_event(env: &Environment) {
    let mut streams: Vec<StreamName> =
        env.log.lock().events().iter().map(|event| event.stream.clone()).collect();
    streams.pop();
    let candidates = (0..).zip(&streams).filter(|(_, stream)| may_be_damaged(env, stream));
    let mut candidates: Vec<usize> = candidates.map(|(place, _)| place).collect();
    if candidates.is_empty() {
        return;
    }
    let place = env.draw(|rng| {
        if rng.bool() {
            candidates.drain(..candidates.len().saturating_sub(LAST_EVENTS));
        }
        candidates[rng.usize(0..candidates.len())]
    });
    let (position, stream) = env.log.lock().damage(place);
    env.note(format!("the event at position {position} of {stream} is damaged"));
}

/// False for a stream without which no buyer gets the bundle, and for the unreadable one.
fn may_be_damaged(env: &Environment, stream: &StreamName) -> bool {
    let has_bundle =
        |order: &Order| order.lines().iter().any(|line| BUNDLE_SKUS.contains(&line.sku.as_str()));
    let order = |id: OrderId| env.folded::<OrderDecider>(&id.into(), usize::MAX);
    match stream {
        StreamName::Stock(sku) => sku.as_str() != UNREADABLE_SKU && !BUNDLE_SKUS.contains(&sku.as_str()),
        StreamName::Order(id) => !has_bundle(&order(*id)),
        StreamName::Payment(_) => {
            let payment = env.folded::<PaymentDecider>(stream, usize::MAX);
            payment.order_id().is_some_and(|id| !has_bundle(&order(id)))
        }
        StreamName::Receipt(_) => env.plan.bundle_buyers == 0,
        StreamName::Exchange(_) => false,
    }
}

/// The streams that the work of an order needs.
fn streams_of(id: OrderId, order: &Order) -> BTreeSet<StreamName> {
    let stock = order.lines().iter().filter(|line| line.stocked).map(|line| line.sku.clone().into());
    let payments = payment_ids(id, order).into_iter().map(StreamName::from);
    // What the new order of an exchange gives back goes to the first order.
    let first = order.exchange_of().map(|source| source.order_id.into());
    stock.chain(payments).chain(first).chain([id.into()]).collect()
}

/// True if a lasting failure keeps the work of this order from being finished.
pub fn is_held_up(env: &Environment, id: OrderId, order: &Order) -> bool {
    let damaged = env.log.lock().damaged_stream();
    damaged.is_some_and(|damaged| streams_of(id, order).contains(&damaged))
        || payment_ids(id, order).into_iter().any(|payment| hangs(env, payment))
}

/// True if the platform may refuse the request because it needs a stream that cannot be decoded.
pub fn needs_undecodable_stream(env: &Environment, request: &Request) -> bool {
    if request.has_line_of(UNREADABLE_SKU) {
        return true;
    }
    let Some(damaged) = env.log.lock().damaged_stream() else { return false };
    let needed = |id: OrderId| streams_of(id, &env.folded::<OrderDecider>(&id.into(), usize::MAX));
    let stream = request.stream();
    if stream == damaged {
        return true;
    }
    match (&request.action, &stream, &damaged) {
        (Action::Place { .. }, _, StreamName::Stock(sku)) => request.has_line_of(sku.as_str()),
        (Action::ReceiveMany { items }, _, StreamName::Stock(sku)) => items.iter().any(|(of, _)| of == sku),
        (Action::Exchange { order, body, .. }, _, _) => {
            let new = OrderId::of_command(request.command_id());
            let mut lines = body["lines"].as_array().into_iter().flatten();
            let has_line =
                lines.any(|line| matches!(&damaged, StreamName::Stock(sku) if line["sku"] == sku.as_str()));
            has_line || needed(*order).contains(&damaged) || needed(new).contains(&damaged)
        }
        (_, StreamName::Order(id), _) => needed(*id).contains(&damaged),
        (_, StreamName::Payment(_), _) => {
            let payment = env.folded::<PaymentDecider>(&stream, usize::MAX);
            payment.order_id().is_some_and(|id| needed(id).contains(&damaged))
        }
        (_, StreamName::Stock(_) | StreamName::Receipt(_) | StreamName::Exchange(_), _) => false,
    }
}

/// Ends every lasting failure: the provider answers again, and an operator restores the damaged event and retries what
/// is parked. False if there was none.
pub async fn end(env: &Environment) -> bool {
    let is_mended = env.log.lock().mend();
    let is_answered = env.plan.provider_hangs.is_some();
    env.lasting_failures_ended.store(true, Ordering::Relaxed);
    if is_answered {
        env.note("the provider answers every call from here on");
    }
    if is_mended {
        env.note("an operator restores the damaged event");
        env.tables.lock().request_retries(|stream| *stream != unreadable_stream());
        let operations = MemoryOperations::open(env.positions.clone(), Arc::new(Calm));
        let store_id = env.log.lock().store_id;
        if let Err(error) = operations.request_retry(store_id, None, env.clock().now()).await {
            env.fail(format!("isolation: {error}"));
        }
    }
    is_mended || is_answered
}

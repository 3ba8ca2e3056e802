//! Checks bulk receipts: all SKUs are received or none.

use std::collections::{BTreeMap, BTreeSet};

use domain::{
    EventId, Sku, StreamName,
    receipt::ReceiptEvent,
    stock::{StockDecider, StockEvent, check_receipt},
};

use crate::{
    environment::Environment,
    request::{Answer, Request},
};

/// What the log records of bulk receipts.
#[derive(Default)]
struct Receipts {
    /// The SKUs and quantities of each accepted receipt, by the event that accepted it.
    accepted: BTreeMap<EventId, (StreamName, Vec<(Sku, u32)>)>,
    /// The received units of each SKU, by the event that caused the receipt.
    received: BTreeMap<(EventId, Sku), u32>,
}

impl Receipts {
    fn of(env: &Environment) -> Self {
        let mut receipts = Self::default();
        for event in env.log.lock().events() {
            let cause = event.decode_metadata().ok().and_then(|metadata| metadata.causation_id);
            match (&event.stream, event.decode(), cause) {
                (stream, Ok(domain::Event::Receipt(ReceiptEvent::Accepted(accepted))), _) => {
                    let items = accepted.items.into_iter().map(|item| (item.sku, item.quantity));
                    receipts.accepted.insert(event.id, (stream.clone(), items.collect()));
                }
                (
                    StreamName::Stock(sku),
                    Ok(domain::Event::Stock(StockEvent::Received(data))),
                    Some(cause),
                ) => {
                    *receipts.received.entry((cause, sku.clone())).or_default() += data.quantity;
                }
                _ => {}
            }
        }
        receipts
    }

    /// The SKUs of an accepted receipt that are not received, or not in the accepted quantity.
    fn missing(&self, cause: EventId, items: &[(Sku, u32)]) -> Vec<Sku> {
        let received = |sku: &Sku| self.received.get(&(cause, sku.clone())).copied().unwrap_or(0);
        items
            .iter()
            .filter(|(sku, quantity)| received(sku) != *quantity)
            .map(|(sku, _)| sku.clone())
            .collect()
    }
}

/// Describes each receipt that is recorded in part, unless it needs a damaged stream.
pub fn received_in_part(env: &Environment) -> Vec<String> {
    let receipts = Receipts::of(env);
    let damaged = env.log.lock().damaged_stream();
    let is_damaged = |stream: &StreamName| damaged.as_ref() == Some(stream);
    let mut found = Vec::new();
    for (cause, (stream, items)) in &receipts.accepted {
        if is_damaged(stream) || items.iter().any(|(sku, _)| is_damaged(&sku.clone().into())) {
            continue;
        }
        for sku in receipts.missing(*cause, items) {
            found.push(format!("everything drains: {stream} has not received {sku:?}"));
        }
    }
    let causes: BTreeSet<EventId> = receipts.received.keys().map(|(cause, _)| *cause).collect();
    for cause in causes.into_iter().filter(|cause| !receipts.accepted.contains_key(cause)) {
        found.push(format!("all or nothing: {cause} received units, but no receipt was accepted"));
    }
    found
}

/// Checks the answer to a bulk receipt against the durable events.
pub fn received_as_answered(
    env: &Environment,
    request: &Request,
    items: &[(Sku, u32)],
    answer: &Answer,
) -> Result<(), String> {
    let (stream, receipts) = (request.stream(), Receipts::of(env));
    let accepted = receipts.accepted.iter().find(|(_, (of, _))| *of == stream);
    match (answer.status.is_success(), answer.code(), accepted) {
        (true, _, Some((cause, _))) => match receipts.missing(*cause, items).first() {
            Some(sku) => Err(format!("durable answers: {sku:?} is not received")),
            None => Ok(()),
        },
        (true, _, None) => Err("durable answers: no event of the request is durable".to_owned()),
        // Nothing takes units of the full SKU, so the reason of a refusal lasts.
        (false, "stock_limit", None) if items.iter().any(|(sku, quantity)| is_full(env, sku, *quantity)) => {
            Ok(())
        }
        (false, _, None) => Err("no durable state explains this refusal".to_owned()),
        (false, _, Some(_)) => Err("an accepted receipt was refused".to_owned()),
    }
}

fn is_full(env: &Environment, sku: &Sku, quantity: u32) -> bool {
    let stock = env.folded::<StockDecider>(&sku.clone().into(), usize::MAX);
    check_receipt(stock.levels(), quantity).is_err()
}

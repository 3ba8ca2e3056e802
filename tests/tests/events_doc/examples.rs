//! One event of each type, made from its golden file.

use std::{collections::HashMap, fs, path::PathBuf};

use domain::{
    Actor, CommandId, EventId, EventMetadata, ExchangeId, Idempotency, OrderId, PaymentId, ReceiptId,
    RecordedEvent, Sku, StreamName, TraceParent, decider::StoredEvent, exchange::ExchangeEvent,
    order::OrderEvent, payment::PaymentEvent, receipt::ReceiptEvent, stock::StockEvent,
};
use serde_json::Value;
use uuid::Uuid;

use super::STORE_ID;

/// The type of an event, the command that records it, and the type of the event that caused the command.
const CAUSES: [(&str, &str, Option<&str>); 54] = [
    ("stock.received.v1", "stock.receive", None),
    ("stock.adjusted.v1", "stock.adjust", None),
    ("order.placed.v2", "order.place", None),
    ("stock.reserved.v1", "stock.reserve", Some("order.placed.v2")),
    ("order.allocated.v1", "order.allocate", Some("order.placed.v2")),
    ("order.rejected.v1", "order.reject", Some("order.placed.v2")),
    ("payment.requested.v1", "payment.request", Some("order.allocated.v1")),
    ("payment.charge_requested.v1", "payment.charge", None),
    ("payment.charge_pending.v1", "payment.report", Some("payment.charge_requested.v1")),
    ("payment.authorized.v1", "payment.report", Some("payment.charge_requested.v1")),
    ("order.authorization_recorded.v1", "order.record_authorization", Some("payment.authorized.v1")),
    ("payment.capture_requested.v1", "payment.capture", None),
    ("payment.captured.v1", "payment.report", Some("payment.capture_requested.v1")),
    ("order.payment_recorded.v1", "order.record_payment", Some("payment.captured.v1")),
    ("order.payment_added.v1", "order.add_payment", None),
    ("order.paid.v1", "order.record_payment", Some("payment.captured.v1")),
    ("order.shipped.v1", "order.ship", None),
    ("stock.shipped.v1", "stock.ship", Some("order.shipped.v1")),
    ("payment.adjusted.v1", "payment.adjust", Some("order.shipped.v1")),
    ("order.delivered.v1", "order.deliver", None),
    ("order.shipment_undone.v1", "order.undo_shipment", None),
    ("stock.unshipped.v1", "stock.unship", Some("order.shipment_undone.v1")),
    ("order.due_moved.v1", "order.move_due", None),
    ("order.returned.v2", "order.return", None),
    ("stock.returned.v1", "stock.return", Some("order.returned.v2")),
    ("order.refund_requested.v2", "order.refund", None),
    ("payment.refund_requested.v1", "payment.request_refund", Some("order.refund_requested.v2")),
    ("payment.refund_pending.v1", "payment.report_refund", Some("payment.refund_requested.v1")),
    ("payment.refund_outcome_unknown.v1", "payment.mark_refund_outcome_unknown", None),
    ("payment.refunded.v1", "payment.record_refunded", None),
    ("payment.refund_failed.v1", "payment.record_refund_failed", None),
    ("payment.refund_found.v1", "payment.report_refund", None),
    ("payment.disputed.v1", "payment.report_dispute", None),
    ("payment.dispute_won.v1", "payment.report_dispute", None),
    ("payment.dispute_lost.v1", "payment.report_dispute", None),
    ("payment.failed.v1", "payment.fail", None),
    ("order.payment_ended.v1", "order.end_payment", Some("payment.failed.v1")),
    ("payment.outcome_unknown.v1", "payment.mark_outcome_unknown", None),
    ("order.lines_cancelled.v1", "order.cancel", None),
    ("order.cancelled.v2", "order.cancel", None),
    ("order.expired.v1", "order.expire", None),
    ("stock.released.v1", "stock.release", Some("order.cancelled.v2")),
    ("payment.closed.v1", "payment.close", Some("order.cancelled.v2")),
    ("payment.void_requested.v1", "payment.close", Some("order.cancelled.v2")),
    ("payment.voided.v1", "payment.void", None),
    ("receipt.accepted.v1", "receipt.accept", None),
    ("exchange.requested.v1", "exchange.request", None),
    ("exchange.settled.v1", "exchange.settle", Some("exchange.requested.v1")),
    ("exchange.refused.v1", "exchange.refuse", Some("exchange.requested.v1")),
    ("order.credit_taken_back.v1", "order.take_back_credit", Some("payment.refunded.v1")),
    ("order.placed.v1", "order.place", None),
    ("order.returned.v1", "order.return", None),
    ("order.refund_requested.v1", "order.refund", None),
    ("order.cancelled.v1", "order.cancel", None),
];

/// One event of each type, in a possible order of events of one order.
pub fn examples() -> Vec<RecordedEvent> {
    let mut revisions: HashMap<StreamName, u64> = HashMap::new();
    let mut examples: Vec<RecordedEvent> = Vec::new();
    for (position, (type_name, command, cause)) in (4_711..).zip(CAUSES) {
        let stream = stream(type_name);
        let next = revisions.entry(stream.clone()).or_default();
        let cause = cause.map(|cause| {
            examples
                .iter()
                .find(|event| *event.type_name == *cause)
                .expect("CAUSES lists a cause before its effect")
        });
        examples.push(RecordedEvent {
            position,
            revision: *next,
            id: EventId(id(type_name)),
            type_name: type_name.into(),
            data: stored_form(type_name).into(),
            metadata: serde_json::to_vec(&metadata(type_name, command, cause)).unwrap().into(),
            recorded_at: format!("2010-12-01T08:26:{:02}.{position:06}Z", position - 4_711).parse().unwrap(),
            damage: None,
            stream,
        });
        *next += 1;
    }
    examples
}

fn metadata(type_name: &str, command: &str, cause: Option<&RecordedEvent>) -> EventMetadata {
    let command_id = CommandId(id(&format!("{type_name}/{command}")));
    let idempotency = Idempotency {
        key: format!("checkout-4711/{command}"),
        fingerprint: "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".to_owned(),
        schema: 1,
    };
    EventMetadata {
        command_id,
        command: command.to_owned(),
        correlation_id: cause.map_or(command_id.0, |cause| cause.decode_metadata().unwrap().correlation_id),
        causation_id: cause.map(|cause| cause.id),
        idempotency: cause.is_none().then_some(idempotency),
        actor: Some(match cause {
            None => Actor { principal: "shop".into(), person: Some("jana".to_owned()) },
            Some(_) => Actor { principal: "orderly:process-manager".into(), person: None },
        }),
        // Of one event only, because most events belong to no sampled trace.
        traceparent: (command == "order.place").then_some(TraceParent {
            trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
            span_id: 0x00f0_67aa_0ba9_02b7,
            is_sampled: true,
        }),
    }
}

fn id(name: &str) -> Uuid {
    Uuid::new_v5(&STORE_ID, name.as_bytes())
}

fn stream(type_name: &str) -> StreamName {
    let order = OrderId("0d3c8f6e-7a41-5c0b-9f0e-1a2b3c4d5e6f".parse().unwrap());
    match type_name.split('.').next() {
        Some("stock") => Sku::new("85123A").unwrap().into(),
        Some("order") => order.into(),
        Some("receipt") => ReceiptId::from(CommandId(id(type_name))).into(),
        Some("exchange") => ExchangeId("5a1b2c3d-4e5f-5061-8273-8495a6b7c8d9".parse().unwrap()).into(),
        _ => PaymentId::of_order(order).into(),
    }
}

/// The event of a golden file as the store has it: without white space.
fn stored_form(type_name: &str) -> Vec<u8> {
    let golden = full(type_name).unwrap_or_else(|| panic!("{type_name} has no golden file"));
    if is_earlier_version(type_name) {
        // Encoded again it would be of the latest version.
        return serde_json::to_vec(&serde_json::from_slice::<Value>(&golden).unwrap()).unwrap();
    }
    match type_name.split('.').next() {
        Some("stock") => StockEvent::from_json(type_name, &golden).unwrap().to_json(),
        Some("order") => OrderEvent::from_json(type_name, &golden).unwrap().to_json(),
        Some("receipt") => ReceiptEvent::from_json(type_name, &golden).unwrap().to_json(),
        Some("exchange") => ExchangeEvent::from_json(type_name, &golden).unwrap().to_json(),
        _ => PaymentEvent::from_json(type_name, &golden).unwrap().to_json(),
    }
}

/// True if the event can be read from storage.
pub(super) fn decodes(type_name: &str, data: &[u8]) -> bool {
    match type_name.split('.').next() {
        Some("stock") => StockEvent::from_json(type_name, data).is_ok(),
        Some("order") => OrderEvent::from_json(type_name, data).is_ok(),
        Some("receipt") => ReceiptEvent::from_json(type_name, data).is_ok(),
        Some("exchange") => ExchangeEvent::from_json(type_name, data).is_ok(),
        _ => PaymentEvent::from_json(type_name, data).is_ok(),
    }
}

/// The golden file with every member, also those that a later build added.
fn full(type_name: &str) -> Option<Vec<u8>> {
    later(type_name).or_else(|| golden(type_name))
}

/// The golden file with the members that a later build added, beside those of the first form.
fn later(type_name: &str) -> Option<Vec<u8>> {
    ["payments", "part", "levels", "provider", "exchange"]
        .iter()
        .find_map(|form| golden(&format!("{type_name}.{form}")))
}

/// Every golden file of a type, such as `order.placed.v1.json` and `order.placed.v1.minimal.json`.
pub(super) fn forms(type_name: &str) -> Vec<Value> {
    let names =
        fs::read_dir(golden_folder()).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
    let is_form = |name: &String| name.strip_prefix(type_name).is_some_and(|rest| rest.starts_with('.'));
    let mut names: Vec<String> = names.filter(is_form).collect();
    names.sort_unstable();
    names
        .iter()
        .map(|name| serde_json::from_slice(&fs::read(golden_folder().join(name)).unwrap()).unwrap())
        .collect()
}

/// The content of a golden file, such as `order.placed.v1` or `order.placed.v1.minimal`.
fn golden(name: &str) -> Option<Vec<u8>> {
    fs::read(golden_folder().join(format!("{name}.json"))).ok()
}

fn golden_folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../domain/golden")
}

#[test]
fn every_type_of_event_has_an_example() {
    let mut types = [
        StockEvent::TYPE_NAMES,
        OrderEvent::TYPE_NAMES,
        PaymentEvent::TYPE_NAMES,
        ReceiptEvent::TYPE_NAMES,
        ExchangeEvent::TYPE_NAMES,
    ]
    .concat();
    let mut shown: Vec<_> = CAUSES.iter().map(|(type_name, ..)| *type_name).collect();
    types.sort_unstable();
    shown.sort_unstable();
    assert_eq!(shown, types);
}

/// True if later builds write a later version of this type.
pub(super) fn is_earlier_version(type_name: &str) -> bool {
    let family = |name: &str| name.rsplit_once('.').map(|(family, _)| family.to_owned());
    CAUSES.iter().any(|(other, ..)| family(other) == family(type_name) && *other > type_name)
}

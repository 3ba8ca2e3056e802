//! Stored rows stay readable: the JSON of orders and payments belongs to the schema versions of the adapters.

use std::{fs, path::PathBuf};

use domain::{
    Decider, Event, EventId, OrderId, PaymentId, RecordedEvent, StreamName, Timestamp,
    order::{Order, OrderDecider, OrderEvent},
    payment::{Payment, PaymentDecider, PaymentEvent},
};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{OrderSummary, PaymentSummary, postgres, sqlite};

/// Decodes a golden event of the domain.
fn golden_event(type_name: &str) -> Event {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("../domain/golden/{type_name}.json"));
    // The stream decides which aggregate decodes the event.
    let stream = match type_name.split_once('.') {
        Some(("payment", _)) => StreamName::Payment(PaymentId(Uuid::nil())),
        _ => StreamName::Order(OrderId(Uuid::nil())),
    };
    let recorded = RecordedEvent {
        position: 1,
        stream,
        revision: 0,
        id: EventId(Uuid::nil()),
        type_name: type_name.into(),
        data: fs::read(path).unwrap().into(),
        metadata: b"{}".as_slice().into(),
        recorded_at: Timestamp::UNIX_EPOCH,
        damage: None,
    };
    recorded.decode().unwrap()
}

fn order() -> Order {
    let types = [
        "order.placed.v2",
        "order.allocated.v1",
        "order.payment_recorded.v1",
        "order.paid.v1",
        "order.shipped.v1",
        "order.delivered.v1",
        "order.returned.v2",
        "order.refund_requested.v2",
    ];
    let events: Vec<OrderEvent> = types
        .map(|name| match golden_event(name) {
            Event::Order(event) => event,
            other => panic!("{name} is not an event of an order: {other:?}"),
        })
        .into();
    OrderDecider::fold(&events)
}

fn payment() -> Payment {
    let types = [
        "payment.requested.v1",
        "payment.charge_requested.v1",
        "payment.authorized.v1",
        "payment.capture_requested.v1",
        "payment.captured.v1",
        "payment.refund_requested.v1",
        "payment.refund_failed.v1",
    ];
    let events: Vec<PaymentEvent> = types
        .map(|name| match golden_event(name) {
            Event::Payment(event) => event,
            other => panic!("{name} is not an event of a payment: {other:?}"),
        })
        .into();
    PaymentDecider::fold(&events)
}

#[test]
fn rows_of_these_schema_versions_read_back_as_the_state_that_their_events_fold_to() {
    let versions = format!("sqlite-{}-postgres-{}", sqlite::SCHEMA_VERSION, postgres::SCHEMA_VERSION);
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("golden/rows-{versions}.json"));
    let (order, payment) = (order(), payment());
    let Ok(golden) = fs::read_to_string(&path) else {
        let rows = json!({
            "order": order, "order_summary": OrderSummary::of(&order),
            "payment": payment, "payment_summary": PaymentSummary::of(&payment),
        });
        panic!("write the rows of the new schema versions to {}:\n{rows:#}", path.display());
    };
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let stored_order: Result<Order, _> = serde_json::from_value(golden["order"].clone());
    let stored_payment: Result<Payment, _> = serde_json::from_value(golden["payment"].clone());
    let remedy = "stored rows read differently now: give the new field a serde default, or raise SCHEMA_VERSION \
                  in read_models/sqlite.rs and read_models/postgres.rs and add a golden file";
    assert_eq!(stored_order.as_ref().ok(), Some(&order), "{remedy}: {stored_order:?}");
    assert_eq!(stored_payment.as_ref().ok(), Some(&payment), "{remedy}: {stored_payment:?}");
    let stored_order: Result<OrderSummary, _> = serde_json::from_value(golden["order_summary"].clone());
    let stored_payment: Result<PaymentSummary, _> = serde_json::from_value(golden["payment_summary"].clone());
    assert_eq!(stored_order.as_ref().ok(), Some(&OrderSummary::of(&order)), "{remedy}: {stored_order:?}");
    assert_eq!(
        stored_payment.as_ref().ok(),
        Some(&PaymentSummary::of(&payment)),
        "{remedy}: {stored_payment:?}"
    );
}

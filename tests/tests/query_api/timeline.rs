//! `/v1/orders/{id}/timeline`.

use std::sync::Arc;

use domain::{
    Actor, CommandContext, CommandId, EventId, Idempotency, PaymentId, RecordedEvent, ShipmentId, StreamName,
    decider::StoredEvent,
    order::{LineQuantity, OrderEvent, OrderShipped},
    payment::{
        PaymentCaptured, PaymentEvent, PaymentRefundRequested, PaymentRequested, PaymentTerms, RefundReason,
    },
    stock::{StockReceived, StockReserved, StockShipped},
};
use infra::read_models::OrderStockEvent;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    Api,
    rows::{allocated, amount, order_id, order_row, payment_row, placed, sku},
};
use crate::projectors::memory_log::MemoryLog;

/// Records events at positions 1, 2, 3, …, each by its own command.
#[derive(Default)]
struct Recorder(Vec<RecordedEvent>);

impl Recorder {
    fn record<E: StoredEvent>(&mut self, stream: &StreamName, event: E, cause: Option<usize>) {
        let position = self.0.len() as u64 + 1;
        let id = CommandId(Uuid::from_u128(position.into()));
        let idempotency =
            Idempotency { key: format!("key-{position}"), fingerprint: "00".to_owned(), schema: 1 };
        let context = match cause {
            None => CommandContext::external(id, idempotency),
            Some(index) => CommandContext {
                id,
                correlation_id: Uuid::nil(),
                causation_id: Some(self.0[index].id),
                idempotency: None,
                if_revision: None,
                actor: Actor { principal: "shop".into(), person: Some("jana".to_owned()) },
                trace: None,
            },
        };
        let metadata = domain::EventMetadata {
            command_id: context.id,
            command: "test.command".to_owned(),
            correlation_id: context.correlation_id,
            causation_id: context.causation_id,
            idempotency: context.idempotency,
            actor: Some(context.actor),
            traceparent: context.trace,
        };
        self.0.push(RecordedEvent {
            position,
            stream: stream.clone(),
            revision: self.0.iter().filter(|other| other.stream == *stream).count() as u64,
            id: EventId::of_command(id, 0),
            type_name: event.type_name().into(),
            data: event.to_json().into(),
            metadata: serde_json::to_vec(&metadata).unwrap().into(),
            recorded_at: super::rows::at("2026-01-01T00:00:00Z"),
            damage: None,
        });
    }
}

/// Order 1 is placed, paid and shipped, while order 2 reserves the same stock.
pub fn history() -> Vec<RecordedEvent> {
    let (order, payment): (StreamName, StreamName) =
        (order_id(1).into(), PaymentId::of_order(order_id(1)).into());
    let stock: StreamName = sku("85123A").into();
    let reserved = |number| StockReserved { order_id: order_id(number), quantity: 6, levels: None };
    let requested = PaymentRequested {
        payment_id: PaymentId::of_order(order_id(1)),
        order_id: order_id(1),
        amount: amount(1_800),
        currency: "GBP".parse().unwrap(),
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    let shipment_id = ShipmentId(Uuid::from_u128(1));
    let lines = vec![LineQuantity { line: 1, quantity: 6 }];
    let refund_id = domain::RefundId(Uuid::from_u128(1));
    let refund = PaymentRefundRequested {
        refund_id,
        amount: amount(1),
        reason: RefundReason::Requested,
        source: None,
        part_of: None,
    };
    let mut log = Recorder::default();
    log.record(
        &stock,
        domain::stock::StockEvent::from(StockReceived { quantity: 100, reference: None, levels: None }),
        None,
    );
    log.record(&order, OrderEvent::from(placed(1)), None);
    log.record(&stock, domain::stock::StockEvent::from(reserved(2)), None);
    log.record(&stock, domain::stock::StockEvent::from(reserved(1)), Some(1));
    log.record(&order, allocated(1), Some(1));
    log.record(&payment, PaymentEvent::from(requested), Some(4));
    let captured = PaymentCaptured { amount: amount(1_800), reference: None, charge: None, late: false };
    log.record(&payment, PaymentEvent::from(captured), None);
    let shipped = OrderShipped { shipment_id, lines, carrier: None, tracking_number: None };
    log.record(&order, OrderEvent::from(shipped), None);
    let shipped = StockShipped { order_id: order_id(1), shipment_id, quantity: 6, levels: None };
    log.record(&stock, domain::stock::StockEvent::from(shipped), Some(7));
    log.record(&payment, PaymentEvent::from(refund), None);
    log.0
}

/// The stock events of order 1 as the read model has them.
pub fn stock_events(history: &[RecordedEvent]) -> Vec<OrderStockEvent> {
    let of = |position: usize| OrderStockEvent {
        order_id: order_id(1),
        position: position as u64,
        sku: sku("85123A"),
        revision: history[position - 1].revision,
    };
    vec![of(4), of(9)]
}

pub fn api() -> Api {
    let history = history();
    let api = Api::over_log(Arc::new(MemoryLog::new(history.clone())));
    api.queries.change(|rows| {
        let shipment_id = ShipmentId(Uuid::from_u128(1));
        let lines = vec![LineQuantity { line: 1, quantity: 6 }];
        let shipped = OrderShipped { shipment_id, lines, carrier: None, tracking_number: None };
        rows.orders = vec![
            order_row(&[placed(1).into(), allocated(1), OrderEvent::from(shipped)]),
            order_row(&[placed(2).into()]),
        ];
        let refund_id = domain::RefundId(Uuid::from_u128(1));
        let refund = PaymentRefundRequested {
            refund_id,
            amount: amount(1),
            reason: RefundReason::Requested,
            source: None,
            part_of: None,
        };
        let captured = PaymentCaptured { amount: amount(1_800), reference: None, charge: None, late: false };
        rows.payments = vec![payment_row(1, vec![captured.into(), refund.into()])];
        rows.order_stock_events = stock_events(&history);
    });
    api
}

fn timeline() -> String {
    format!("/v1/orders/{}/timeline", order_id(1))
}

fn positions(items: &[Value]) -> Vec<u64> {
    items.iter().map(|item| item["position"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn a_timeline_has_the_events_of_the_order_its_payment_and_its_stock_with_their_causes() {
    let page = api().get(&timeline()).await.expect(200);
    let items = page["items"].as_array().unwrap();
    assert_eq!(positions(items), [2, 4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(page["next_cursor"], Value::Null);
    let history = history();
    assert_eq!(
        items[1],
        json!({
            "stream": "stock-85123A",
            "revision": 2,
            "position": 4,
            "type": "stock.reserved.v1",
            "recorded_at": "2026-01-01T00:00:00Z",
            "event_id": history[3].id,
            "command": "test.command",
            "command_id": Uuid::from_u128(4),
            "correlation_id": Uuid::nil(),
            "cause": {
                "event_id": history[1].id,
                "stream": format!("order-{}", order_id(1)),
                "revision": 0,
                "type": "order.placed.v2",
            },
            "idempotency_key": null,
            "actor": {"principal": "shop", "person": "jana"},
            "data": {"order_id": order_id(1), "quantity": 6},
        })
    );
    assert_eq!((&items[0]["cause"], &items[0]["idempotency_key"]), (&Value::Null, &json!("key-2")));
    assert_eq!(items[0]["actor"], json!({"principal": "anonymous", "person": null}));
}

#[tokio::test]
async fn pages_of_any_size_contain_every_event_once_with_causes_from_earlier_pages() {
    let api = api();
    let whole = api.get(&timeline()).await.expect(200);
    for limit in 1..=9 {
        let pages = api.pages(&format!("{}?limit={limit}", timeline())).await;
        assert!(pages.iter().all(|page| page.len() <= limit));
        assert_eq!(Value::from(pages.concat()), whole["items"], "{limit}");
    }
}

#[tokio::test]
async fn a_timeline_ends_at_the_revisions_of_the_rows_and_honours_min_revision() {
    let api = api();
    api.queries.change(|rows| {
        rows.orders[0] = order_row(&[placed(1).into(), allocated(1)]);
        rows.payments.clear();
        rows.order_stock_events.truncate(1);
    });
    let page = api.get(&timeline()).await.expect(200);
    assert_eq!(positions(page["items"].as_array().unwrap()), [2, 4, 5]);
    api.get(&format!("{}?min_revision=2", timeline())).await.problem(503, "revision_not_reached");
}

#[tokio::test]
async fn the_timeline_of_an_unknown_order_is_not_found() {
    let api = api();
    api.get(&format!("/v1/orders/{}/timeline", order_id(9))).await.problem(404, "not_found");
    api.get("/v1/orders/x/timeline").await.problem(404, "not_found");
    let invalid = api.get(&format!("{}?limit=0&min_revision=x&sku=A", timeline())).await;
    assert_eq!(invalid.invalid_fields(), ["min_revision", "limit", "sku"]);
    let foreign = api.get("/v1/orders?limit=1").await.expect(200);
    let cursor = foreign["next_cursor"].as_str().unwrap();
    api.get(&format!("{}?cursor={cursor}", timeline())).await.problem(400, "invalid_cursor");
}

#[tokio::test]
async fn without_the_event_store_only_the_timeline_is_unavailable() {
    let api = Api::new();
    api.queries.change(|rows| rows.orders = vec![order_row(&[placed(1).into()])]);
    let problem = api.get(&timeline()).await.problem(503, "unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("event store"), "{problem}");
    api.get(&format!("/v1/orders/{}", order_id(1))).await.expect(200);
}

#[tokio::test]
async fn rows_of_events_that_the_log_lacks_are_an_internal_error() {
    let api = api();
    api.queries.change(|rows| rows.order_stock_events[1].revision = 7);
    api.get(&timeline()).await.problem(500, "internal");
}

//! Rows for the tests, folded from events like those of the projectors.

use domain::{
    Amount, Decider, OrderId, PaymentId, Sku, Timestamp,
    order::{Adjustment, OrderAllocated, OrderDecider, OrderEvent, OrderLine, OrderPlaced, PaymentTerms},
    payment::{PaymentDecider, PaymentEvent, PaymentRequested},
};
use infra::read_models::{OrderRow, OrderTimes, PaymentRow, RefundTimes, StockRow};
use uuid::Uuid;

pub fn order_id(number: u128) -> OrderId {
    OrderId(Uuid::from_u128(number))
}

pub fn sku(text: &str) -> Sku {
    Sku::new(text).unwrap()
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

/// An order of 6 x 85123A and a postage line, 1,530 + 300 - 30 pence.
pub fn placed(number: u128) -> OrderPlaced {
    let line = |code: &str, quantity, unit_price, stocked| OrderLine {
        sku: sku(code),
        quantity,
        unit_price: amount(unit_price),
        stocked,
        adjustments: Vec::new(),
        shares: domain::shares::Shares::default(),
    };
    OrderPlaced {
        order_id: order_id(number),
        customer_id: Some("17850".to_owned()),
        currency: "GBP".parse().unwrap(),
        country: Some("United Kingdom".to_owned()),
        lines: vec![line("85123A", 6, 255, true), line("POST", 1, 300, false)],
        adjustments: vec![Adjustment { spread: false, ..Adjustment::new("discount", amount(-30)) }],
        total: amount(1_800),
        prices_include_tax: false,
        reference: Some("536365".to_owned()),
        metadata: [("channel".to_owned(), "web".to_owned())].into(),
        placed_at: at("2010-12-01T08:26:00Z"),
        payment_due_at: Some(at("2010-12-01T08:56:00Z")),
        terms: Some(PaymentTerms::Prepaid),
        payment: None,
        payments: Vec::new(),
    }
}

pub fn allocated(number: u128) -> OrderEvent {
    OrderAllocated { payment_id: Some(PaymentId::of_order(order_id(number))), payments: Vec::new() }.into()
}

pub fn order_row(events: &[OrderEvent]) -> OrderRow {
    let order = OrderDecider::fold(events);
    OrderRow {
        order_id: order.order_id().unwrap(),
        revision: events.len() as u64 - 1,
        recorded_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-01-01T00:00:01.5Z"),
        times: OrderTimes::default(),
        order,
    }
}

/// A payment of 1,800 pence for the order with the same number, after these events.
pub fn payment_row(number: u128, happened: Vec<PaymentEvent>) -> PaymentRow {
    let payment_id = PaymentId::of_order(order_id(number));
    let requested = PaymentRequested {
        payment_id,
        order_id: order_id(number),
        amount: amount(1_800),
        currency: "GBP".parse().unwrap(),
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    let mut events = vec![PaymentEvent::from(requested)];
    events.extend(happened);
    let payment = PaymentDecider::fold(&events);
    PaymentRow {
        payment_id,
        revision: events.len() as u64 - 1,
        recorded_at: at("2026-01-01T00:00:00Z"),
        updated_at: at("2026-01-01T00:00:02Z"),
        awaits_provider_since: (!payment.provider_work().is_empty()).then(|| at("2026-01-01T00:00:02Z")),
        refund_times: RefundTimes::default(),
        payment,
    }
}

pub fn stock_row(code: &str, on_hand: u32, reserved: u32) -> StockRow {
    StockRow { sku: sku(code), on_hand, reserved, revision: 1 }
}

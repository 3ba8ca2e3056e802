//! Placing an order, and allocating or rejecting it.

use super::*;
use crate::text::TEXT_CHARS_MAX;

#[test]
fn an_order_is_recorded_as_sent_with_its_total() {
    let sent = PlaceOrder {
        adjustments: vec![
            Adjustment { code: "discount".into(), amount: pence(-10) },
            Adjustment { code: "tax".into(), amount: pence(15) },
        ],
        reference: Some("web-1".into()),
        metadata: BTreeMap::from([("channel".into(), String::new())]),
        ..order()
    };
    let as_line = |line: &NewLine| OrderLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        stocked: line.stocked,
    };
    let expected = OrderPlaced {
        order_id: sent.order_id,
        customer_id: sent.customer_id.clone(),
        currency: sent.currency,
        country: sent.country.clone(),
        lines: sent.lines.iter().map(as_line).collect(),
        adjustments: sent.adjustments.clone(),
        total: pence(90),
        reference: sent.reference.clone(),
        metadata: sent.metadata.clone(),
        placed_at: sent.placed_at,
        payment_due_at: sent.payment_due_at,
        payment: sent.payment.clone(),
    };
    given([]).when(place(sent)).then([expected.into()]);
}

#[test]
fn an_order_is_placed_once() {
    given([placed()]).when(place(order())).then_refused(OrderRefusal::WrongStatus(OrderStatus::Placed));
}

#[test]
fn an_order_at_its_limits_is_accepted() {
    let text = "x".repeat(TEXT_CHARS_MAX);
    let entries = (0..METADATA_ENTRIES_MAX).map(|number| (format!("{number}"), text.clone()));
    let largest = PlaceOrder {
        customer_id: Some("ß".repeat(TEXT_CHARS_MAX)),
        lines: vec![line("MUG", 1, 0); LINES_MAX],
        adjustments: vec![Adjustment { code: text.clone(), amount: pence(0) }; ADJUSTMENTS_MAX],
        metadata: entries.collect(),
        ..order()
    };
    placed_as(largest);
    placed_as(PlaceOrder {
        lines: vec![line("MUG", LINE_QUANTITY_MAX, ORDER_VALUE_MAX / i64::from(LINE_QUANTITY_MAX))],
        ..order()
    });
    let heaviest = vec![line("MUG", LINE_QUANTITY_MAX, 0); 1_000];
    placed_as(PlaceOrder { lines: heaviest, ..order() });
}

#[test]
fn each_invalid_part_of_an_order_is_refused_by_name() {
    let with_line = |line: NewLine| PlaceOrder { lines: vec![self::line("MUG", 1, 1), line], ..order() };
    let with_adjustment = |code: &str, amount: i64| PlaceOrder {
        adjustments: vec![Adjustment { code: code.into(), amount: pence(amount) }],
        ..order()
    };
    let with_metadata = |key: &str, value: &str| PlaceOrder {
        metadata: BTreeMap::from([(key.into(), value.into())]),
        ..order()
    };
    let too_long = "x".repeat(TEXT_CHARS_MAX + 1);
    let many_entries = (0..=METADATA_ENTRIES_MAX).map(|number| (format!("{number}"), String::new()));
    let free_adjustment = Adjustment { code: "tax".into(), amount: pence(0) };
    let cases = [
        (PlaceOrder { lines: Vec::new(), ..order() }, InvalidOrder::LineCount),
        (PlaceOrder { lines: vec![line("MUG", 1, 1); LINES_MAX + 1], ..order() }, InvalidOrder::LineCount),
        (with_line(line("MUG", 0, 1)), InvalidOrder::Quantity { line: 2 }),
        (with_line(line("MUG", LINE_QUANTITY_MAX + 1, 1)), InvalidOrder::Quantity { line: 2 }),
        (with_line(line("MUG", 1, -1)), InvalidOrder::NegativePrice { line: 2 }),
        (
            PlaceOrder { lines: vec![line("MUG", LINE_QUANTITY_MAX, 0); 1_001], ..order() },
            InvalidOrder::UnitCount,
        ),
        (with_line(line("MUG", 2, Amount::MAX.minor_units())), InvalidOrder::TotalOutOfRange),
        (with_line(line("MUG", 1, Amount::MAX.minor_units())), InvalidOrder::TotalOutOfRange),
        (with_line(line("MUG", 1, ORDER_VALUE_MAX)), InvalidOrder::TotalOutOfRange),
        (with_adjustment("fee", ORDER_VALUE_MAX), InvalidOrder::TotalOutOfRange),
        (with_adjustment("discount", -2 * ORDER_VALUE_MAX), InvalidOrder::TotalOutOfRange),
        (with_adjustment("discount", -86), InvalidOrder::NegativeTotal),
        (with_adjustment("", 1), InvalidOrder::Text { member: "adjustments.code" }),
        (with_adjustment(&too_long, 1), InvalidOrder::Text { member: "adjustments.code" }),
        (
            PlaceOrder { adjustments: vec![free_adjustment; ADJUSTMENTS_MAX + 1], ..order() },
            InvalidOrder::AdjustmentCount,
        ),
        (PlaceOrder { metadata: many_entries.collect(), ..order() }, InvalidOrder::MetadataCount),
        (with_metadata("", "x"), InvalidOrder::Text { member: "metadata" }),
        (with_metadata("key", "a\0"), InvalidOrder::Text { member: "metadata" }),
        (
            PlaceOrder { customer_id: Some(String::new()), ..order() },
            InvalidOrder::Text { member: "customer_id" },
        ),
        (PlaceOrder { country: Some("a\nb".into()), ..order() }, InvalidOrder::Text { member: "country" }),
        (PlaceOrder { reference: Some(too_long), ..order() }, InvalidOrder::Text { member: "reference" }),
    ];
    for (sent, problem) in cases {
        given([]).when(place(sent)).then_refused(problem.into());
    }
}

#[test]
fn an_order_whose_stock_is_reserved_is_allocated_once() {
    given([placed()]).when(allocate()).then([allocated()]).when(allocate()).then_nothing();
}

#[test]
fn an_order_with_a_total_of_0_is_paid_when_it_is_allocated() {
    let free = PlaceOrder { lines: vec![line("MUG", 1, 0)], ..order() };
    given([placed_as(free)])
        .when(allocate())
        .then([allocated_free()])
        .when(ship_rest(1))
        .then([shipped(1, &[(1, 1)])]);
}

#[test]
fn an_order_whose_stock_is_short_is_rejected_once() {
    given([placed()]).when(reject()).then([rejected()]).when(reject()).then_nothing();
}

#[test]
fn only_a_placed_order_is_allocated_or_rejected() {
    for events in [
        vec![placed(), allocated()],
        vec![placed(), rejected()],
        vec![placed(), cancelled_whole()],
        vec![placed(), expired()],
        vec![placed(), allocated(), expired()],
    ] {
        given(events.clone()).when(allocate()).then_nothing();
        given(events).when(reject()).then_nothing();
    }
}

#[test]
fn the_bytes_of_an_order_follow_its_content() {
    let bytes = |order: PlaceOrder, more: &[OrderEvent]| {
        let mut events = OrderDecider::decide(&Order::default(), place(order)).unwrap();
        events.extend_from_slice(more);
        OrderDecider::heap_bytes(&OrderDecider::fold(&events))
    };
    let small = bytes(order(), &[]);
    assert!(small < 2_000, "{small}");

    let text = "é".repeat(500);
    let metadata =
        (0..50).map(|entry| (format!("{entry:02}{text}")[..500].to_owned(), text.clone())).collect();
    let large = bytes(PlaceOrder { metadata, ..order() }, &[]) - small;
    assert!((75_000..85_000).contains(&large), "50 keys of 500 bytes and values of 1,000 bytes: {large}");

    let lines: Vec<NewLine> = (0..1_000).map(|number| line(&format!("{number:064}"), 1, 1)).collect();
    let long = bytes(PlaceOrder { lines, ..order() }, &[]) - small;
    assert!(long > 1_000 * (64 + size_of::<Line>()), "1,000 lines with long SKUs: {long}");

    let shipped = OrderShipped {
        shipment_id: shipment(1),
        lines: vec![LineQuantity { line: 1, quantity: 1 }; 3],
        carrier: Some(text.clone()),
        tracking_number: None,
    };
    let with_shipment = bytes(order(), &[shipped.into()]) - small;
    assert!(with_shipment > 1_000 + size_of::<Shipment>(), "a shipment with a long carrier: {with_shipment}");
}

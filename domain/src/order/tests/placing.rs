//! Placing an order, and allocating or rejecting it.

use super::*;
use crate::text::TEXT_CHARS_MAX;
use crate::{
    decider::StoredEvent,
    shares::{AdjustmentKind, Shares},
};

fn adjustment(kind: AdjustmentKind, amount: i64) -> Adjustment {
    let (kind, code) = (Some(kind), kind.as_str().to_owned());
    Adjustment { kind, code, amount: pence(amount), spread: kind.is_some_and(AdjustmentKind::is_spread) }
}

fn line_adjustment(kind: AdjustmentKind, amount: i64) -> LineAdjustment {
    LineAdjustment { kind, code: kind.as_str().to_owned(), amount: pence(amount) }
}

fn placed_content(order: PlaceOrder) -> OrderPlaced {
    let event = placed_as(order);
    let OrderEvent::Placed(placed) = event else { panic!("{event:?}") };
    placed
}

#[test]
fn an_order_is_recorded_as_sent_with_its_total_and_the_shares_of_its_lines() {
    let sent = PlaceOrder {
        adjustments: vec![
            adjustment(AdjustmentKind::Discount, -10),
            adjustment(AdjustmentKind::Tax, 15),
            adjustment(AdjustmentKind::Shipping, 4),
        ],
        reference: Some("web-1".into()),
        metadata: BTreeMap::from([("channel".into(), String::new())]),
        ..order()
    };
    // Of 85: mugs 40, bowls 40, postage 5.
    let shares = [(-5, 7), (-5, 7), (0, 1)];
    let as_line = |(line, (discount, tax)): (&NewLine, (i64, i64))| OrderLine {
        sku: line.sku.clone(),
        quantity: line.quantity,
        unit_price: line.unit_price,
        stocked: line.stocked,
        adjustments: Vec::new(),
        shares: Shares { discount: pence(discount), tax: pence(tax), ..Shares::default() },
    };
    let expected = OrderPlaced {
        order_id: sent.order_id,
        customer_id: sent.customer_id.clone(),
        currency: sent.currency,
        country: sent.country.clone(),
        lines: sent.lines.iter().zip(shares).map(as_line).collect(),
        adjustments: sent.adjustments.clone(),
        total: pence(94),
        prices_include_tax: false,
        reference: sent.reference.clone(),
        metadata: sent.metadata.clone(),
        placed_at: sent.placed_at,
        payment_due_at: sent.payment_due_at,
        terms: Some(PaymentTerms::Prepaid),
        payment: sent.payment.clone(),
        payments: sent.payments.clone(),
    };
    given([]).when(place(sent)).then([expected.into()]);
}

#[test]
fn adjustments_of_a_line_count_for_its_total_and_for_its_shares() {
    let discounted = NewLine {
        adjustments: vec![
            line_adjustment(AdjustmentKind::Discount, -20),
            line_adjustment(AdjustmentKind::Fee, 5),
        ],
        ..line("MUG", 4, 10)
    };
    let adjustments = vec![adjustment(AdjustmentKind::Tax, 13)];
    let order = PlaceOrder { lines: vec![discounted, line("BOWL", 2, 20)], adjustments, ..order() };
    let order = OrderDecider::fold(&[placed_as(order)]);
    // 13 over 25 and 40.
    let totals: Vec<Amount> = order.lines().iter().map(Line::total).collect();
    assert_eq!((totals, order.total()), (vec![pence(25 + 5), pence(40 + 8)], pence(78)));
}

#[test]
fn shipping_and_fees_stay_on_the_order_unless_the_request_says_otherwise() {
    let shipping = adjustment(AdjustmentKind::Shipping, 17);
    let placed = placed_content(PlaceOrder { adjustments: vec![shipping.clone()], ..order() });
    assert!(placed.lines.iter().all(|line| line.shares.is_zero()));
    let spread = Adjustment { spread: true, ..shipping };
    let placed = placed_content(PlaceOrder { adjustments: vec![spread], ..order() });
    let shares: Vec<Amount> = placed.lines.iter().map(|line| line.shares.shipping).collect();
    assert_eq!(shares, [8, 8, 1].map(pence));
}

#[test]
fn adjustments_of_free_lines_stay_on_the_order() {
    let tax = adjustment(AdjustmentKind::Tax, 7);
    let placed =
        placed_content(PlaceOrder { lines: vec![line("MUG", 2, 0)], adjustments: vec![tax], ..order() });
    assert!(!placed.adjustments[0].spread && placed.lines[0].shares.is_zero());
}

#[test]
fn prices_that_include_the_tax_are_the_total_and_the_lines_have_shares_of_the_tax() {
    let adjustments = vec![
        adjustment(AdjustmentKind::Discount, -25),
        adjustment(AdjustmentKind::Tax, 10),
        adjustment(AdjustmentKind::Shipping, 6),
        Adjustment { spread: false, ..adjustment(AdjustmentKind::Tax, 1) },
    ];
    let lines = vec![line("MUG", 4, 10), line("BOWL", 1, 85)];
    let order = PlaceOrder { lines, adjustments, prices_include_tax: true, ..order() };
    let order = OrderDecider::fold(&[placed_as(order)]);
    assert_eq!((order.total(), order.unspread()), (pence(106), pence(6)));
    // The discount leaves 32 and 68 of the lines.
    let totals: Vec<Amount> = order.lines().iter().map(Line::total).collect();
    let taxes: Vec<Amount> = order.lines().iter().map(|line| line.adjusted(AdjustmentKind::Tax)).collect();
    assert_eq!((totals, taxes), (vec![pence(32), pence(68)], vec![pence(3), pence(7)]));
}

#[test]
fn prices_include_no_more_tax_than_they_have() {
    let including =
        |lines, adjustments| PlaceOrder { lines, adjustments, prices_include_tax: true, ..order() };
    let taxed =
        |tax| NewLine { adjustments: vec![line_adjustment(AdjustmentKind::Tax, tax)], ..line("MUG", 1, 10) };
    let not_spread = |tax| {
        vec![
            Adjustment { spread: false, ..adjustment(AdjustmentKind::Tax, tax) },
            adjustment(AdjustmentKind::Shipping, 5),
        ]
    };
    placed_as(including(vec![taxed(10)], not_spread(5)));
    let cases = [
        (including(vec![taxed(11)], Vec::new()), InvalidOrder::TaxAboveLine { line: 1 }),
        (including(vec![taxed(-1)], Vec::new()), InvalidOrder::TaxAboveLine { line: 1 }),
        (including(vec![line("MUG", 1, 10)], not_spread(6)), InvalidOrder::TaxAboveAdjustments),
        (including(vec![line("MUG", 1, 10)], not_spread(-1)), InvalidOrder::TaxAboveAdjustments),
    ];
    for (order, invalid) in cases {
        given([]).when(place(order)).then_refused(OrderRefusal::Invalid(invalid));
    }
}

#[test]
fn several_discounts_up_to_the_value_of_the_lines_leave_no_line_below_0() {
    let lines = vec![line("MUG", 1, 1), line("BOWL", 1, 1)];
    let placed = placed_content(PlaceOrder {
        lines,
        adjustments: vec![adjustment(AdjustmentKind::Discount, -1), adjustment(AdjustmentKind::Discount, -1)],
        ..order()
    });
    assert_eq!(placed.total, Amount::ZERO);
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
        adjustments: vec![Adjustment::new(text.clone(), pence(0)); ADJUSTMENTS_MAX],
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
fn an_order_whose_largest_event_would_exceed_the_limit_is_refused() {
    let adjustments =
        vec![adjustment(AdjustmentKind::Discount, -250_000), adjustment(AdjustmentKind::Tax, 200_000)];
    let of_lines = |sku: &str| {
        let lines = (0..LINES_MAX).map(|number| line(&sku.replace('#', &format!("{number:04}")), 1, 255));
        PlaceOrder { lines: lines.collect(), adjustments: adjustments.clone(), ..order() }
    };
    let bytes = |event: &OrderEvent| event.to_json().len() + METADATA_BYTES_MAX;
    let long = placed_as(of_lines("1234567890123456####".replace("####", "#").as_str()));
    assert!(bytes(&long) < 600_000, "{}", bytes(&long));

    // The refusal counts the bytes of the larger event: of an order placed, or of one rejected.
    let huge = of_lines(&format!("{}#", "€".repeat(60)));
    let placed_bytes = bytes(&super::super::placing::placed(huge.clone()).unwrap().into());
    let refused = OrderDecider::decide(&Order::default(), place(huge)).unwrap_err();
    let OrderRefusal::TooLarge { bytes } = refused else { panic!("{refused:?}") };
    assert!(bytes >= placed_bytes && bytes > EVENT_BYTES_MAX, "{bytes}, {placed_bytes}");
}

#[test]
fn each_invalid_part_of_an_order_is_refused_by_name() {
    let with_line = |line: NewLine| PlaceOrder { lines: vec![self::line("MUG", 1, 1), line], ..order() };
    let line_with = |adjustments| NewLine { adjustments, ..line("MUG", 1, 1) };
    let with_adjustment = |code: &str, amount: i64| PlaceOrder {
        adjustments: vec![Adjustment::new(code, pence(amount))],
        ..order()
    };
    let with_metadata = |key: &str, value: &str| PlaceOrder {
        metadata: BTreeMap::from([(key.into(), value.into())]),
        ..order()
    };
    let too_long = "x".repeat(TEXT_CHARS_MAX + 1);
    let many_entries = (0..=METADATA_ENTRIES_MAX).map(|number| (format!("{number}"), String::new()));
    let free_adjustment = Adjustment::new("tax", pence(0));
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
        (
            PlaceOrder {
                adjustments: vec![Adjustment::new("voucher", pence(-100)), Adjustment::new("fee", pence(50))],
                ..order()
            },
            InvalidOrder::NegativeLineTotal { line: 1 },
        ),
        (
            with_line(line_with(vec![line_adjustment(AdjustmentKind::Discount, -2)])),
            InvalidOrder::NegativeLineTotal { line: 2 },
        ),
        (
            PlaceOrder { adjustments: vec![adjustment(AdjustmentKind::Discount, 1)], ..order() },
            InvalidOrder::PositiveDiscount { line: None },
        ),
        (
            with_line(line_with(vec![line_adjustment(AdjustmentKind::Discount, 1)])),
            InvalidOrder::PositiveDiscount { line: Some(2) },
        ),
        (
            with_line(line_with(vec![line_adjustment(AdjustmentKind::Fee, 0); LINE_ADJUSTMENTS_MAX + 1])),
            InvalidOrder::LineAdjustmentCount { line: 2 },
        ),
        (PlaceOrder { now: at(101), ..order() }, InvalidOrder::DueInThePast { due_at: at(100) }),
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
        .then([allocated_free(), paid()])
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

use domain::{
    Currency, Decider, ExchangeId, OrderId, PaymentId, RefundId,
    credit::CreditGiven,
    order::{
        Adjustment, CancelReason, CancelledLine, LineAmount, OrderAllocated, OrderCancelled,
        OrderCreditTakenBack, OrderDecider, OrderExpired, OrderLine, OrderPaymentRecorded, OrderPlaced,
        OrderRefund, OrderRefundRequested, OrderReturned, OrderShipped, PaymentTerms, ReturnedLine,
    },
    shares::Shares,
};
use uuid::Uuid;

use super::*;

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

/// Lines with a SKU, a quantity, a price and the shares of a discount and a tax.
fn order_of(lines: &[(&str, u32, i64, i64, i64)], adjustments: Vec<Adjustment>) -> OrderPlaced {
    let line = |&(sku, quantity, price, discount, tax): &(&str, u32, i64, i64, i64)| OrderLine {
        sku: Sku::new(sku).unwrap(),
        quantity,
        unit_price: amount(price),
        stocked: true,
        adjustments: Vec::new(),
        shares: Shares { discount: amount(discount), tax: amount(tax), ..Shares::default() },
    };
    let of_line = |&(_, quantity, price, discount, tax): &(&str, u32, i64, i64, i64)| {
        i64::from(quantity) * price + discount + tax
    };
    let unspread = adjustments.iter().filter(|one| !one.spread).map(|one| one.amount.minor_units());
    OrderPlaced {
        order_id: OrderId(Uuid::nil()),
        customer_id: None,
        currency: "GBP".parse().unwrap(),
        country: Some("France".to_owned()),
        lines: lines.iter().map(line).collect(),
        total: amount(lines.iter().map(of_line).chain(unspread).sum()),
        adjustments,
        prices_include_tax: false,
        reference: None,
        metadata: [].into(),
        placed_at: "2010-12-01T08:59:59Z".parse().unwrap(),
        payment_due_at: None,
        terms: Some(PaymentTerms::Prepaid),
        payment: None,
        payments: Vec::new(),
    }
}

fn placed(lines: &[(&str, u32, i64)]) -> OrderEvent {
    let lines: Vec<_> = lines.iter().map(|&(sku, quantity, price)| (sku, quantity, price, 0, 0)).collect();
    order_of(&lines, Vec::new()).into()
}

fn adjustment(kind: AdjustmentKind, minor_units: i64) -> Adjustment {
    let spread = kind.is_spread();
    Adjustment { kind: Some(kind), spread, ..Adjustment::new(kind.as_str(), amount(minor_units)) }
}

/// A 2 x 1000 and B 1 x 500 with a tax of 20% and postage of 490: 3490 in total.
fn taxed() -> OrderPlaced {
    let adjustments = vec![adjustment(AdjustmentKind::Tax, 500), adjustment(AdjustmentKind::Shipping, 490)];
    order_of(&[("A", 2, 1_000, 0, 400), ("B", 1, 500, 0, 100)], adjustments)
}

fn allocated() -> OrderEvent {
    OrderAllocated { payment_id: Some(PaymentId(Uuid::nil())), payments: Vec::new() }.into()
}

fn paid(captured: i64, refunded: i64) -> OrderEvent {
    let (captured, refunded) = (amount(captured), amount(refunded));
    OrderPaymentRecorded { captured, refunded, ..OrderPaymentRecorded::default() }.into()
}

fn refund_of(number: u128, minor_units: i64) -> OrderRefund {
    let (refund_id, payment_id) = (RefundId(Uuid::from_u128(number)), PaymentId(Uuid::nil()));
    OrderRefund { refund_id, payment_id, amount: amount(minor_units) }
}

/// Cancels these units, which are worth so much, and refunds an amount.
fn cancelled_all(lines: &[(u32, u32, i64)], refunded: i64) -> OrderEvent {
    let of_line = |&(line, quantity, value)| CancelledLine { line, quantity, value: Some(amount(value)) };
    let refunds = if refunded > 0 { vec![refund_of(7, refunded)] } else { Vec::new() };
    let lines = lines.iter().map(of_line).collect();
    OrderCancelled { reason: CancelReason::Requested, note: None, lines, owed: Amount::ZERO, refunds }.into()
}

fn refund_by_hand(number: u128, minor_units: i64, lines: &[(u32, i64)]) -> OrderEvent {
    let refund = refund_of(number, minor_units);
    let amount_of = |&(line, part): &(u32, i64)| LineAmount { line, amount: amount(part) };
    OrderRefundRequested {
        refund_id: refund.refund_id,
        amount: refund.amount,
        lines: lines.iter().map(amount_of).collect(),
        lowers_owed: Some(Amount::ZERO),
        reason: None,
        refunds: vec![refund],
    }
    .into()
}

/// The sums after a stream of events, by dimension. Checks that those by SKU add up to the total.
fn sums(events: &[OrderEvent]) -> BTreeMap<SalesDimension, SalesTotals> {
    let mut order = Order::default();
    let mut sums: BTreeMap<SalesDimension, SalesTotals> = BTreeMap::new();
    for event in events {
        let before = order.clone();
        OrderDecider::evolve(&mut order, event);
        for (key, sum) in fold(Some(&before), &order, event) {
            let quarter = quarter_of("2010-12-01T08:45:00Z".parse().unwrap());
            assert_eq!((key.quarter, key.currency), (quarter, "GBP".parse::<Currency>().unwrap()));
            sums.entry(key.dimension).or_default().add(&sum);
        }
    }
    let mut parts = SalesTotals::default();
    for (dimension, sum) in &sums {
        match dimension {
            SalesDimension::Sku(_) | SalesDimension::NoLine => parts.add(sum),
            SalesDimension::All | SalesDimension::Country(_) => {}
        }
    }
    let total = sums.get(&SalesDimension::All).copied().unwrap_or_default();
    assert_eq!(SalesTotals { orders: total.orders, ..parts }, total);
    sums
}

fn all(events: &[OrderEvent]) -> SalesTotals {
    sums(events)[&SalesDimension::All]
}

fn of_sku(sums: &BTreeMap<SalesDimension, SalesTotals>, sku: &str) -> SalesTotals {
    sums[&SalesDimension::Sku(Sku::new(sku).unwrap())]
}

#[test]
fn an_allocated_order_counts_once_in_total_and_once_per_sku() {
    let place = placed(&[("A", 2, 30), ("B", 1, 5), ("A", 1, 0)]);
    assert!(sums(std::slice::from_ref(&place)).is_empty());
    let sums = sums(&[place, allocated()]);
    let all = SalesTotals { orders: 1, lines: 3, units: 4, gross: 65, ..SalesTotals::default() };
    assert_eq!(sums[&SalesDimension::All], all);
    assert_eq!(sums[&SalesDimension::Country("France".to_owned())], all);
    let a = SalesTotals { orders: 1, lines: 2, units: 3, gross: 60, ..SalesTotals::default() };
    assert_eq!(of_sku(&sums, "A"), a);
    assert_eq!(of_sku(&sums, "B").gross, 5);
    assert!(!sums.contains_key(&SalesDimension::NoLine));
}

#[test]
fn adjustments_count_by_kind_for_their_line_or_for_no_line() {
    let adjustments = vec![
        adjustment(AdjustmentKind::Discount, -30),
        adjustment(AdjustmentKind::Tax, 20),
        adjustment(AdjustmentKind::Shipping, 49),
        adjustment(AdjustmentKind::Fee, 3),
        // Version 1 has no kinds.
        Adjustment { kind: None, spread: false, ..Adjustment::new("voucher", amount(-5)) },
    ];
    let place = order_of(&[("A", 2, 50, -20, 12), ("B", 1, 50, -10, 8)], adjustments);
    let total = place.total;
    let sums = sums(&[place.into(), allocated()]);
    let a = of_sku(&sums, "A");
    assert_eq!((a.gross, a.discounts, a.tax, a.shipping, a.fees, a.net()), (100, -20, 12, 0, 0, 92));
    let none = sums[&SalesDimension::NoLine];
    assert_eq!((none.orders, none.gross, none.discounts, none.shipping, none.fees), (0, 0, -5, 49, 3));
    assert_eq!(sums[&SalesDimension::All].net(), wide(total));
}

#[test]
fn a_tax_that_prices_include_is_no_part_of_gross_shipping_and_fees() {
    let mut adjustments = vec![
        adjustment(AdjustmentKind::Shipping, 60),
        adjustment(AdjustmentKind::Fee, 12),
        Adjustment { spread: false, ..adjustment(AdjustmentKind::Tax, 62) },
    ];
    let lines = [("A", 1, 120, 0, 20)];
    let include = |adjustments: &[Adjustment], total| {
        let order = order_of(&lines, adjustments.to_vec());
        OrderPlaced { prices_include_tax: true, total: amount(total), ..order }.into()
    };
    let sums = sums(&[include(&adjustments, 192), allocated()]);
    let a = of_sku(&sums, "A");
    assert_eq!((a.gross, a.tax, a.net()), (100, 20, 120));
    let none = sums[&SalesDimension::NoLine];
    assert_eq!((none.shipping, none.fees, none.tax, none.net()), (0, 10, 62, 72));
    adjustments.truncate(2);
    assert_eq!(all(&[include(&adjustments, 192), allocated()]).net(), 192);
}

#[test]
fn what_is_cancelled_before_it_is_paid_counts_with_its_adjustments() {
    let place = OrderEvent::from(taxed());
    let everything = cancelled_all(&[(1, 2, 2_400), (2, 1, 600)], 0);
    assert!(sums(&[place.clone(), everything.clone()]).is_empty());
    for end in [everything, OrderExpired {}.into()] {
        let sums = sums(&[place.clone(), allocated(), end]);
        let total = sums[&SalesDimension::All];
        assert_eq!((total.gross, total.cancelled, total.refunded, total.net()), (2_500, 3_490, 0, 0));
        let by_sku = ["A", "B"].map(|sku| of_sku(&sums, sku).cancelled);
        assert_eq!((by_sku, sums[&SalesDimension::NoLine].cancelled), ([2_400, 600], 490));
    }
}

#[test]
fn what_is_cancelled_after_it_was_paid_counts_as_refunded() {
    let events =
        [taxed().into(), allocated(), paid(3_490, 0), cancelled_all(&[(1, 2, 2_400), (2, 1, 600)], 3_490)];
    let before = all(&events);
    assert_eq!((before.cancelled, before.refunded, before.net()), (0, 0, 3_490));
    let sums = sums(&[&events[..], &[paid(3_490, 3_490)]].concat());
    let total = sums[&SalesDimension::All];
    assert_eq!((total.cancelled, total.refunded, total.net()), (0, 3_490, 0));
    let by_sku = ["A", "B"].map(|sku| of_sku(&sums, sku).refunded);
    assert_eq!((by_sku, sums[&SalesDimension::NoLine].refunded), ([2_400, 600], 490));
}

#[test]
fn the_unpaid_part_of_what_is_cancelled_is_divided_by_worth() {
    let events = [placed(&[("A", 1, 100), ("B", 1, 300)]), allocated(), paid(200, 0)];
    let end = cancelled_all(&[(1, 1, 100), (2, 1, 300)], 0);
    let sums = sums(&[&events[..], &[end, paid(200, 200)]].concat());
    assert_eq!(["A", "B"].map(|sku| of_sku(&sums, sku).cancelled), [50, 150]);
    let total = sums[&SalesDimension::All];
    assert_eq!((total.cancelled, total.refunded, total.net()), (200, 200, 0));
}

#[test]
fn money_that_arrives_after_the_end_is_refunded_and_not_cancelled_too() {
    let events = [taxed().into(), allocated(), OrderExpired {}.into(), paid(3_490, 0)];
    assert_eq!((all(&events).cancelled, all(&events).net()), (0, 3_490));
    let total = all(&[&events[..], &[paid(3_490, 3_490)]].concat());
    assert_eq!((total.cancelled, total.refunded, total.net()), (0, 3_490, 0));
}

#[test]
fn units_that_come_back_before_they_are_paid_count_as_cancelled() {
    let shipped = OrderShipped {
        shipment_id: domain::ShipmentId(Uuid::nil()),
        lines: vec![domain::order::LineQuantity { line: 1, quantity: 3 }],
        carrier: None,
        tracking_number: None,
    };
    let back = |number| OrderReturned {
        return_id: domain::ReturnId(Uuid::from_u128(number)),
        lines: vec![ReturnedLine { line: 1, quantity: 1, restock: true, value: None }],
        refund_amount: Amount::ZERO,
        withheld: Amount::ZERO,
        reason: None,
        refunds: Vec::new(),
        credit: None,
    };
    let place = order_of(&[("A", 3, 33, 0, 1)], Vec::new()).into();
    let mut events = vec![place, allocated(), shipped.into()];
    for (number, cancelled) in [(1, 33), (2, 67), (3, 100)] {
        events.push(back(number).into());
        assert_eq!((all(&events).cancelled, all(&events).net()), (cancelled, 100 - cancelled));
    }
}

#[test]
fn a_credit_counts_as_refunded_as_long_as_the_new_order_has_it() {
    let shipped = OrderShipped {
        shipment_id: domain::ShipmentId(Uuid::nil()),
        lines: vec![domain::order::LineQuantity { line: 1, quantity: 1 }],
        carrier: None,
        tracking_number: None,
    };
    let (exchange_id, order_id) = (ExchangeId(Uuid::from_u128(1)), OrderId(Uuid::from_u128(2)));
    let returned = OrderReturned {
        return_id: domain::ReturnId(Uuid::from_u128(3)),
        lines: vec![ReturnedLine { line: 1, quantity: 1, restock: true, value: Some(amount(100)) }],
        refund_amount: Amount::ZERO,
        withheld: Amount::ZERO,
        reason: None,
        refunds: Vec::new(),
        credit: Some(CreditGiven { exchange_id, order_id, amount: amount(100) }),
    };
    let place = placed(&[("A", 1, 100), ("B", 1, 300)]);
    let given = [place, allocated(), paid(400, 0), shipped.into(), returned.into()];
    let counted = sums(&given);
    assert_eq!((of_sku(&counted, "A").refunded, of_sku(&counted, "B").refunded), (100, 0));
    assert_eq!((all(&given).cancelled, all(&given).net()), (0, 300));

    let refunds = vec![refund_of(4, 100)];
    let taken =
        OrderCreditTakenBack { exchange_id, refund_id: refunds[0].refund_id, amount: amount(100), refunds };
    let back = [&given[..], &[taken.into()]].concat();
    assert_eq!(all(&back).net(), 400);
    let paid_out = sums(&[&back[..], &[paid(400, 100)]].concat());
    assert_eq!((of_sku(&paid_out, "A").refunded, paid_out[&SalesDimension::All].net()), (100, 300));
}

#[test]
fn a_refund_counts_for_the_line_that_it_is_for_or_for_no_line() {
    let place = placed(&[("A", 1, 100), ("B", 1, 300)]);
    let events = [place, allocated(), paid(400, 0), refund_by_hand(1, 100, &[(1, 100)]), paid(400, 60)];
    let first = sums(&[&events[..], &[paid(400, 100)]].concat());
    assert_eq!((of_sku(&first, "A").refunded, of_sku(&first, "B").refunded), (100, 0));
    let second = [refund_by_hand(2, 80, &[(2, 40)]), paid(400, 180)];
    let second = sums(&[&events[..], &second].concat());
    assert_eq!((of_sku(&second, "A").refunded, of_sku(&second, "B").refunded), (100, 40));
    assert_eq!(second[&SalesDimension::NoLine].refunded, 40);
}

#[test]
fn a_refund_made_at_the_provider_is_for_no_line() {
    let at_provider = OrderPaymentRecorded {
        captured: amount(400),
        refunded: amount(70),
        refunded_at_provider: amount(70),
        ..OrderPaymentRecorded::default()
    };
    let place = placed(&[("A", 1, 400)]);
    let events = [place, allocated(), paid(400, 0), at_provider.into(), refund_by_hand(1, 100, &[(1, 100)])];
    let sums = sums(&events);
    assert_eq!((of_sku(&sums, "A").refunded, sums[&SalesDimension::NoLine].refunded), (0, 70));
}

#[test]
fn a_refund_of_what_was_paid_beyond_the_total_reduces_no_sale() {
    let events = [placed(&[("A", 1, 400)]), allocated(), paid(500, 0)];
    assert_eq!(all(&events).net(), 400);
    let refunded = [refund_by_hand(1, 100, &[]), paid(500, 100)];
    assert_eq!(all(&[&events[..], &refunded].concat()).net(), 400);
}

use domain::{
    Amount, Currency, Decider, OrderId, PaymentId, RefundId,
    order::{
        CancelReason, CancelledLine, LineAmount, OrderAllocated, OrderCancelled, OrderDecider, OrderExpired,
        OrderLine, OrderPaymentRecorded, OrderPlaced, OrderRefund, OrderRefundRequested,
    },
};
use uuid::Uuid;

use super::*;

fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn placed(lines: &[(&str, u32, i64)]) -> OrderEvent {
    let line = |&(sku, quantity, price): &(&str, u32, i64)| OrderLine {
        sku: Sku::new(sku).unwrap(),
        quantity,
        unit_price: amount(price),
        stocked: true,
        adjustments: Vec::new(),
        shares: domain::shares::Shares::default(),
    };
    OrderPlaced {
        order_id: OrderId(Uuid::nil()),
        customer_id: None,
        currency: "GBP".parse().unwrap(),
        country: Some("France".to_owned()),
        lines: lines.iter().map(line).collect(),
        adjustments: Vec::new(),
        total: amount(1_000),
        reference: None,
        metadata: [].into(),
        placed_at: "2010-12-01T08:59:59Z".parse().unwrap(),
        payment_due_at: None,
        terms: Some(domain::order::PaymentTerms::Prepaid),
        payment: None,
        payments: Vec::new(),
    }
    .into()
}

fn allocated() -> OrderEvent {
    OrderAllocated { payment_id: Some(PaymentId(Uuid::nil())), payments: Vec::new() }.into()
}

fn refunded(so_far: i64) -> OrderEvent {
    OrderPaymentRecorded {
        captured: amount(1_000),
        refunded: amount(so_far),
        ..OrderPaymentRecorded::default()
    }
    .into()
}

fn cancelled(lines: &[(u32, u32)]) -> OrderEvent {
    let of_line = |&(line, quantity)| CancelledLine { line, quantity, value: Some(Amount::ZERO) };
    let lines = lines.iter().map(of_line).collect();
    let (reason, owed) = (CancelReason::Requested, Amount::ZERO);
    OrderCancelled { reason, note: None, lines, owed, refunds: Vec::new() }.into()
}

/// The sums after a stream of events, by dimension.
fn sums(events: &[OrderEvent]) -> BTreeMap<SalesDimension, SalesTotals> {
    let mut order = Order::default();
    let mut sums: BTreeMap<SalesDimension, SalesTotals> = BTreeMap::new();
    for event in events {
        let before = order.clone();
        OrderDecider::evolve(&mut order, event);
        for (key, sum) in fold(Some(&before), &order, event) {
            let hour = "2010-12-01T08:00:00Z".parse::<domain::Timestamp>().unwrap().as_second() / 3_600;
            assert_eq!((key.hour, key.currency), (hour, "GBP".parse::<Currency>().unwrap()));
            sums.entry(key.dimension).or_default().add(&sum);
        }
    }
    sums
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
}

#[test]
fn cancellations_count_only_for_allocated_orders() {
    let place = placed(&[("A", 2, 30), ("B", 1, 5)]);
    let never_allocated = sums(&[place.clone(), cancelled(&[(1, 2), (2, 1)])]);
    assert!(never_allocated.is_empty());
    let cancelled = sums(&[place.clone(), allocated(), cancelled(&[(1, 1)])]);
    assert_eq!(cancelled[&SalesDimension::All].cancelled, 30);
    assert_eq!((of_sku(&cancelled, "A").cancelled, of_sku(&cancelled, "B").cancelled), (30, 0));
    assert_eq!(cancelled[&SalesDimension::All].gross, 65);
    let expired = sums(&[place, allocated(), OrderExpired {}.into()]);
    assert_eq!(expired[&SalesDimension::All].cancelled, 65);
}

#[test]
fn a_refund_is_spread_over_skus_by_value_to_the_last_penny() {
    let place = placed(&[("A", 1, 100), ("B", 1, 100), ("C", 1, 100)]);
    let sums = sums(&[place, allocated(), refunded(100)]);
    assert_eq!(sums[&SalesDimension::All].refunded, 100);
    // 33 1/3 each: the odd penny goes to the first by name.
    assert_eq!(["A", "B", "C"].map(|sku| of_sku(&sums, sku).refunded), [34, 33, 33]);
}

#[test]
fn the_shares_of_a_refund_do_not_depend_on_its_steps() {
    let place = placed(&[("A", 3, 37), ("B", 1, 11), ("C", 2, 53)]);
    let at_once = sums(&[place.clone(), allocated(), refunded(177)]);
    let mut events = vec![place, allocated()];
    events.extend((1..=177).map(refunded));
    let in_steps = sums(&events);
    assert_eq!(at_once, in_steps);
    let shares: i128 = ["A", "B", "C"].map(|sku| of_sku(&in_steps, sku).refunded).iter().sum();
    assert_eq!(shares, 177);
}

#[test]
fn a_refund_counts_for_the_line_that_it_is_for() {
    let place = placed(&[("A", 1, 100), ("B", 1, 300)]);
    let refund = |number: u128, minor_units, lines: &[(u32, i64)]| -> OrderEvent {
        let (refund_id, payment_id) = (RefundId(Uuid::from_u128(number)), PaymentId(Uuid::nil()));
        let amount_of = |&(line, part): &(u32, i64)| LineAmount { line, amount: amount(part) };
        OrderRefundRequested {
            refund_id,
            amount: amount(minor_units),
            lines: lines.iter().map(amount_of).collect(),
            lowers_owed: Some(Amount::ZERO),
            reason: None,
            refunds: vec![OrderRefund { refund_id, payment_id, amount: amount(minor_units) }],
        }
        .into()
    };
    let events = [place, allocated(), refund(1, 100, &[(1, 100)]), refunded(60), refunded(100)];
    let first = sums(&events);
    assert_eq!((of_sku(&first, "A").refunded, of_sku(&first, "B").refunded), (100, 0));
    // 40 of the second refund are for line 2, and 40 for no line.
    let second = sums(&[&events[..], &[refund(2, 80, &[(2, 40)]), refunded(180)]].concat());
    assert_eq!((of_sku(&second, "A").refunded, of_sku(&second, "B").refunded), (110, 70));
    assert_eq!(second[&SalesDimension::All].refunded, 180);
}

#[test]
fn a_refund_of_free_goods_is_spread_by_units() {
    let sums = sums(&[placed(&[("A", 3, 0), ("B", 1, 0)]), allocated(), refunded(8)]);
    assert_eq!((of_sku(&sums, "A").refunded, of_sku(&sums, "B").refunded), (6, 2));
}

#[test]
fn the_largest_amounts_are_spread_without_overflow() {
    let largest = Amount::MAX.minor_units();
    let lines = [Line {
        sku: Sku::new("A").unwrap(),
        quantity: 1,
        unit_price: Amount::MAX,
        stocked: true,
        adjustments: Vec::new(),
        shares: domain::shares::Shares::default(),
        shipped: 0,
        delivered: 0,
        returned: 0,
        cancelled: 0,
        balance: Amount::ZERO,
    }];
    assert_eq!(shares(&lines, largest).into_values().sum::<i64>(), largest);
}

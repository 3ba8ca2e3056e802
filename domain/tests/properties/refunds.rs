//! What cancellations, returns and refunds by hand give back of a paid order.

use std::collections::BTreeMap;

use domain::{
    Amount, CancellationId, Decider, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp,
    order::{
        Adjustment, CancelReason, LineAdjustment, LineAmount, LineQuantity, NewCancellation, NewLine,
        NewReturn, NewTender, Order, OrderCommand, OrderDecider, OrderPaymentRecorded, OrderStatus,
        PaymentTerms, PlaceOrder, ReturnLine,
    },
    shares::AdjustmentKind,
};
use proptest::prelude::*;
use uuid::Uuid;

pub fn amount(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

/// Prices in the orders of magnitude of currencies without decimals, with two and with three.
fn price() -> impl Strategy<Value = i64> {
    prop_oneof![0..10i64, 0..10_000i64, 0..10_000_000i64]
}

fn new_line() -> impl Strategy<Value = NewLine> {
    (1..6u32, price(), 0..=100i64, 0..50i64).prop_map(|(quantity, price, discount, fee)| {
        let value = price * i64::from(quantity);
        let adjustment =
            |kind, minor_units| LineAdjustment { kind, code: "x".into(), amount: amount(minor_units) };
        NewLine {
            sku: Sku::new("MUG").unwrap(),
            quantity,
            unit_price: amount(price),
            stocked: true,
            adjustments: vec![
                adjustment(AdjustmentKind::Discount, -(value * discount / 200)),
                adjustment(AdjustmentKind::Fee, fee),
            ],
        }
    })
}

/// An order with vouchers of up to the whole value of its lines, tax and shipping.
pub fn new_order() -> impl Strategy<Value = PlaceOrder> {
    let lines = prop::collection::vec(new_line(), 1..5);
    (lines, 0..=100i64, 0..=50i64, 0..500i64, any::<bool>()).prop_map(
        |(lines, voucher, tax, shipping, includes)| {
            let value_of = |line: &NewLine| {
                let own: i64 = line.adjustments.iter().map(|part| part.amount.minor_units()).sum();
                line.unit_price.minor_units() * i64::from(line.quantity) + own
            };
            let value: i64 = lines.iter().map(value_of).sum();
            let adjustment = |kind, minor_units| Adjustment {
                kind: Some(kind),
                code: "x".into(),
                amount: amount(minor_units),
                spread: AdjustmentKind::is_spread(kind),
            };
            // Prices contain at most what they are after the voucher.
            let taxed = if includes { value - value * voucher / 100 } else { value };
            PlaceOrder {
                order_id: OrderId(Uuid::from_u128(1)),
                customer_id: None,
                currency: "GBP".parse().unwrap(),
                country: None,
                lines,
                adjustments: vec![
                    adjustment(AdjustmentKind::Discount, -(value * voucher / 100)),
                    adjustment(AdjustmentKind::Tax, taxed * tax / 100),
                    adjustment(AdjustmentKind::Shipping, shipping),
                ],
                prices_include_tax: includes,
                reference: None,
                metadata: BTreeMap::new(),
                placed_at: Timestamp::UNIX_EPOCH,
                now: Timestamp::UNIX_EPOCH,
                payment_due_at: None,
                terms: PaymentTerms::Prepaid,
                captures_in_parts: true,
                payment: None,
                payments: Vec::new(),
            }
        },
    )
}

/// The order, or the same order with up to two payments.
fn with_payments(mut place: PlaceOrder, percent: i64) -> PlaceOrder {
    let Ok(events) = OrderDecider::decide(&Order::default(), OrderCommand::Place(Box::new(place.clone())))
    else {
        return place;
    };
    let total = OrderDecider::fold(&events).total().minor_units();
    let first = total * percent / 100;
    let parts = [first, total - first].into_iter().filter(|part| *part > 0);
    place.payments =
        parts.map(|part| NewTender { amount: amount(part), charge: None, credit: None }).collect();
    place
}

/// A paid order under test, with ids that are each used once.
struct Shop {
    order: Order,
    used: u128,
}

impl Shop {
    fn paid(place: PlaceOrder) -> Self {
        let mut shop = Self { order: Order::default(), used: 10 };
        assert!(shop.run(OrderCommand::Place(Box::new(place))));
        assert!(shop.run(OrderCommand::Allocate { payment_id: PaymentId(Uuid::from_u128(2)) }));
        for tender in shop.order.tenders().to_vec() {
            assert!(shop.run(OrderCommand::RecordPayment(OrderPaymentRecorded {
                payment_id: Some(tender.payment_id),
                captured: tender.amount,
                ..OrderPaymentRecorded::default()
            })));
        }
        assert!(shop.order.is_paid());
        shop
    }

    /// False if the command is refused.
    fn run(&mut self, command: OrderCommand) -> bool {
        let Ok(events) = OrderDecider::decide(&self.order, command) else { return false };
        for event in &events {
            OrderDecider::evolve(&mut self.order, event);
        }
        true
    }

    fn id(&mut self) -> Uuid {
        self.used += 1;
        Uuid::from_u128(self.used)
    }

    fn cancel(&mut self, lines: Option<Vec<LineQuantity>>, refund_amount: Option<i64>) -> bool {
        let id = CancellationId(self.id());
        self.run(OrderCommand::Cancel(NewCancellation {
            lines,
            refund_amount: refund_amount.map(amount),
            ..NewCancellation::of_the_rest(id, CancelReason::Requested)
        }))
    }

    fn ship(&mut self, lines: Option<Vec<LineQuantity>>) -> bool {
        let shipment_id = ShipmentId(self.id());
        self.run(OrderCommand::Ship {
            shipment_id,
            lines,
            carrier: None,
            tracking_number: None,
            now: Timestamp::UNIX_EPOCH,
        })
    }

    fn take_back(&mut self, part: LineQuantity, refund_amount: Option<i64>) -> bool {
        let lines = vec![ReturnLine { line: part.line, quantity: part.quantity, restock: true }];
        let (return_id, refund_amount) = (ReturnId(self.id()), refund_amount.map(amount));
        self.run(OrderCommand::Return(NewReturn { return_id, lines, refund_amount, reason: None }))
    }

    fn refund(&mut self, minor_units: i64, line: Option<u32>) -> bool {
        let (refund_id, amount) = (RefundId(self.id()), amount(minor_units));
        let lines = line.map(|line| LineAmount { line, amount }).into_iter().collect();
        self.run(OrderCommand::Refund { refund_id, amount, lines, payment_id: None, reason: None })
    }

    fn refunded(&self) -> i64 {
        self.order.refunds().iter().map(|refund| refund.amount.minor_units()).sum()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Cancel(LineQuantity, Option<i64>),
    Ship(LineQuantity),
    Return(LineQuantity, Option<i64>),
    Refund(i64, Option<u32>),
    CancelRest,
}

fn part() -> impl Strategy<Value = LineQuantity> {
    (1..5u32, 1..4u32).prop_map(|(line, quantity)| LineQuantity { line, quantity })
}

fn step() -> impl Strategy<Value = Step> {
    let requested = || prop::option::weighted(0.3, 0..20_000i64);
    prop_oneof![
        4 => (part(), requested()).prop_map(|(part, amount)| Step::Cancel(part, amount)),
        4 => part().prop_map(Step::Ship),
        4 => (part(), requested()).prop_map(|(part, amount)| Step::Return(part, amount)),
        2 => (1..20_000i64, prop::option::of(1..5u32)).prop_map(|(amount, line)| Step::Refund(amount, line)),
        1 => Just(Step::CancelRest),
    ]
}

fn take(shop: &mut Shop, step: &Step) -> bool {
    match *step {
        Step::Cancel(part, amount) => shop.cancel(Some(vec![part]), amount),
        Step::Ship(part) => shop.ship(Some(vec![part])),
        Step::Return(part, amount) => shop.take_back(part, amount),
        Step::Refund(amount, line) => shop.refund(amount, line),
        Step::CancelRest => shop.cancel(None, None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_sequence_refunds_more_than_was_paid(
        place in (new_order(), 0..=100i64).prop_map(|(place, percent)| with_payments(place, percent)),
        steps in prop::collection::vec(step(), 0..25),
    ) {
        let mut shop = Shop::paid(place);
        for step in steps {
            let (before, was_paid) = (shop.refunded(), shop.order.is_paid());
            let is_done = take(&mut shop, &step);
            prop_assert!(shop.refunded() <= shop.order.captured().minor_units());
            prop_assert!(is_done || shop.refunded() == before);
            // Nothing but a refund of all the money makes a paid order due again.
            let asks_again = was_paid && shop.order.amount_due().is_positive();
            let is_all_refunded = shop.refunded() == shop.order.captured().minor_units();
            prop_assert!(!asks_again || is_all_refunded, "{step:?}: {:?}", shop.order);
        }
    }

    #[test]
    fn without_requested_amounts_the_order_keeps_exactly_what_is_owed(
        place in (new_order(), 0..=100i64).prop_map(|(place, percent)| with_payments(place, percent)),
        steps in prop::collection::vec(step(), 0..25),
    ) {
        let mut shop = Shop::paid(place);
        for step in steps {
            let step = match step {
                Step::Cancel(part, _) => Step::Cancel(part, None),
                Step::Return(part, _) => Step::Return(part, None),
                Step::Refund(..) => continue,
                Step::Ship(_) | Step::CancelRest => step,
            };
            take(&mut shop, &step);
            prop_assert_eq!(shop.order.kept(), shop.order.owed(), "{:?}: {:?}", step, shop.order);
        }
    }

    #[test]
    fn all_that_was_paid_goes_back_if_everything_is_cancelled_before_a_shipment(
        place in (new_order(), 0..=100i64).prop_map(|(place, percent)| with_payments(place, percent)),
        parts in prop::collection::vec(part(), 0..10),
    ) {
        let mut shop = Shop::paid(place);
        for part in parts {
            shop.cancel(Some(vec![part]), None);
        }
        if shop.order.status() != OrderStatus::Cancelled {
            prop_assert!(shop.cancel(None, None));
        }
        prop_assert_eq!(shop.refunded(), shop.order.total().minor_units());
    }

    #[test]
    fn the_totals_of_the_lines_go_back_if_everything_was_shipped_and_comes_back(
        place in (new_order(), 0..=100i64).prop_map(|(place, percent)| with_payments(place, percent)),
        parts in prop::collection::vec(part(), 0..10),
        goodwill in prop::option::of((1..5u32, 1..100i64)),
    ) {
        let mut shop = Shop::paid(place);
        prop_assert!(shop.ship(None));
        if let Some((line, minor_units)) = goodwill {
            shop.refund(minor_units, Some(line));
        }
        for part in parts {
            shop.take_back(part, None);
        }
        let left: Vec<u32> = shop.order.lines().iter().map(|line| line.shipped - line.returned).collect();
        for (line, quantity) in (1..).zip(left) {
            if quantity > 0 {
                let part = LineQuantity { line, quantity };
                prop_assert!(shop.take_back(part, None));
            }
        }
        let totals: i64 = shop.order.lines().iter().map(|line| line.total().minor_units()).sum();
        prop_assert_eq!(shop.refunded(), totals);
    }
}

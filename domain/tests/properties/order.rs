use std::collections::BTreeMap;

use domain::{
    Amount, CancellationId, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp,
    checkout::{Reaction, order_event_has_reaction, react_to_order},
    order::{
        Adjustment, CancelReason, LineQuantity, NewCancellation, NewLine, NewReturn, NewTender, Order,
        OrderCommand, OrderDecider, OrderEvent, OrderPaymentRecorded, OrderStatus, PaymentTerms, PlaceOrder,
        ReturnLine, Tender, TenderEnding,
    },
    shares::AdjustmentKind,
};
use proptest::prelude::*;
use uuid::Uuid;

use crate::Run;

const ORDER: OrderId = OrderId(Uuid::from_u128(1));

fn pence(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

fn placed() -> impl Strategy<Value = OrderCommand> {
    let line =
        (0..3usize, 1..5u32, 0..30i64, any::<bool>()).prop_map(|(sku, quantity, price, stocked)| NewLine {
            sku: Sku::new(["MUG", "BOWL", "PLATE"][sku]).unwrap(),
            quantity,
            unit_price: pence(price),
            stocked,
            adjustments: Vec::new(),
        });
    let payments = prop::collection::vec(1..60i64, 0..3);
    let tax = (0..20i64, any::<bool>());
    let terms = prop::sample::select(PaymentTerms::ALL.to_vec());
    (prop::collection::vec(line, 1..4), -20..20i64, tax, (any::<bool>(), terms), payments).prop_map(
        |(lines, adjustment, (tax, includes_tax), (due, terms), mut payments)| {
            if terms == PaymentTerms::OnShipment {
                payments.clear();
            }
            let kind = AdjustmentKind::Tax;
            let tax = Adjustment { kind: Some(kind), ..Adjustment::new("tax", pence(tax)) };
            let tender = |amount: i64| NewTender { amount: pence(amount), charge: None, credit: None };
            OrderCommand::Place(Box::new(PlaceOrder {
                order_id: ORDER,
                customer_id: None,
                currency: "GBP".parse().unwrap(),
                country: None,
                lines,
                adjustments: vec![
                    Adjustment::new("adjustment", pence(adjustment)),
                    Adjustment { spread: true, ..tax },
                ],
                prices_include_tax: includes_tax,
                reference: None,
                metadata: BTreeMap::new(),
                placed_at: Timestamp::UNIX_EPOCH,
                now: Timestamp::UNIX_EPOCH,
                payment_due_at: (due || terms == PaymentTerms::Net).then_some(Timestamp::UNIX_EPOCH),
                terms,
                captures_in_parts: true,
                payment: None,
                payments: payments.into_iter().map(tender).collect(),
            }))
        },
    )
}

fn lines() -> impl Strategy<Value = Vec<LineQuantity>> {
    prop::collection::vec((1..4u32, 1..4u32), 1..3)
        .prop_map(|parts| parts.into_iter().map(|(line, quantity)| LineQuantity { line, quantity }).collect())
}

fn id() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

/// A command, growth of the payment's amounts, or the delivery of the next shipment.
#[derive(Debug, Clone)]
enum Step {
    Command(OrderCommand),
    PaymentGrew { tender: usize, captured: i64, refunded: i64, failed: i64 },
    EndPayment { tender: usize, ending: TenderEnding },
    DeliverNext,
    UndoLast,
}

/// The refunds that the order requested of a payment.
fn requested_of(order: &Order, tender: &Tender) -> i64 {
    let of_tender = order.refunds().iter().filter(|refund| refund.payment_id == Some(tender.payment_id));
    of_tender.map(|refund| refund.amount.minor_units()).sum()
}

impl Step {
    fn command(self, order: &Order) -> OrderCommand {
        match self {
            Self::Command(command) => command,
            Self::PaymentGrew { tender, captured, refunded, failed } => {
                let Some(tender) = order.tenders().get(tender % order.tenders().len().max(1)) else {
                    return OrderCommand::RecordPayment(OrderPaymentRecorded::default());
                };
                let requested = requested_of(order, tender);
                let known = tender.recorded;
                let captured = known.captured.minor_units() + captured;
                OrderCommand::RecordPayment(OrderPaymentRecorded {
                    captured: pence(captured),
                    refunded: pence((known.refunded.minor_units() + refunded).min(captured)),
                    refunds_failed: pence((known.refunds_failed.minor_units() + failed).min(requested)),
                    ..known
                })
            }
            Self::EndPayment { tender, ending } => {
                let tender = order.tenders().get(tender % order.tenders().len().max(1));
                let payment_id = tender.map_or(PaymentId(Uuid::nil()), |tender| tender.payment_id);
                OrderCommand::EndPayment { payment_id, ending, captured: Amount::ZERO }
            }
            Self::UndoLast => {
                let last = order.shipments().last();
                let shipment_id = last.map_or(ShipmentId(Uuid::nil()), |shipment| shipment.shipment_id);
                OrderCommand::UndoShipment { shipment_id, reason: None }
            }
            Self::DeliverNext => {
                let next = order.shipments().iter().find(|shipment| !shipment.delivered);
                let shipment_id = next.map_or(ShipmentId(Uuid::nil()), |shipment| shipment.shipment_id);
                OrderCommand::Deliver { shipment_id }
            }
        }
    }
}

fn step() -> impl Strategy<Value = Step> {
    let reason = prop_oneof![
        Just(CancelReason::Requested),
        Just(CancelReason::PaymentFailed),
        Just(CancelReason::PaymentVoided)
    ];
    prop_oneof![
        4 => Just(OrderCommand::Allocate { payment_id: PaymentId(Uuid::from_u128(2)) }).prop_map(Step::Command),
        1 => Just(OrderCommand::Reject { shortages: Vec::new() }).prop_map(Step::Command),
        6 => (0..3usize, 0..200i64, 0..50i64, 0..50i64).prop_map(|(tender, captured, refunded, failed)| {
            Step::PaymentGrew { tender, captured, refunded, failed }
        }),
        2 => (id(), prop::option::of(-1..60i64)).prop_map(|(id, amount)| {
            let (payment_id, amount) = (PaymentId(id), amount.map(pence));
            Step::Command(OrderCommand::AddPayment { payment_id, amount, charge: None })
        }),
        1 => (0..3usize, any::<bool>()).prop_map(|(tender, failed)| {
            let ending = if failed { TenderEnding::Failed } else { TenderEnding::Voided };
            Step::EndPayment { tender, ending }
        }),
        6 => (id(), prop::option::of(lines())).prop_map(|(id, lines)| Step::Command(OrderCommand::Ship {
            shipment_id: ShipmentId(id),
            lines,
            carrier: None,
            tracking_number: None,
            now: Timestamp::UNIX_EPOCH,
        })),
        2 => Just(Step::DeliverNext),
        1 => Just(Step::UndoLast),
        4 => (id(), lines(), prop::option::of(-1..40i64), any::<bool>()).prop_map(|(id, lines, amount, restock)| {
            let part = |part: LineQuantity| ReturnLine { line: part.line, quantity: part.quantity, restock };
            Step::Command(OrderCommand::Return(NewReturn {
                return_id: ReturnId(id),
                lines: lines.into_iter().map(part).collect(),
                refund_amount: amount.map(pence),
                reason: None,
            }))
        }),
        3 => (id(), 0..60i64).prop_map(|(id, amount)| {
            let (refund_id, amount, lines) = (RefundId(id), pence(amount), Vec::new());
            let payment_id = None;
            Step::Command(OrderCommand::Refund { refund_id, amount, lines, payment_id, reason: None })
        }),
        1 => (id(), reason).prop_map(|(id, reason)| {
            Step::Command(OrderCommand::Cancel(NewCancellation::of_the_rest(CancellationId(id), reason)))
        }),
        3 => (id(), lines(), prop::option::of(-1..40i64)).prop_map(|(id, lines, amount)| {
            Step::Command(OrderCommand::Cancel(NewCancellation {
                lines: Some(lines),
                refund_amount: amount.map(pence),
                ..NewCancellation::of_the_rest(CancellationId(id), CancelReason::Requested)
            }))
        }),
        1 => Just(OrderCommand::Expire { now: Timestamp::UNIX_EPOCH }).prop_map(Step::Command),
    ]
}

fn units_add_up(order: &Order) {
    for (number, line) in (1..).zip(order.lines()) {
        assert!(line.shipped + line.cancelled <= line.quantity, "{line:?}");
        assert!(line.returned <= line.shipped && line.delivered <= line.shipped, "{line:?}");
        let of_line = |parts: &[LineQuantity]| -> u32 {
            parts.iter().filter(|part| part.line == number).map(|part| part.quantity).sum()
        };
        let shipped: u32 = order
            .shipments()
            .iter()
            .filter(|shipment| !shipment.is_undone())
            .map(|shipment| of_line(&shipment.lines))
            .sum();
        assert_eq!(line.shipped, shipped);
    }
}

fn amounts_add_up(order: &Order) {
    let lines: i64 = order.lines().iter().map(|line| line.value().minor_units()).sum();
    let is_added =
        |part: &&Adjustment| part.kind.is_none_or(|kind| kind.is_added(order.prices_include_tax()));
    let added = || order.adjustments().iter().filter(is_added);
    let adjustments: i64 = added().map(|part| part.amount.minor_units()).sum();
    assert_eq!(order.total().minor_units(), lines + adjustments);
    let totals: i64 = order.lines().iter().map(|line| line.total().minor_units()).sum();
    let unspread = added().filter(|part| !part.spread);
    let unspread: i64 = unspread.map(|part| part.amount.minor_units()).sum();
    assert_eq!(order.total().minor_units(), totals + unspread);
    assert!(!order.owed().is_negative() && !order.amount_due().is_negative());
    assert!(!order.amount_due().is_positive() || !order.overpaid().is_positive());

    let mut in_all = 0;
    for tender in order.tenders() {
        let requested = requested_of(order, tender);
        let recorded = tender.recorded;
        assert!(requested - recorded.refunds_failed.minor_units() <= recorded.captured.minor_units());
        in_all += requested;
    }
    let requested: i64 = order.refunds().iter().map(|refund| refund.amount.minor_units()).sum();
    assert_eq!(requested, in_all, "a refund goes to no payment");
    let returns = order.returns().iter().map(|record| record.refund_amount.minor_units());
    assert!(returns.sum::<i64>() <= requested, "a return is not divided in full");
    if order.is_paid() && order.status() == OrderStatus::Allocated {
        assert!(!order.amount_due().is_positive());
    }
}

fn status_moves_forward(before: &Order, after: &Order) {
    use OrderStatus::{Allocated, Cancelled, Expired, New, Placed, Rejected};
    let (from, to) = (before.status(), after.status());
    let allowed = match from {
        New => to == Placed,
        Placed => matches!(to, Placed | Allocated | Rejected | Cancelled | Expired),
        Allocated => matches!(to, Allocated | Cancelled | Expired),
        Rejected | Cancelled | Expired => to == from,
    };
    assert!(allowed, "{from:?} to {to:?}");
    if from.is_final() {
        assert!(after.owed() <= before.owed(), "an ended order owes more");
        assert!(
            before.lines().iter().map(|line| line.shipped).eq(after.lines().iter().map(|line| line.shipped))
        );
    }
}

/// An order says once that it is paid, whether money came in or the customer owes less. An order that has ended says
/// so if goods were shipped.
fn it_is_said_once_that_an_order_is_paid(before: &Order, events: &[OrderEvent], after: &Order) {
    let asks_for_money = match after.status() {
        OrderStatus::Allocated => true,
        OrderStatus::Cancelled => after.lines().iter().any(|line| line.shipped > 0),
        OrderStatus::New | OrderStatus::Placed | OrderStatus::Rejected | OrderStatus::Expired => false,
    };
    let is_paid_now = asks_for_money && after.kept() >= after.owed() && !before.is_paid();
    let said = events.iter().filter(|event| matches!(event, OrderEvent::Paid(_))).count();
    assert_eq!(said, usize::from(is_paid_now), "{events:?} on {before:?}");
    assert!(!is_paid_now || after.is_paid());
}

/// The process manager skips events whose kind has no reaction, so those must never have one.
fn only_kinds_with_a_reaction_have_one(events: &[OrderEvent], order: &Order) {
    for event in events.iter().filter(|event| !order_event_has_reaction(event.kind())) {
        assert_eq!(react_to_order(ORDER, event, order), Reaction::None, "{event:?} on {order:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn the_units_and_amounts_of_an_order_always_add_up(
        place in placed(),
        steps in prop::collection::vec(step(), 1..40),
    ) {
        let mut run = Run::<OrderDecider>::new();
        let placed = run.execute(place, |before, _, after| status_moves_forward(before, after));
        prop_assume!(placed.is_ok());
        for step in steps {
            let (before, earlier) = (run.state.clone(), run.events.len());
            let command = step.command(&run.state);
            let _refusal_is_fine = run.execute(command, |before, _, after| {
                status_moves_forward(before, after);
                units_add_up(after);
                amounts_add_up(after);
            });
            it_is_said_once_that_an_order_is_paid(&before, &run.events[earlier..], &run.state);
            only_kinds_with_a_reaction_have_one(&run.events, &run.state);
        }
        run.snapshots_are_faithful();
    }
}

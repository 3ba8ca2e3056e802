use uuid::Uuid;

use super::*;
use crate::{
    Amount, OrderId, PaymentId, RefundId, ReturnId, ShipmentId, Sku, Timestamp,
    order::{
        NewCancellation, NewLine, NewReturn, Order, OrderCommand, OrderDecider, OrderEvent,
        OrderPaymentRecorded, OrderRefusal, PaymentTerms, PlaceOrder, ReturnLine,
    },
    payment::{
        Payment, PaymentCommand, PaymentDecider, PaymentEvent, PaymentKind, PaymentRefusal, RefundReason,
    },
};

const EXCHANGE: ExchangeId = ExchangeId(Uuid::from_u128(1));
const FIRST: OrderId = OrderId(Uuid::from_u128(2));
const NEW: OrderId = OrderId(Uuid::from_u128(3));

fn pence(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

/// An order of three mugs at this price.
fn place(order_id: OrderId, unit_price: i64) -> PlaceOrder {
    let line = NewLine {
        sku: Sku::new("MUG").unwrap(),
        quantity: 3,
        unit_price: pence(unit_price),
        stocked: true,
        adjustments: Vec::new(),
    };
    PlaceOrder {
        order_id,
        customer_id: None,
        currency: "GBP".parse().unwrap(),
        country: None,
        lines: vec![line],
        adjustments: Vec::new(),
        prices_include_tax: false,
        reference: None,
        metadata: std::collections::BTreeMap::new(),
        placed_at: Timestamp::UNIX_EPOCH,
        now: Timestamp::UNIX_EPOCH,
        payment_due_at: None,
        terms: PaymentTerms::Prepaid,
        captures_in_parts: true,
        payment: None,
        payments: Vec::new(),
    }
}

#[track_caller]
fn act(order: &mut Order, command: OrderCommand) -> Vec<OrderEvent> {
    let events = OrderDecider::decide(order, command).unwrap();
    for event in &events {
        OrderDecider::evolve(order, event);
    }
    events
}

fn refusal(order: &Order, command: OrderCommand) -> OrderRefusal {
    OrderDecider::decide(order, command).unwrap_err()
}

/// Three mugs at 100, shipped, of which this much is captured.
fn first(captured: i64) -> Order {
    let mut order = Order::default();
    let place = PlaceOrder { terms: PaymentTerms::Net, ..place(FIRST, 100) };
    let due = Some(Timestamp::UNIX_EPOCH);
    act(&mut order, OrderCommand::Place(Box::new(PlaceOrder { payment_due_at: due, ..place })));
    act(&mut order, OrderCommand::Allocate { payment_id: PaymentId::of_order(FIRST) });
    let amounts = OrderPaymentRecorded { captured: pence(captured), ..OrderPaymentRecorded::default() };
    act(&mut order, OrderCommand::RecordPayment(amounts));
    let (shipment_id, now) = (ShipmentId(Uuid::from_u128(4)), Timestamp::UNIX_EPOCH);
    let (lines, carrier, tracking_number) = (None, None, None);
    act(&mut order, OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now });
    order
}

fn returning(quantity: u32) -> NewReturn {
    NewReturn {
        return_id: ReturnId(Uuid::from_u128(5)),
        lines: vec![ReturnLine { line: 1, quantity, restock: true }],
        refund_amount: None,
        reason: None,
    }
}

fn give(order: &mut Order, quantity: u32, unit_price: i64) -> ExchangeRequested {
    let requested = plan(EXCHANGE, order, returning(quantity), place(NEW, unit_price)).unwrap();
    let (new_return, credit) = (requested.new_return(), requested.credit);
    act(order, OrderCommand::ReturnForCredit { new_return, credit });
    requested
}

fn refund(amount: i64) -> OrderCommand {
    let (refund_id, amount, lines) = (RefundId(Uuid::from_u128(6)), pence(amount), Vec::new());
    OrderCommand::Refund { refund_id, amount, lines, payment_id: None, reason: None }
}

fn take_back(amount: i64) -> OrderCommand {
    let (exchange_id, refund_id) = (EXCHANGE, RefundId(Uuid::from_u128(7)));
    OrderCommand::TakeBackCredit { exchange_id, refund_id, amount: pence(amount) }
}

#[test]
fn the_credit_is_what_was_paid_for_the_units_and_at_most_the_new_total() {
    let planned = |captured, units, price| {
        let requested = plan(EXCHANGE, &first(captured), returning(units), place(NEW, price)).unwrap();
        let payments: Vec<i64> =
            requested.order.payments.iter().map(|tender| tender.amount.minor_units()).collect();
        (requested.credit.amount.minor_units(), payments)
    };
    assert_eq!(planned(300, 2, 100), (200, vec![200, 100]));
    assert_eq!(planned(300, 2, 50), (150, vec![150]));
    // One of the two units was not paid.
    assert_eq!(planned(200, 2, 100), (100, vec![100, 200]));
}

#[test]
fn an_exchange_that_cannot_take_place_is_refused() {
    let refused =
        |captured, units, place| plan(EXCHANGE, &first(captured), returning(units), place).unwrap_err();
    let not_returnable = OrderRefusal::NotReturnable { line: 1, requested: 4, returnable: 3 };
    assert_eq!(refused(300, 4, place(NEW, 1)), ExchangeRefusal::Return(not_returnable));
    assert_eq!(refused(0, 1, place(NEW, 1)), ExchangeRefusal::NothingToCredit);
    assert_eq!(refused(300, 1, place(NEW, 0)), ExchangeRefusal::NothingToCredit);
    let euros = PlaceOrder { currency: "EUR".parse().unwrap(), ..place(NEW, 1) };
    assert_eq!(refused(300, 1, euros), ExchangeRefusal::OtherCurrency("GBP".parse().unwrap()));
    let on_shipment = PlaceOrder { terms: PaymentTerms::OnShipment, ..place(NEW, 1) };
    assert_eq!(refused(300, 1, on_shipment), ExchangeRefusal::NotPrepaid);
    let empty = PlaceOrder { lines: Vec::new(), ..place(NEW, 1) };
    assert!(matches!(refused(300, 1, empty), ExchangeRefusal::Order(OrderRefusal::Invalid(_))));
    let nothing = plan(EXCHANGE, &Order::default(), returning(1), place(NEW, 1)).unwrap_err();
    assert_eq!(nothing, ExchangeRefusal::Return(OrderRefusal::NotFound));
}

#[test]
fn the_first_order_keeps_the_money_of_a_credit_and_does_not_refund_it() {
    let mut order = first(300);
    give(&mut order, 2, 50);
    // 150 pay the new order, and 50 are refunded.
    assert_eq!((order.credited(), order.kept(), order.owed()), (pence(150), pence(100), pence(100)));
    let [refunded] = order.refunds() else { panic!("one refund") };
    assert_eq!(refunded.amount, pence(50));
    assert!(order.is_paid() && order.overpaid().is_zero());
    assert_eq!(order.refund_due(), pence(50));
    let too_large = OrderRefusal::RefundTooLarge { requested: pence(101), refundable: pence(100) };
    assert_eq!(refusal(&order, refund(101)), too_large);
    act(&mut order, refund(100));
}

#[test]
fn a_credit_that_comes_back_is_refunded_as_far_as_the_customer_owes_nothing() {
    let mut order = first(300);
    give(&mut order, 2, 100);
    let refunds = |events: Vec<OrderEvent>| match &events[..] {
        [OrderEvent::CreditTakenBack(taken), paid @ ..] => {
            assert!(matches!(paid, [] | [OrderEvent::Paid(_)]), "{paid:?}");
            let parts = taken.refunds.iter().map(|part| part.amount.minor_units());
            (taken.amount.minor_units(), parts.sum::<i64>())
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(refunds(act(&mut order, take_back(120))), (120, 120));
    assert_eq!((order.credited(), order.kept()), (pence(80), pence(100)));
    // No more comes back than was given.
    assert_eq!(refunds(act(&mut order, take_back(120))), (80, 80));
    assert_eq!(act(&mut order, take_back(1)), []);

    let mut order = first(300);
    give(&mut order, 2, 100);
    let disputed = OrderPaymentRecorded { captured: pence(300), disputed: pence(150), ..Default::default() };
    act(&mut order, OrderCommand::RecordPayment(disputed));
    assert_eq!(order.amount_due(), pence(150));
    // What stays pays the rest, so the order is paid again.
    assert_eq!(refunds(act(&mut order, take_back(200))), (200, 50));
    assert!(order.is_paid());
    assert_eq!((order.amount_due(), order.kept()), (Amount::ZERO, pence(100)));
}

#[test]
fn a_return_for_a_credit_that_the_order_does_not_hold_any_more_is_refused() {
    let mut order = first(300);
    let requested = plan(EXCHANGE, &order, returning(2), place(NEW, 100)).unwrap();
    act(&mut order, refund(250));
    let (new_return, credit) = (requested.new_return(), requested.credit);
    let refused = refusal(&order, OrderCommand::ReturnForCredit { new_return, credit });
    assert!(matches!(refused, OrderRefusal::RefundTooLarge { .. }), "{refused:?}");
    assert_eq!(RefusedBecause::of_return(&refused), RefusedBecause::CreditTooLarge);
}

fn credit_payment() -> Payment {
    let requested = plan(EXCHANGE, &first(300), returning(2), place(NEW, 100)).unwrap();
    let request = PaymentCommand::Request {
        payment_id: PaymentId::of_order(NEW),
        order_id: NEW,
        amount: requested.credit.amount,
        currency: requested.order.currency,
        charge: None,
        terms: PaymentTerms::Prepaid,
        credit: Some(requested.source()),
    };
    PaymentDecider::fold(&PaymentDecider::decide(&Payment::default(), request).unwrap())
}

#[track_caller]
fn pay(payment: &mut Payment, command: PaymentCommand) -> Vec<PaymentEvent> {
    let events = PaymentDecider::decide(payment, command).unwrap();
    for event in &events {
        PaymentDecider::evolve(payment, event);
    }
    events
}

#[test]
fn a_credit_is_captured_once_and_its_refunds_are_paid_at_once() {
    let mut payment = credit_payment();
    assert_eq!(payment.kind(), Some(PaymentKind::Credit));
    let by_hand = PaymentCommand::Authorize { amount: None, reference: None };
    assert_eq!(PaymentDecider::decide(&payment, by_hand), Err(PaymentRefusal::OfCredit));
    pay(&mut payment, PaymentCommand::GiveCredit);
    assert_eq!(pay(&mut payment, PaymentCommand::GiveCredit), []);
    assert_eq!(payment.captured(), pence(200));
    let (refund_id, reason) = (RefundId(Uuid::from_u128(8)), RefundReason::Requested);
    let request = PaymentCommand::RequestRefund { refund_id, amount: pence(50), reason };
    pay(&mut payment, request.clone());
    assert_eq!(pay(&mut payment, request), []);
    assert_eq!((payment.refunded(), payment.provider_work()), (pence(50), Vec::new()));
    pay(&mut payment, PaymentCommand::Close { order_id: NEW, amount_due: pence(80), refund: None });
    assert_eq!(payment.refunded(), pence(170));
}

#[test]
fn a_credit_that_is_given_to_an_ended_order_goes_back_at_once() {
    let mut payment = credit_payment();
    pay(&mut payment, PaymentCommand::Close { order_id: NEW, amount_due: Amount::ZERO, refund: None });
    pay(&mut payment, PaymentCommand::GiveCredit);
    assert_eq!((payment.captured(), payment.refunded()), (pence(200), pence(200)));
}

#[test]
fn the_first_outcome_of_an_exchange_stays() {
    let requested = plan(EXCHANGE, &first(300), returning(2), place(NEW, 100)).unwrap();
    let decide = |exchange: &Exchange, command| ExchangeDecider::decide(exchange, command).unwrap();
    let request = ExchangeCommand::Request(Box::new(requested));
    let refuse = ExchangeCommand::Refuse(RefusedBecause::OrderEnded);
    let unknown = ExchangeDecider::decide(&Exchange::default(), refuse.clone());
    assert_eq!(unknown, Err(ExchangeRefusal::NotFound));
    let mut exchange = ExchangeDecider::fold(&decide(&Exchange::default(), request.clone()));
    assert_eq!(decide(&exchange, request), []);
    assert_eq!(exchange.parts().unwrap().payment_id, Some(PaymentId::of_tender(NEW, 2)));
    for event in decide(&exchange, refuse) {
        ExchangeDecider::evolve(&mut exchange, &event);
    }
    let settled = ExchangeSettled { refund_amount: Amount::ZERO, return_revision: 5, order_revision: 1 };
    assert_eq!(decide(&exchange, ExchangeCommand::Settle(settled)), []);
    assert_eq!(exchange.outcome(), Some(ExchangeOutcome::Refused(RefusedBecause::OrderEnded)));
}

#[test]
fn an_order_that_ends_after_an_exchange_keeps_the_money_of_the_credit() {
    let mut order = Order::default();
    act(&mut order, OrderCommand::Place(Box::new(place(FIRST, 100))));
    act(&mut order, OrderCommand::Allocate { payment_id: PaymentId::of_order(FIRST) });
    let amounts = OrderPaymentRecorded { captured: pence(300), ..OrderPaymentRecorded::default() };
    act(&mut order, OrderCommand::RecordPayment(amounts));
    let (shipment_id, now) = (ShipmentId(Uuid::from_u128(4)), Timestamp::UNIX_EPOCH);
    let lines = Some(vec![crate::order::LineQuantity { line: 1, quantity: 2 }]);
    let (carrier, tracking_number) = (None, None);
    act(&mut order, OrderCommand::Ship { shipment_id, lines, carrier, tracking_number, now });
    give(&mut order, 1, 100);
    let (id, reason) = (crate::CancellationId(Uuid::from_u128(9)), crate::order::CancelReason::Requested);
    act(&mut order, OrderCommand::Cancel(NewCancellation::of_the_rest(id, reason)));
    // The customer keeps one unit, one pays the new order, and one is refunded.
    assert_eq!(order.tenders()[0].kept_at_closing, Some(pence(200)));
    assert_eq!((order.refundable(), order.overpaid()), (pence(100), Amount::ZERO));
    act(&mut order, take_back(100));
    assert_eq!(
        order.refunds().iter().map(|refund| refund.amount).collect::<Vec<_>>(),
        [pence(100), pence(100)]
    );
}

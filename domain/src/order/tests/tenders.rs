//! Orders with several payments.

use super::*;

fn second() -> PaymentId {
    PaymentId::of_tender(ORDER, 2)
}

fn tender(amount: i64) -> NewTender {
    NewTender { amount: pence(amount), charge: None, credit: None }
}

/// [`order`] with a deposit of 25 and a balance of 60.
fn deposit_and_balance() -> Vec<OrderEvent> {
    let order = PlaceOrder { payments: vec![tender(25), tender(60)], ..order() };
    vec![placed_as(order), allocated_two()]
}

fn allocated_two() -> OrderEvent {
    let tender = |payment_id, amount| AllocatedTender { payment_id, amount: pence(amount) };
    let payments = vec![tender(payment_id(), 25), tender(second(), 60)];
    OrderAllocated { payment_id: Some(payment_id()), payments }.into()
}

fn paid_by_both() -> Vec<OrderEvent> {
    let money = [recorded(25, 0, 0), recorded_on(second(), 60, 0, 0), paid()];
    after(deposit_and_balance(), money)
}

fn record_on(payment_id: PaymentId, captured: i64) -> OrderCommand {
    let (payment_id, captured) = (Some(payment_id), pence(captured));
    OrderCommand::RecordPayment(OrderPaymentRecorded { payment_id, captured, ..Default::default() })
}

fn add(payment_id: PaymentId, amount: Option<i64>) -> OrderCommand {
    OrderCommand::AddPayment { payment_id, amount: amount.map(pence), charge: None }
}

fn added(payment_id: PaymentId, amount: i64) -> OrderEvent {
    OrderPaymentAdded { payment_id, amount: pence(amount), charge: None }.into()
}

fn end(payment_id: PaymentId, ending: TenderEnding, captured: i64) -> OrderCommand {
    OrderCommand::EndPayment { payment_id, ending, captured: pence(captured) }
}

fn ended(payment_id: PaymentId, ending: TenderEnding) -> OrderEvent {
    OrderPaymentEnded { payment_id, ending }.into()
}

fn part(refund_id: RefundId, payment_id: PaymentId, amount: i64) -> OrderRefund {
    OrderRefund { refund_id, payment_id, amount: pence(amount) }
}

const THIRD: PaymentId = PaymentId(Uuid::from_u128(33));

#[test]
fn an_order_is_allocated_with_the_payments_that_it_was_placed_with() {
    given(deposit_and_balance()[..1].to_vec()).when(allocate()).then([allocated_two()]);
    let asked: Vec<_> = OrderDecider::fold(&deposit_and_balance()).tenders().to_vec();
    assert_eq!(asked.iter().map(|tender| tender.amount).collect::<Vec<_>>(), [pence(25), pence(60)]);
}

#[test]
fn the_payments_of_a_new_order_are_above_0_and_add_up_to_its_total_at_most() {
    let placing = |payments: &[i64]| {
        place(PlaceOrder { payments: payments.iter().map(|amount| tender(*amount)).collect(), ..order() })
    };
    assert!(OrderDecider::decide(&Order::default(), placing(&[25, 35])).is_ok());
    let above = InvalidOrder::PaymentsAboveTotal { total: pence(85) };
    given([]).when(placing(&[25, 61])).then_refused(above.into());
    let amount = InvalidOrder::PaymentAmount { payment: Some(2) };
    given([]).when(placing(&[25, 0])).then_refused(amount.into());
    given([]).when(placing(&[1; PAYMENTS_MAX + 1])).then_refused(InvalidOrder::PaymentCount.into());
    let charge = crate::payment::NewCharge {
        provider: "p".into(),
        method: "m".into(),
        capture: crate::payment::CaptureMode::Automatic,
    };
    let both = PlaceOrder { payment: Some(charge), payments: vec![tender(85)], ..order() };
    given([]).when(place(both)).then_refused(InvalidOrder::PaymentCount.into());
}

#[test]
fn an_order_is_paid_when_its_payments_together_captured_what_is_owed() {
    given(deposit_and_balance())
        .when(record_on(second(), 60))
        .then([recorded_on(second(), 60, 0, 0)])
        .when(record_on(payment_id(), 25))
        .then([recorded(25, 0, 0), paid()]);
    given(after(deposit_and_balance(), [recorded_on(second(), 60, 0, 0)]))
        .when(ship_rest(1))
        .then_refused(OrderRefusal::NotPaid);
    let unknown = OrderRefusal::UnknownPayment(THIRD);
    given(deposit_and_balance()).when(record_on(THIRD, 1)).then_refused(unknown);
}

#[test]
fn an_event_without_a_payment_id_records_the_first_payment() {
    let earlier = OrderPaymentRecorded { captured: pence(25), ..OrderPaymentRecorded::default() };
    let order = OrderDecider::fold(&after(deposit_and_balance(), [earlier.into()]));
    assert_eq!(order.tender(payment_id()).unwrap().recorded.captured, pence(25));
    assert_eq!(order.tender(second()).unwrap().recorded.captured, Amount::ZERO);
}

#[test]
fn a_payment_is_added_for_what_no_other_payment_asks_for() {
    let order = PlaceOrder { payments: vec![tender(25)], ..order() };
    let payments = vec![AllocatedTender { payment_id: payment_id(), amount: pence(25) }];
    let allocated = OrderAllocated { payment_id: Some(payment_id()), payments };
    let deposit = vec![placed_as(order), allocated.into()];
    let too_large = |unclaimed| OrderRefusal::PaymentTooLarge { unclaimed: pence(unclaimed) };
    given(deposit.clone()).when(add(second(), Some(61))).then_refused(too_large(60));
    given(deposit.clone())
        .when(add(second(), Some(40)))
        .then([added(second(), 40)])
        .when(add(second(), Some(40)))
        .then_nothing()
        .when(add(THIRD, None))
        .then([added(THIRD, 20)])
        .when(add(PaymentId(Uuid::from_u128(34)), None))
        .then_refused(too_large(0));
    given(deposit.clone())
        .when(add(second(), Some(0)))
        .then_refused(InvalidOrder::PaymentAmount { payment: None }.into());
    given(after(deposit, [expired()]))
        .when(add(second(), None))
        .then_refused(OrderRefusal::WrongStatus(OrderStatus::Expired));
}

#[test]
fn a_payment_that_ends_cancels_the_order_only_if_it_is_the_last_and_no_money_arrived() {
    let (failed, voided) = (TenderEnding::Failed, TenderEnding::Voided);
    let one_ended = after(deposit_and_balance(), [ended(payment_id(), failed)]);
    given(deposit_and_balance())
        .when(end(payment_id(), failed, 0))
        .then([ended(payment_id(), failed)])
        .when(end(payment_id(), failed, 0))
        .then_nothing()
        .when(end(second(), voided, 0))
        .then([OrderCancelled {
            reason: CancelReason::PaymentVoided,
            note: None,
            lines: cancelled_lines(&[(1, 4), (2, 2), (3, 1)]),
            owed: pence(0),
            refunds: Vec::new(),
        }
        .into()]);
    let with_money = after(one_ended, [recorded_on(second(), 10, 0, 0)]);
    given(with_money).when(end(second(), voided, 10)).then([ended(second(), voided)]);
    // The order has not recorded the money yet.
    given([placed(), allocated()])
        .when(end(payment_id(), voided, 10))
        .then([ended(payment_id(), voided)])
        .when(add(second(), None))
        .then([added(second(), 85)]);
    given([placed(), allocated(), expired()]).when(end(payment_id(), failed, 0)).then_nothing();
}

#[test]
fn a_refund_goes_to_the_newest_payment_first_and_never_asks_one_for_more_than_it_holds() {
    let further = RefundId::of_payment(refund_id(1), payment_id());
    let divided: OrderEvent = OrderRefundRequested {
        refund_id: refund_id(1),
        amount: pence(70),
        lines: Vec::new(),
        lowers_owed: Some(pence(70)),
        reason: None,
        refunds: vec![part(refund_id(1), second(), 60), part(further, payment_id(), 10)],
    }
    .into();
    given(paid_by_both())
        .when(refund(1, 70))
        .then([divided.clone()])
        .when(refund_from(2, 1, Some(second())))
        .then_refused(OrderRefusal::RefundTooLarge { requested: pence(1), refundable: pence(0) });
    let order = OrderDecider::fold(&after(paid_by_both(), [divided]));
    let latest = [part(refund_id(1), second(), 60), part(further, payment_id(), 10)];
    assert_eq!(order.summary().latest_refunds, latest);
}

#[test]
fn a_refund_may_name_its_payment() {
    let from_first = OrderRefundRequested {
        refund_id: refund_id(1),
        amount: pence(20),
        lines: Vec::new(),
        lowers_owed: Some(pence(20)),
        reason: None,
        refunds: vec![part(refund_id(1), payment_id(), 20)],
    };
    given(paid_by_both()).when(refund_from(1, 20, Some(payment_id()))).then([from_first.into()]);
    given(paid_by_both())
        .when(refund_from(1, 26, Some(payment_id())))
        .then_refused(OrderRefusal::RefundTooLarge { requested: pence(26), refundable: pence(25) });
    given(paid_by_both())
        .when(refund_from(1, 1, Some(THIRD)))
        .then_refused(OrderRefusal::UnknownPayment(THIRD));
}

#[test]
fn a_cancelled_order_keeps_the_oldest_money_and_closes_each_payment_with_its_part() {
    // Three mugs are shipped: 30 of the 85 stay.
    let events = after(paid_by_both(), [shipped(1, &[(1, 3)])]);
    let decided =
        OrderDecider::decide(&OrderDecider::fold(&events), cancel(CancelReason::Requested)).unwrap();
    let order = OrderDecider::fold(&[events, decided].concat());
    let kept: Vec<_> = order.tenders().iter().map(|tender| tender.kept_at_closing).collect();
    assert_eq!(kept, [Some(pence(25)), Some(pence(5))]);
    let refunds: Vec<_> = order.refunds().iter().map(|refund| (refund.payment_id, refund.amount)).collect();
    assert_eq!(refunds, [(Some(second()), pence(55))]);
}

#[test]
fn the_lines_of_a_divided_refund_are_counted_once() {
    let lines = vec![LineAmount { line: 1, amount: pence(30) }, LineAmount { line: 2, amount: pence(35) }];
    let (refund_id, amount) = (refund_id(1), pence(70));
    let command = OrderCommand::Refund { refund_id, amount, lines, payment_id: None, reason: None };
    let events = paid_by_both();
    let decided = OrderDecider::decide(&OrderDecider::fold(&events), command).unwrap();
    let order = OrderDecider::fold(&[events, decided].concat());
    let lines: Vec<Vec<(u32, i64)>> = order
        .refunds()
        .iter()
        .map(|refund| refund.lines.iter().map(|part| (part.line, part.amount.minor_units())).collect())
        .collect();
    assert_eq!(lines, [vec![(1, 30), (2, 30)], vec![(2, 5)]]);
}

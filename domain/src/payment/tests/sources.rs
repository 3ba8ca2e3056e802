//! Refunds go to the charges and to the money recorded by hand that hold their amount.

use super::*;

/// A charge captured 40 and was voided, and 60 came by hand.
fn mixed() -> Vec<PaymentEvent> {
    let charged = |amount| {
        PaymentEvent::from(PaymentCaptured {
            amount: pence(amount),
            reference: Some("pi_1".into()),
            charge: Some(1),
            late: false,
        })
    };
    vec![requested(), charged(40), voided(), authorized(100), captured(60)]
}

#[test]
fn a_payment_that_a_provider_has_money_of_takes_none_by_hand() {
    let charged_and_voided = mixed()[..3].to_vec();
    given(charged_and_voided.clone()).when(authorize(60)).then_refused(PaymentRefusal::OfProvider);
    let late = PaymentCommand::Capture { amount: Some(pence(60)), reference: None };
    let ended = [charged_and_voided, vec![closed(100)]].concat();
    given(ended).when(late).then_refused(PaymentRefusal::OfProvider);
}

fn work(events: &[PaymentEvent]) -> Vec<ProviderWork> {
    PaymentDecider::fold(events).provider_work()
}

#[test]
fn a_closed_payment_asks_no_source_for_more_than_it_holds() {
    let refunds = [of_charge(1, closing_refund_requested(0, 40)), closing_refund_requested(1, 60)];
    let events = [vec![closed(0)], refunds.to_vec()].concat();
    given(mixed()).when(close(0)).then(events.clone());
    let asked = work(&[mixed(), events].concat());
    let (refund_id, amount) = (closing_refund_id(0), pence(40));
    assert_eq!(asked, [ProviderWork::Refund { charge: 1, refund_id, amount }]);
}

#[test]
fn a_refund_of_the_order_is_split_and_each_part_has_an_id_of_its_own() {
    let second = RefundId::of_part(refund_id(1), 1);
    let part = PaymentRefundRequested {
        refund_id: second,
        amount: pence(30),
        reason: RefundReason::Requested,
        source: Some(RefundSource::Manual),
        part_of: Some(refund_id(1)),
    };
    given(mixed())
        .when(request_refund(1, 70))
        .then([of_charge(1, by_hand(1, 40)), part.into()])
        .when(request_refund(1, 70))
        .then_nothing()
        .when(record_refunded(second))
        .then([refunded(second, 30)])
        .when(request_refund(2, 30))
        .then([by_hand(2, 30)]);
}

#[test]
fn a_refund_of_an_earlier_build_goes_to_the_latest_charge_with_money() {
    let legacy = PaymentRefundRequested {
        refund_id: refund_id(1),
        amount: pence(10),
        reason: RefundReason::Requested,
        source: None,
        part_of: None,
    };
    let asked = work(&[mixed(), vec![legacy.into()]].concat());
    let (refund_id, amount) = (refund_id(1), pence(10));
    assert_eq!(asked, [ProviderWork::Refund { charge: 1, refund_id, amount }]);
}

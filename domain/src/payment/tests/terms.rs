//! Payments whose captures follow the shipments of their order, and payments that are asked for again.

use super::*;
use crate::{Timestamp, payment::charge::ProviderReport};

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn requested_on(terms: PaymentTerms) -> PaymentEvent {
    let PaymentEvent::Requested(requested) = requested() else { panic!("it is requested") };
    PaymentRequested { terms, ..requested }.into()
}

fn charge_requested(charge: u32, amount: i64, capture: CaptureMode) -> PaymentEvent {
    let (provider, method) = ("provider".into(), "card".into());
    PaymentChargeRequested { charge, provider, method, amount: pence(amount), capture }.into()
}

fn new_charge() -> PaymentCommand {
    let (provider, method) = ("provider".into(), "card".into());
    PaymentCommand::Charge(NewCharge { provider, method, capture: CaptureMode::Automatic })
}

fn held(charge: u32, amount: i64, until: Option<i64>) -> PaymentEvent {
    let (reference, charge, until) = (Some("pi".into()), Some(charge), until.map(at));
    PaymentAuthorized { amount: pence(amount), reference, charge, until }.into()
}

fn taken(charge: u32, amount: i64) -> PaymentEvent {
    let (reference, charge) = (Some("pi".into()), Some(charge));
    PaymentCaptured { amount: pence(amount), reference, charge, late: false }.into()
}

fn on_shipment(until: Option<i64>) -> Vec<PaymentEvent> {
    let charge = charge_requested(1, 100, CaptureMode::Manual);
    vec![requested_on(PaymentTerms::OnShipment), charge, held(1, 100, until)]
}

fn adjusted(amount: Option<i64>, capture_due: i64, number: u32) -> PaymentAdjusted {
    PaymentAdjusted { amount: amount.map(pence), capture_due: pence(capture_due), amount_due: None, number }
}

fn adjust(capture_due: i64, number: u32) -> PaymentCommand {
    PaymentCommand::Adjust(adjusted(None, capture_due, number))
}

fn capture_requested(charge: u32, amount: i64, total: i64) -> PaymentEvent {
    PaymentCaptureRequested { charge, amount: pence(amount), total: pence(total) }.into()
}

fn report_of(charge: u32, captured: i64, ending: Option<ChargeEnding>) -> PaymentCommand {
    let amounts = ProviderReport::of_amounts(charge, "pi", pence(100), pence(captured));
    let report = ProviderReport { ending, ..amounts };
    PaymentCommand::Report { report, is_answer: true }
}

fn ran_out() -> PaymentEvent {
    PaymentVoided { reason: None, ran_out: true }.into()
}

#[test]
fn a_charge_of_an_order_that_ships_on_an_authorisation_only_authorizes() {
    given([requested_on(PaymentTerms::OnShipment)]).when(new_charge()).then([charge_requested(
        1,
        100,
        CaptureMode::Manual,
    )]);
    given([requested_on(PaymentTerms::Net)]).when(new_charge()).then([charge_requested(
        1,
        100,
        CaptureMode::Automatic,
    )]);
}

#[test]
fn shipped_goods_are_captured_one_capture_at_a_time() {
    given(on_shipment(None))
        .when(adjust(30, 1))
        .then([adjusted(None, 30, 1).into(), capture_requested(1, 30, 30)])
        .when(adjust(70, 2))
        .then([adjusted(None, 70, 2).into()])
        .when(adjust(30, 1))
        .then_nothing()
        .when(report_of(1, 30, None))
        .then([taken(1, 30), capture_requested(1, 40, 70)])
        .when(report_of(1, 70, None))
        .then([taken(1, 40)]);
}

#[test]
fn what_shipped_goods_still_owe_is_captured_from_the_next_authorisation() {
    let shipped =
        [on_shipment(None), vec![adjusted(None, 60, 1).into(), capture_requested(1, 60, 60)]].concat();
    given(shipped)
        .when(report_of(1, 0, Some(ChargeEnding::Voided)))
        .then([ran_out()])
        .when(new_charge())
        .then([charge_requested(2, 100, CaptureMode::Manual)])
        .when(report_of(2, 0, None))
        .then([held(2, 100, None), capture_requested(2, 60, 60)]);
}

#[test]
fn shipped_goods_are_captured_from_an_authorisation_that_an_operator_records() {
    let operation = Operation::Authorize;
    let in_doubt = [
        requested_on(PaymentTerms::OnShipment),
        adjusted(None, 60, 1).into(),
        charge_requested(1, 100, CaptureMode::Manual),
        PaymentOutcomeUnknown { operation }.into(),
    ];
    given(in_doubt)
        .when(PaymentCommand::Authorize { amount: Some(pence(100)), reference: Some("pi".into()) })
        .then([held(1, 100, None), capture_requested(1, 60, 60)]);
}

#[test]
fn a_payment_that_is_closed_captures_what_was_shipped_and_then_voids_the_rest() {
    let closing = PaymentCommand::Close { order_id: ORDER, amount_due: pence(30), refund: None };
    given(on_shipment(None))
        .when(adjust(30, 1))
        .then([adjusted(None, 30, 1).into(), capture_requested(1, 30, 30)])
        .when(closing)
        .then([closed(30)])
        .when(report_of(1, 30, None))
        .then([taken(1, 30), void_requested()]);
}

#[test]
fn a_closed_payment_keeps_less_once_units_that_were_not_paid_came_back() {
    let keep = |amount_due, number| PaymentAdjusted {
        amount_due: Some(pence(amount_due)),
        ..adjusted(None, 0, number)
    };
    let back = of_charge(1, closing_refund_requested(0, 10));
    for terms in [PaymentTerms::Net, PaymentTerms::Prepaid] {
        let charge = charge_requested(1, 100, CaptureMode::Automatic);
        given([requested_on(terms), charge.clone(), closed(30), void_requested()])
            .when(PaymentCommand::Adjust(keep(20, 1)))
            .then([keep(20, 1).into()])
            .when(report_of(1, 30, Some(ChargeEnding::Voided)))
            .then([taken(1, 30), back.clone()]);
        given([requested_on(terms), charge, held(1, 30, None), taken(1, 30), closed(30)])
            .when(PaymentCommand::Adjust(keep(20, 1)))
            .then([keep(20, 1).into(), back.clone()]);
    }
    // The payment of a prepaid order takes its whole amount, and keeps as much as before.
    let prepaid = [requested_on(PaymentTerms::Prepaid), closed(30)];
    given(prepaid).when(PaymentCommand::Adjust(keep(30, 1))).then_nothing();
}

#[test]
fn an_authorisation_that_has_run_out_ends_at_its_time_and_is_asked_for_again() {
    let end = |second| PaymentCommand::EndAuthorization { now: at(second) };
    let why = Some("the authorisation ran out".to_owned());
    let ended: PaymentEvent = PaymentVoided { reason: why, ran_out: true }.into();
    given(on_shipment(Some(50))).when(end(49)).then_nothing();
    given(on_shipment(None)).when(end(1_000)).then_nothing();
    given(on_shipment(Some(50))).when(new_charge()).then_refused(PaymentRefusal::ChargeUnderWay);
    given(on_shipment(Some(50))).when(end(50)).then([ended]).when(new_charge()).then([charge_requested(
        2,
        100,
        CaptureMode::Manual,
    )]);
    let part = [on_shipment(Some(50)), vec![capture_requested(1, 30, 30), taken(1, 30), ran_out()]].concat();
    given(part).when(new_charge()).then([charge_requested(2, 70, CaptureMode::Manual)]);
    // The outcome of the capture decides first.
    let capturing = [on_shipment(Some(50)), vec![capture_requested(1, 30, 30)]].concat();
    given(capturing).when(end(50)).then_nothing();
}

#[test]
fn a_report_that_an_authorisation_lives_longer_is_recorded_and_a_late_one_is_not() {
    let report = |until: Option<i64>| {
        let PaymentCommand::Report { report, .. } = report_of(1, 0, None) else { panic!("a report") };
        let report = ProviderReport { authorized_until: until.map(at), ..report };
        PaymentCommand::Report { report, is_answer: false }
    };
    given(on_shipment(None))
        .when(report(Some(50)))
        .then([held(1, 100, Some(50))])
        .when(report(Some(50)))
        .then_nothing()
        .when(report(Some(90)))
        .then([held(1, 100, Some(90))])
        .when(report(Some(50)))
        .then_nothing()
        .when(report(None))
        .then_nothing();
}

#[test]
fn no_failure_of_a_payment_is_final_while_an_order_that_is_not_prepaid_is_open() {
    for terms in [PaymentTerms::OnShipment, PaymentTerms::Net] {
        given([requested_on(terms), failed(false)]).when(authorize(100)).then([authorized(100)]);
        given([requested_on(terms), ran_out()]).when(authorize(100)).then([authorized(100)]);
    }
    let refused = PaymentRefusal::WrongState(PaymentState::Voided);
    given([requested(), voided()]).when(new_charge()).then_refused(refused);
}

#[test]
fn a_net_payment_that_is_voided_asks_for_no_more_money() {
    let void = || PaymentCommand::Void { reason: None };
    let net = requested_on(PaymentTerms::Net);
    let part = [authorized(100), captured(40), ran_out()];
    for before in [vec![], vec![failed(false)], vec![ran_out()], part.to_vec()] {
        let events = [vec![net.clone()], before].concat();
        let has_ended = PaymentDecider::fold(&[events.clone(), vec![voided()]].concat());
        let refused = PaymentRefusal::WrongState(has_ended.state());
        given(events.clone()).when(void()).then([voided()]);
        let voided = [events, vec![voided()]].concat();
        given(voided.clone()).when(new_charge()).then_refused(refused.clone());
        given(voided.clone()).when(authorize(10)).then_refused(refused);
        given(voided).when(PaymentCommand::Adjust(adjusted(Some(200), 0, 1))).then_nothing();
    }
}

#[test]
fn an_adjusted_payment_asks_for_what_its_order_still_costs() {
    given([requested_on(PaymentTerms::Net), adjusted(Some(60), 0, 1).into()])
        .when(new_charge())
        .then([charge_requested(1, 60, CaptureMode::Automatic)]);
    given([requested_on(PaymentTerms::Net), adjusted(Some(0), 0, 1).into()])
        .when(new_charge())
        .then_refused(PaymentRefusal::WrongState(PaymentState::Requested));
}

//! Charges that a provider executes.

use super::*;

fn new_charge() -> NewCharge {
    NewCharge { provider: "sandbox".into(), method: "card".into(), capture: CaptureMode::Automatic }
}

fn charge() -> PaymentCommand {
    PaymentCommand::Charge(new_charge())
}

fn charge_requested(number: u32) -> PaymentEvent {
    let NewCharge { provider, method, capture } = new_charge();
    PaymentChargeRequested { charge: number, provider, method, amount: pence(100), capture }.into()
}

fn reported(charge: u32, authorized: i64, captured: i64, ending: Option<ChargeEnding>) -> ProviderReport {
    let reference = format!("pi_{charge}");
    let amounts = ProviderReport::of_amounts(charge, reference, pence(authorized), pence(captured));
    ProviderReport { ending, ..amounts }
}

/// A webhook of the provider.
fn notice(charge: u32, authorized: i64, captured: i64) -> PaymentCommand {
    PaymentCommand::Report { report: reported(charge, authorized, captured, None), is_answer: false }
}

/// An answer of the provider to a call.
fn answer(charge: u32, authorized: i64, captured: i64) -> PaymentCommand {
    PaymentCommand::Report { report: reported(charge, authorized, captured, None), is_answer: true }
}

fn ended(charge: u32, captured: i64, ending: ChargeEnding) -> PaymentCommand {
    PaymentCommand::Report { report: reported(charge, captured, captured, Some(ending)), is_answer: true }
}

fn declined(retryable: bool) -> ChargeEnding {
    ChargeEnding::Failed { reason: None, retryable }
}

fn authorized_by(charge: u32, amount: i64) -> PaymentEvent {
    let (reference, charge) = (Some(format!("pi_{charge}")), Some(charge));
    PaymentAuthorized { amount: pence(amount), reference, charge, until: None }.into()
}

fn captured_by(charge: u32, amount: i64) -> PaymentEvent {
    let (reference, charge) = (Some(format!("pi_{charge}")), Some(charge));
    PaymentCaptured { amount: pence(amount), reference, charge, late: false }.into()
}

fn capture_requested(amount: i64, total: i64) -> PaymentEvent {
    PaymentCaptureRequested { charge: 1, amount: pence(amount), total: pence(total) }.into()
}

fn pending() -> PaymentEvent {
    PaymentChargePending { charge: 1, reference: "pi_1".into() }.into()
}

fn work(events: &[PaymentEvent]) -> Vec<ProviderWork> {
    PaymentDecider::fold(events).provider_work()
}

fn requested_charge() -> Vec<PaymentEvent> {
    vec![requested(), charge_requested(1)]
}

fn authorized_charge() -> Vec<PaymentEvent> {
    [requested_charge(), vec![authorized_by(1, 100)]].concat()
}

#[test]
fn a_payment_may_be_requested_with_a_charge() {
    let with_charge = PaymentCommand::Request {
        payment_id: payment_id(),
        order_id: ORDER,
        amount: pence(100),
        currency: "GBP".parse().unwrap(),
        charge: Some(new_charge()),
        terms: PaymentTerms::Prepaid,
        credit: None,
    };
    given([]).when(with_charge).then(requested_charge());
    assert_eq!(work(&requested_charge()), [ProviderWork::Charge(1)]);
}

#[test]
fn a_second_charge_is_refused_until_the_first_has_ended_without_money() {
    given([requested()]).when(charge()).then([charge_requested(1)]);
    for events in [
        requested_charge(),
        [requested_charge(), vec![pending()]].concat(),
        [requested_charge(), vec![unknown(Operation::Authorize)]].concat(),
        authorized_charge(),
        [requested_charge(), vec![captured_by(1, 100)]].concat(),
    ] {
        let other = NewCharge { method: "other".into(), ..new_charge() };
        given(events).when(PaymentCommand::Charge(other)).then_refused(PaymentRefusal::ChargeUnderWay);
    }
    given([requested_charge(), vec![failed(true)]].concat()).when(charge()).then([charge_requested(2)]);
    for events in
        [[requested_charge(), vec![failed(false)]].concat(), [authorized_charge(), vec![voided()]].concat()]
    {
        let state = PaymentDecider::fold(&events).state();
        given(events).when(charge()).then_refused(PaymentRefusal::WrongState(state));
    }
    given([requested(), closed(0)]).when(charge()).then_refused(PaymentRefusal::Closed);
}

#[test]
fn an_invalid_payment_method_is_refused() {
    for method in [String::new(), "a\nb".into(), "x".repeat(TOKEN_CHARS_MAX + 1)] {
        given([requested()])
            .when(PaymentCommand::Charge(NewCharge { method, ..new_charge() }))
            .then_refused(InvalidToken { member: "method" }.into());
    }
}

#[test]
fn reports_are_cumulative_so_repeated_late_and_lost_ones_change_nothing() {
    given(requested_charge())
        .when(notice(1, 100, 0))
        .then([authorized_by(1, 100)])
        .when(notice(1, 100, 40))
        .then([captured_by(1, 40)])
        .when(notice(1, 100, 0))
        .then_nothing()
        .when(notice(1, 100, 40))
        .then_nothing()
        .when(answer(1, 100, 100))
        .then([captured_by(1, 60)])
        .when(notice(1, 100, 40))
        .then_nothing();
    given(requested_charge()).when(answer(1, 100, 40)).then([authorized_by(1, 100), captured_by(1, 40)]);
    given(requested_charge()).when(answer(1, 100, 100)).then([captured_by(1, 100)]);
}

#[test]
fn a_charge_that_waits_for_the_customer_is_looked_up() {
    given(requested_charge()).when(answer(1, 0, 0)).then([pending()]).when(answer(1, 0, 0)).then_nothing();
    let events = [requested_charge(), vec![pending()]].concat();
    assert_eq!(work(&events), [ProviderWork::LookUp(1)]);
    assert!(!PaymentDecider::fold(&events).is_in_doubt());
    assert!(PaymentDecider::fold(&requested_charge()).is_in_doubt());
}

#[test]
fn a_decline_ends_only_its_charge() {
    given(requested_charge())
        .when(ended(1, 0, declined(true)))
        .then([failed(true)])
        .when(charge())
        .then([charge_requested(2)]);
    let second = [requested_charge(), vec![failed(true), charge_requested(2)]].concat();
    // The decline of the first charge is reported again.
    given(second.clone()).when(ended(1, 0, declined(true))).then_nothing();
    given(second.clone()).when(ended(1, 0, ChargeEnding::Voided)).then_nothing();
    assert_eq!(work(&second), [ProviderWork::Charge(2)]);
    // A late capture of the first charge is recorded.
    given(second).when(notice(1, 100, 100)).then([captured_by(1, 100)]);
}

#[test]
fn a_decline_of_a_captured_charge_is_ignored() {
    given([requested_charge(), vec![captured_by(1, 100)]].concat())
        .when(ended(1, 0, declined(false)))
        .then_nothing();
    given([authorized_charge(), vec![captured_by(1, 40)]].concat())
        .when(ended(1, 40, ChargeEnding::Voided))
        .then([PaymentVoided { reason: None, ran_out: true }.into()])
        .when(ended(1, 40, ChargeEnding::Voided))
        .then_nothing();
}

#[test]
fn a_stale_report_does_not_restore_a_voided_authorisation() {
    given([authorized_charge(), vec![voided()]].concat()).when(notice(1, 100, 0)).then_nothing();
}

#[test]
fn captures_and_voids_of_a_charge_are_requested_from_the_provider() {
    given(authorized_charge())
        .when(capture(40))
        .then([capture_requested(40, 40)])
        .when(answer(1, 100, 40))
        .then([captured_by(1, 40)])
        .when(capture(60))
        .then([capture_requested(60, 100)]);
    let events = [authorized_charge(), vec![captured_by(1, 40), capture_requested(60, 100)]].concat();
    given(events.clone()).when(capture(10)).then_refused(PaymentRefusal::ChargeUnderWay);
    assert_eq!(work(&events), [ProviderWork::Capture { charge: 1, amount: pence(60), total: pence(100) }]);

    given(authorized_charge()).when(void()).then([void_requested()]).when(void()).then_nothing();
    let voiding = [authorized_charge(), vec![void_requested()]].concat();
    assert_eq!(work(&voiding), [ProviderWork::Void(1)]);
    given(voiding).when(ended(1, 0, ChargeEnding::Voided)).then([voided()]);
    assert_eq!(work(&[authorized_charge(), vec![void_requested(), voided()]].concat()), []);
}

#[test]
fn an_operator_cannot_record_an_outcome_that_the_provider_will_report() {
    given(requested_charge()).when(fail(false)).then_refused(PaymentRefusal::ChargeUnderWay);
    given(requested_charge()).when(authorize(100)).then_refused(PaymentRefusal::ChargeUnderWay);
    given(requested_charge()).when(void()).then([void_requested()]);
}

#[test]
fn an_answer_resolves_an_unknown_outcome_and_a_webhook_does_not() {
    let lost_capture =
        [authorized_charge(), vec![capture_requested(100, 100), unknown(Operation::Capture)]].concat();
    assert_eq!(work(&lost_capture), [ProviderWork::LookUp(1)]);
    given(lost_capture.clone()).when(notice(1, 100, 0)).then_nothing();
    // The capture was not done: the authorisation is unchanged, and the capture is requested again.
    given(lost_capture.clone()).when(answer(1, 100, 0)).then([authorized_by(1, 100)]);
    let again = ProviderWork::Capture { charge: 1, amount: pence(100), total: pence(100) };
    assert_eq!(work(&[lost_capture.clone(), vec![authorized_by(1, 100)]].concat()), [again]);
    given(lost_capture).when(answer(1, 100, 100)).then([captured_by(1, 100)]);

    let lost_charge = [requested_charge(), vec![unknown(Operation::Authorize)]].concat();
    given(lost_charge.clone()).when(notice(1, 0, 0)).then([pending()]);
    given(lost_charge).when(answer(1, 0, 0)).then([pending()]);
}

#[test]
fn a_charge_with_unknown_outcome_is_voided_by_the_provider() {
    let lost = [requested_charge(), vec![unknown(Operation::Authorize)]].concat();
    given(lost.clone()).when(void()).then([void_requested()]).when(void()).then_nothing();
    let void_of_lost = [lost, vec![void_requested()]].concat();
    assert_eq!(work(&void_of_lost), [ProviderWork::Void(1)]);
    given(void_of_lost.clone()).when(ended(1, 0, ChargeEnding::Voided)).then([voided()]);
    // The money was captured before the void.
    given(void_of_lost.clone()).when(answer(1, 100, 100)).then([captured_by(1, 100)]);
    // The money is authorized and must still be voided.
    let authorized_late = [void_of_lost, vec![authorized_by(1, 100)]].concat();
    assert_eq!(work(&authorized_late), [ProviderWork::Void(1)]);
}

#[test]
fn a_lost_answer_to_an_ended_charge_changes_nothing() {
    given([requested_charge(), vec![failed(true)]].concat()).when(lose(Operation::Authorize)).then_nothing();
    given([authorized_charge(), vec![voided()]].concat()).when(lose(Operation::Void)).then_nothing();
}

#[test]
fn a_capture_that_an_operator_recorded_is_not_added_again_when_the_provider_reports_it() {
    let lost = [authorized_charge(), vec![unknown(Operation::Capture)]].concat();
    let by_hand: PaymentEvent =
        PaymentCaptured { amount: pence(100), reference: None, charge: Some(1), late: false }.into();
    given(lost).when(capture(100)).then([by_hand]).when(answer(1, 100, 100)).then_nothing();
}

#[test]
fn closing_voids_an_open_charge_and_refunds_what_it_captures_anyway() {
    given(requested_charge())
        .when(close(0))
        .then([closed(0), void_requested()])
        .when(answer(1, 100, 100))
        .then([captured_by(1, 100), of_charge(1, closing_refund_requested(0, 100))]);
    let events = [requested_charge(), vec![closed(0), void_requested()]].concat();
    assert_eq!(work(&events), [ProviderWork::Void(1)]);
    given(events.clone()).when(ended(1, 0, ChargeEnding::Voided)).then([voided()]);
    given(events).when(answer(1, 100, 0)).then([authorized_by(1, 100), void_requested()]);
}

#[test]
fn the_provider_refunds_only_what_it_captured() {
    let refund = [requested_charge(), vec![captured_by(1, 100), of_charge(1, by_hand(1, 30))]].concat();
    let expected = ProviderWork::Refund { charge: 1, refund_id: refund_id(1), amount: pence(30) };
    assert_eq!(work(&refund), [expected]);
    assert_eq!(work(&[refund, vec![refunded(refund_id(1), 30)]].concat()), []);
    assert_eq!(work(&[requested(), captured(100), by_hand(1, 30)]), []);
}

#[test]
fn a_charge_with_the_same_method_is_the_charge_that_waits_for_the_customer() {
    let waiting = [requested_charge(), vec![pending()]].concat();
    given(waiting.clone()).when(charge()).then_nothing();
    let other = NewCharge { method: "other".into(), ..new_charge() };
    given(waiting).when(PaymentCommand::Charge(other)).then_refused(PaymentRefusal::ChargeUnderWay);
}

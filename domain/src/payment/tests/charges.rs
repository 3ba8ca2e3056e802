//! Money that a provider is asked for.

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
    ProviderReport { charge, reference, authorized: pence(authorized), captured: pence(captured), ending }
}

/// The provider says so of itself.
fn notice(charge: u32, authorized: i64, captured: i64) -> PaymentCommand {
    PaymentCommand::Report { report: reported(charge, authorized, captured, None), is_answer: false }
}

/// The provider says so when asked.
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
    PaymentAuthorized { amount: pence(amount), reference, charge }.into()
}

fn captured_by(charge: u32, amount: i64) -> PaymentEvent {
    let (reference, charge) = (Some(format!("pi_{charge}")), Some(charge));
    PaymentCaptured { amount: pence(amount), reference, charge }.into()
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

fn asked() -> Vec<PaymentEvent> {
    vec![requested(), charge_requested(1)]
}

fn held() -> Vec<PaymentEvent> {
    [asked(), vec![authorized_by(1, 100)]].concat()
}

#[test]
fn a_charge_may_come_with_the_request() {
    let with_charge = PaymentCommand::Request {
        payment_id: payment_id(),
        order_id: ORDER,
        amount: pence(100),
        currency: "GBP".parse().unwrap(),
        charge: Some(new_charge()),
    };
    given([]).when(with_charge).then(asked());
    assert_eq!(work(&asked()), [ProviderWork::Charge(1)]);
}

#[test]
fn there_is_no_second_charge_before_the_first_has_ended_without_money() {
    given([requested()]).when(charge()).then([charge_requested(1)]);
    for events in [
        asked(),
        [asked(), vec![pending()]].concat(),
        [asked(), vec![unknown(Operation::Authorize)]].concat(),
        held(),
        [asked(), vec![captured_by(1, 100)]].concat(),
    ] {
        given(events).when(charge()).then_refused(PaymentRefusal::ChargeUnderWay);
    }
    given([asked(), vec![failed(true)]].concat()).when(charge()).then([charge_requested(2)]);
    for events in [[asked(), vec![failed(false)]].concat(), [held(), vec![voided()]].concat()] {
        let state = PaymentDecider::fold(&events).state();
        given(events).when(charge()).then_refused(PaymentRefusal::WrongState(state));
    }
    given([requested(), closed(0)]).when(charge()).then_refused(PaymentRefusal::Closed);
}

#[test]
fn a_provider_and_a_method_are_short_texts() {
    for method in [String::new(), "a\nb".into(), "x".repeat(TOKEN_CHARS_MAX + 1)] {
        given([requested()])
            .when(PaymentCommand::Charge(NewCharge { method, ..new_charge() }))
            .then_refused(InvalidToken { member: "method" }.into());
    }
}

#[test]
fn reports_are_cumulative_so_that_any_of_them_may_come_twice_late_or_never() {
    given(asked())
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
    given(asked()).when(answer(1, 100, 40)).then([authorized_by(1, 100), captured_by(1, 40)]);
    given(asked()).when(answer(1, 100, 100)).then([captured_by(1, 100)]);
}

#[test]
fn a_charge_that_waits_for_the_customer_is_looked_up_until_it_goes_on() {
    given(asked()).when(answer(1, 0, 0)).then([pending()]).when(answer(1, 0, 0)).then_nothing();
    let events = [asked(), vec![pending()]].concat();
    assert_eq!(work(&events), [ProviderWork::LookUp(1)]);
    assert!(!PaymentDecider::fold(&events).is_in_doubt());
    assert!(PaymentDecider::fold(&asked()).is_in_doubt());
}

#[test]
fn a_decline_ends_the_charge_and_only_the_charge() {
    given(asked())
        .when(ended(1, 0, declined(true)))
        .then([failed(true)])
        .when(charge())
        .then([charge_requested(2)]);
    let second = [asked(), vec![failed(true), charge_requested(2)]].concat();
    // The first one's decline comes again.
    given(second.clone()).when(ended(1, 0, declined(true))).then_nothing();
    given(second.clone()).when(ended(1, 0, ChargeEnding::Voided)).then_nothing();
    assert_eq!(work(&second), [ProviderWork::Charge(2)]);
    // Money that came after all is money.
    given(second).when(notice(1, 100, 100)).then([captured_by(1, 100)]);
}

#[test]
fn what_was_captured_cannot_be_declined() {
    given([asked(), vec![captured_by(1, 100)]].concat()).when(ended(1, 0, declined(false))).then_nothing();
    given([held(), vec![captured_by(1, 40)]].concat())
        .when(ended(1, 40, ChargeEnding::Voided))
        .then([voided()])
        .when(ended(1, 40, ChargeEnding::Voided))
        .then_nothing();
}

#[test]
fn an_authorisation_that_was_given_back_does_not_come_back_with_an_old_report() {
    given([held(), vec![voided()]].concat()).when(notice(1, 100, 0)).then_nothing();
}

#[test]
fn the_provider_is_asked_to_capture_and_to_void() {
    given(held())
        .when(capture(40))
        .then([capture_requested(40, 40)])
        .when(answer(1, 100, 40))
        .then([captured_by(1, 40)])
        .when(capture(60))
        .then([capture_requested(60, 100)]);
    let events = [held(), vec![captured_by(1, 40), capture_requested(60, 100)]].concat();
    given(events.clone()).when(capture(10)).then_refused(PaymentRefusal::ChargeUnderWay);
    assert_eq!(work(&events), [ProviderWork::Capture { charge: 1, amount: pence(60), total: pence(100) }]);

    given(held()).when(void()).then([void_requested()]).when(void()).then_nothing();
    let events = [held(), vec![void_requested()]].concat();
    assert_eq!(work(&events), [ProviderWork::Void(1)]);
    given(events).when(ended(1, 0, ChargeEnding::Voided)).then([voided()]);
    assert_eq!(work(&[held(), vec![void_requested(), voided()]].concat()), []);
}

#[test]
fn nothing_is_said_by_hand_of_a_charge_that_the_provider_reports_on() {
    given(asked()).when(fail(false)).then_refused(PaymentRefusal::ChargeUnderWay);
    given(asked()).when(authorize(100)).then_refused(PaymentRefusal::ChargeUnderWay);
    given(asked()).when(void()).then([void_requested()]);
}

#[test]
fn an_old_notice_ends_no_doubt_and_an_answer_does() {
    let lost_capture = [held(), vec![capture_requested(100, 100), unknown(Operation::Capture)]].concat();
    assert_eq!(work(&lost_capture), [ProviderWork::LookUp(1)]);
    given(lost_capture.clone()).when(notice(1, 100, 0)).then_nothing();
    // It was not done: things stand as before, and it is asked for again.
    given(lost_capture.clone()).when(answer(1, 100, 0)).then([authorized_by(1, 100)]);
    let again = ProviderWork::Capture { charge: 1, amount: pence(100), total: pence(100) };
    assert_eq!(work(&[lost_capture.clone(), vec![authorized_by(1, 100)]].concat()), [again]);
    given(lost_capture).when(answer(1, 100, 100)).then([captured_by(1, 100)]);

    let lost_charge = [asked(), vec![unknown(Operation::Authorize)]].concat();
    given(lost_charge.clone()).when(notice(1, 0, 0)).then([pending()]);
    given(lost_charge).when(answer(1, 0, 0)).then([pending()]);
}

#[test]
fn a_charge_in_doubt_is_given_up_by_the_provider_and_not_by_word_alone() {
    let lost = [asked(), vec![unknown(Operation::Authorize)]].concat();
    given(lost.clone()).when(void()).then([void_requested()]).when(void()).then_nothing();
    let given_up = [lost, vec![void_requested()]].concat();
    assert_eq!(work(&given_up), [ProviderWork::Void(1)]);
    given(given_up.clone()).when(ended(1, 0, ChargeEnding::Voided)).then([voided()]);
    // It was taken before.
    given(given_up.clone()).when(answer(1, 100, 100)).then([captured_by(1, 100)]);
    // It is held, and still to be given back.
    let held_after_all = [given_up, vec![authorized_by(1, 100)]].concat();
    assert_eq!(work(&held_after_all), [ProviderWork::Void(1)]);
}

#[test]
fn an_answer_that_is_lost_of_a_charge_that_has_ended_leaves_no_doubt() {
    given([asked(), vec![failed(true)]].concat()).when(lose(Operation::Authorize)).then_nothing();
    given([held(), vec![voided()]].concat()).when(lose(Operation::Void)).then_nothing();
}

#[test]
fn what_an_operator_says_of_a_lost_answer_is_not_counted_again_when_the_provider_says_it() {
    let lost = [held(), vec![unknown(Operation::Capture)]].concat();
    let by_hand: PaymentEvent =
        PaymentCaptured { amount: pence(100), reference: None, charge: Some(1) }.into();
    given(lost).when(capture(100)).then([by_hand]).when(answer(1, 100, 100)).then_nothing();
}

#[test]
fn closing_gives_up_an_open_charge_and_gives_back_what_it_brings_all_the_same() {
    given(asked())
        .when(close(0))
        .then([closed(0), void_requested()])
        .when(answer(1, 100, 100))
        .then([captured_by(1, 100), given_back(0, 100)]);
    let events = [asked(), vec![closed(0), void_requested()]].concat();
    assert_eq!(work(&events), [ProviderWork::Void(1)]);
    given(events.clone()).when(ended(1, 0, ChargeEnding::Voided)).then([voided()]);
    given(events).when(answer(1, 100, 0)).then([authorized_by(1, 100), void_requested()]);
}

#[test]
fn refunds_are_the_providers_where_the_provider_has_the_money() {
    let refund = [asked(), vec![captured_by(1, 100), by_hand(1, 30)]].concat();
    let expected = ProviderWork::Refund { charge: 1, refund_id: refund_id(1), amount: pence(30) };
    assert_eq!(work(&refund), [expected]);
    assert_eq!(work(&[refund, vec![refunded(refund_id(1), 30)]].concat()), []);
    assert_eq!(work(&[requested(), captured(100), by_hand(1, 30)]), []);
}

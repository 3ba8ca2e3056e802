use uuid::Uuid;

use super::*;
use crate::{Amount, OrderId, RefundId, testing};

fn given(events: impl IntoIterator<Item = PaymentEvent>) -> testing::Given<PaymentDecider> {
    testing::given(events)
}

fn pence(minor_units: i64) -> Amount {
    Amount::new(minor_units).unwrap()
}

const ORDER: OrderId = OrderId(Uuid::from_u128(1));

fn payment_id() -> PaymentId {
    PaymentId::of_order(ORDER)
}

fn refund_id(number: u128) -> RefundId {
    RefundId(Uuid::from_u128(number))
}

/// A payment of 100.
fn requested() -> PaymentEvent {
    let currency = "GBP".parse().unwrap();
    PaymentRequested {
        payment_id: payment_id(),
        order_id: ORDER,
        amount: pence(100),
        currency,
        terms: PaymentTerms::Prepaid,
        credit: None,
    }
    .into()
}

fn request() -> PaymentCommand {
    PaymentCommand::Request {
        payment_id: payment_id(),
        order_id: ORDER,
        amount: pence(100),
        currency: "GBP".parse().unwrap(),
        charge: None,
        terms: PaymentTerms::Prepaid,
        credit: None,
    }
}

fn authorized(amount: i64) -> PaymentEvent {
    PaymentAuthorized { amount: pence(amount), reference: None, charge: None, until: None }.into()
}

fn captured(amount: i64) -> PaymentEvent {
    PaymentCaptured { amount: pence(amount), reference: None, charge: None, late: false }.into()
}

fn failed(retryable: bool) -> PaymentEvent {
    PaymentFailed { reason: None, retryable, code: Some("failed".into()) }.into()
}

fn voided() -> PaymentEvent {
    PaymentVoided { reason: None, ran_out: false }.into()
}

fn void_requested() -> PaymentEvent {
    PaymentVoidRequested {}.into()
}

fn unknown(operation: Operation) -> PaymentEvent {
    PaymentOutcomeUnknown { operation }.into()
}

fn refund_requested(id: RefundId, amount: i64, reason: RefundReason) -> PaymentEvent {
    let source = Some(RefundSource::Manual);
    PaymentRefundRequested { refund_id: id, amount: pence(amount), reason, source, part_of: None }.into()
}

/// The same refund, of a charge in place of money that was recorded by hand.
fn of_charge(number: u32, requested: PaymentEvent) -> PaymentEvent {
    let PaymentEvent::RefundRequested(refund) = requested else { panic!("{requested:?} requests no refund") };
    PaymentRefundRequested { source: Some(RefundSource::Charge(number)), ..refund }.into()
}

/// The part of a requested refund that no source holds: requested and failed.
fn not_held(id: RefundId, part_of: Option<RefundId>, amount: i64) -> [PaymentEvent; 2] {
    let (amount, reason) = (pence(amount), RefundReason::Requested);
    let why = Some("the payment does not hold this money any more".to_owned());
    [
        PaymentRefundRequested { refund_id: id, amount, reason, source: None, part_of }.into(),
        PaymentRefundFailed { refund_id: id, amount, reason: why, by_provider: false }.into(),
    ]
}

/// The automatic refund of a closed payment after `earlier` refunds.
fn closing_refund_requested(earlier: u64, amount: i64) -> PaymentEvent {
    refund_requested(closing_refund_id(earlier), amount, RefundReason::OrderClosed)
}

fn closing_refund_id(earlier: u64) -> RefundId {
    RefundId::of_closing(payment_id(), earlier)
}

fn by_hand(number: u128, amount: i64) -> PaymentEvent {
    refund_requested(refund_id(number), amount, RefundReason::Requested)
}

fn refunded(id: RefundId, amount: i64) -> PaymentEvent {
    PaymentRefunded { refund_id: id, amount: pence(amount), reference: None }.into()
}

fn refund_failed(id: RefundId, amount: i64) -> PaymentEvent {
    PaymentRefundFailed { refund_id: id, amount: pence(amount), reason: None, by_provider: false }.into()
}

fn closed(amount_due: i64) -> PaymentEvent {
    PaymentClosed { order_id: ORDER, amount_due: pence(amount_due) }.into()
}

fn authorize(amount: i64) -> PaymentCommand {
    PaymentCommand::Authorize { amount: Some(pence(amount)), reference: None }
}

fn capture(amount: i64) -> PaymentCommand {
    PaymentCommand::Capture { amount: Some(pence(amount)), reference: None }
}

fn fail(retryable: bool) -> PaymentCommand {
    PaymentCommand::Fail { reason: None, retryable }
}

fn void() -> PaymentCommand {
    PaymentCommand::Void { reason: None }
}

fn close(amount_due: i64) -> PaymentCommand {
    PaymentCommand::Close { order_id: ORDER, amount_due: pence(amount_due), refund: None }
}

fn lose(operation: Operation) -> PaymentCommand {
    PaymentCommand::MarkOutcomeUnknown { operation }
}

/// The provider reports cumulative amounts of a charge that this payment did not request.
fn report(authorized: i64, captured: i64) -> PaymentCommand {
    let report = ProviderReport::of_amounts(0, "pi_0", pence(authorized), pence(captured));
    PaymentCommand::Report { report, is_answer: false }
}

fn authorized_at_provider(amount: i64) -> PaymentEvent {
    PaymentAuthorized { amount: pence(amount), reference: Some("pi_0".into()), charge: Some(0), until: None }
        .into()
}

fn captured_at_provider(amount: i64) -> PaymentEvent {
    PaymentCaptured { amount: pence(amount), reference: Some("pi_0".into()), charge: Some(0), late: false }
        .into()
}

fn request_refund(number: u128, amount: i64) -> PaymentCommand {
    let reason = RefundReason::Requested;
    PaymentCommand::RequestRefund { refund_id: refund_id(number), amount: pence(amount), reason }
}

fn record_refunded(id: RefundId) -> PaymentCommand {
    PaymentCommand::RecordRefunded { refund_id: id, reference: None }
}

fn record_refund_failed(id: RefundId) -> PaymentCommand {
    PaymentCommand::RecordRefundFailed { refund_id: id, reason: None }
}

mod charges;
mod closing;
mod disputes;
mod outcomes;
mod provider_refunds;
mod refunds;
mod sources;
mod terms;

#[test]
fn a_payment_is_requested_once() {
    given([]).when(request()).then([requested()]).when(request()).then_nothing();
    given([requested(), authorized(100)]).when(request()).then_nothing();
}

#[test]
fn every_command_to_a_payment_that_was_never_requested_is_refused() {
    let commands = [
        report(100, 100),
        authorize(100),
        capture(100),
        fail(false),
        void(),
        lose(Operation::Authorize),
        request_refund(1, 1),
        record_refunded(refund_id(1)),
        record_refund_failed(refund_id(1)),
    ];
    for command in commands {
        given([]).when(command.clone()).then_refused(PaymentRefusal::NotFound);
        given([closed(0)]).when(command).then_refused(PaymentRefusal::NotFound);
    }
}

#[test]
fn an_authorisation_without_amount_is_for_everything_and_a_capture_for_the_rest() {
    let reference = Some("ch_1".to_owned());
    given([requested()])
        .when(PaymentCommand::Authorize { amount: None, reference: reference.clone() })
        .then([PaymentAuthorized {
            amount: pence(100),
            reference: reference.clone(),
            charge: None,
            until: None,
        }
        .into()])
        .when(capture(30))
        .then([captured(30)])
        .when(PaymentCommand::Capture { amount: None, reference: reference.clone() })
        .then([PaymentCaptured { amount: pence(70), reference, charge: None, late: false }.into()]);
}

#[test]
fn an_operator_cannot_authorize_more_than_was_requested() {
    given([requested()]).when(authorize(100)).then([authorized(100)]);
    given([requested()])
        .when(authorize(101))
        .then_refused(PaymentRefusal::AboveRequested { requested: pence(101), left: pence(100) });
}

#[test]
fn an_operator_authorizes_again_only_after_a_retryable_failure() {
    given([requested(), failed(true)]).when(authorize(100)).then([authorized(100)]);
    for (events, state) in [
        (vec![requested(), failed(false)], PaymentState::Failed),
        (vec![requested(), voided()], PaymentState::Voided),
        (vec![requested(), authorized(100)], PaymentState::Authorized),
        (vec![requested(), authorized(100), captured(100)], PaymentState::Captured),
    ] {
        given(events).when(authorize(100)).then_refused(PaymentRefusal::WrongState(state));
    }
}

#[test]
fn authorisations_add_up_to_the_requested_amount_and_so_do_captures() {
    let part = [requested(), authorized(60), captured(60)];
    given(part.clone()).when(authorize(40)).then([authorized(100)]).when(capture(40)).then([captured(40)]);
    let rest = PaymentCommand::Authorize { amount: None, reference: None };
    given(part.clone()).when(rest).then([authorized(100)]);
    given(part)
        .when(authorize(41))
        .then_refused(PaymentRefusal::AboveRequested { requested: pence(41), left: pence(40) });
}

#[test]
fn an_operator_cannot_capture_more_than_is_authorized() {
    let part_captured = [requested(), authorized(100), captured(30)];
    given(part_captured.clone()).when(capture(70)).then([captured(70)]);
    given(part_captured)
        .when(capture(71))
        .then_refused(PaymentRefusal::AboveAuthorized { requested: pence(71), capturable: pence(70) });
    for (events, state) in [
        (vec![requested()], PaymentState::Requested),
        (vec![requested(), failed(true)], PaymentState::Failed),
        (vec![requested(), authorized(100), voided()], PaymentState::Voided),
        (vec![requested(), authorized(100), captured(100)], PaymentState::Captured),
    ] {
        given(events).when(capture(1)).then_refused(PaymentRefusal::WrongState(state));
    }
}

#[test]
fn a_report_of_the_provider_is_recorded_in_every_state() {
    for events in [
        vec![requested()],
        vec![requested(), failed(false)],
        vec![requested(), authorized(50), voided()],
        vec![requested(), unknown(Operation::Capture)],
    ] {
        given(events.clone()).when(report(100, 0)).then([authorized_at_provider(100)]);
        given(events).when(report(120, 120)).then([captured_at_provider(120)]);
    }
}

#[test]
fn an_authorisation_report_that_comes_after_its_capture_adds_nothing() {
    given([requested()])
        .when(report(100, 100))
        .then([captured_at_provider(100)])
        .when(report(100, 0))
        .then_nothing();
}

#[test]
fn an_amount_that_is_not_positive_or_exceeds_the_limit_is_refused() {
    given([requested()]).when(authorize(0)).then_refused(PaymentRefusal::InvalidAmount);
    for amount in [0, -1] {
        given([requested(), authorized(100)])
            .when(capture(amount))
            .then_refused(PaymentRefusal::InvalidAmount);
    }
    let largest = Amount::MAX.minor_units();
    for reported in [report(largest, largest), report(largest, 0), report(-1, 0)] {
        given([requested(), captured(1)]).when(reported).then_refused(PaymentRefusal::InvalidAmount);
    }
}

#[test]
fn a_text_that_is_empty_or_too_long_or_has_a_control_character_is_refused() {
    let reference = |text: &str| PaymentCommand::Authorize { amount: None, reference: Some(text.into()) };
    for text in ["", "a\nb", &"x".repeat(501)] {
        given([requested()])
            .when(reference(text))
            .then_refused(PaymentRefusal::InvalidText { member: "reference" });
        given([requested()])
            .when(PaymentCommand::Void { reason: Some(text.into()) })
            .then_refused(PaymentRefusal::InvalidText { member: "reason" });
    }
}

use uuid::Uuid;

use super::{
    Source::{Operator, Provider},
    *,
};
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
    PaymentRequested { payment_id: payment_id(), order_id: ORDER, amount: pence(100), currency }.into()
}

fn request() -> PaymentCommand {
    PaymentCommand::Request {
        payment_id: payment_id(),
        order_id: ORDER,
        amount: pence(100),
        currency: "GBP".parse().unwrap(),
    }
}

fn authorized(amount: i64) -> PaymentEvent {
    PaymentAuthorized { amount: pence(amount), reference: None }.into()
}

fn captured(amount: i64) -> PaymentEvent {
    PaymentCaptured { amount: pence(amount), reference: None }.into()
}

fn failed(retryable: bool) -> PaymentEvent {
    PaymentFailed { reason: None, retryable }.into()
}

fn voided() -> PaymentEvent {
    PaymentVoided { reason: None }.into()
}

fn void_requested() -> PaymentEvent {
    PaymentVoidRequested {}.into()
}

fn unknown(operation: Operation) -> PaymentEvent {
    PaymentOutcomeUnknown { operation }.into()
}

fn refund_requested(id: RefundId, amount: i64, reason: RefundReason) -> PaymentEvent {
    PaymentRefundRequested { refund_id: id, amount: pence(amount), reason }.into()
}

/// What a closed payment asks for of itself after `earlier` refunds.
fn given_back(earlier: u64, amount: i64) -> PaymentEvent {
    refund_requested(closing_refund(earlier), amount, RefundReason::OrderClosed)
}

fn closing_refund(earlier: u64) -> RefundId {
    RefundId::of_closing(payment_id(), earlier)
}

fn by_hand(number: u128, amount: i64) -> PaymentEvent {
    refund_requested(refund_id(number), amount, RefundReason::Requested)
}

fn refunded(id: RefundId, amount: i64) -> PaymentEvent {
    PaymentRefunded { refund_id: id, amount: pence(amount), reference: None }.into()
}

fn refund_failed(id: RefundId, amount: i64) -> PaymentEvent {
    PaymentRefundFailed { refund_id: id, amount: pence(amount), reason: None }.into()
}

fn closed(amount_due: i64) -> PaymentEvent {
    PaymentClosed { order_id: ORDER, amount_due: pence(amount_due) }.into()
}

fn authorize(amount: i64, source: Source) -> PaymentCommand {
    PaymentCommand::Authorize { amount: Some(pence(amount)), reference: None, source }
}

fn capture(amount: i64, source: Source) -> PaymentCommand {
    PaymentCommand::Capture { amount: Some(pence(amount)), reference: None, source }
}

fn fail(retryable: bool) -> PaymentCommand {
    PaymentCommand::Fail { reason: None, retryable }
}

fn void() -> PaymentCommand {
    PaymentCommand::Void { reason: None }
}

fn close(amount_due: i64) -> PaymentCommand {
    PaymentCommand::Close { order_id: ORDER, amount_due: pence(amount_due) }
}

fn lose(operation: Operation) -> PaymentCommand {
    PaymentCommand::MarkOutcomeUnknown { operation }
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

mod closing;
mod outcomes;
mod refunds;

#[test]
fn a_payment_is_requested_once() {
    given([]).when(request()).then([requested()]).when(request()).then_nothing();
    given([requested(), authorized(100)]).when(request()).then_nothing();
}

#[test]
fn nothing_is_recorded_on_a_payment_that_was_never_requested() {
    let commands = [
        authorize(100, Provider),
        capture(100, Provider),
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
fn an_authorisation_without_an_amount_is_for_all_and_a_capture_for_the_rest() {
    let reference = Some("ch_1".to_owned());
    given([requested()])
        .when(PaymentCommand::Authorize { amount: None, reference: reference.clone(), source: Operator })
        .then([PaymentAuthorized { amount: pence(100), reference: reference.clone() }.into()])
        .when(capture(30, Operator))
        .then([captured(30)])
        .when(PaymentCommand::Capture { amount: None, reference: reference.clone(), source: Operator })
        .then([PaymentCaptured { amount: pence(70), reference }.into()]);
}

#[test]
fn an_operator_authorizes_no_more_than_was_requested() {
    given([requested()]).when(authorize(100, Operator)).then([authorized(100)]);
    given([requested()])
        .when(authorize(101, Operator))
        .then_refused(PaymentRefusal::AboveRequested { requested: pence(101), amount: pence(100) });
}

#[test]
fn an_operator_authorizes_again_after_a_failure_that_may_be_retried_and_not_otherwise() {
    given([requested(), failed(true)]).when(authorize(100, Operator)).then([authorized(100)]);
    for (events, state) in [
        (vec![requested(), failed(false)], PaymentState::Failed),
        (vec![requested(), voided()], PaymentState::Voided),
        (vec![requested(), authorized(100)], PaymentState::Authorized),
        (vec![requested(), authorized(100), captured(100)], PaymentState::Captured),
    ] {
        given(events).when(authorize(100, Operator)).then_refused(PaymentRefusal::WrongState(state));
    }
}

#[test]
fn an_authorisation_of_a_part_may_be_raised_to_what_was_requested() {
    given([requested(), authorized(60), captured(60)])
        .when(authorize(100, Operator))
        .then([authorized(100)])
        .when(capture(40, Operator))
        .then([captured(40)]);
}

#[test]
fn an_operator_captures_no_more_than_is_authorized() {
    let part_captured = [requested(), authorized(100), captured(30)];
    given(part_captured.clone()).when(capture(70, Operator)).then([captured(70)]);
    given(part_captured)
        .when(capture(71, Operator))
        .then_refused(PaymentRefusal::AboveAuthorized { requested: pence(71), capturable: pence(70) });
    for (events, state) in [
        (vec![requested()], PaymentState::Requested),
        (vec![requested(), failed(true)], PaymentState::Failed),
        (vec![requested(), authorized(100), voided()], PaymentState::Voided),
        (vec![requested(), authorized(100), captured(100)], PaymentState::Captured),
    ] {
        given(events).when(capture(1, Operator)).then_refused(PaymentRefusal::WrongState(state));
    }
}

#[test]
fn what_the_provider_reports_is_recorded_in_every_state() {
    for events in [
        vec![requested()],
        vec![requested(), failed(false)],
        vec![requested(), authorized(50), voided()],
        vec![requested(), unknown(Operation::Capture)],
    ] {
        given(events.clone()).when(authorize(100, Provider)).then([authorized(100)]);
        given(events).when(capture(120, Provider)).then([captured(120)]);
    }
}

#[test]
fn an_authorisation_report_overtaken_by_its_capture_adds_nothing() {
    given([requested(), captured(100)]).when(authorize(100, Provider)).then_nothing();
}

#[test]
fn an_amount_is_more_than_zero_and_stays_within_bounds() {
    for source in [Operator, Provider] {
        given([requested()]).when(authorize(0, source)).then_refused(PaymentRefusal::InvalidAmount);
        given([requested(), authorized(100)])
            .when(capture(0, source))
            .then_refused(PaymentRefusal::InvalidAmount);
        given([requested(), authorized(100)])
            .when(capture(-1, source))
            .then_refused(PaymentRefusal::InvalidAmount);
    }
    given([requested(), captured(1)])
        .when(capture(Amount::MAX.minor_units(), Provider))
        .then_refused(PaymentRefusal::InvalidAmount);
}

#[test]
fn a_text_is_neither_empty_nor_too_long_nor_holds_a_control_character() {
    let reference = |text: &str| PaymentCommand::Authorize {
        amount: None,
        reference: Some(text.into()),
        source: Operator,
    };
    for text in ["", "a\nb", &"x".repeat(501)] {
        given([requested()])
            .when(reference(text))
            .then_refused(PaymentRefusal::InvalidText { member: "reference" });
        given([requested()])
            .when(PaymentCommand::Void { reason: Some(text.into()) })
            .then_refused(PaymentRefusal::InvalidText { member: "reason" });
    }
}

//! What the provider reports of refunds: its own, and those that this payment requested.

use super::*;

fn by_hand(number: u128, amount: i64) -> PaymentEvent {
    of_charge(0, super::by_hand(number, amount))
}

fn closing_refund_requested(earlier: u64, amount: i64) -> PaymentEvent {
    of_charge(0, super::closing_refund_requested(earlier, amount))
}

/// More than is left of the charge: 1 of it is not held.
fn beyond(number: u128, held: i64) -> Vec<PaymentEvent> {
    let (id, part) = (refund_id(number), RefundId::of_part(refund_id(number), 1));
    let rest = if held > 0 { not_held(part, Some(id), 1) } else { not_held(id, None, 1) };
    let first = (held > 0).then(|| by_hand(number, held));
    first.into_iter().chain(rest).collect()
}

fn report(number: u128, amount: i64, outcome: RefundOutcome) -> PaymentCommand {
    PaymentCommand::ReportRefund(RefundReport {
        refund_id: refund_id(number),
        charge: None,
        amount: pence(amount),
        reference: "re".into(),
        outcome,
    })
}

fn paid(number: u128, amount: i64) -> PaymentCommand {
    report(number, amount, RefundOutcome::Refunded)
}

fn pending(number: u128, amount: i64) -> PaymentCommand {
    report(number, amount, RefundOutcome::Pending)
}

fn declined(number: u128, amount: i64) -> PaymentCommand {
    report(number, amount, RefundOutcome::Failed { reason: None })
}

fn found(number: u128, amount: i64) -> PaymentEvent {
    let reference = Some("re".to_owned());
    PaymentRefundFound { refund_id: refund_id(number), charge: 0, amount: pence(amount), reference }.into()
}

fn paid_out(number: u128, amount: i64) -> PaymentEvent {
    let reference = Some("re".to_owned());
    PaymentRefunded { refund_id: refund_id(number), amount: pence(amount), reference }.into()
}

fn failed_at_provider(number: u128, amount: i64) -> PaymentEvent {
    let (refund_id, amount) = (refund_id(number), pence(amount));
    PaymentRefundFailed { refund_id, amount, reason: None, by_provider: true }.into()
}

fn accepted(number: u128) -> PaymentEvent {
    PaymentRefundPending { refund_id: refund_id(number) }.into()
}

fn lost(number: u128) -> PaymentEvent {
    PaymentRefundOutcomeUnknown { refund_id: refund_id(number) }.into()
}

/// A charge of the provider that captured 100.
fn charged() -> [PaymentEvent; 2] {
    [requested(), captured_at_provider(100)]
}

fn with(events: &[PaymentEvent]) -> Vec<PaymentEvent> {
    [&charged()[..], events].concat()
}

#[test]
fn a_refund_made_at_the_provider_is_recorded_once_and_leaves_less_to_refund() {
    given(charged())
        .when(paid(7, 60))
        .then([found(7, 60), paid_out(7, 60)])
        .when(paid(7, 60))
        .then_nothing()
        .when(request_refund(1, 41))
        .then(beyond(1, 40));
    given(charged()).when(pending(7, 60)).then([found(7, 60)]).when(paid(7, 60)).then([paid_out(7, 60)]);
}

#[test]
fn a_refund_of_the_provider_whose_failure_arrives_first_is_not_paid_by_a_late_report() {
    for late in [pending(7, 60), paid(7, 60), declined(7, 60)] {
        given(charged())
            .when(declined(7, 60))
            .then([found(7, 60), failed_at_provider(7, 60)])
            .when(late)
            .then_nothing();
    }
}

#[test]
fn a_closed_payment_does_not_refund_again_what_the_provider_has_refunded() {
    given(with(&[found(7, 100), paid_out(7, 100)])).when(close(0)).then([closed(0)]);
    given(with(&[found(7, 30), paid_out(7, 30)]))
        .when(close(40))
        .then([closed(40), closing_refund_requested(1, 30)]);
}

#[test]
fn the_provider_is_not_asked_for_its_own_refund() {
    assert_eq!(PaymentDecider::fold(&with(&[found(7, 60)])).provider_work(), []);
}

#[test]
fn an_operator_settles_a_refund_of_the_provider_only_while_its_outcome_is_unknown() {
    for known in [with(&[by_hand(1, 50)]), with(&[by_hand(1, 50), accepted(1)]), with(&[found(1, 50)])] {
        for command in [record_refunded(refund_id(1)), record_refund_failed(refund_id(1))] {
            given(known.clone()).when(command).then_refused(PaymentRefusal::RefundUnderWay);
        }
    }
    let in_doubt = with(&[by_hand(1, 50), lost(1)]);
    given(in_doubt.clone()).when(record_refunded(refund_id(1))).then([refunded(refund_id(1), 50)]);
    given(in_doubt).when(record_refund_failed(refund_id(1))).then([refund_failed(refund_id(1), 50)]);
}

#[test]
fn a_lost_answer_is_recorded_once_and_ends_with_the_next_report() {
    let lose = PaymentCommand::MarkRefundOutcomeUnknown { refund_id: refund_id(1) };
    given(with(&[by_hand(1, 50)]))
        .when(lose.clone())
        .then([lost(1)])
        .when(lose.clone())
        .then_nothing()
        .when(pending(1, 50))
        .then([accepted(1)])
        .when(lose)
        .then_nothing();
}

#[test]
fn a_refund_that_an_operator_recorded_as_failed_may_be_paid_late() {
    let in_doubt = with(&[by_hand(1, 50), lost(1), refund_failed(refund_id(1), 50), by_hand(2, 50)]);
    given(in_doubt.clone())
        .when(paid(1, 50))
        .then([paid_out(1, 50)])
        .when(paid(2, 50))
        .then([paid_out(2, 50)])
        .when(request_refund(3, 1))
        .then(beyond(3, 0));
    given(in_doubt.clone()).when(pending(1, 50)).then([accepted(1)]);
    given(in_doubt).when(declined(1, 50)).then([failed_at_provider(1, 50)]).when(paid(1, 50)).then_nothing();
}

#[test]
fn a_paid_refund_may_fail_late_and_a_late_report_does_not_pay_it_again() {
    given(with(&[by_hand(1, 50), refunded(refund_id(1), 50)]))
        .when(declined(1, 50))
        .then([failed_at_provider(1, 50)])
        .when(paid(1, 50))
        .then_nothing()
        .when(pending(1, 50))
        .then_nothing();
}

#[test]
fn a_closed_payment_repeats_a_refund_that_failed_late() {
    given(with(&[closed(0), closing_refund_requested(0, 100), refunded(closing_refund_id(0), 100)]))
        .when(PaymentCommand::ReportRefund(RefundReport {
            refund_id: closing_refund_id(0),
            charge: None,
            amount: pence(100),
            reference: "re".into(),
            outcome: RefundOutcome::Failed { reason: None },
        }))
        .then([
            PaymentRefundFailed {
                refund_id: closing_refund_id(0),
                amount: pence(100),
                reason: None,
                by_provider: true,
            }
            .into(),
            closing_refund_requested(1, 100),
        ]);
}

#[test]
fn every_word_that_lowers_an_amount_counts_as_a_correction() {
    let corrections = |events: &[PaymentEvent]| PaymentDecider::fold(&with(events)).corrections();
    assert_eq!(corrections(&[by_hand(1, 50), accepted(1), refunded(refund_id(1), 50)]), 0);
    assert_eq!(corrections(&[by_hand(1, 50), refund_failed(refund_id(1), 50)]), 0);
    assert_eq!(corrections(&[by_hand(1, 50), refunded(refund_id(1), 50), failed_at_provider(1, 50)]), 1);
    assert_eq!(corrections(&[by_hand(1, 50), refund_failed(refund_id(1), 50), paid_out(1, 50)]), 1);
    assert_eq!(corrections(&[by_hand(1, 50), refund_failed(refund_id(1), 50), accepted(1)]), 1);
    assert_eq!(corrections(&[found(1, 50), failed_at_provider(1, 50)]), 1);
}

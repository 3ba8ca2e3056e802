//! Disputes of captured money.

use super::*;

fn by_hand(number: u128, amount: i64) -> PaymentEvent {
    of_charge(0, super::by_hand(number, amount))
}

fn closing_refund_requested(earlier: u64, amount: i64) -> PaymentEvent {
    of_charge(0, super::closing_refund_requested(earlier, amount))
}

fn report(amount: i64, state: DisputeState) -> PaymentCommand {
    let (reference, reason) = ("dp_1".to_owned(), Some("fraudulent".to_owned()));
    PaymentCommand::ReportDispute(DisputeReport {
        charge: 0,
        reference,
        amount: pence(amount),
        reason,
        state,
    })
}

fn disputed(amount: i64) -> PaymentEvent {
    let reason = Some("fraudulent".to_owned());
    PaymentDisputed { dispute: "dp_1".into(), charge: 0, amount: pence(amount), reason }.into()
}

fn won() -> PaymentEvent {
    PaymentDisputeWon { dispute: "dp_1".into() }.into()
}

fn lost() -> PaymentEvent {
    PaymentDisputeLost { dispute: "dp_1".into() }.into()
}

fn charged() -> [PaymentEvent; 2] {
    [requested(), captured_at_provider(100)]
}

#[test]
fn an_open_dispute_holds_its_money_until_it_is_won() {
    given(charged())
        .when(report(60, DisputeState::Open))
        .then([disputed(60)])
        .when(request_refund(1, 40))
        .then([by_hand(1, 40)]);
    given([&charged()[..], &[disputed(60)]].concat())
        .when(report(60, DisputeState::Won))
        .then([won()])
        .when(request_refund(1, 41))
        .then([by_hand(1, 41)]);
}

#[test]
fn a_dispute_that_is_reported_first_when_it_is_decided_is_recorded() {
    given(charged()).when(report(60, DisputeState::Lost)).then([disputed(60), lost()]);
    given(charged()).when(report(60, DisputeState::Won)).then([disputed(60), won()]);
}

#[test]
fn a_repeated_or_late_report_of_a_dispute_changes_nothing() {
    given(charged())
        .when(report(60, DisputeState::Lost))
        .then([disputed(60), lost()])
        .when(report(60, DisputeState::Open))
        .then_nothing()
        .when(report(60, DisputeState::Lost))
        .then_nothing()
        .when(report(60, DisputeState::Won))
        .then([won()]);
}

#[test]
fn a_closed_payment_never_refunds_lost_money_and_refunds_what_a_won_dispute_brings_back() {
    given([&charged()[..], &[disputed(100), lost()]].concat()).when(close(0)).then([closed(0)]);
    given([&charged()[..], &[disputed(60)]].concat())
        .when(close(0))
        .then([closed(0), closing_refund_requested(0, 40)])
        .when(report(60, DisputeState::Won))
        .then([won(), closing_refund_requested(1, 60)]);
    // The order keeps 40 of 100, and the customer has taken back 60 through the bank.
    given([&charged()[..], &[disputed(60), lost()]].concat()).when(close(40)).then([closed(40)]);
}

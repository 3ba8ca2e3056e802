//! Money that moves at the provider without a request: refunds and disputes.

use domain::{
    PaymentId, Timestamp,
    payment::{DisputeReport, DisputeState, ProviderReport, RefundOutcome, RefundReport},
};
use infra::payment_provider::NoticeContent;

use super::{Behaviour, Fixture, given_charge, refund_of, request, webhooks};

/// What the latest webhook about the payment says, looked up if the webhook names only the charge.
async fn latest(fixture: &impl Fixture, payment: PaymentId, count_min: usize) -> ProviderReport {
    let last = webhooks(fixture, payment, count_min).await.pop().expect("a webhook");
    let provider = fixture.provider();
    let notice = provider.read_notice(&last.headers, &last.body, Timestamp::now()).unwrap();
    let empty = ProviderReport::of_amounts(1, "", super::amount(0), super::amount(0));
    match notice.content {
        NoticeContent::Moved { reference } => {
            let found = provider.look_up_reference(&reference).await.unwrap();
            let (of, report) = found.expect("a charge of this platform");
            assert_eq!(of, payment);
            report
        }
        NoticeContent::Refund { payment_id, report } => {
            assert_eq!(payment_id, payment);
            ProviderReport { refunds: vec![report], ..empty }
        }
        NoticeContent::Dispute { payment_id, report } => {
            assert_eq!(payment_id, payment);
            ProviderReport { disputes: vec![report], ..empty }
        }
        NoticeContent::Charge { .. } | NoticeContent::Other => panic!("{notice:?}"),
    }
}

fn only_refund(report: &ProviderReport) -> &RefundReport {
    assert_eq!(report.refunds.len(), 1, "{report:?}");
    &report.refunds[0]
}

fn only_dispute(report: &ProviderReport) -> (i64, DisputeState) {
    let [DisputeReport { amount, state, .. }] = &report.disputes[..] else { panic!("{report:?}") };
    (amount.minor_units(), *state)
}

pub(super) async fn a_refund_made_at_the_provider_is_reported_by_webhook_and_look_up(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    fixture.refund_at_provider(&charge, 1_000).await;
    let notified = latest(&fixture, charge.payment_id, 2).await;
    let refund = only_refund(&notified);
    assert_eq!((refund.amount.minor_units(), &refund.outcome), (1_000, &RefundOutcome::Refunded));
    let found = fixture.provider().look_up(&charge).await.unwrap().expect("the charge");
    assert_eq!(only_refund(&found.report), refund);
}

pub(super) async fn a_dispute_is_reported_by_webhook_and_look_up_until_it_is_decided(fixture: impl Fixture) {
    for (is_won, decided) in [(true, DisputeState::Won), (false, DisputeState::Lost)] {
        let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
        fixture.dispute(&charge, 4_000).await;
        let notified = latest(&fixture, charge.payment_id, 2).await;
        assert_eq!(only_dispute(&notified), (4_000, DisputeState::Open));
        fixture.close_dispute(&charge, is_won).await;
        let notified = latest(&fixture, charge.payment_id, 3).await;
        assert_eq!(only_dispute(&notified), (4_000, decided));
        let found = fixture.provider().look_up(&charge).await.unwrap().expect("the charge");
        assert_eq!(only_dispute(&found.report), (4_000, decided));
    }
}

pub(super) async fn a_paid_refund_may_fail_late(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let refund = refund_of(&charge, 4_000);
    fixture.provider().refund(&refund).await.unwrap();
    fixture.settle_refund(&refund, false).await;
    let notified = latest(&fixture, charge.payment_id, 3).await;
    let reported = only_refund(&notified);
    assert_eq!(reported.refund_id, refund.refund_id);
    assert!(matches!(reported.outcome, RefundOutcome::Failed { .. }), "{reported:?}");
}

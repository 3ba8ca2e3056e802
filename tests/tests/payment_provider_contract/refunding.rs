//! Refunds of captured money.

use infra::payment_provider::{ProviderError, RefundAnswer, RefundRequest};
use tokio::task::JoinSet;

use super::{Behaviour, Fixture, Moved, figures, given_charge, refund_of, request};

/// Requests a refund. Returns whether money was paid. For an amount that is too large, an adapter may refuse
/// the request or report a failed refund.
async fn is_paid(fixture: &impl Fixture, refund: &RefundRequest) -> bool {
    match fixture.provider().refund(refund).await {
        Ok(RefundAnswer::Refunded { .. }) => true,
        Ok(RefundAnswer::Failed { .. }) | Err(ProviderError::Refused(_)) => false,
        other => panic!("{other:?}"),
    }
}

pub(super) async fn a_repeated_refund_with_the_same_id_is_paid_once(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let (provider, refund) = (fixture.provider(), refund_of(&charge, 4_000));
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (provider, refund) = (provider.clone(), refund.clone());
        requests.spawn(async move { provider.refund(&refund).await.unwrap() });
    }
    let answers = requests.join_all().await;
    assert!(matches!(&answers[0], RefundAnswer::Refunded { reference } if !reference.is_empty()));
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:?}");
    let moved = fixture.moved(charge.payment_id).await;
    assert_eq!(moved, Moved { captures: 1, captured: 10_000, refunds: 1, refunded: 4_000, held: 0 });
    // A refund does not reduce the captured amount.
    let found = provider.look_up(&charge).await.unwrap().unwrap();
    assert_eq!(figures(&found.report), (10_000, 10_000, None));
}

pub(super) async fn partial_refunds_are_paid_up_to_the_captured_amount(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    assert!(is_paid(&fixture, &refund_of(&charge, 6_000)).await);
    assert!(!is_paid(&fixture, &refund_of(&charge, 4_001)).await);
    assert!(is_paid(&fixture, &refund_of(&charge, 4_000)).await);
    assert!(!is_paid(&fixture, &refund_of(&charge, 1)).await);
    let moved = fixture.moved(charge.payment_id).await;
    assert_eq!((moved.refunds, moved.refunded), (2, 10_000));
}

pub(super) async fn a_failed_refund_is_reported_and_pays_no_money(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::RefundsFail))).await;
    let (provider, refund) = (fixture.provider(), refund_of(&charge, 4_000));
    let failed = provider.refund(&refund).await.unwrap();
    assert!(matches!(&failed, RefundAnswer::Failed { reason } if !reason.is_empty()), "{failed:?}");
    assert_eq!(provider.refund(&refund).await, Ok(failed));
    assert_eq!(fixture.moved(charge.payment_id).await.refunds, 0);
}

pub(super) async fn a_refund_is_pending_until_the_bank_settles_it(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::RefundsWait))).await;
    let provider = fixture.provider();
    let (paid, failed) = (refund_of(&charge, 4_000), refund_of(&charge, 6_000));
    assert_eq!(provider.refund(&paid).await, Ok(RefundAnswer::Pending));
    assert_eq!(provider.refund(&failed).await, Ok(RefundAnswer::Pending));
    assert_eq!(provider.refund(&paid).await, Ok(RefundAnswer::Pending));
    // Pending refunds reduce the refundable amount.
    assert!(!is_paid(&fixture, &refund_of(&charge, 1)).await);
    fixture.settle_refund(&paid, true).await;
    fixture.settle_refund(&failed, false).await;
    let (of_paid, of_failed) =
        (provider.refund(&paid).await.unwrap(), provider.refund(&failed).await.unwrap());
    assert!(matches!(of_paid, RefundAnswer::Refunded { .. }), "{of_paid:?}");
    assert!(matches!(of_failed, RefundAnswer::Failed { .. }), "{of_failed:?}");
    let moved = fixture.moved(charge.payment_id).await;
    assert_eq!((moved.refunds, moved.refunded), (1, 4_000));
}

pub(super) async fn a_lost_refund_is_not_paid_again(fixture: impl Fixture) {
    let charge = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let (provider, refund) = (fixture.provider(), refund_of(&charge, 4_000));
    fixture.lose_next_answer().await;
    let lost = provider.refund(&refund).await.unwrap_err();
    assert!(matches!(lost, ProviderError::OutcomeUnknown(_)), "{lost:?}");
    let retried = provider.refund(&refund).await.unwrap();
    assert!(matches!(retried, RefundAnswer::Refunded { .. }), "{retried:?}");
    assert_eq!(fixture.moved(charge.payment_id).await.refunds, 1);
}

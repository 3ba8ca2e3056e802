//! Refunds after Stripe has forgotten an idempotency key.

use std::time::Duration;

use domain::RefundId;
use infra::payment_provider::{
    ChargeRequest, PaymentProvider, ProviderError, RefundAnswer, RefundRequest, stripe::StripeProvider,
};
use tests::stripe::{Fault, StripeDouble};
use uuid::Uuid;

use super::{amount, charge, double, known_by, moved, provider};

const DAY: Duration = Duration::from_hours(25);

async fn paid(double: &StripeDouble, provider: &StripeProvider) -> ChargeRequest {
    let request = charge(double, "pm_card_visa");
    known_by(&request, &provider.charge(&request).await.unwrap().report)
}

fn refund(double: &StripeDouble, charge: &ChargeRequest, minor_units: i64) -> RefundRequest {
    let (refund_id, requested_at) = (RefundId(Uuid::new_v4()), double.now());
    RefundRequest { charge: charge.clone(), refund_id, amount: amount(minor_units), requested_at }
}

#[tokio::test]
async fn a_lost_refund_is_found_among_many_after_stripe_has_forgotten_its_key() {
    let double = double().await;
    let provider = provider(&double);
    let charge = paid(&double, &provider).await;
    let lost = refund(&double, &charge, 5_000);
    double.fail("POST", "/v1/refunds", Fault::LoseAnswer, 1);
    let error = provider.refund(&lost).await.unwrap_err();
    assert!(matches!(error, ProviderError::OutcomeUnknown(_)), "{error:?}");
    for _ in 0..150 {
        let other = refund(&double, &charge, 1);
        assert!(matches!(provider.refund(&other).await.unwrap(), RefundAnswer::Refunded { .. }));
    }
    double.advance(DAY);
    let found = provider.refund(&lost).await.unwrap();
    assert!(matches!(found, RefundAnswer::Refunded { .. }), "{found:?}");
    assert_eq!((moved(&double, &charge).refunds, moved(&double, &charge).refunded), (151, 5_150));
}

#[tokio::test]
async fn a_refund_that_was_never_created_is_created_once_after_a_day() {
    let double = double().await;
    let provider = provider(&double);
    let charge = paid(&double, &provider).await;
    let late = refund(&double, &charge, 5_000);
    double.advance(DAY);
    assert!(matches!(provider.refund(&late).await.unwrap(), RefundAnswer::Refunded { .. }));
    assert!(matches!(provider.refund(&late).await.unwrap(), RefundAnswer::Refunded { .. }));
    assert_eq!(moved(&double, &charge).refunds, 1);
}

#[tokio::test]
async fn a_repeated_refund_of_the_whole_amount_succeeds() {
    let double = double().await;
    let provider = provider(&double);
    let charge = paid(&double, &provider).await;
    let all = refund(&double, &charge, 10_000);
    let first = provider.refund(&all).await.unwrap();
    // As if Stripe forgot the key earlier than it promises.
    double.advance(DAY);
    let as_if_young = RefundRequest { requested_at: double.now(), ..all };
    assert_eq!(provider.refund(&as_if_young).await, Ok(first));
    let another = provider.refund(&refund(&double, &charge, 1)).await.unwrap();
    assert!(
        matches!(&another, RefundAnswer::Failed { reason } if reason.contains("charge_already_refunded")),
        "{another:?}"
    );
}

#[tokio::test]
async fn a_refund_of_a_charge_without_a_recorded_reference_is_paid() {
    let double = double().await;
    let provider = provider(&double);
    let mut charge = paid(&double, &provider).await;
    charge.charge.reference = None;
    double.advance(DAY);
    assert!(matches!(
        provider.refund(&refund(&double, &charge, 100)).await.unwrap(),
        RefundAnswer::Refunded { .. }
    ));
    assert_eq!(moved(&double, &charge).refunded, 100);
}

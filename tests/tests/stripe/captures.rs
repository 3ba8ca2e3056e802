//! Captures with and without multicapture, and captures that fail.

use infra::payment_provider::{PaymentProvider, ProviderError};
use tests::stripe::Fault;

use super::{
    amount, captured_apart, charge, double, figures, known_by, moved, options, provider, provider_with,
};

#[tokio::test]
async fn without_multicapture_the_first_capture_releases_the_rest() {
    let double = double().await;
    let (provider, request) = (provider(&double), captured_apart(charge(&double, "pm_card_visa")));
    let request = known_by(&request, &provider.charge(&request).await.unwrap().report);
    let captured = provider.capture(&request, amount(4_000), amount(4_000)).await.unwrap();
    assert_eq!(figures(&captured), (10_000, 4_000, Some("voided")));
    assert_eq!(provider.capture(&request, amount(4_000), amount(4_000)).await, Ok(captured));
    let refused = provider.capture(&request, amount(6_000), amount(10_000)).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Refused(_)), "{refused:?}");
    assert_eq!((moved(&double, &request).captures, moved(&double, &request).held), (1, 0));
}

#[tokio::test]
async fn with_multicapture_an_authorisation_is_captured_in_parts() {
    let double = double().await;
    let provider = provider_with(&double, options(&double).with_multicapture());
    let request = captured_apart(charge(&double, "pm_card_visa"));
    let request = known_by(&request, &provider.charge(&request).await.unwrap().report);
    let first = provider.capture(&request, amount(4_000), amount(4_000)).await.unwrap();
    assert_eq!(figures(&first), (10_000, 4_000, None));
    double.fail("POST", "/v1/payment_intents/*/capture", Fault::LoseAnswer, 1);
    provider.capture(&request, amount(5_000), amount(9_000)).await.unwrap_err();
    let second = provider.capture(&request, amount(5_000), amount(9_000)).await.unwrap();
    assert_eq!(figures(&second), (10_000, 9_000, None));
    assert_eq!(figures(&provider.void(&request).await.unwrap()), (10_000, 9_000, Some("voided")));
    assert_eq!((moved(&double, &request).captures, moved(&double, &request).held), (2, 0));
}

#[tokio::test]
async fn a_failed_or_lost_capture_is_done_once_after_a_retry() {
    for fault in [Fault::FailBefore, Fault::FailAfter, Fault::LoseAnswer, Fault::LoseRequest] {
        let double = double().await;
        let (provider, request) = (provider(&double), captured_apart(charge(&double, "pm_card_visa")));
        let request = known_by(&request, &provider.charge(&request).await.unwrap().report);
        double.fail("POST", "/v1/payment_intents/*/capture", fault, 1);
        let lost = provider.capture(&request, amount(10_000), amount(10_000)).await.unwrap_err();
        assert!(matches!(lost, ProviderError::OutcomeUnknown(_)), "{fault:?}: {lost:?}");
        let retried = provider.capture(&request, amount(10_000), amount(10_000)).await.unwrap();
        assert_eq!(figures(&retried), super::PAID, "{fault:?}");
        assert_eq!(moved(&double, &request).captures, 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_capture_before_the_authorisation_is_refused() {
    let double = double().await;
    let (provider, request) =
        (provider(&double), captured_apart(charge(&double, "pm_card_authenticationRequired")));
    let request = known_by(&request, &provider.charge(&request).await.unwrap().report);
    let refused = provider.capture(&request, amount(1), amount(1)).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Refused(_)), "{refused:?}");
}

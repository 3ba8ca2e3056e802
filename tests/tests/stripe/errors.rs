//! Which errors of Stripe leave the outcome unknown.

use infra::payment_provider::{PaymentProvider, ProviderError, stripe::StripeOptions};
use tests::stripe::{Fault, WEBHOOK_SECRET};

use super::{charge, double, known_by, moved, provider, provider_with};

#[tokio::test]
async fn requests_that_were_not_done_are_distinguished_from_unknown_outcomes() {
    let double = double().await;
    let provider = provider(&double);
    let kind = |error: &ProviderError| match error {
        ProviderError::Unreachable(_) => "not done",
        ProviderError::OutcomeUnknown(_) => "unknown",
        ProviderError::Refused(_) => "refused",
        ProviderError::Credentials(_) => "credentials",
    };
    for (fault, expected) in [
        (Fault::RateLimit, "not done"),
        (Fault::KeyInUse, "unknown"),
        (Fault::FailBefore, "unknown"),
        (Fault::FailAfter, "unknown"),
        (Fault::LoseAnswer, "unknown"),
        (Fault::LoseRequest, "unknown"),
    ] {
        for path in ["/v1/payment_intents", "/v1/payment_intents/*/confirm"] {
            let request = charge(&double, "pm_card_visa");
            double.fail("POST", path, fault, 1);
            let error = provider.charge(&request).await.unwrap_err();
            assert_eq!(kind(&error), expected, "{fault:?} at {path}: {error:?}");
        }
    }
}

#[tokio::test]
async fn an_unknown_payment_method_is_refused_and_its_charge_can_be_voided() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_none"));
    let refused = provider.charge(&request).await.unwrap_err();
    assert!(matches!(&refused, ProviderError::Refused(why) if why.contains("pm_none")), "{refused:?}");
    assert_eq!(provider.look_up(&request).await, Ok(None));
    let voided = provider.void(&request).await.unwrap();
    assert_eq!(super::figures(&voided), (0, 0, Some("voided")));
    assert_eq!(provider.void(&known_by(&request, &voided)).await, Ok(voided));
}

/// Happens after an update of this program that sends other members for the same charge.
#[tokio::test]
async fn a_key_that_was_used_with_other_members_leaves_the_outcome_unknown() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    provider.charge(&request).await.unwrap();
    let mut other = request.clone();
    other.charge.method = "pm_card_mastercard".to_owned();
    let error = provider.charge(&other).await.unwrap_err();
    assert!(matches!(error, ProviderError::OutcomeUnknown(_)), "{error:?}");
    assert_eq!(moved(&double, &request).captures, 1);
}

/// A refusal would allow the platform to start another charge.
#[tokio::test]
async fn an_intent_that_cannot_be_found_again_leaves_the_outcome_unknown() {
    let (elsewhere, double) = (double().await, double().await);
    let request = charge(&double, "pm_card_visa");
    let report = provider(&double).charge(&request).await.unwrap().report;
    let error = provider(&elsewhere).look_up(&known_by(&request, &report)).await.unwrap_err();
    assert!(matches!(error, ProviderError::OutcomeUnknown(_)), "{error:?}");
    let other = known_by(&charge(&double, "pm_card_visa"), &report);
    let error = provider(&double).void(&other).await.unwrap_err();
    assert!(matches!(error, ProviderError::OutcomeUnknown(_)), "{error:?}");
    assert_eq!(moved(&double, &request).captured, 10_000);
}

#[tokio::test]
async fn the_error_for_unknown_credentials_does_not_show_the_key() {
    let double = double().await;
    let options = StripeOptions::new("sk_test_unknown", WEBHOOK_SECRET).unwrap();
    let provider = provider_with(&double, options.with_api_url(&double.url()).unwrap());
    let error = provider.charge(&charge(&double, "pm_card_visa")).await.unwrap_err();
    assert!(matches!(error, ProviderError::Credentials(_)), "{error:?}");
    assert!(!format!("{error:?} {error} {provider:?}").contains("sk_test_unknown"));
}

#[tokio::test]
async fn an_unreachable_server_has_done_nothing() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    double.take_down().await;
    let error = provider.charge(&request).await.unwrap_err();
    assert!(matches!(error, ProviderError::Unreachable(_)), "{error:?}");
    double.bring_up().await.unwrap();
    assert_eq!(super::figures(&provider.charge(&request).await.unwrap().report), super::PAID);
}

#[test]
fn the_default_url_of_stripe_uses_https() {
    // Creates the client with the trusted certificates of this machine.
    let options = StripeOptions::new("sk_test_1", WEBHOOK_SECRET).unwrap();
    let provider =
        infra::payment_provider::stripe::StripeProvider::new(options, infra::clock::Clock::system());
    assert!(format!("{:?}", provider.unwrap()).contains("https://api.stripe.com/"));
}

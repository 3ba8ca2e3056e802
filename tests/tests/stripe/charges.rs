//! One intent per charge, and the state of an intent in reports.

use std::time::Duration;

use infra::{
    payment_provider::{PaymentProvider, ProviderError},
    traces,
};
use tests::stripe::Fault;

use super::{PAID, captured_apart, charge, double, figures, known_by, moved, provider};

const CONFIRM: &str = "/v1/payment_intents/*/confirm";
const HOUR: Duration = Duration::from_hours(1);

#[tokio::test]
async fn an_intent_is_created_unconfirmed_and_then_confirmed_by_its_id() {
    let double = double().await;
    let request = charge(&double, "pm_card_visa");
    let answer = provider(&double).charge(&request).await.unwrap();
    assert_eq!(figures(&answer.report), PAID);
    let requests = double.requests();
    let [created, confirmed] = &requests[..] else { panic!("{requests:?}") };
    assert_eq!(created.path, "/v1/payment_intents");
    assert!(!created.body.contains("confirm="), "{}", created.body);
    assert_eq!(confirmed.path, format!("/v1/payment_intents/{}/confirm", answer.report.reference));
    let payment = request.payment_id;
    assert_eq!(created.idempotency_key, Some(format!("orderly-{payment}-1-create")));
    assert_eq!(confirmed.idempotency_key, Some(format!("orderly-{payment}-1-confirm")));
    assert!(requests.iter().all(|sent| sent.stripe_version.as_deref() == Some("2026-08-26.dahlia")));
    let metadata = &double.intents()[0]["metadata"];
    assert_eq!(metadata["orderly_order"], request.order_id.to_string());
    assert_eq!(
        (&metadata["orderly_payment"], &metadata["orderly_charge"]),
        (&payment.to_string().into(), &"1".into())
    );
}

#[tokio::test]
async fn the_requests_of_a_charge_have_the_trace_of_the_task_that_sends_them() {
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    traces::within(Some(TRACE.parse().unwrap()), provider.charge(&request)).await.unwrap();
    assert!(double.requests().iter().all(|sent| sent.traceparent.as_deref() == Some(TRACE)));
    provider.look_up(&request).await.unwrap();
    assert_eq!(double.requests().last().unwrap().traceparent, None);
}

#[tokio::test]
async fn a_lost_confirmation_is_found_after_stripe_has_forgotten_the_keys() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    double.fail("POST", CONFIRM, Fault::LoseAnswer, 1);
    let lost = provider.charge(&request).await.unwrap_err();
    assert!(matches!(lost, ProviderError::OutcomeUnknown(_)), "{lost:?}");
    double.advance(HOUR * 24 * 300);
    let found = provider.charge(&request).await.unwrap();
    assert_eq!(figures(&found.report), PAID);
    assert_eq!((moved(&double, &request).captures, double.intents().len()), (1, 1));
}

/// The search does not find the intent yet, and by the age of the request Stripe may have forgotten the key.
#[tokio::test]
async fn a_charge_that_was_created_late_is_not_created_again_while_the_search_lags() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    double.set_search_lag(HOUR);
    double.advance(Duration::from_mins(23 * 60 - 1));
    double.fail("POST", CONFIRM, Fault::LoseAnswer, 1);
    provider.charge(&request).await.unwrap_err();
    // The request is now older than 23 hours, so the adapter searches first.
    double.advance(Duration::from_mins(10));
    let found = provider.charge(&request).await.unwrap();
    assert_eq!(figures(&found.report), PAID);
    assert!(double.requests().iter().any(|sent| sent.path.contains("/search?")));
    assert_eq!((moved(&double, &request).captures, double.intents().len()), (1, 1));
}

#[tokio::test]
async fn an_unconfirmed_intent_counts_as_no_charge_and_can_be_charged() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    double.fail("POST", CONFIRM, Fault::LoseRequest, 1);
    let lost = provider.charge(&request).await.unwrap_err();
    assert!(matches!(lost, ProviderError::OutcomeUnknown(_)), "{lost:?}");
    assert_eq!(provider.look_up(&request).await, Ok(None));
    assert_eq!(figures(&provider.charge(&request).await.unwrap().report), PAID);
    assert_eq!((moved(&double, &request).captures, double.intents().len()), (1, 1));
}

#[tokio::test]
async fn a_replayed_error_does_not_block_the_charge() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    double.fail("POST", CONFIRM, Fault::FailBefore, 1);
    let failed = provider.charge(&request).await.unwrap_err();
    assert!(matches!(failed, ProviderError::OutcomeUnknown(_)), "{failed:?}");
    assert_eq!(provider.look_up(&request).await, Ok(None));
    assert_eq!(figures(&provider.charge(&request).await.unwrap().report), PAID);
    assert_eq!(moved(&double, &request).captures, 1);
}

#[tokio::test]
async fn an_error_after_the_money_was_taken_is_detected() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa"));
    double.fail("POST", CONFIRM, Fault::FailAfter, 1);
    provider.charge(&request).await.unwrap_err();
    assert_eq!(figures(&provider.charge(&request).await.unwrap().report), PAID);
    assert_eq!(figures(&provider.look_up(&request).await.unwrap().unwrap().report), PAID);
    assert_eq!(moved(&double, &request).captures, 1);
}

#[tokio::test]
async fn a_declined_intent_is_cancelled_before_the_decline_is_reported() {
    let double = double().await;
    let (provider, request) =
        (provider(&double), charge(&double, "pm_card_visa_chargeDeclinedInsufficientFunds"));
    let declined = provider.charge(&request).await.unwrap().report;
    assert_eq!(figures(&declined), (0, 0, Some("failed for now")));
    assert!(
        !double.customer_confirms(&declined.reference, "pm_card_visa"),
        "the customer must not be able to confirm the intent"
    );
    double.advance(HOUR * 24 * 30);
    assert_eq!(provider.look_up(&request).await.unwrap().unwrap().report, declined);
}

#[tokio::test]
async fn a_decline_is_not_reported_until_its_intent_is_cancelled() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa_chargeDeclined"));
    double.fail("POST", "/v1/payment_intents/*/cancel", Fault::RateLimit, 1);
    let error = provider.charge(&request).await.unwrap_err();
    assert!(matches!(error, ProviderError::OutcomeUnknown(_)), "{error:?}");
    let found = provider.look_up(&request).await.unwrap().unwrap();
    assert_eq!(figures(&found.report), (0, 0, Some("failed for now")));
}

#[tokio::test]
async fn a_customer_who_pays_before_the_intent_is_cancelled_has_paid() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_card_visa_chargeDeclined"));
    double.fail("POST", CONFIRM, Fault::LoseAnswer, 1);
    provider.charge(&request).await.unwrap_err();
    let intent = double.intents()[0]["id"].as_str().unwrap().to_owned();
    assert!(double.customer_confirms(&intent, "pm_card_visa"));
    assert_eq!(figures(&provider.look_up(&request).await.unwrap().unwrap().report), PAID);
}

#[tokio::test]
async fn an_expired_authorisation_is_reported_as_voided() {
    let double = double().await;
    let (provider, request) = (provider(&double), captured_apart(charge(&double, "pm_card_visa")));
    let held = provider.charge(&request).await.unwrap().report;
    assert_eq!(figures(&held), (10_000, 0, None));
    double.expire(&held.reference);
    let known = known_by(&request, &held);
    assert_eq!(
        figures(&provider.look_up(&known).await.unwrap().unwrap().report),
        (10_000, 0, Some("voided"))
    );
}

#[tokio::test]
async fn a_charge_that_the_bank_still_processes_is_pending() {
    let double = double().await;
    let (provider, request) = (provider(&double), charge(&double, "pm_usBankAccount_success"));
    let pending = provider.charge(&request).await.unwrap();
    assert_eq!((figures(&pending.report), pending.next_action), ((0, 0, None), None));
    // Stripe cannot cancel it now, so the void reports the unchanged state.
    assert_eq!(figures(&provider.void(&request).await.unwrap()), (0, 0, None));
    double.finish_processing(&pending.report.reference, true);
    assert_eq!(figures(&provider.look_up(&request).await.unwrap().unwrap().report), PAID);
}

#[tokio::test]
async fn amounts_are_sent_in_the_units_of_stripe() {
    let double = double().await;
    let provider = provider(&double);
    let mut request = charge(&double, "pm_card_visa");
    request.currency = "ISK".parse().unwrap();
    assert_eq!(figures(&provider.charge(&request).await.unwrap().report), PAID);
    assert_eq!(double.intents()[0]["amount"], 1_000_000);
    let mut request = charge(&double, "pm_card_visa");
    (request.currency, request.charge.amount) = ("KWD".parse().unwrap(), super::amount(5_124));
    let refused = provider.charge(&request).await.unwrap_err();
    assert!(
        matches!(&refused, ProviderError::Refused(why) if why.contains("multiples of 10")),
        "{refused:?}"
    );
    assert_eq!(provider.look_up(&request).await, Ok(None));
}

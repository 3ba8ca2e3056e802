//! Charges and lookups, declines, and requests without an answer.

use infra::payment_provider::{ProviderError, RefundAnswer};
use tokio::task::JoinSet;

use super::{
    Behaviour, Fixture, Moved, another_charge, figures, given_charge, known_by, refund_of, request,
    request_to_authorize,
};

pub(super) async fn a_repeated_charge_takes_the_money_once(fixture: impl Fixture) {
    let (provider, request) = (fixture.provider(), request(fixture.method(Behaviour::Fine)));
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (provider, request) = (provider.clone(), request.clone());
        requests.spawn(async move { provider.charge(&request).await.unwrap() });
    }
    let answers = requests.join_all().await;
    let first = &answers[0];
    assert_eq!(figures(&first.report), (10_000, 10_000, None));
    assert_eq!(first.report.charge, 1);
    assert!(!first.report.reference.is_empty());
    assert!(answers.iter().all(|answer| answer == first), "{answers:?}");
    assert_eq!(provider.charge(&known_by(&request, &first.report)).await.as_ref(), Ok(first));
    let moved = fixture.moved(request.payment_id).await;
    assert_eq!(moved, Moved { captures: 1, captured: 10_000, ..Moved::default() });
}

pub(super) async fn a_charge_with_manual_capture_is_only_authorized(fixture: impl Fixture) {
    let (provider, request) = (fixture.provider(), request_to_authorize(fixture.method(Behaviour::Fine)));
    let answer = provider.charge(&request).await.unwrap();
    assert_eq!(figures(&answer.report), (10_000, 0, None));
    assert_eq!(provider.look_up(&request).await, Ok(Some(answer)));
    assert_eq!(fixture.moved(request.payment_id).await, Moved { held: 10_000, ..Moved::default() });
}

pub(super) async fn the_number_distinguishes_charges_of_a_payment(fixture: impl Fixture) {
    let provider = fixture.provider();
    let first = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    let second = another_charge(&first, fixture.method(Behaviour::Fine));
    let second = given_charge(&fixture, second).await;
    assert_ne!(first.charge.reference, second.charge.reference);
    assert_eq!(figures(&provider.void(&first).await.unwrap()), (10_000, 0, Some("voided")));
    let answer = provider.look_up(&second).await.unwrap().unwrap();
    assert_eq!((answer.report.charge, figures(&answer.report)), (2, (10_000, 0, None)));
}

pub(super) async fn a_decline_is_a_report_that_never_changes(fixture: impl Fixture) {
    let provider = fixture.provider();
    for (behaviour, ending) in
        [(Behaviour::Declines, "failed for now"), (Behaviour::DeclinesForGood, "failed for good")]
    {
        let request = request(fixture.method(behaviour));
        let declined = provider.charge(&request).await.unwrap();
        assert_eq!(figures(&declined.report), (0, 0, Some(ending)));
        assert_eq!(provider.charge(&request).await.as_ref(), Ok(&declined));
        assert_eq!(provider.look_up(&request).await, Ok(Some(declined)));
        assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
    }
}

pub(super) async fn another_charge_can_succeed_after_a_decline(fixture: impl Fixture) {
    let declined = given_charge(&fixture, request(fixture.method(Behaviour::Declines))).await;
    let another = another_charge(&declined, fixture.method(Behaviour::Fine));
    let answer = fixture.provider().charge(&another).await.unwrap();
    assert_eq!((answer.report.charge, figures(&answer.report)), (2, (10_000, 10_000, None)));
    assert_eq!(fixture.moved(declined.payment_id).await.captured, 10_000);
}

pub(super) async fn a_lost_answer_is_an_unknown_outcome_and_a_lookup_finds_the_charge(fixture: impl Fixture) {
    let (provider, request) = (fixture.provider(), request(fixture.method(Behaviour::Fine)));
    fixture.lose_next_answer().await;
    let lost = provider.charge(&request).await.unwrap_err();
    assert!(matches!(lost, ProviderError::OutcomeUnknown(_)), "{lost:?}");
    let found = provider.look_up(&request).await.unwrap().expect("the provider must have the charge");
    assert_eq!(figures(&found.report), (10_000, 10_000, None));
    assert_eq!(provider.charge(&request).await, Ok(found));
    assert_eq!(fixture.moved(request.payment_id).await.captures, 1);
}

pub(super) async fn a_lookup_of_an_unknown_charge_finds_nothing(fixture: impl Fixture) {
    let request = request(fixture.method(Behaviour::Fine));
    assert_eq!(fixture.provider().look_up(&request).await, Ok(None));
}

pub(super) async fn a_charge_is_pending_until_the_customer_acts(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = request(fixture.method(Behaviour::WaitsForCustomer));
    let pending = provider.charge(&request).await.unwrap();
    assert_eq!(figures(&pending.report), (0, 0, None));
    assert!(pending.next_action.is_some(), "the answer must have the action of the customer");
    assert_eq!(provider.charge(&request).await.as_ref(), Ok(&pending));
    fixture.settle(&request, true).await;
    let completed = provider.look_up(&request).await.unwrap().unwrap();
    assert_eq!(figures(&completed.report), (10_000, 10_000, None));
    assert_eq!((completed.next_action, completed.report.reference), (None, pending.report.reference));
}

pub(super) async fn a_charge_that_the_customer_abandons_fails_and_is_retryable(fixture: impl Fixture) {
    let request = given_charge(&fixture, request(fixture.method(Behaviour::WaitsForCustomer))).await;
    fixture.settle(&request, false).await;
    let failed = fixture.provider().look_up(&request).await.unwrap().unwrap();
    assert_eq!(figures(&failed.report), (0, 0, Some("failed for now")));
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

pub(super) async fn requests_to_an_unreachable_provider_do_nothing(fixture: impl Fixture) {
    let provider = fixture.provider();
    let charged = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let (new, refund) = (request(fixture.method(Behaviour::Fine)), refund_of(&charged, 500));
    fixture.take_down().await;
    let errors = [
        provider.charge(&new).await.unwrap_err(),
        provider.void(&new).await.unwrap_err(),
        provider.look_up(&new).await.unwrap_err(),
        provider.refund(&refund).await.unwrap_err(),
    ];
    assert!(errors.iter().all(|error| matches!(error, ProviderError::Unreachable(_))), "{errors:?}");
    fixture.bring_up().await;
    assert_eq!(provider.look_up(&new).await, Ok(None));
    assert_eq!(fixture.moved(charged.payment_id).await.refunds, 0);
    let refunded = provider.refund(&refund).await.unwrap();
    assert!(matches!(refunded, RefundAnswer::Refunded { .. }), "{refunded:?}");
}

pub(super) async fn unknown_credentials_are_reported(fixture: impl Fixture) {
    let request = request(fixture.method(Behaviour::Fine));
    let refused = fixture.provider_without_credentials().charge(&request).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Credentials(_)), "{refused:?}");
    assert_eq!(fixture.provider().look_up(&request).await, Ok(None));
}

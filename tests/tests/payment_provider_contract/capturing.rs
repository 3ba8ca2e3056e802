//! Captures of an authorized charge.

use infra::payment_provider::ProviderError;
use tokio::task::JoinSet;

use super::{Behaviour, Fixture, Moved, amount, figures, given_charge, request_to_authorize};

pub(super) async fn a_repeated_capture_with_the_same_total_is_done_once(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (provider, request) = (provider.clone(), request.clone());
        requests
            .spawn(async move { provider.capture(&request, amount(3_000), amount(3_000)).await.unwrap() });
    }
    for report in requests.join_all().await {
        assert_eq!(figures(&report), (10_000, 3_000, None));
    }
    let rest = provider.capture(&request, amount(7_000), amount(10_000)).await.unwrap();
    assert_eq!(figures(&rest), (10_000, 10_000, None));
    // A late repetition of the first capture.
    let repeated = provider.capture(&request, amount(3_000), amount(3_000)).await.unwrap();
    assert_eq!(figures(&repeated), (10_000, 10_000, None));
    let moved = fixture.moved(request.payment_id).await;
    assert_eq!(moved, Moved { captures: 2, captured: 10_000, ..Moved::default() });
}

pub(super) async fn a_capture_beyond_the_authorized_amount_is_refused(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    let refused = provider.capture(&request, amount(10_001), amount(10_001)).await.unwrap_err();
    assert!(matches!(refused, ProviderError::Refused(_)), "{refused:?}");
    assert_eq!(fixture.moved(request.payment_id).await, Moved { held: 10_000, ..Moved::default() });
}

pub(super) async fn a_lookup_finds_a_lost_capture(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    fixture.lose_next_answer().await;
    let lost = provider.capture(&request, amount(4_000), amount(4_000)).await.unwrap_err();
    assert!(matches!(lost, ProviderError::OutcomeUnknown(_)), "{lost:?}");
    let found = provider.look_up(&request).await.unwrap().unwrap();
    assert_eq!(figures(&found.report), (10_000, 4_000, None));
    let repeated = provider.capture(&request, amount(4_000), amount(4_000)).await.unwrap();
    assert_eq!(figures(&repeated), (10_000, 4_000, None));
    assert_eq!(fixture.moved(request.payment_id).await.captures, 1);
}

//! Voids, also before, during and after the charge.

use domain::payment::CaptureMode;
use tokio::task::JoinSet;

use super::{
    Behaviour, Fixture, Moved, amount, figures, given_charge, request, request_in, request_to_authorize,
};

pub(super) async fn a_repeated_void_releases_the_authorized_money_once(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    let mut requests = JoinSet::new();
    for _ in 0..10 {
        let (provider, request) = (provider.clone(), request.clone());
        requests.spawn(async move { provider.void(&request).await.unwrap() });
    }
    for report in requests.join_all().await {
        assert_eq!(figures(&report), (10_000, 0, Some("voided")));
    }
    let found = provider.look_up(&request).await.unwrap().unwrap();
    assert_eq!(figures(&found.report), (10_000, 0, Some("voided")));
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

pub(super) async fn a_void_keeps_a_partial_capture(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    provider.capture(&request, amount(2_500), amount(2_500)).await.unwrap();
    let voided = provider.void(&request).await.unwrap();
    assert_eq!(figures(&voided), (10_000, 2_500, Some("voided")));
    let moved = fixture.moved(request.payment_id).await;
    assert_eq!(moved, Moved { captures: 1, captured: 2_500, ..Moved::default() });
}

pub(super) async fn a_void_does_not_return_a_full_capture(fixture: impl Fixture) {
    let request = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let report = fixture.provider().void(&request).await.unwrap();
    assert_eq!(figures(&report), (10_000, 10_000, None));
    assert_eq!(fixture.moved(request.payment_id).await.captured, 10_000);
}

pub(super) async fn a_charge_that_arrives_after_its_void_takes_no_money(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = request(fixture.method(Behaviour::Fine));
    let voided = provider.void(&request).await.unwrap();
    assert_eq!(figures(&voided), (0, 0, Some("voided")));
    let late = provider.charge(&request).await.unwrap();
    assert_eq!(figures(&late.report), (0, 0, Some("voided")));
    assert_eq!(provider.look_up(&request).await.unwrap(), Some(late));
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

pub(super) async fn a_concurrent_charge_and_void_leave_no_money_held(fixture: impl Fixture) {
    let provider = fixture.provider();
    for capture in [CaptureMode::Manual, CaptureMode::Automatic].repeat(5) {
        let request = request_in(capture, fixture.method(Behaviour::Fine));
        let (charged, voided) = tokio::join!(provider.charge(&request), provider.void(&request));
        let (charged, voided) = (charged.unwrap().report, voided.unwrap());
        let found = provider.look_up(&request).await.unwrap().unwrap().report;
        assert_eq!(
            found, voided,
            "the charge must not change after its void; the answer to the charge was {charged:?}"
        );
        let moved = fixture.moved(request.payment_id).await;
        assert_eq!((moved.held, moved.captured), (0, voided.captured.minor_units()), "{voided:?}");
    }
}

pub(super) async fn a_pending_charge_can_be_voided(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request(fixture.method(Behaviour::WaitsForCustomer))).await;
    assert_eq!(figures(&provider.void(&request).await.unwrap()), (0, 0, Some("voided")));
    let late = provider.charge(&request).await.unwrap();
    assert_eq!((figures(&late.report), late.next_action), ((0, 0, Some("voided")), None));
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

pub(super) async fn a_capture_after_a_void_takes_no_money(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    provider.void(&request).await.unwrap();
    // The adapter may refuse, or answer with the state of the charge.
    if let Ok(report) = provider.capture(&request, amount(10_000), amount(10_000)).await {
        assert_eq!(figures(&report), (10_000, 0, Some("voided")));
    }
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

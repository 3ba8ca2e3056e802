use domain::payment::CaptureMode;
use tokio::task::JoinSet;

use super::{
    Behaviour, Fixture, Moved, amount, figures, given_charge, request, request_in, request_to_authorize,
};

pub(super) async fn what_is_authorized_is_given_back_once(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    let mut asking = JoinSet::new();
    for _ in 0..10 {
        let (provider, request) = (provider.clone(), request.clone());
        asking.spawn(async move { provider.void(&request).await.unwrap() });
    }
    for report in asking.join_all().await {
        assert_eq!(figures(&report), (10_000, 0, Some("voided")));
    }
    let found = provider.look_up(&request).await.unwrap().unwrap();
    assert_eq!(figures(&found.report), (10_000, 0, Some("voided")));
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

pub(super) async fn what_is_captured_in_part_stays_captured(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    provider.capture(&request, amount(2_500), amount(2_500)).await.unwrap();
    let voided = provider.void(&request).await.unwrap();
    assert_eq!(figures(&voided), (10_000, 2_500, Some("voided")));
    let moved = fixture.moved(request.payment_id).await;
    assert_eq!(moved, Moved { captures: 1, captured: 2_500, ..Moved::default() });
}

pub(super) async fn what_is_captured_in_full_cannot_be_given_back_by_a_void(fixture: impl Fixture) {
    let request = given_charge(&fixture, request(fixture.method(Behaviour::Fine))).await;
    let report = fixture.provider().void(&request).await.unwrap();
    assert_eq!(figures(&report), (10_000, 10_000, None));
    assert_eq!(fixture.moved(request.payment_id).await.captured, 10_000);
}

pub(super) async fn a_charge_that_comes_after_its_void_takes_nothing(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = request(fixture.method(Behaviour::Fine));
    let given_up = provider.void(&request).await.unwrap();
    assert_eq!(figures(&given_up), (0, 0, Some("voided")));
    let late = provider.charge(&request).await.unwrap();
    assert_eq!(figures(&late.report), (0, 0, Some("voided")));
    assert_eq!(provider.look_up(&request).await.unwrap(), Some(late));
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

pub(super) async fn of_a_charge_and_a_void_at_once_nothing_is_left_held(fixture: impl Fixture) {
    let provider = fixture.provider();
    for capture in [CaptureMode::Manual, CaptureMode::Automatic].repeat(5) {
        let request = request_in(capture, fixture.method(Behaviour::Fine));
        let (charged, voided) = tokio::join!(provider.charge(&request), provider.void(&request));
        let (charged, voided) = (charged.unwrap().report, voided.unwrap());
        let found = provider.look_up(&request).await.unwrap().unwrap().report;
        assert_eq!(found, voided, "nothing changes after a void; the charge was answered with {charged:?}");
        let moved = fixture.moved(request.payment_id).await;
        assert_eq!((moved.held, moved.captured), (0, voided.captured.minor_units()), "{voided:?}");
    }
}

pub(super) async fn a_pending_charge_is_given_up(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request(fixture.method(Behaviour::WaitsForCustomer))).await;
    assert_eq!(figures(&provider.void(&request).await.unwrap()), (0, 0, Some("voided")));
    let late = provider.charge(&request).await.unwrap();
    assert_eq!((figures(&late.report), late.next_action), ((0, 0, Some("voided")), None));
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

pub(super) async fn nothing_is_captured_after_a_void(fixture: impl Fixture) {
    let provider = fixture.provider();
    let request = given_charge(&fixture, request_to_authorize(fixture.method(Behaviour::Fine))).await;
    provider.void(&request).await.unwrap();
    // Refused, or answered with how the charge stands.
    if let Ok(report) = provider.capture(&request, amount(10_000), amount(10_000)).await {
        assert_eq!(figures(&report), (10_000, 0, Some("voided")));
    }
    assert_eq!(fixture.moved(request.payment_id).await, Moved::default());
}

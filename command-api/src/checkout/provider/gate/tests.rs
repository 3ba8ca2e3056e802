use std::future::{pending, ready};

use uuid::Uuid;

use super::*;

fn payment(number: usize) -> PaymentId {
    PaymentId(Uuid::from_u128(number as u128))
}

fn conditions(health: &Health) -> Vec<&'static str> {
    health.readiness().unwrap().degraded.iter().map(|condition| condition.name).collect()
}

#[tokio::test(start_paused = true)]
async fn it_stops_all_calls_after_failures_of_several_payments_and_continues_after_a_probe() {
    let health = Health::default();
    let gate = Gate::new("test", health.clone());
    for number in 0..FAILING_PAYMENTS_MAX {
        assert_eq!(conditions(&health), [""; 0]);
        let failed = ready(Err::<(), _>(ProviderError::Unreachable("down".into())));
        assert!(gate.call(payment(number), CallKind::Charge, failed).await.is_err());
    }
    assert_eq!(conditions(&health), ["payment_provider"]);
    assert!(gate.is_stopped() && !gate.is_free());
    let unsent = gate
        .call(payment(9), CallKind::Charge, async { unreachable!("the call is not sent") as Result<(), _> })
        .await;
    assert!(matches!(unsent, Err(ProviderError::Unreachable(_))));

    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(gate.is_free());
    assert_eq!(gate.call(payment(9), CallKind::Charge, ready(Ok(()))).await, Ok(()));
    assert_eq!(conditions(&health), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hangs_has_an_unknown_outcome_and_frees_its_place() {
    let gate = Gate::new("test", Health::default());
    let hung = gate.call(payment(1), CallKind::Charge, pending::<Result<(), ProviderError>>()).await;
    assert!(matches!(hung, Err(ProviderError::OutcomeUnknown(_))));
    assert_eq!(gate.places.available_permits(), PROVIDER_CALLS_MAX);
}

#[tokio::test(start_paused = true)]
async fn a_call_waits_for_a_place_for_a_limited_time() {
    let gate = Gate::new("test", Health::default());
    let _taken = gate.places.acquire_many(u32::try_from(PROVIDER_CALLS_MAX).unwrap()).await.unwrap();
    assert!(!gate.is_free());
    let unsent = gate
        .call(payment(1), CallKind::Charge, async { unreachable!("the call is not sent") as Result<(), _> })
        .await;
    assert!(matches!(unsent, Err(ProviderError::Unreachable(_))));
    assert!(!gate.is_stopped(), "a call that is not sent is no failure of the provider");
}

//! The faults of the script.

use std::time::Duration;

use infra::payment_provider::{ChargeAnswer, PaymentProvider, ProviderError, RefundAnswer};
use sandbox::SandboxProvider;
use tokio::{net::TcpListener, time::Instant};
use uuid::Uuid;

use super::{
    super::{
        ChargeRequest, Fixture, RefundRequest, another_charge, figures, given_charge, refund_of, request,
    },
    SandboxFixture,
};

/// The most failures in a row before the test fails.
const ATTEMPTS_MAX: usize = 200;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_named_payment_method_has_its_fixed_outcome() {
    let sandbox = SandboxFixture::fresh().await;
    let provider = sandbox.provider();
    for (method, is_done) in [("lost_answer", true), ("error_after", true), ("error", false)] {
        let request = request(method);
        let lost = provider.charge(&request).await.unwrap_err();
        assert!(matches!(lost, ProviderError::OutcomeUnknown(_)), "{method}: {lost:?}");
        let found = provider.look_up(&request).await.unwrap();
        assert_eq!(found.is_some(), is_done, "{method}");
        assert_eq!(provider.charge(&request).await.is_ok(), is_done, "{method}, repeated");
    }

    let once = given_charge(&sandbox, request("decline_once")).await;
    let again = another_charge(&once, "decline_once");
    assert_eq!(
        figures(&provider.look_up(&once).await.unwrap().unwrap().report),
        (0, 0, Some("failed for now"))
    );
    assert_eq!(figures(&provider.charge(&again).await.unwrap().report), (10_000, 10_000, None));

    let began = Instant::now();
    provider.charge(&request("slow")).await.unwrap();
    assert!(began.elapsed() >= Duration::from_secs(3));
}

/// Repeats the request until it is answered, as the platform does.
async fn charged(provider: &SandboxProvider, request: &ChargeRequest) -> ChargeAnswer {
    for _ in 0..ATTEMPTS_MAX {
        if let Ok(answer) = provider.charge(request).await {
            return answer;
        }
    }
    panic!("{request:?} was never answered");
}

async fn refunded(provider: &SandboxProvider, refund: &RefundRequest) -> RefundAnswer {
    for _ in 0..ATTEMPTS_MAX {
        match provider.refund(refund).await {
            Ok(RefundAnswer::Pending) => tokio::time::sleep(Duration::from_millis(2)).await,
            Ok(answer) => return answer,
            Err(error) => assert!(matches!(error, ProviderError::OutcomeUnknown(_)), "{error:?}"),
        }
    }
    panic!("{refund:?} was never answered");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn repeated_requests_take_effect_once_under_every_fault() {
    const SCRIPT: &str = "declines=0.2,soft_declines=0.1,lost_requests=0.2,lost_answers=0.2,errors=0.1,errors_after=0.1,\
                          delay_ms=1,refund_failures=0.3,refunds_pending=0.3,refund_pending_ms=5,seed=7";
    let sandbox = SandboxFixture::scripted(SCRIPT).await;
    let provider = sandbox.direct();
    let (mut captures, mut refunds, mut declined, mut refused) = (0_u64, 0_u64, 0, 0);
    for number in 0..40_u128 {
        let mut request = request("card");
        // The same ids draw the same faults in every run.
        request.payment_id.0 = Uuid::from_u128(number);
        let answer = charged(&provider, &request).await;
        if answer.report.ending.is_some() {
            declined += 1;
            continue;
        }
        captures += 1;
        let mut refund = refund_of(&request, 4_000);
        refund.refund_id.0 = Uuid::from_u128(number);
        match refunded(&provider, &refund).await {
            RefundAnswer::Refunded { .. } => refunds += 1,
            RefundAnswer::Failed { .. } => refused += 1,
            RefundAnswer::Pending => unreachable!("settled"),
        }
    }
    assert!(declined > 0 && refused > 0 && refunds > 0, "{declined} declined, {refused} refunds failed");
    let totals = sandbox.totals().await.currencies[&"GBP".parse().unwrap()];
    assert_eq!((totals.captures, totals.captured.minor_units()), (captures, 10_000 * captures.cast_signed()));
    assert_eq!((totals.refunds, totals.refunded.minor_units()), (refunds, 4_000 * refunds.cast_signed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_seed_repeats_a_run() {
    const SCRIPT: &str = "declines=0.3,lost_requests=0.2,lost_answers=0.2,pending=0.2,pending_ms=60000,seed=";
    async fn run(seed: u64) -> Vec<String> {
        let sandbox = SandboxFixture::scripted(&format!("{SCRIPT}{seed}")).await;
        let provider = sandbox.direct();
        let mut answers = Vec::new();
        for number in 0..30_u128 {
            let mut request = request("card");
            request.payment_id.0 = Uuid::from_u128(number);
            for _ in 0..3 {
                let answer = provider.charge(&request).await;
                answers.push(
                    answer.map_or_else(
                        |_| "lost".to_owned(),
                        |answer| format!("{:?}", figures(&answer.report)),
                    ),
                );
            }
        }
        answers
    }
    let (one, same, other) = tokio::join!(run(7), run(7), run(8));
    assert_eq!(one, same);
    assert_ne!(one, other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_port_and_another_server_count_as_unreachable() {
    let sandbox = SandboxFixture::fresh().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let receiver = sandbox.receiver_address;
    for address in [closed, receiver] {
        let provider = SandboxProvider::new(&format!("http://{address}/"), sandbox.secret.clone());
        let request = request("ok");
        for error in
            [provider.look_up(&request).await.unwrap_err(), provider.void(&request).await.unwrap_err()]
        {
            assert!(matches!(error, ProviderError::Unreachable(_)), "{address}: {error:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_charge_that_the_script_leaves_pending_completes_later() {
    let sandbox = SandboxFixture::scripted("pending=1,pending_ms=20").await;
    let charge = given_charge(&sandbox, request("card")).await;
    let completed = crate::support::eventually("a pending charge completes", async || {
        let answer = sandbox.provider().look_up(&charge).await.unwrap().unwrap();
        answer.report.captured.is_positive().then_some(answer)
    });
    assert_eq!(figures(&completed.await.report), (10_000, 10_000, None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_answer_closes_the_connection_without_an_answer() {
    let sandbox = SandboxFixture::fresh().await;
    let url = format!("http://{}/v1/charges/{}/1", sandbox.address, Uuid::new_v4());
    let terms = serde_json::json!({"amount": 100, "currency": "GBP", "method": "lost_answer"});
    let put = || sandbox.http.put(&url).bearer_auth(sandbox.secret.reveal()).json(&terms).send();
    let lost = put().await.unwrap_err();
    assert!(lost.is_request() && lost.status().is_none(), "{lost:?}");
    assert_eq!(put().await.unwrap().status(), 200, "the repeated request is answered");
}

//! The notices that the sandbox sends.

use std::collections::BTreeMap;

use domain::Timestamp;
use infra::{payment_provider::PaymentProvider, signature::verify};

use super::{
    super::{Fixture, given_charge, refund_of, request},
    Receiver, SandboxFixture, id_of,
};
use crate::support::eventually;

/// Waits for `count` accepted notices. Returns how often each one was accepted.
async fn accepted(sandbox: &SandboxFixture, count: usize) -> BTreeMap<String, usize> {
    let accepted = eventually("the notices are accepted", async || {
        let accepted = sandbox.accepted();
        (accepted.len() >= count).then_some(accepted)
    });
    let mut times = BTreeMap::new();
    for webhook in accepted.await {
        let verified = verify(&[&sandbox.secret], &webhook.headers, &webhook.body, Timestamp::now());
        assert_eq!(verified, Ok(id_of(&webhook).as_str()));
        *times.entry(id_of(&webhook)).or_default() += 1;
    }
    times
}

/// Waits until no notice is queued. Returns the number of delivered ones.
async fn delivered(sandbox: &SandboxFixture) -> u64 {
    eventually("all notices are sent", async || {
        let webhooks = sandbox.totals().await.webhooks;
        (webhooks.waiting == 0).then_some(webhooks.delivered)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_notice_is_sent_again_also_after_a_restart() {
    let refusing = Receiver { refuses_first: 2, ..Receiver::default() };
    let mut sandbox = SandboxFixture::with("", refusing).await;
    let charge = given_charge(&sandbox, request("ok")).await;
    sandbox.direct().refund(&refund_of(&charge, 100)).await.unwrap();
    assert_eq!(sandbox.totals().await.webhooks.waiting, 2);
    sandbox.restart().await;
    let times = accepted(&sandbox, 2).await;
    assert_eq!(times.into_values().collect::<Vec<_>>(), [1, 1]);
    assert_eq!(delivered(&sandbox).await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_duplicate_notice_has_the_same_id() {
    let sandbox = SandboxFixture::scripted("duplicate_webhooks=1").await;
    given_charge(&sandbox, request("ok")).await;
    given_charge(&sandbox, request("ok")).await;
    let times = accepted(&sandbox, 4).await;
    assert_eq!(times.into_values().collect::<Vec<_>>(), [2, 2]);
    assert_eq!(delivered(&sandbox).await, 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_notice_is_never_sent() {
    let sandbox = SandboxFixture::scripted("lost_webhooks=1").await;
    given_charge(&sandbox, request("ok")).await;
    assert_eq!((sandbox.totals().await.webhooks.waiting, delivered(&sandbox).await), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn some_notices_arrive_after_later_ones() {
    let sandbox = SandboxFixture::scripted("reordered_webhooks=0.5,seed=1").await;
    let charge = given_charge(&sandbox, request("ok")).await;
    for _ in 0..20 {
        sandbox.direct().refund(&refund_of(&charge, 100)).await.unwrap();
    }
    assert_eq!(accepted(&sandbox, 21).await.len(), 21);
    let counted: Vec<u64> = sandbox.accepted().iter().map(|webhook| number_of(&id_of(webhook))).collect();
    assert!(!counted.is_sorted(), "{counted:?}");
}

/// The number of the event at the end of an id.
fn number_of(id: &str) -> u64 {
    id.rsplit('_').next().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_notice_is_sent_during_an_outage() {
    let refusing = Receiver { refuses_first: 1, ..Receiver::default() };
    let sandbox = SandboxFixture::with("", refusing).await;
    given_charge(&sandbox, request("ok")).await;
    sandbox.take_down().await;
    let before = sandbox.totals().await.webhooks;
    // Longer than the 0.5 s before the second attempt.
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    let after = sandbox.totals().await.webhooks;
    assert_eq!((before.waiting, after), (1, before));
    sandbox.bring_up().await;
    assert_eq!(delivered(&sandbox).await, 1);
}

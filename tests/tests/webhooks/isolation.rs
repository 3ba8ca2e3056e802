//! One receiver, one subscription or one partition that fails does not delay the others.

use std::{collections::VecDeque, fs, sync::Mutex};

use async_trait::async_trait;
use infra::{
    event_source::{Partition, Reached, SourceUpdate},
    event_store::ReadError,
    sealing::SecretKeys,
};

use super::{receiver::Reply, *};
use crate::support::PATIENCE;

#[tokio::test]
async fn receivers_that_never_answer_get_one_request_each_and_delay_no_other_receiver() {
    let mut hooks = Hooks::stopped(UrlGuard::new(true)).await;
    let quick = Receiver::start(&[]).await;
    let mut black_holes = Vec::new();
    for _ in 0..8 {
        let hole = Receiver::start(&[]).await;
        hole.always(Reply::Hang);
        hooks.subscribe(&hole, &["*"]).await;
        black_holes.push(hole);
    }
    let subscription = hooks.subscribe(&quick, &["*"]).await;
    hooks.start_follower();
    // No request ends during the test.
    hooks.start_sending(DispatcherOptions { time_max: 2 * PATIENCE, ..dispatcher_options() });
    let mut expected = 0;
    for key in ["A", "B", "C", "D", "E", "F"] {
        let order = hooks.paid_order(key).await;
        expected += hooks.events_of(&order).await.len();
    }
    hooks.until(&subscription, "delivered", expected).await;
    for hole in black_holes {
        hole.until(1).await;
        assert_eq!(hole.received().len(), 1);
    }
}

#[tokio::test]
async fn a_malformed_secret_stops_only_its_subscription_until_it_is_rotated() {
    let mut hooks = Hooks::stopped(UrlGuard::new(true)).await;
    let (first, second) = (Receiver::start(&[]).await, Receiver::start(&[]).await);
    let damaged = hooks.subscribe(&first, &["order.placed.v2"]).await;
    let intact = hooks.subscribe(&second, &["order.placed.v2"]).await;
    let file = rusqlite::Connection::open(hooks.directory.path().join("operations.db")).unwrap();
    file.execute("UPDATE webhook_subscriptions SET secret = 'whsec_?' WHERE number = 1", ()).unwrap();
    hooks.start_follower();
    hooks.start_dispatcher();
    hooks.paid_order("A").await;
    hooks.until(&intact, "delivered", 1).await;
    let error = eventually("the failure is recorded", async || {
        let recorded = hooks.deliveries(&damaged).await;
        recorded.first().and_then(|one| one["last_error"].as_str().map(str::to_owned))
    })
    .await;
    assert_eq!(error, "not sent: the stored signing secret is malformed; rotate the secret");
    assert_eq!(hooks.get(&damaged).await.expect(200)["secret_readable"], false);
    assert_eq!(first.received().len(), 0);

    let rotated = hooks.post(&format!("{damaged}/rotate-secret"), "rotate", json!({})).await.expect(200);
    assert!(rotated["secret"].as_str().unwrap().starts_with("whsec_"), "{rotated}");
    hooks.until(&damaged, "delivered", 1).await;
}

#[tokio::test]
async fn deliveries_of_a_secret_under_an_unknown_key_wait_for_the_key_and_delay_no_other_ones() {
    let mut hooks = Hooks::stopped(UrlGuard::new(true)).await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("keys");
    fs::write(&file, "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=").unwrap();
    let with_keys = hooks.store.as_ref().clone().with_secret_keys(SecretKeys::read(&file).unwrap());
    let (first, second) = (Receiver::start(&[]).await, Receiver::start(&[]).await);
    let sealed = hooks.subscribe(&first, &["order.placed.v2"]).await;
    assert_eq!(with_keys.seal_secrets().await.unwrap(), 1);
    let plain = hooks.subscribe(&second, &["order.placed.v2"]).await;
    hooks.start_follower();
    hooks.start_dispatcher();
    hooks.paid_order("A").await;
    hooks.until(&plain, "delivered", 1).await;
    assert_eq!(hooks.get(&sealed).await.expect(200)["secret_readable"], false);
    let degraded = eventually("the condition is shown", async || {
        hooks.webhooks.health.readiness().unwrap().degraded.pop()
    })
    .await;
    assert_eq!(degraded.name, "webhook_secrets_sealed");
    let id = sealed.rsplit('/').next().unwrap();
    assert!(degraded.detail.contains(id) && degraded.detail.contains("630dcd2966c4"), "{}", degraded.detail);
    let waiting = &hooks.until(&sealed, "pending", 1).await[0];
    assert_eq!(waiting["attempts"], 0, "{waiting}");

    // A process that has the key.
    hooks.webhooks.store = Arc::new(with_keys);
    hooks.start_dispatcher();
    let delivered = &hooks.until(&sealed, "delivered", 1).await[0];
    assert_eq!((&delivered["attempts"], first.received().len()), (&json!(1), 1));
}

/// A source that fails once in each given place and then returns nothing until it is sought, as Kafka does
/// after an unreadable message.
struct Stumbling {
    inner: DirectSource,
    /// The numbers of updates before each failure.
    failures: Mutex<VecDeque<usize>>,
    stuck: bool,
}

#[async_trait]
impl EventSource for Stumbling {
    async fn next(&mut self) -> Result<SourceUpdate, ReadError> {
        if self.stuck {
            std::future::pending::<()>().await;
        }
        let fails = match self.failures.lock().unwrap().front_mut() {
            Some(0) => true,
            Some(count) => {
                *count -= 1;
                false
            }
            None => false,
        };
        if fails {
            self.failures.lock().unwrap().pop_front();
            self.stuck = true;
            return Err(ReadError::Corrupt("a message cannot be read".into()));
        }
        self.inner.next().await
    }

    fn seek(&mut self, partition: &Partition, reached: Option<Reached>) {
        self.stuck = false;
        self.inner.seek(partition, reached);
    }
}

#[tokio::test]
async fn a_partition_that_failed_is_read_again() {
    let (mut hooks, receiver) = (Hooks::stopped(UrlGuard::new(true)).await, Receiver::start(&[]).await);
    let subscription = hooks.subscribe(&receiver, &["*"]).await;
    let order = hooks.paid_order("A").await;
    let expected = hooks.events_of(&order).await.len();
    let events = hooks.shop.events();
    let layout = Arc::new(WholeLog(events.log()));
    let inner = DirectSource::new(events, 2);
    let failures = Mutex::new([2, 0].into());
    hooks.start_following(Box::new(Stumbling { inner, failures, stuck: false }), layout);
    hooks.start_dispatcher();
    hooks.until(&subscription, "delivered", expected).await;
    assert_eq!(hooks.deliveries(&subscription).await.len(), expected);
}

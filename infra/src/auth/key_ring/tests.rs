use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use async_trait::async_trait;
use futures::FutureExt;
use tokio::{
    task::{JoinHandle, yield_now},
    time::advance,
};

use super::*;
use crate::{
    auth::{Principal, Scope, Scopes},
    operations::api_keys::AddKeyOutcome,
};

/// A store in memory that can fail or hang.
#[derive(Default)]
struct Store {
    keys: Mutex<Vec<ApiKey>>,
    is_down: AtomicBool,
    hangs: AtomicBool,
    readings: AtomicUsize,
}

impl Store {
    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<ApiKey>> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl ApiKeys for Store {
    async fn add(&self, key: &ApiKey) -> Result<AddKeyOutcome, OperationsError> {
        self.lock().push(key.clone());
        Ok(AddKeyOutcome::Added)
    }

    async fn replace(&self, _: &KeyId, _: Timestamp, _: &ApiKey) -> Result<AddKeyOutcome, OperationsError> {
        unimplemented!("a ring only reads")
    }

    async fn revoke(&self, id: &KeyId, _: Timestamp) -> Result<bool, OperationsError> {
        self.lock().retain(|key| key.id != *id);
        Ok(true)
    }

    async fn keys(&self, _: Option<Timestamp>) -> Result<Vec<ApiKey>, OperationsError> {
        self.readings.fetch_add(1, Ordering::Relaxed);
        if self.hangs.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
        if self.is_down.load(Ordering::Relaxed) {
            return Err(OperationsError("it is down".into()));
        }
        Ok(self.lock().clone())
    }

    async fn note_use(&self, id: &KeyId, now: Timestamp) -> Result<(), OperationsError> {
        let mut keys = self.lock();
        let key = keys.iter_mut().find(|key| key.id == *id).expect("a used key is stored");
        assert!(key.last_used_at.is_none_or(|at| now.duration_since(at) >= USE_WRITTEN_EVERY), "{now}");
        key.last_used_at = Some(now);
        Ok(())
    }
}

/// The start of every test.
fn begin() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap_or_default()
}

/// A ring over a store, with a clock that follows tokio's.
fn ring() -> (KeyRing, Arc<Store>) {
    let (store, started) = (Arc::new(Store::default()), Instant::now());
    let elapsed = move || jiff::SignedDuration::try_from(started.elapsed()).unwrap_or_default();
    (KeyRing::new(store.clone(), Clock::given_by(move || begin() + elapsed())), store)
}

async fn add(store: &Store, expires_at: Option<Timestamp>) -> ApiKeySecret {
    let secret = ApiKeySecret::generate().expect("random bytes");
    let key = ApiKey {
        id: secret.id().clone(),
        principal: Principal::of_keys("shop").expect("a valid name"),
        scopes: Scopes::of([Scope::Read]),
        secret_hash: secret.hash(),
        created_at: begin(),
        expires_at,
        revoked_at: None,
        last_used_at: None,
    };
    store.add(&key).await.expect("it is up");
    secret
}

async fn is_accepted(ring: &KeyRing, secret: &ApiKeySecret) -> bool {
    ring.caller(&secret.reveal()).await.is_ok()
}

/// Starts a request that reads the keys.
async fn begin_reading(ring: &KeyRing, secret: &ApiKeySecret) -> JoinHandle<bool> {
    let (ring, secret) = (ring.clone(), secret.reveal());
    let request = tokio::spawn(async move { ring.caller(&secret).await.is_ok() });
    yield_now().await;
    assert!(!request.is_finished());
    request
}

#[tokio::test(start_paused = true)]
async fn a_key_is_accepted_until_it_expires_or_is_revoked() {
    let (ring, store) = ring();
    let (forever, soon) = (add(&store, None).await, add(&store, Some(begin() + USE_WRITTEN_EVERY)).await);
    let caller = ring.caller(&forever.reveal()).await.expect("a valid key");
    assert_eq!(
        (caller.idempotency_name(), caller.may(Scope::Read), caller.may(Scope::Admin)),
        ("shop", true, false)
    );
    assert!(is_accepted(&ring, &soon).await);
    let wrong = format!("ork_{}_{}", forever.id(), &soon.reveal()[21..]);
    assert!(matches!(ring.caller(&wrong).await, Err(Refusal::Invalid(_))));

    store.revoke(forever.id(), begin()).await.expect("it is up");
    advance(READ_EVERY).await;
    assert!(!is_accepted(&ring, &forever).await && is_accepted(&ring, &soon).await);
    advance(Duration::from_mins(1)).await;
    assert!(!is_accepted(&ring, &soon).await);
}

#[tokio::test(start_paused = true)]
async fn a_new_key_works_after_a_second_and_guesses_do_not_cause_a_reading_each() {
    let (ring, store) = ring();
    let guess = ApiKeySecret::generate().expect("random bytes");
    for _ in 0..100 {
        assert!(!is_accepted(&ring, &guess).await);
    }
    assert_eq!(store.readings.load(Ordering::Relaxed), 1);
    let new = add(&store, None).await;
    assert!(!is_accepted(&ring, &new).await);
    advance(READ_AGAIN_FOR_UNKNOWN).await;
    assert!(is_accepted(&ring, &new).await);
}

#[tokio::test(start_paused = true)]
async fn while_the_store_is_down_the_keys_that_were_read_last_are_accepted() {
    let (ring, store) = ring();
    let known = add(&store, None).await;
    store.is_down.store(true, Ordering::Relaxed);
    assert!(matches!(ring.caller(&known.reveal()).await, Err(Refusal::KeysUnavailable(_))));
    store.is_down.store(false, Ordering::Relaxed);
    advance(READ_EVERY).await;
    assert!(is_accepted(&ring, &known).await);

    store.is_down.store(true, Ordering::Relaxed);
    let before = store.readings.load(Ordering::Relaxed);
    for _ in 0..3 {
        advance(READ_EVERY).await;
        assert!(is_accepted(&ring, &known).await && is_accepted(&ring, &known).await);
    }
    assert_eq!(store.readings.load(Ordering::Relaxed) - before, 3);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_known_key_does_not_wait_for_another_one_that_reads_the_keys() {
    let (ring, store) = ring();
    let (known, unknown) = (add(&store, None).await, ApiKeySecret::generate().expect("random bytes"));
    assert!(is_accepted(&ring, &known).await);
    store.hangs.store(true, Ordering::Relaxed);
    // Later rounds have keys that are older than the longest time for a revocation, because the store does not answer.
    for _ in 0..3 {
        advance(READ_EVERY).await;
        let reading = begin_reading(&ring, &known).await;
        assert_eq!(is_accepted(&ring, &known).now_or_never(), Some(true));
        assert_eq!(is_accepted(&ring, &unknown).now_or_never(), None);
        assert!(reading.await.expect("it does not panic"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_key_that_was_revoked_while_there_was_no_request_waits_for_the_keys() {
    let (ring, store) = ring();
    let (revoked, other) = (add(&store, None).await, add(&store, None).await);
    assert!(is_accepted(&ring, &revoked).await);
    store.revoke(revoked.id(), begin()).await.expect("it is up");
    advance(REVOKED_AFTER_MAX).await;
    store.hangs.store(true, Ordering::Relaxed);
    let reading = begin_reading(&ring, &other).await;
    assert_eq!(is_accepted(&ring, &revoked).now_or_never(), None);
    reading.abort();
    store.hangs.store(false, Ordering::Relaxed);
    assert!(!is_accepted(&ring, &revoked).await);
}

#[tokio::test(start_paused = true)]
async fn a_process_that_reads_the_keys_late_admits_everybody_only_if_there_is_none() {
    let none = http::HeaderMap::new();
    for has_key in [false, true] {
        let (ring, store) = ring();
        if has_key {
            add(&store, Some(begin())).await;
        }
        let authenticator = crate::auth::Authenticator::new(ring, None).open_without_keys();
        store.is_down.store(true, Ordering::Relaxed);
        assert!(matches!(authenticator.authenticate(&none).await, Err(Refusal::KeysUnavailable(_))));
        store.is_down.store(false, Ordering::Relaxed);
        advance(READ_EVERY).await;
        assert_eq!(authenticator.authenticate(&none).await.is_ok(), !has_key);
        // Once decided, it stays.
        add(&store, None).await;
        advance(READ_EVERY).await;
        assert_eq!(authenticator.authenticate(&none).await.is_ok(), !has_key);
    }
}

#[tokio::test(start_paused = true)]
async fn the_use_of_a_key_is_written_once_a_minute() {
    let (ring, store) = ring();
    let key = add(&store, None).await;
    let last_use = async || {
        yield_now().await;
        store.lock()[0].last_used_at
    };
    for _ in 0..59 {
        assert!(is_accepted(&ring, &key).await);
        assert_eq!(last_use().await, Some(begin()));
        advance(Duration::from_secs(1)).await;
    }
    advance(Duration::from_secs(1)).await;
    assert!(is_accepted(&ring, &key).await);
    assert_eq!(last_use().await, Some(begin() + USE_WRITTEN_EVERY));
}

//! The valid API keys, in memory.
//!
//! All keys are read at once, because there are at most 1,000: a guessed key then causes no query of its own.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use domain::Timestamp;
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout},
};

use super::{
    Caller, Refusal,
    api_key::{ApiKeySecret, KeyId},
};
use crate::{
    clock::Clock,
    log_limit::LogLimit,
    operations::{
        OperationsError,
        api_keys::{ApiKey, ApiKeys, USE_WRITTEN_EVERY},
    },
};

/// The keys are read again after this time, and after a failure as well.
const READ_EVERY: Duration = Duration::from_secs(4);
/// While the store answers, a revoked key is refused at the latest after this time. Longer than [`READ_EVERY`] and
/// [`READING_MAX`] together, so a process with regular requests has read the keys before it ends.
const REVOKED_AFTER_MAX: Duration = Duration::from_secs(5);
/// A key that is not in memory is looked for again after this time, so a new key works after a second.
const READ_AGAIN_FOR_UNKNOWN: Duration = Duration::from_secs(1);
/// The longest wait for the first reading of the keys.
const FIRST_READING_MAX: Duration = Duration::from_secs(5);
/// The longest wait for a further one.
const READING_MAX: Duration = Duration::from_millis(500);

type Keys = HashMap<KeyId, ApiKey>;

/// Reads the keys again as needed. While the store does not answer, the keys that were read last stay valid.
#[derive(Clone)]
pub struct KeyRing(Arc<Ring>);

struct Ring {
    store: Arc<dyn ApiKeys>,
    clock: Clock,
    read: RwLock<Read>,
    /// One reading at a time.
    reading: tokio::sync::Mutex<()>,
    /// When the last use of each key was noted.
    noted: Mutex<HashMap<KeyId, Timestamp>>,
}

/// What the last readings found.
#[derive(Default)]
struct Read {
    keys: Option<(Arc<Keys>, Instant)>,
    failed_at: Option<Instant>,
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyRing")
    }
}

impl KeyRing {
    pub fn new(store: Arc<dyn ApiKeys>, clock: Clock) -> Self {
        let (read, reading, noted) = (RwLock::default(), tokio::sync::Mutex::default(), Mutex::default());
        Self(Arc::new(Ring { store, clock, read, reading, noted }))
    }

    /// The caller with this secret.
    pub(super) async fn caller(&self, secret: &str) -> Result<Caller, Refusal> {
        const UNKNOWN: Refusal = Refusal::Invalid("the API key is unknown, revoked or expired");
        let secret = ApiKeySecret::parse(secret).ok_or(UNKNOWN)?;
        let mut keys = self.0.keys_of_known().await?;
        if !keys.contains_key(secret.id()) {
            keys = self.0.keys(READ_AGAIN_FOR_UNKNOWN).await?;
        }
        let now = self.0.clock.now();
        let is_right = |key: &&ApiKey| key.secret_hash == secret.hash() && key.is_valid_at(now);
        let key = keys.get(secret.id()).filter(is_right).ok_or(UNKNOWN)?;
        self.note_use(key, now);
        Ok(Caller::new(key.principal.clone(), key.scopes, None))
    }

    /// True if no key was ever made.
    pub(super) async fn is_empty(&self) -> Result<bool, OperationsError> {
        // Fails at once while the store does not answer.
        let has_valid_keys = !self.0.keys(READ_EVERY).await?.is_empty();
        Ok(!has_valid_keys && self.0.store.keys(None).await?.is_empty())
    }

    /// Writes the use of a key beside the request, at most once a minute.
    fn note_use(&self, key: &ApiKey, now: Timestamp) {
        let mut noted = self.0.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let is_noted = |at: &Timestamp| now.duration_since(*at) < USE_WRITTEN_EVERY;
        if noted.get(&key.id).is_some_and(is_noted) {
            return;
        }
        noted.insert(key.id.clone(), now);
        let (ring, id) = (Arc::clone(&self.0), key.id.clone());
        tokio::spawn(async move {
            if let Err(error) = ring.store.note_use(&id, now).await {
                static FAILURES: LogLimit = LogLimit::new(Duration::from_mins(1));
                if let Some(omitted) = FAILURES.pass() {
                    tracing::warn!(key.id = %id, %error, lines.omitted = omitted, "Cannot record the use of an API key");
                }
            }
        });
    }
}

impl Ring {
    /// The keys, read at most `max_age` ago if the store answers.
    async fn keys(&self, max_age: Duration) -> Result<Arc<Keys>, OperationsError> {
        if let Some(known) = self.known(max_age) {
            return known;
        }
        let turn = self.reading.lock().await;
        self.read_again(max_age, turn).await
    }

    /// The keys for a request whose key is probably among them. One request reads them when it is time; the others
    /// do not wait for it.
    async fn keys_of_known(&self) -> Result<Arc<Keys>, OperationsError> {
        if let Some(known) = self.known(READ_EVERY) {
            return known;
        }
        let turn = match self.reading.try_lock() {
            Ok(turn) => turn,
            Err(_) => match self.valid_meanwhile() {
                Some(keys) => return Ok(keys),
                None => self.reading.lock().await,
            },
        };
        self.read_again(READ_EVERY, turn).await
    }

    /// Reads the keys, unless another request has done so in the last `max_age`.
    async fn read_again(
        &self,
        max_age: Duration,
        _turn: MutexGuard<'_, ()>,
    ) -> Result<Arc<Keys>, OperationsError> {
        if let Some(known) = self.known(max_age) {
            return known;
        }
        let max = if self.last().is_some() { READING_MAX } else { FIRST_READING_MAX };
        // A key that is revoked during the reading may still be in its result.
        let began_at = Instant::now();
        let reading = timeout(max, self.store.keys(Some(self.clock.now())));
        let failure = match reading.await {
            Ok(Ok(keys)) => {
                let keys: Arc<Keys> = Arc::new(keys.into_iter().map(|key| (key.id.clone(), key)).collect());
                let read = Read { keys: Some((Arc::clone(&keys), began_at)), failed_at: None };
                *self.read.write().unwrap_or_else(PoisonError::into_inner) = read;
                return Ok(keys);
            }
            Ok(Err(error)) => error,
            Err(_) => OperationsError(format!("the API keys were not read within {max:?}").into()),
        };
        self.read.write().unwrap_or_else(PoisonError::into_inner).failed_at = Some(Instant::now());
        tracing::warn!(error = %failure, "Cannot read the API keys; those that were read last stay valid");
        self.last().ok_or(failure)
    }

    /// The keys in memory, if no reading is due. After a failure, the next one is due after [`READ_EVERY`].
    fn known(&self, max_age: Duration) -> Option<Result<Arc<Keys>, OperationsError>> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        if read.failed_at.is_some_and(|at| at.elapsed() < READ_EVERY) {
            let keys = read.keys.as_ref().map(|(keys, _)| Arc::clone(keys));
            return Some(keys.ok_or_else(|| OperationsError("the API keys were not read yet".into())));
        }
        let fresh = read.keys.as_ref().filter(|(_, read_at)| read_at.elapsed() < max_age);
        fresh.map(|(keys, _)| Ok(Arc::clone(keys)))
    }

    /// The keys in memory, if they are valid while they are read again. After a pause without requests they are not:
    /// a key may have been revoked in it.
    fn valid_meanwhile(&self) -> Option<Arc<Keys>> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        let (keys, read_at) = read.keys.as_ref()?;
        let is_valid = read.failed_at.is_some() || read_at.elapsed() < REVOKED_AFTER_MAX;
        is_valid.then(|| Arc::clone(keys))
    }

    fn last(&self) -> Option<Arc<Keys>> {
        let read = self.read.read().unwrap_or_else(PoisonError::into_inner);
        read.keys.as_ref().map(|(keys, _)| Arc::clone(keys))
    }
}

#[cfg(test)]
mod tests;

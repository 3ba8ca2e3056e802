//! The keys of an issuer of tokens: a JSON Web Key Set (RFC 7517) in a file or behind a URL.

use std::{
    collections::HashMap,
    fmt, io,
    path::PathBuf,
    str::FromStr,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse},
};
use reqwest::{Client, Url, redirect};
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    sync::MutexGuard,
    time::{Instant, timeout},
};

use crate::http_client::{self, describe};

/// A key that is not in memory is looked for again at most this often: anybody can name an unknown key.
const LOAD_EVERY_MIN: Duration = Duration::from_secs(10);
/// A key that the issuer has withdrawn is refused at the latest after this time.
const LOAD_EVERY: Duration = Duration::from_mins(5);
/// The longest wait for the key set.
const LOAD_MAX: Duration = Duration::from_secs(3);
/// Bounds the memory of a key set. Those of large issuers have about 10 KiB.
const KEY_SET_BYTES_MAX: usize = 256 * 1024;
/// The least length of an RSA modulus, 2,048 bits, in base64 without padding.
const RSA_MODULUS_CHARS_MIN: usize = 2_048 / 8 * 4 / 3;

/// Where the keys of an issuer are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    File(PathBuf),
    Url(Url),
}

/// Why a text names no key set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("expected file:PATH or an https:// URL (http:// only for an address of this machine)")]
pub struct InvalidKeySource;

impl FromStr for KeySource {
    type Err = InvalidKeySource;

    fn from_str(text: &str) -> Result<Self, InvalidKeySource> {
        if let Some(path) = text.strip_prefix("file:").filter(|path| !path.is_empty()) {
            return Ok(Self::File(path.into()));
        }
        let url = Url::parse(text).map_err(|_| InvalidKeySource)?;
        if http_client::is_private(&url) { Ok(Self::Url(url)) } else { Err(InvalidKeySource) }
    }
}

/// Why the keys of an issuer cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    #[error("cannot read the key set {path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot read the key set {url}: {reason}")]
    Url { url: Url, reason: String },
    #[error("{0} is not a JSON Web Key Set: {1}")]
    Malformed(String, serde_json::Error),
    #[error("{0} has no key for EdDSA, ES256 or RS256 (with at least 2048 bits)")]
    NoKey(String),
}

/// A key and the one algorithm that it is for. A token that names another algorithm is refused, so no public
/// key is ever used as a shared secret.
#[derive(Clone)]
pub(super) struct VerificationKey {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

impl fmt::Debug for VerificationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerificationKey").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// By key id. The only key of a set may have none.
pub(super) type Keys = HashMap<Option<String>, Arc<VerificationKey>>;

/// Reads the key set again as needed. While its source does not answer, the keys that were read last stay valid.
pub(super) struct KeySet {
    /// `None`: the keys never change.
    source: Option<Source>,
    loaded: RwLock<Loaded>,
    /// One attempt at a time.
    loading: tokio::sync::Mutex<()>,
}

enum Source {
    File(PathBuf),
    Url(Url, Client),
}

struct Loaded {
    keys: Arc<Keys>,
    tried_at: Option<Instant>,
}

impl fmt::Debug for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySet").finish_non_exhaustive()
    }
}

impl KeySet {
    /// A set with one key, which is never read again.
    pub(super) fn of(key: VerificationKey) -> Self {
        let keys = Keys::from([(None, Arc::new(key))]);
        Self::with(None, keys)
    }

    /// Reads a key set. A file must be readable at the start; a URL may answer later.
    pub(super) async fn open(source: KeySource) -> Result<Self, KeySetError> {
        let source = match source {
            KeySource::File(path) => Source::File(path),
            KeySource::Url(url) => {
                let client = Client::builder().timeout(LOAD_MAX).redirect(redirect::Policy::none()).build();
                let failed = |error| KeySetError::Url { url: url.clone(), reason: describe(error) };
                let client = client.map_err(failed)?;
                Source::Url(url, client)
            }
        };
        match load(&source).await {
            Ok(keys) => {
                let set = Self::with(Some(source), keys);
                set.loaded.write().unwrap_or_else(PoisonError::into_inner).tried_at = Some(Instant::now());
                Ok(set)
            }
            Err(error) if matches!(error, KeySetError::Url { .. }) => {
                tracing::warn!(%error, "Cannot read the keys of the issuer; tokens are refused until it answers");
                Ok(Self::with(Some(source), Keys::new()))
            }
            Err(error) => Err(error),
        }
    }

    fn with(source: Option<Source>, keys: Keys) -> Self {
        let loaded = RwLock::new(Loaded { keys: Arc::new(keys), tried_at: None });
        Self { source, loaded, loading: tokio::sync::Mutex::default() }
    }

    /// The key with this id; the only key if the token names none.
    pub(super) async fn find(&self, id: Option<&str>) -> Option<Arc<VerificationKey>> {
        let (keys, age) = self.known();
        let found = in_keys(&keys, id);
        let is_due = age.is_none_or(|age| age >= if found.is_some() { LOAD_EVERY } else { LOAD_EVERY_MIN });
        if !is_due {
            return found;
        }
        let turn = match self.loading.try_lock() {
            Ok(turn) => turn,
            // Another request loads the set. Only a token with an unknown key needs the outcome.
            Err(_) if found.is_some() => return found,
            Err(_) => self.loading.lock().await,
        };
        let keys = self.load_again(turn).await;
        in_keys(&keys, id)
    }

    fn known(&self) -> (Arc<Keys>, Option<Duration>) {
        let loaded = self.loaded.read().unwrap_or_else(PoisonError::into_inner);
        (Arc::clone(&loaded.keys), loaded.tried_at.map(|at| at.elapsed()))
    }

    /// Loads the set, unless another request has just tried. Returns the keys that are valid then.
    async fn load_again(&self, _turn: MutexGuard<'_, ()>) -> Arc<Keys> {
        let Some(source) = &self.source else { return self.known().0 };
        let (known, age) = self.known();
        if age.is_some_and(|age| age < LOAD_EVERY_MIN) {
            return known;
        }
        let outcome = load(source).await;
        let mut loaded = self.loaded.write().unwrap_or_else(PoisonError::into_inner);
        loaded.tried_at = Some(Instant::now());
        match outcome {
            Ok(keys) => loaded.keys = Arc::new(keys),
            Err(error) => {
                tracing::warn!(%error, "Cannot read the keys of the issuer; those that were read last stay valid");
            }
        }
        Arc::clone(&loaded.keys)
    }
}

fn in_keys(keys: &Keys, id: Option<&str>) -> Option<Arc<VerificationKey>> {
    match id {
        Some(id) => keys.get(&Some(id.to_owned())).cloned(),
        None if keys.len() == 1 => keys.values().next().cloned(),
        None => None,
    }
}

async fn load(source: &Source) -> Result<Keys, KeySetError> {
    match source {
        Source::File(path) => {
            let reading = tokio::task::spawn_blocking({
                let path = path.clone();
                move || std::fs::read(path)
            });
            let outcome = reading.await.unwrap_or_else(|error| Err(io::Error::other(error)));
            let json = outcome.map_err(|source| KeySetError::File { path: path.clone(), source })?;
            parse(&json, &path.display().to_string())
        }
        Source::Url(url, client) => {
            let failed = |reason: String| KeySetError::Url { url: url.clone(), reason };
            let fetching = timeout(LOAD_MAX, fetch(client, url));
            let fetched = fetching.await.map_err(|_| failed(format!("no answer within {LOAD_MAX:?}")))?;
            let json = fetched.map_err(failed)?;
            parse(&json, url.as_str()).map_err(|error| failed(error.to_string()))
        }
    }
}

async fn fetch(client: &Client, url: &Url) -> Result<Vec<u8>, String> {
    let answer = client.get(url.clone()).send().await;
    let response = answer.and_then(reqwest::Response::error_for_status).map_err(describe)?;
    http_client::read(response, KEY_SET_BYTES_MAX).await
}

#[derive(Deserialize)]
struct KeySetJson {
    keys: Vec<Value>,
}

/// Ignores keys that are for other uses or algorithms. Of keys with the same id, the first counts.
fn parse(json: &[u8], name: &str) -> Result<Keys, KeySetError> {
    let set: KeySetJson =
        serde_json::from_slice(json).map_err(|error| KeySetError::Malformed(name.to_owned(), error))?;
    let mut keys = Keys::new();
    for jwk in set.keys.into_iter().filter_map(|key| serde_json::from_value::<Jwk>(key).ok()) {
        let (Some(algorithm), Ok(key)) = (algorithm_of(&jwk), DecodingKey::from_jwk(&jwk)) else { continue };
        let id = jwk.common.key_id.clone();
        keys.entry(id).or_insert_with(|| Arc::new(VerificationKey { algorithm, key }));
    }
    if keys.is_empty() { Err(KeySetError::NoKey(name.to_owned())) } else { Ok(keys) }
}

/// The algorithm that a key is for. `None` if it does not verify signatures, or those of other algorithms.
fn algorithm_of(jwk: &Jwk) -> Option<Algorithm> {
    let (algorithm, declared) = match &jwk.algorithm {
        AlgorithmParameters::RSA(key) if key.n.len() >= RSA_MODULUS_CHARS_MIN => {
            (Algorithm::RS256, KeyAlgorithm::RS256)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return None,
    };
    let common = &jwk.common;
    let is_for_signatures =
        common.public_key_use.as_ref().is_none_or(|r#use| *r#use == PublicKeyUse::Signature);
    let operations = common.key_operations.as_ref();
    let verifies = operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    let is_declared = common.key_algorithm.as_ref().is_none_or(|algorithm| *algorithm == declared);
    (is_for_signatures && verifies && is_declared).then_some(algorithm)
}

#[cfg(test)]
mod tests;

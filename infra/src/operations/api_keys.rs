//! The port of the API keys.

use async_trait::async_trait;
use domain::Timestamp;

use super::OperationsError;
use crate::auth::{
    Principal, Scopes,
    api_key::{KeyId, SecretHash},
};

/// The most keys that are valid at a time. Every process that serves an API has all of them in memory.
pub const API_KEYS_MAX: usize = 1_000;
/// The use of a key is written at most once in this time.
pub const USE_WRITTEN_EVERY: jiff::SignedDuration = jiff::SignedDuration::from_mins(1);

/// An API key. Its secret is stored nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    pub id: KeyId,
    /// Whom it authenticates. A rotation makes another key of the same principal.
    pub principal: Principal,
    pub scopes: Scopes,
    pub secret_hash: SecretHash,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
    pub revoked_at: Option<Timestamp>,
    /// Up to a minute late.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|end| now < end)
    }
}

/// The outcome of storing a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AddKeyOutcome {
    Added,
    /// [`API_KEYS_MAX`] keys are valid.
    TooMany,
    /// The key to be replaced does not exist, or has ended.
    NoSuchKey,
}

/// Stores API keys.
///
/// Contract, checked by the suite in `tests/tests/api_keys_contract.rs`: a key is durable once the call that
/// stored or ended it has returned. Times have microseconds.
#[async_trait]
pub trait ApiKeys: Send + Sync + 'static {
    /// Stores a new key, unless [`API_KEYS_MAX`] keys are valid when it is created.
    async fn add(&self, key: &ApiKey) -> Result<AddKeyOutcome, OperationsError>;

    /// Stores the successor of a key that is valid when the successor is created. The key ends at `until`, or
    /// earlier if it expires earlier.
    async fn replace(
        &self,
        id: &KeyId,
        until: Timestamp,
        successor: &ApiKey,
    ) -> Result<AddKeyOutcome, OperationsError>;

    /// Ends a key at once. False if it does not exist, or was revoked before.
    async fn revoke(&self, id: &KeyId, now: Timestamp) -> Result<bool, OperationsError>;

    /// The keys that are valid at a time, or all, the oldest first.
    async fn keys(&self, valid_at: Option<Timestamp>) -> Result<Vec<ApiKey>, OperationsError>;

    /// Records the use of a key, unless a use within [`USE_WRITTEN_EVERY`] before it is recorded.
    async fn note_use(&self, id: &KeyId, now: Timestamp) -> Result<(), OperationsError>;
}

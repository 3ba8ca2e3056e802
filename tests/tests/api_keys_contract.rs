//! The contract of the store of API keys: one suite that runs over every adapter.

mod postgres;
mod rules;
mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use domain::Timestamp;
use infra::{
    auth::{Principal, Scope, Scopes, api_key::ApiKeySecret},
    operations::api_keys::{ApiKey, ApiKeys},
};

/// A store under test.
#[async_trait]
trait Fixture: Send + Sync + Sized {
    /// A new, empty store.
    async fn fresh() -> Self;

    fn store(&self) -> Arc<dyn ApiKeys>;

    /// The same store as another process opens it.
    async fn store_elsewhere(&self) -> Arc<dyn ApiKeys>;
}

/// Generates one test per rule of the contract, for one adapter.
macro_rules! api_keys_contract {
    ($fixture:ty) => { api_keys_contract!(#[cfg(test)] $fixture); };
    (#[$attribute:meta] $fixture:ty) => {
        api_keys_contract! { #[$attribute] $fixture:
            keys_read_back_unchanged_in_another_process_the_oldest_first,
            only_valid_keys_are_read_for_a_time,
            a_replaced_key_ends_after_its_grace_time_and_never_later_than_before,
            a_key_that_has_ended_is_not_replaced,
            a_key_is_revoked_once,
            the_use_of_a_key_is_written_at_most_once_a_minute,
            at_most_a_thousand_keys_are_valid,
        }
    };
    (#[$attribute:meta] $fixture:ty: $($rule:ident),* $(,)?) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        #[$attribute]
        async fn $rule() {
            let fixture = <$fixture as super::Fixture>::fresh().await;
            super::rules::$rule(fixture).await;
        }
    )*};
}
use api_keys_contract;

fn at(second: i64) -> Timestamp {
    Timestamp::from_microsecond((1_700_000_000 + second) * 1_000_000 + 1).unwrap()
}

/// A new key of `shop`.
fn key(created: i64, expires: Option<i64>) -> ApiKey {
    let secret = ApiKeySecret::generate().unwrap();
    ApiKey {
        id: secret.id().clone(),
        principal: Principal::of_keys("shop").unwrap(),
        scopes: Scopes::of([Scope::OrdersWrite, Scope::Read]),
        secret_hash: secret.hash(),
        created_at: at(created),
        expires_at: expires.map(at),
        revoked_at: None,
        last_used_at: None,
    }
}

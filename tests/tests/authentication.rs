//! Callers with keys and tokens, over both APIs of a platform.

mod rates;
mod retries;
mod table;
mod tokens;

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Method, Request, header},
};
use domain::Timestamp;
use infra::{
    auth::{
        Authenticator, DevelopmentSecret, KeyRing, Principal, Scope, Scopes, TokenOptions, TokenVerifier,
        api_key::{ApiKeySecret, KeyId},
    },
    clock::Clock,
    http::Gate,
    operations::{
        api_keys::{ApiKey, ApiKeys},
        sqlite::SqliteOperations,
    },
};
use jsonwebtoken::{EncodingKey, Header};
use query_api::{LogAccess, QueryApi, QueryApiOptions};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

use crate::support::{Answer, Shop, ShopOptions, documented};

const ISSUER: &str = "https://id.example";
const AUDIENCE: &str = "orderly";
const SECRET: &str = "a secret of at least 32 bytes, for tests";

/// A store of API keys.
pub(crate) struct Keys {
    pub store: Arc<SqliteOperations>,
    _directory: TempDir,
}

impl Keys {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = Arc::new(SqliteOperations::open(&directory.path().join("operations.db")).unwrap());
        Self { store, _directory: directory }
    }

    /// Adds a key; returns its id and what its caller sends.
    pub async fn add(&self, principal: &str, scopes: impl IntoIterator<Item = Scope>) -> (KeyId, String) {
        let (secret, key) = new_key(principal, scopes);
        self.store.add(&key).await.unwrap();
        (key.id, bearer(&secret))
    }

    /// Accepts the keys, and tokens that [`token`] makes.
    pub fn gate(&self) -> Gate {
        self.gate_of(None)
    }

    fn gate_of(&self, heir: Option<&str>) -> Gate {
        let secret: DevelopmentSecret = SECRET.parse().unwrap();
        let tokens = TokenVerifier::of_development(token_options(), &secret);
        let ring = KeyRing::new(self.store.clone(), Clock::system());
        Gate::guarded(Authenticator::new(ring, Some(tokens)).with_heir(heir.map(str::to_owned)))
    }
}

fn new_key(principal: &str, scopes: impl IntoIterator<Item = Scope>) -> (ApiKeySecret, ApiKey) {
    let secret = ApiKeySecret::generate().unwrap();
    let key = ApiKey {
        id: secret.id().clone(),
        principal: Principal::of_keys(principal).unwrap(),
        scopes: Scopes::of(scopes),
        secret_hash: secret.hash(),
        created_at: Timestamp::from_microsecond(Timestamp::now().as_microsecond()).unwrap(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    (secret, key)
}

fn bearer(secret: &ApiKeySecret) -> String {
    format!("Bearer {}", secret.reveal())
}

fn token_options() -> TokenOptions {
    TokenOptions {
        issuer: ISSUER.to_owned(),
        audience: AUDIENCE.to_owned(),
        principal_claim: "sub".to_owned(),
    }
}

/// Claims that are valid for an hour.
fn claims(scope: &str) -> Value {
    let now = Timestamp::now().as_second();
    json!({"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "iat": now, "nbf": now, "exp": now + 3_600, "scope": scope})
}

/// What the caller of a token sends, signed with [`SECRET`].
fn token(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    format!("Bearer {}", jsonwebtoken::encode(&Header::default(), claims, &key).unwrap())
}

fn customer_token(scope: &str, customer: &str) -> String {
    let mut claims = claims(scope);
    claims["customer_id"] = customer.into();
    token(&claims)
}

/// A platform behind a gate.
struct Platform {
    shop: Shop,
    queries: Router,
}

impl Platform {
    async fn open(gate: Gate) -> Self {
        let shop = Shop::with(ShopOptions { gate: gate.clone(), ..ShopOptions::default() }).await;
        Self::over(shop, gate)
    }

    fn over(shop: Shop, gate: Gate) -> Self {
        let (log, options) = (LogAccess::of(shop.events().log()), QueryApiOptions::default());
        let api = QueryApi::new(Arc::clone(&shop.queries), None, log, Clock::system(), options);
        Self { queries: query_api::router(api.behind(gate)), shop }
    }

    /// Sends a command.
    async fn post(&self, caller: &str, path: &str, key: &str, body: Value) -> Answer {
        self.shop.post_with(path, key, body, &[("authorization", caller)]).await
    }

    /// Reads from the query API.
    async fn get(&self, caller: Option<&str>, uri: &str) -> Answer {
        let mut request = Request::get(uri);
        if let Some(caller) = caller {
            request = request.header(header::AUTHORIZATION, caller);
        }
        let path = uri.split('?').next().unwrap().to_owned();
        let response = self.queries.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let answer = Answer::of(response).await;
        documented::QUERY_API.check(&Method::GET, &path, &answer);
        answer
    }
}

//! Tokens of an issuer, and 10,000 that were made or changed by someone else.

use std::{
    fmt::Write,
    sync::{Arc, Mutex},
};

use axum::{Router, http::StatusCode, routing::get};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use fastrand::Rng;
use infra::{
    auth::{Authenticator, KeyRing, KeySource, TokenVerifier},
    clock::Clock,
    http::Gate,
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, jwk::Jwk};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256};
use serde_json::{Value, json};

use super::{Keys, Platform, claims, customer_token, token, token_options};

/// A key of the issuer.
struct SigningKey {
    id: String,
    algorithm: Algorithm,
    key: EncodingKey,
}

impl SigningKey {
    fn new(id: &str, algorithm: Algorithm) -> Self {
        let key = match algorithm {
            Algorithm::ES256 => {
                let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
                EncodingKey::from_ec_der(&pair.serialize_der())
            }
            Algorithm::EdDSA => {
                // PKCS#8 of a private key of 32 bytes. The library reads no longer form.
                const PREFIX: [u8; 16] = [48, 46, 2, 1, 0, 48, 5, 6, 3, 43, 101, 112, 4, 34, 4, 32];
                let seed: [u8; 32] = std::array::from_fn(|_| fastrand::u8(..));
                EncodingKey::from_ed_der(&[&PREFIX[..], &seed].concat())
            }
            Algorithm::RS256 => {
                let pair = KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
                // The key follows 26 bytes that name its kind.
                EncodingKey::from_rsa_der(&pair.serialize_der()[26..])
            }
            other => panic!("{other:?}"),
        };
        Self { id: id.to_owned(), algorithm, key }
    }

    fn public(&self) -> Jwk {
        let mut key = Jwk::from_encoding_key(&self.key, self.algorithm).unwrap();
        key.common.key_id = Some(self.id.clone());
        key
    }

    fn header(&self) -> Header {
        Header { kid: Some(self.id.clone()), ..Header::new(self.algorithm) }
    }

    fn sign(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&self.header(), claims, &self.key).unwrap()
    }
}

/// An issuer with a key of each kind.
struct Issuer {
    keys: Vec<SigningKey>,
    file: tempfile::NamedTempFile,
}

impl Issuer {
    fn new() -> Self {
        let kinds = [("rsa", Algorithm::RS256), ("ec", Algorithm::ES256), ("ed", Algorithm::EdDSA)];
        let keys: Vec<_> = kinds.into_iter().map(|(id, algorithm)| SigningKey::new(id, algorithm)).collect();
        let public: Vec<_> = keys.iter().map(SigningKey::public).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), json!({ "keys": public }).to_string()).unwrap();
        Self { keys, file }
    }

    async fn gate(&self) -> Gate {
        let source = KeySource::File(self.file.path().to_owned());
        let tokens = TokenVerifier::of_issuer(token_options(), source).await.unwrap();
        let ring = KeyRing::new(Keys::new().store, Clock::system());
        Gate::guarded(Authenticator::new(ring, Some(tokens)))
    }
}

async fn place(platform: &Platform, token: &str, key: &str) -> crate::support::Answer {
    let line = json!({"sku": "POST", "quantity": 1, "unit_price": 1, "stocked": false});
    let order = json!({"currency": "GBP", "lines": [line]});
    platform.post(&format!("Bearer {token}"), "/v1/orders", key, order).await
}

#[tokio::test]
async fn tokens_of_every_kind_of_key_are_accepted() {
    let issuer = Issuer::new();
    let platform = Platform::open(issuer.gate().await).await;
    for key in &issuer.keys {
        place(&platform, &key.sign(&claims("openid orders:write")), &key.id).await.expect(201);
        let mut several = claims("orders:write");
        several["aud"] = json!(["another", super::AUDIENCE]);
        place(&platform, &key.sign(&several), &format!("{} 2", key.id)).await.expect(201);
        let problem = place(&platform, &key.sign(&claims("read")), "x").await.problem(403, "forbidden");
        assert_eq!(problem["scope"], "orders:write");
    }
}

fn part(json: &Value) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(json.to_string())
}

/// The parts of a token.
fn parts(token: &str) -> [String; 3] {
    let parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts.try_into().unwrap()
}

/// A token with another header and the same claims and signature.
fn with_header(token: &str, header: &Value) -> String {
    let [_, claims, signature] = parts(token);
    format!("{}.{claims}.{signature}", part(header))
}

/// Claims that a key of the issuer has signed, and that are not acceptable.
fn unacceptable_claims(rng: &mut Rng) -> Value {
    let mut wrong = claims("orders:write");
    let now = wrong["iat"].as_i64().unwrap();
    let past = now - rng.i64(31..1_000_000_000);
    let (name, value) = match rng.usize(..20) {
        0 => ("exp", past.into()),
        1 => ("exp", Value::Null),
        2 => ("exp", json!("9999999999")),
        3 => ("exp", json!(-1)),
        4 => ("nbf", (now + rng.i64(60..1_000_000_000)).into()),
        5 => ("nbf", json!("soon")),
        6 => ("iss", "https://evil.example".into()),
        7 => ("iss", format!("{}/", super::ISSUER).into()),
        8 => ("iss", json!([super::ISSUER])),
        9 => ("iss", Value::Null),
        10 => ("aud", "another".into()),
        11 => ("aud", json!([])),
        12 => ("aud", json!(["another", "Orderly"])),
        13 => ("aud", Value::Null),
        14 => ("sub", Value::Null),
        15 => ("sub", json!(7)),
        16 => ("sub", "".into()),
        17 => ("scope", json!(["orders:write"])),
        18 => ("customer_id", json!(17_850)),
        _ => ("customer_id", Value::Null),
    };
    wrong[name] = value;
    wrong
}

/// A token that nobody may use, and what is wrong with it. `good`: a valid token of each key.
fn mutated(
    issuer: &Issuer,
    good: &[String],
    strangers: &[SigningKey],
    rng: &mut Rng,
) -> (String, &'static str) {
    let number = rng.usize(..issuer.keys.len());
    let (key, good) = (&issuer.keys[number], &good[number]);
    let [header, payload, signature] = parts(good);
    match rng.usize(..12) {
        0 => {
            let name = ["none", "None", "NONE", "nOnE", ""][rng.usize(..5)];
            let none = part(&json!({"alg": name, "kid": key.id, "typ": "JWT"}));
            let signature = if rng.bool() { signature } else { String::new() };
            (format!("{none}.{payload}.{signature}"), "no algorithm")
        }
        1 => {
            // The public key as the secret of HMAC, in each form in which it is known.
            let public = serde_json::to_value(issuer.keys[0].public()).unwrap();
            let modulus = public["n"].as_str().unwrap();
            let secret = match rng.usize(..3) {
                0 => modulus.as_bytes().to_vec(),
                1 => BASE64_URL_SAFE_NO_PAD.decode(modulus).unwrap(),
                _ => public.to_string().into_bytes(),
            };
            let header = Header { kid: Some(key.id.clone()), ..Header::new(Algorithm::HS256) };
            let key = EncodingKey::from_secret(&secret);
            (jsonwebtoken::encode(&header, &claims("orders:write"), &key).unwrap(), "RSA key as HMAC secret")
        }
        2 => (key.sign(&unacceptable_claims(rng)), "wrong claims"),
        3 => (format!("{header}.{payload}."), "no signature"),
        4 => (format!("{header}.{payload}"), "no signature part"),
        5 => {
            let mut bytes = BASE64_URL_SAFE_NO_PAD.decode(&signature).unwrap();
            let (at, bit) = (rng.usize(..bytes.len()), rng.u8(..8));
            bytes[at] ^= 1 << bit;
            (format!("{header}.{payload}.{}", BASE64_URL_SAFE_NO_PAD.encode(bytes)), "changed signature")
        }
        6 => {
            let mut more = claims("orders:write");
            more["scope"] = "orders:write admin".into();
            (format!("{header}.{}.{signature}", part(&more)), "changed claims")
        }
        7 => {
            let stranger = &strangers[rng.usize(..strangers.len())];
            (stranger.sign(&claims("orders:write")), "key of a stranger")
        }
        8 => {
            let other = &issuer.keys[rng.usize(..issuer.keys.len())];
            let kid = if other.id == key.id { "unknown".to_owned() } else { other.id.clone() };
            let header = Header { kid: Some(kid), ..key.header() };
            (jsonwebtoken::encode(&header, &claims("orders:write"), &key.key).unwrap(), "other key id")
        }
        9 => {
            let names = ["RS256", "ES256", "EdDSA", "HS256", "PS256", "RS512", "ES384"];
            let name = names[rng.usize(..names.len())];
            let own = format!("{:?}", key.algorithm);
            let name = if name == own { "HS512" } else { name };
            (with_header(good, &json!({"alg": name, "kid": key.id})), "other algorithm")
        }
        10 => {
            let header = Header { crit: Some(vec!["later".to_owned()]), ..key.header() };
            (jsonwebtoken::encode(&header, &claims("orders:write"), &key.key).unwrap(), "critical header")
        }
        _ => {
            let mut bytes = good.clone().into_bytes();
            let at = rng.usize(..bytes.len());
            let old = bytes[at];
            while bytes[at] == old {
                bytes[at] = rng.u8(0x21..0x7f);
            }
            (String::from_utf8(bytes).unwrap(), "changed character")
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_behind_a_url_are_read_when_it_answers_and_stay_while_it_does_not() {
    let issuer = Issuer::new();
    let answer = Arc::new(Mutex::new((StatusCode::SERVICE_UNAVAILABLE, String::new())));
    let shown = Arc::clone(&answer);
    let keys = Router::new().route("/keys", get(async move || shown.lock().unwrap().clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/keys", listener.local_addr().unwrap());
    let serving = tokio::spawn(async move { axum::serve(listener, keys).await.unwrap() });

    let tokens = TokenVerifier::of_issuer(token_options(), url.parse().unwrap()).await.unwrap();
    let ring = KeyRing::new(Keys::new().store, Clock::system());
    let platform = Platform::open(Gate::guarded(Authenticator::new(ring, Some(tokens)))).await;
    let token = issuer.keys[1].sign(&claims("orders:write"));
    *answer.lock().unwrap() = (StatusCode::OK, std::fs::read_to_string(issuer.file.path()).unwrap());
    place(&platform, &token, "1").await.expect(201);

    serving.abort();
    place(&platform, &token, "2").await.expect(201);
    let unknown = SigningKey::new("unknown", Algorithm::EdDSA).sign(&claims("orders:write"));
    place(&platform, &unknown, "3").await.problem(401, "unauthenticated");
}

#[tokio::test]
async fn ten_thousand_mutated_tokens_are_refused_and_write_no_event() {
    let seed = fastrand::u64(..);
    let mut rng = Rng::with_seed(seed);
    let issuer = Issuer::new();
    // Strangers name the ids of the issuer's keys.
    let strangers: Vec<_> = issuer.keys.iter().map(|key| SigningKey::new(&key.id, key.algorithm)).collect();
    let platform = Platform::open(issuer.gate().await).await;
    let good: Vec<_> = issuer.keys.iter().map(|key| key.sign(&claims("orders:write"))).collect();
    let (mut accepted, mut kinds) = (String::new(), std::collections::BTreeMap::new());
    for number in 0..10_000 {
        let (token, kind) = mutated(&issuer, &good, &strangers, &mut rng);
        *kinds.entry(kind).or_insert(0) += 1;
        let answer = place(&platform, &token, &format!("k{number}")).await;
        if answer.status != 401 {
            writeln!(accepted, "{kind}: {} {token}", answer.status).unwrap();
        }
    }
    assert!(accepted.is_empty(), "seed {seed}:\n{accepted}");
    assert_eq!(kinds.len(), 12, "{kinds:?}");
    assert_eq!(platform.shop.log().await.0.len(), 0, "seed {seed}");
}

#[tokio::test]
async fn a_token_of_development_has_one_algorithm_and_no_key_id() {
    let keys = Keys::new();
    let platform = Platform::open(keys.gate()).await;
    let good = token(&claims("orders:write"));
    place(&platform, good.trim_start_matches("Bearer "), "1").await.expect(201);
    let key = EncodingKey::from_secret(super::SECRET.as_bytes());
    for header in [
        Header::new(Algorithm::HS512),
        Header { kid: Some("x".to_owned()), ..Header::default() },
        Header { typ: Some("logout+jwt".to_owned()), ..Header::default() },
    ] {
        let token = jsonwebtoken::encode(&header, &claims("orders:write"), &key).unwrap();
        place(&platform, &token, "2").await.problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn a_customer_token_with_every_scope_changes_nothing() {
    let keys = Keys::new();
    let platform = Platform::open(keys.gate()).await;
    let customer = customer_token("orders:write admin", "1");
    place(&platform, customer.trim_start_matches("Bearer "), "1").await.problem(404, "not_found");
    assert_eq!(platform.shop.log().await.0.len(), 0);
}

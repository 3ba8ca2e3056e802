use std::io::Write;

use futures::FutureExt;
use serde_json::json;

use super::*;

/// A public key with an id, for ES256.
fn key(id: &str) -> Value {
    json!({
        "kty": "EC", "crv": "P-256", "kid": id,
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    })
}

fn set(keys: &[Value]) -> Vec<u8> {
    serde_json::to_vec(&json!({ "keys": keys })).unwrap()
}

fn with(mut key: Value, member: &str, value: impl Into<Value>) -> Value {
    key[member] = value.into();
    key
}

#[test]
fn a_key_is_for_one_algorithm_and_keys_for_other_uses_are_ignored() {
    let rsa = |chars: usize| json!({ "kty": "RSA", "n": "A".repeat(chars), "e": "AQAB", "kid": "rsa" });
    let ed = json!({ "kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo", "kid": "ed" });
    let declared = with(key("declared"), "alg", "ES256");
    let keys = parse(&set(&[rsa(342), ed, key("ec"), declared]), "test").unwrap();
    let algorithm = |id: &str| keys[&Some(id.to_owned())].algorithm;
    assert_eq!(algorithm("rsa"), Algorithm::RS256);
    assert_eq!(algorithm("ed"), Algorithm::EdDSA);
    assert_eq!((algorithm("ec"), algorithm("declared")), (Algorithm::ES256, Algorithm::ES256));

    for unusable in [
        rsa(171),
        json!({ "kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "shared" }),
        json!({ "kty": "EC", "crv": "P-384", "x": "AA", "y": "AA" }),
        json!({ "kty": "later" }),
        with(key("x"), "use", "enc"),
        with(key("x"), "alg", "RS256"),
        with(key("x"), "alg", "HS256"),
        with(key("x"), "key_ops", json!(["sign"])),
    ] {
        assert!(
            matches!(parse(&set(std::slice::from_ref(&unusable)), "test"), Err(KeySetError::NoKey(_))),
            "{unusable}"
        );
        let beside = parse(&set(&[unusable, key("good")]), "test").unwrap();
        assert_eq!(beside.len(), 1);
    }
    assert!(matches!(parse(b"[]", "test"), Err(KeySetError::Malformed(..))));
}

#[test]
fn a_token_without_a_key_id_is_accepted_only_if_there_is_one_key() {
    let one = parse(&set(&[key("a")]), "test").unwrap();
    assert!(in_keys(&one, None).is_some() && in_keys(&one, Some("a")).is_some());
    assert!(in_keys(&one, Some("b")).is_none());
    let two = parse(&set(&[key("a"), key("b")]), "test").unwrap();
    assert!(in_keys(&two, None).is_none() && in_keys(&two, Some("b")).is_some());
}

#[test]
fn a_key_set_is_in_a_file_or_behind_tls() {
    assert_eq!("file:/etc/keys.json".parse(), Ok(KeySource::File("/etc/keys.json".into())));
    for url in ["https://id.example/jwks", "http://127.0.0.1:9/jwks", "http://[::1]/", "http://localhost/"] {
        assert!(matches!(url.parse(), Ok(KeySource::Url(_))), "{url}");
    }
    for text in ["", "file:", "keys.json", "http://id.example/jwks", "ftp://localhost/"] {
        assert_eq!(text.parse::<KeySource>(), Err(InvalidKeySource), "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_key_is_looked_for_again_after_ten_seconds_and_old_keys_stay_while_the_file_is_broken() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let write = |file: &mut tempfile::NamedTempFile, content: &[u8]| {
        file.as_file_mut().set_len(0).unwrap();
        std::io::Seek::rewind(file).unwrap();
        file.write_all(content).unwrap();
    };
    write(&mut file, &set(&[key("a")]));
    let keys = KeySet::open(KeySource::File(file.path().to_owned())).await.unwrap();
    write(&mut file, &set(&[key("a"), key("b")]));
    assert!(keys.find(Some("a")).await.is_some());
    assert!(keys.find(Some("b")).await.is_none(), "it was looked for too soon");
    tokio::time::advance(LOAD_EVERY_MIN).await;
    assert!(keys.find(Some("b")).await.is_some());

    write(&mut file, b"{");
    tokio::time::advance(LOAD_EVERY_MIN).await;
    assert!(keys.find(Some("c")).await.is_none() && keys.find(Some("a")).await.is_some());

    // A key that the issuer withdraws is refused later, although it is known.
    write(&mut file, &set(&[key("b")]));
    assert!(keys.find(Some("a")).await.is_some());
    tokio::time::advance(LOAD_EVERY).await;
    assert!(keys.find(Some("a")).await.is_none() && keys.find(Some("b")).await.is_some());
}

#[tokio::test]
async fn a_file_must_be_readable_at_the_start() {
    let missing = KeySet::open(KeySource::File("/nonexistent/keys.json".into())).await;
    assert!(matches!(missing, Err(KeySetError::File { .. })));
}

#[tokio::test]
async fn a_token_with_a_known_key_does_not_wait_for_another_request_that_loads_the_set() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = Url::parse(&format!("http://{}/", silent.local_addr().unwrap())).unwrap();
    let keys = parse(&set(&[key("known")]), "test").unwrap();
    let set = Arc::new(KeySet::with(Some(Source::Url(url, Client::new())), keys));
    let loading = tokio::spawn({
        let set = Arc::clone(&set);
        async move { set.find(Some("known")).await.is_some() }
    });
    let _connection = silent.accept().await.unwrap();
    assert!(set.find(Some("known")).now_or_never().flatten().is_some());
    loading.abort();
}

use http::HeaderValue;

use super::*;

fn key_of(value: &str) -> Result<String, Code> {
    let mut headers = HeaderMap::new();
    headers.insert("idempotency-key", HeaderValue::from_str(value).unwrap());
    key(&headers).map_err(|problem| problem.code)
}

#[test]
fn a_quoted_key_and_a_bare_key_are_the_same() {
    assert_eq!(key_of("\"po-1/85123A\""), Ok("po-1/85123A".to_owned()));
    assert_eq!(key_of("po-1/85123A"), Ok("po-1/85123A".to_owned()));
    assert_eq!(key_of(r#""a\"b\\c""#), Ok(r#"a"b\c"#.to_owned()));
}

#[test]
fn a_key_that_is_missing_empty_too_long_or_malformed_is_refused() {
    assert_eq!(key(&HeaderMap::new()).unwrap_err().code, Code::IdempotencyKeyMissing);
    assert_eq!(key_of("\"\""), Err(Code::IdempotencyKeyMissing));
    assert!(key_of(&"x".repeat(255)).is_ok());
    for malformed in [&"x".repeat(256), "\"a", "a\"", r#""a\b""#, "\"a\"b\"", "a\tb", "\"a\tb\""] {
        assert_eq!(key_of(malformed), Err(Code::InvalidParameter), "{malformed}");
    }
}

#[test]
fn a_person_has_1_to_255_characters_in_utf_8() {
    let person_of = |values: &[&[u8]]| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("orderly-actor", HeaderValue::from_bytes(value).unwrap());
        }
        person(&headers).map_err(|problem| problem.code)
    };
    assert_eq!(person_of(&[]), Ok(None));
    assert_eq!(person_of(&["Jana Müller ".as_bytes()]), Ok(Some("Jana Müller".to_owned())));
    assert_eq!(person_of(&["ß".repeat(255).as_bytes()]), Ok(Some("ß".repeat(255))));
    let too_long = "x".repeat(256);
    let malformed: [&[&[u8]]; 5] = [&[b""], &[b"a\tb"], &[b"\xff"], &[too_long.as_bytes()], &[b"a", b"a"]];
    for malformed in malformed {
        assert_eq!(person_of(malformed), Err(Code::InvalidParameter), "{malformed:?}");
    }
}

#[test]
fn callers_do_not_share_keys_and_those_without_credentials_keep_their_command_ids() {
    let id = |caller: &str| context(caller, "/v1/orders", "key-1".to_owned(), &()).id;
    assert_ne!(id("shop"), id("back-office"));
    assert_ne!(id("shop"), id("anonymous"));
    // As builds without authentication derived it.
    assert_eq!(id("anonymous"), CommandId::of_request("anonymous", "POST", "/v1/orders", "key-1"));
}

#[test]
fn the_fingerprint_depends_only_on_the_content() {
    assert_eq!(fingerprint(&(1, "a")), fingerprint(&(1, "a")));
    assert_ne!(fingerprint(&(1, "a")), fingerprint(&(1, "b")));
    // printf null | sha256sum
    let sha256_of_null = "74234e98afe7498fb5daf1f36ac2d78acc339464f950703b8c019892f982b90b";
    assert_eq!(fingerprint(&()), sha256_of_null);
}

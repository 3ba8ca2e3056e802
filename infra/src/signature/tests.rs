use super::*;

fn now() -> Timestamp {
    Timestamp::from_second(1_614_265_330).unwrap()
}

fn seconds_later(seconds: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + seconds).unwrap()
}

/// The example in the reference libraries of the specification.
#[test]
fn signatures_equal_those_of_the_reference_libraries() {
    let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let signed = signatures(&[&secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", now(), br#"{"test": 2432232314}"#);
    assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
}

#[test]
fn each_new_secret_is_different_and_debug_hides_it() {
    let (one, other) = (SigningSecret::generate().unwrap(), SigningSecret::generate().unwrap());
    assert_ne!(one, other);
    assert_eq!(SigningSecret::parse(&one.reveal()), Ok(one.clone()));
    assert_eq!(one.reveal().len(), "whsec_".len() + 44);
    assert!(!format!("{one:?}").contains("whsec_"));
    for text in ["", "whsec_", "whsec_c2hvcnQ=", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_%%"] {
        assert_eq!(SigningSecret::parse(text), Err(SecretError::Malformed), "{text:?}");
    }
}

/// As during the rotation of a secret.
#[test]
fn two_secrets_make_two_signatures() {
    let (one, other) = (SigningSecret::generate().unwrap(), SigningSecret::generate().unwrap());
    let by = |secrets: &[&SigningSecret]| signatures(secrets, "msg_1", now(), b"{}");
    assert_eq!(by(&[&one, &other]), [by(&[&one]), by(&[&other])].join(" "));
}

#[test]
fn one_matching_signature_among_several_is_enough() {
    let (old, new, other) = (SigningSecret::generate(), SigningSecret::generate(), SigningSecret::generate());
    let (old, new, other) = (old.unwrap(), new.unwrap(), other.unwrap());
    let mut headers = signed_headers(&old, "msg_1", now(), b"{}");
    assert_eq!(verify(&[&old], &headers, b"{}", now()), Ok("msg_1"));
    let both = format!("v1a,bm90IG91cnM= {}", signatures(&[&other, &new], "msg_1", now(), b"{}"));
    headers.insert(SIGNATURE, both.parse().unwrap());
    assert_eq!(verify(&[&new], &headers, b"{}", now()), Ok("msg_1"));
    assert_eq!(verify(&[&old], &headers, b"{}", now()), Err(SignatureError::Wrong));
    assert_eq!(verify(&[&old, &other], &headers, b"{}", now()), Ok("msg_1"));
    assert_eq!(verify(&[], &headers, b"{}", now()), Err(SignatureError::Wrong));
}

#[test]
fn a_changed_id_time_or_body_makes_the_signature_wrong() {
    let secret = SigningSecret::generate().unwrap();
    let headers = signed_headers(&secret, "msg_1", now(), b"{}");
    assert_eq!(verify(&[&secret], &headers, b"{ }", now()), Err(SignatureError::Wrong));
    for (name, value) in [(ID, "msg_2"), (TIMESTAMP, "1614265331")] {
        let mut headers = headers.clone();
        headers.insert(name, value.parse().unwrap());
        assert_eq!(verify(&[&secret], &headers, b"{}", now()), Err(SignatureError::Wrong));
    }
}

#[test]
fn a_signature_is_stale_after_300_seconds_either_way() {
    let secret = SigningSecret::generate().unwrap();
    let headers = signed_headers(&secret, "msg_1", now(), b"{}");
    for (seconds, expected) in [
        (300, Ok("msg_1")),
        (-300, Ok("msg_1")),
        (301, Err(SignatureError::Stale)),
        (-301, Err(SignatureError::Stale)),
    ] {
        assert_eq!(
            verify(&[&secret], &headers, b"{}", seconds_later(seconds)),
            expected,
            "{seconds} s later"
        );
    }
}

#[test]
fn missing_and_malformed_headers_are_reported_as_missing_not_wrong() {
    let secret = SigningSecret::generate().unwrap();
    let headers = signed_headers(&secret, "msg_1", now(), b"{}");
    for name in [ID, TIMESTAMP, SIGNATURE] {
        let mut without = headers.clone();
        without.remove(&name);
        assert_eq!(verify(&[&secret], &without, b"{}", now()), Err(SignatureError::Missing), "{name}");
    }
    for (name, value) in
        [(TIMESTAMP, "yesterday"), (SIGNATURE, "v1"), (SIGNATURE, "v1,%"), (SIGNATURE, "v2,e30=")]
    {
        let mut malformed = headers.clone();
        malformed.insert(name, value.parse().unwrap());
        assert_eq!(verify(&[&secret], &malformed, b"{}", now()), Err(SignatureError::Missing), "{value}");
    }
}

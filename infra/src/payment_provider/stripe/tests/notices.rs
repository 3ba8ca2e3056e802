use domain::Timestamp;
use http::{HeaderMap, HeaderValue};

use super::super::notice::Signed;
use crate::payment_provider::NoticeError;

/// `WebhookSignature.generate_signature_header` of Stripe's Python library 16.1.0 signed this with `SECRET`.
const BODY: &str = r#"{"id":"evt_1","note":"café"}"#;
const SIGNED_AT: i64 = 1_700_000_000;
const SECRET: &str = "whsec_test_secret";
const SIGNATURE: &str = "5961c114b481b0723692757cb2c01dd75413d865cf9c2279bd4ac964e9f36a3d";
/// The signature with another secret, `whsec_old`.
const OTHER_SIGNATURE: &str = "7c9237f61559475839f7a7621fb41e0b1a03fa235ba874705aecf6e2cbd52465";

fn verdict(header: &str, body: &[u8], seconds_later: i64) -> Result<(), NoticeError> {
    let mut headers = HeaderMap::new();
    headers.insert("stripe-signature", HeaderValue::from_str(header).expect("a header value"));
    let now = Timestamp::from_second(SIGNED_AT + seconds_later).expect("a time");
    Signed::read(&headers, now)?.verify(body, SECRET)
}

#[test]
fn a_body_that_stripe_signed_is_accepted() {
    let header = format!("t={SIGNED_AT},v1={SIGNATURE}");
    assert_eq!(verdict(&header, BODY.as_bytes(), 0), Ok(()));
    // Two `v1` signatures, as while a secret is replaced. `v0` is the scheme of test events.
    let rotating = format!("t={SIGNED_AT},v1={OTHER_SIGNATURE},v1={SIGNATURE},v0={OTHER_SIGNATURE}");
    assert_eq!(verdict(&rotating, BODY.as_bytes(), 0), Ok(()));
}

#[test]
fn a_changed_body_and_a_signature_with_another_secret_are_refused() {
    let header = format!("t={SIGNED_AT},v1={SIGNATURE}");
    let altered = BODY.replace("evt_1", "evt_2");
    assert_eq!(verdict(&header, altered.as_bytes(), 0), Err(NoticeError::WrongSignature));
    let other_time = format!("t={},v1={SIGNATURE}", SIGNED_AT + 1);
    assert_eq!(verdict(&other_time, BODY.as_bytes(), 0), Err(NoticeError::WrongSignature));
    let other = format!("t={SIGNED_AT},v1={OTHER_SIGNATURE}");
    assert_eq!(verdict(&other, BODY.as_bytes(), 0), Err(NoticeError::WrongSignature));
}

#[test]
fn a_signature_is_valid_for_five_minutes() {
    let header = format!("t={SIGNED_AT},v1={SIGNATURE}");
    for seconds in [-300, 300] {
        assert_eq!(verdict(&header, BODY.as_bytes(), seconds), Ok(()), "{seconds}");
    }
    for seconds in [-301, 301] {
        assert_eq!(verdict(&header, BODY.as_bytes(), seconds), Err(NoticeError::Stale), "{seconds}");
    }
}

#[test]
fn a_malformed_signature_header_is_reported_as_a_missing_signature() {
    let headers = [
        "",
        "t=1700000000",
        "v1=5961c114b481b0723692757cb2c01dd75413d865cf9c2279bd4ac964e9f36a3d",
        "t=soon,v1=5961c114b481b0723692757cb2c01dd75413d865cf9c2279bd4ac964e9f36a3d",
        "t=1700000000,v1=5961",
        "t=1700000000,v1=zz61c114b481b0723692757cb2c01dd75413d865cf9c2279bd4ac964e9f36a3d",
        "t=1700000000,v0=5961c114b481b0723692757cb2c01dd75413d865cf9c2279bd4ac964e9f36a3d",
    ];
    for header in headers {
        assert_eq!(verdict(header, BODY.as_bytes(), 0), Err(NoticeError::NoSignature), "{header}");
    }
    let missing = Signed::read(&HeaderMap::new(), Timestamp::UNIX_EPOCH).map(drop);
    assert_eq!(missing, Err(NoticeError::NoSignature));
}

#[test]
fn a_signed_body_that_is_not_an_event_is_unreadable() {
    use super::super::notice::read;
    for body in
        ["", "{}", "[1]", r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":1}}}"#]
    {
        assert_eq!(read(body.as_bytes()), Err(NoticeError::Unreadable), "{body}");
    }
}

//! Signed requests of payment providers: header lines `name: value`, an empty line, and the body.
//!
//! A provider accepts a body only if a check that is written here finds a signature of its secret.

use std::sync::LazyLock;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use infra::{
    clock::Clock,
    payment_provider::{
        NoticeError, PaymentProvider,
        stripe::{StripeOptions, StripeProvider},
    },
    signature::{self, SigningSecret},
};
use sandbox::SandboxProvider;
use sha2::Sha256;

const STRIPE_SECRET: &str = "whsec_c2VjcmV0";
const SANDBOX_KEY: [u8; 32] = [7; 32];

static SANDBOX_SECRET: LazyLock<SigningSecret> = LazyLock::new(|| {
    let text = format!("whsec_{}", BASE64_STANDARD.encode(SANDBOX_KEY));
    SigningSecret::parse(&text).expect("32 bytes are a secret")
});
static SANDBOX: LazyLock<SandboxProvider> =
    LazyLock::new(|| SandboxProvider::new("http://127.0.0.1:1", SANDBOX_SECRET.clone()));
static STRIPE: LazyLock<StripeProvider> = LazyLock::new(|| {
    let options = StripeOptions::new("sk_test_c2VjcmV0", STRIPE_SECRET).expect("keys of the right form");
    StripeProvider::new(options, Clock::given_by(now)).expect("a client can be made")
});

fn now() -> Timestamp {
    Timestamp::from_second(1_767_225_600).expect("2026 is a time")
}

pub fn check(input: &[u8]) {
    let (head, body) = crate::split_at_empty_line(input);
    let mut headers = HeaderMap::new();
    for line in head.split(|byte| *byte == b'\n') {
        let Some(colon) = line.windows(2).position(|pair| pair == b": ") else { continue };
        let name = HeaderName::from_bytes(&line[..colon]);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(&line[colon + 2..])) {
            headers.append(name, value);
        }
    }
    is_signed_if_accepted(&*STRIPE, &headers, body, || has_stripe_signature(&headers, body));
    is_signed_if_accepted(&*SANDBOX, &headers, body, || has_standard_signature(&headers, body));
    let verified = signature::verify(&[&SANDBOX_SECRET], &headers, body, now());
    assert_eq!(
        verified.is_ok(),
        has_standard_signature(&headers, body),
        "a webhook is accepted if it is signed"
    );
}

/// An unreadable body is refused too, but only after its signature was checked.
fn is_signed_if_accepted(
    provider: &dyn PaymentProvider,
    headers: &HeaderMap,
    body: &[u8],
    is_signed: impl Fn() -> bool,
) {
    match provider.read_notice(headers, body, now()) {
        Ok(_) | Err(NoticeError::Unreadable) => assert!(is_signed(), "a notice without a valid signature"),
        Err(NoticeError::NoSignature | NoticeError::WrongSignature | NoticeError::Stale) => {
            assert!(!is_signed(), "a signed notice is refused");
        }
    }
}

fn text<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn is_recent(seconds: &str) -> bool {
    seconds
        .parse::<i64>()
        .is_ok_and(|seconds| (now().as_second() - 300..=now().as_second() + 300).contains(&seconds))
}

fn code(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// By docs.stripe.com/webhooks/signature: `t=SECONDS,v1=HEX`, of which the last `t` counts.
fn has_stripe_signature(headers: &HeaderMap, body: &[u8]) -> bool {
    let members =
        || text(headers, "stripe-signature").split(',').filter_map(|member| member.trim().split_once('='));
    let Some((_, time)) = members().rfind(|(name, _)| *name == "t") else { return false };
    let expected = code(STRIPE_SECRET.as_bytes(), &[time.as_bytes(), b".", body]);
    let expected = hex(&expected);
    is_recent(time) && members().any(|(name, value)| name == "v1" && value.eq_ignore_ascii_case(&expected))
}

/// By the Standard Webhooks specification: `v1,BASE64`, separated by spaces. The first 8 count.
fn has_standard_signature(headers: &HeaderMap, body: &[u8]) -> bool {
    let (id, time) = (text(headers, "webhook-id"), text(headers, "webhook-timestamp"));
    let Ok(seconds) = time.parse::<i64>() else { return false };
    // The signed text has the time as a number, without a plus sign.
    let seconds = seconds.to_string();
    let expected = code(&SANDBOX_KEY, &[id.as_bytes(), b".", seconds.as_bytes(), b".", body]);
    let expected = format!("v1,{}", BASE64_STANDARD.encode(expected));
    let is_in_list =
        text(headers, "webhook-signature").split(' ').take(8).any(|signature| signature == expected);
    !id.is_empty() && is_recent(time) && is_in_list
}

pub fn seeds() -> Vec<Vec<u8>> {
    let notices = [
        r#"{"id":"evt_1","type":"payment_intent.succeeded","data":{"object":{"id":"pi_1","object":"payment_intent","status":"succeeded","amount":1530,"currency":"gbp","metadata":{}}}}"#,
        r#"{"id":"evt_2","type":"charge.dispute.created","data":{"object":{"id":"dp_1","payment_intent":"pi_1"}}}"#,
    ];
    let time = now().as_second();
    let of_stripe = |body: &str| {
        let time = time.to_string();
        let code = code(STRIPE_SECRET.as_bytes(), &[time.as_bytes(), b".", body.as_bytes()]);
        format!("stripe-signature: t={time},v1={hex}\n\n{body}", hex = hex(&code)).into_bytes()
    };
    let of_sandbox = |body: &str| {
        let signatures = signature::signatures(&[&SANDBOX_SECRET], "msg_1", now(), body.as_bytes());
        format!("webhook-id: msg_1\nwebhook-timestamp: {time}\nwebhook-signature: {signatures}\n\n{body}")
            .into_bytes()
    };
    notices.iter().map(|body| of_stripe(body)).chain(notices.iter().map(|body| of_sandbox(body))).collect()
}

//! Signatures of webhooks by the Standard Webhooks specification (<https://www.standardwebhooks.com>): HMAC-SHA256 over
//! id, time and body.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

pub const ID: HeaderName = HeaderName::from_static("webhook-id");
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How far the time of a signature may be from now, either way. The specification leaves it to the receiver; its
/// reference libraries take this.
const TOLERANCE_SECONDS: u64 = 5 * 60;
/// A sender that replaces its secret signs with two.
const SIGNATURES_MAX: usize = 8;
const SCHEME: &str = "v1";
const PREFIX: &str = "whsec_";
/// The specification asks for 24 to 64.
const KEY_BYTES: usize = 32;

/// What sender and receiver share. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why a text is no secret, or none can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("expected {PREFIX} and the base64 of 24 to 64 bytes")]
    Malformed,
    #[error("the system gives no random numbers: {0}")]
    NoRandomness(String),
}

/// Why something is not taken to come from who has the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature is missing or not well formed")]
    Missing,
    #[error("the signature does not fit the body")]
    Wrong,
    #[error("the time of the signature is too far from now")]
    Stale,
}

impl Secret {
    pub fn generate() -> Result<Self, SecretError> {
        let mut key = vec![0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| SecretError::NoRandomness(error.to_string()))?;
        Ok(Self(key))
    }

    /// Reads what [`Secret::reveal`] writes.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let key = text.strip_prefix(PREFIX).and_then(|encoded| BASE64_STANDARD.decode(encoded).ok());
        let key = key.filter(|key| (24..=64).contains(&key.len()));
        key.map(Self).ok_or(SecretError::Malformed)
    }

    /// The secret as its holders are told it: `whsec_` and base64.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// Whether `text` reveals this secret; found out in constant time.
    pub fn is(&self, text: &str) -> bool {
        let code = self.mac("", 0, text.as_bytes()).finalize().into_bytes();
        self.mac("", 0, self.reveal().as_bytes()).verify(&code).is_ok()
    }

    fn mac(&self, id: &str, sent_at_seconds: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = Hmac::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{sent_at_seconds}.").as_bytes());
        mac.update(body);
        mac
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The value of `webhook-signature`: one signature of each secret.
pub fn signatures(secrets: &[&Secret], id: &str, sent_at: Timestamp, body: &[u8]) -> String {
    let sign = |secret: &&Secret| {
        let code = secret.mac(id, sent_at.as_second(), body).finalize().into_bytes();
        format!("{SCHEME},{}", BASE64_STANDARD.encode(code))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// The three headers of a signed webhook.
pub fn signed_headers(secret: &Secret, id: &str, sent_at: Timestamp, body: &[u8]) -> HeaderMap {
    let texts = [
        (ID, id.to_owned()),
        (TIMESTAMP, sent_at.as_second().to_string()),
        (SIGNATURE, signatures(&[secret], id, sent_at, body)),
    ];
    let header = |(name, text): (HeaderName, String)| Some((name, HeaderValue::try_from(text).ok()?));
    texts.into_iter().filter_map(header).collect()
}

/// Checks that who has one of `secrets` has signed these very bytes, not long ago; gives the id of the webhook.
pub fn verify<'h>(
    secrets: &[&Secret],
    headers: &'h HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<&'h str, SignatureError> {
    let text = |name: &HeaderName| {
        let text = headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| !text.is_empty());
        text.ok_or(SignatureError::Missing)
    };
    let (id, sent_at, signed) = (text(&ID)?, text(&TIMESTAMP)?, text(&SIGNATURE)?);
    let sent_at_seconds: i64 = sent_at.parse().map_err(|_| SignatureError::Missing)?;
    let codes: Vec<Vec<u8>> = signed.split(' ').take(SIGNATURES_MAX).filter_map(code).collect();
    if codes.is_empty() {
        return Err(SignatureError::Missing);
    }
    // Compares in constant time: how long it takes does not tell how much of a guess is right.
    let fits = |secret: &&Secret| {
        let mac = secret.mac(id, sent_at_seconds, body);
        codes.iter().any(|code| mac.clone().verify_slice(code).is_ok())
    };
    if !secrets.iter().any(fits) {
        return Err(SignatureError::Wrong);
    }
    if now.as_second().abs_diff(sent_at_seconds) > TOLERANCE_SECONDS {
        return Err(SignatureError::Stale);
    }
    Ok(id)
}

/// The code of one signature; none of a scheme that is not ours, which is passed over.
fn code(signature: &str) -> Option<Vec<u8>> {
    let (scheme, encoded) = signature.split_once(',')?;
    if scheme == SCHEME { BASE64_STANDARD.decode(encoded).ok() } else { None }
}

#[cfg(test)]
mod tests;

//! Signatures by the Standard Webhooks specification (<https://www.standardwebhooks.com>): HMAC-SHA256 over
//! id, time and body. Outgoing webhooks and the notices of the sandbox are signed this way.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use sha2::Sha256;

pub const ID: HeaderName = HeaderName::from_static("webhook-id");
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// The most that the time of a signature may differ from now, either way. The specification leaves the value
/// to the receiver; its reference libraries use 5 minutes.
const TOLERANCE_SECONDS: u64 = 5 * 60;
/// The most signatures that are checked. A sender that replaces its secret signs with 2.
const SIGNATURES_MAX: usize = 8;
const SCHEME: &str = "v1";
const PREFIX: &str = "whsec_";
/// The length of a new key. The specification asks for 24 to 64 bytes.
const KEY_BYTES: usize = 32;

/// The key that sender and receiver share. `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

/// Why a text is not a secret, or why no secret can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("expected {PREFIX} and the base64 of 24 to 64 bytes")]
    Malformed,
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(String),
}

/// Why a request does not count as sent by the holder of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the signature is missing or malformed")]
    Missing,
    #[error("the signature does not match the body")]
    Wrong,
    #[error("the time of the signature is more than {TOLERANCE_SECONDS} seconds from now")]
    Stale,
}

impl SigningSecret {
    pub fn generate() -> Result<Self, SecretError> {
        let mut key = vec![0; KEY_BYTES];
        getrandom::fill(&mut key).map_err(|error| SecretError::NoRandomness(error.to_string()))?;
        Ok(Self(key))
    }

    /// Parses the output of [`SigningSecret::reveal`].
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Malformed)?;
        let key = BASE64_STANDARD.decode(encoded).map_err(|_| SecretError::Malformed)?;
        if (24..=64).contains(&key.len()) { Ok(Self(key)) } else { Err(SecretError::Malformed) }
    }

    /// The secret as stored and as shown to its owner: `whsec_` and base64.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// Whether `text` is this secret as [`SigningSecret::reveal`] writes it. Compares in constant time.
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

impl fmt::Debug for SigningSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningSecret(…)")
    }
}

/// The value of `webhook-signature`: one signature by each secret, separated by spaces.
pub fn signatures(secrets: &[&SigningSecret], id: &str, sent_at: Timestamp, body: &[u8]) -> String {
    let sign = |secret: &&SigningSecret| {
        let code = secret.mac(id, sent_at.as_second(), body).finalize().into_bytes();
        format!("{SCHEME},{}", BASE64_STANDARD.encode(code))
    };
    secrets.iter().map(sign).collect::<Vec<_>>().join(" ")
}

/// The three headers of a signed request.
pub fn signed_headers(secret: &SigningSecret, id: &str, sent_at: Timestamp, body: &[u8]) -> HeaderMap {
    let texts = [
        (ID, id.to_owned()),
        (TIMESTAMP, sent_at.as_second().to_string()),
        (SIGNATURE, signatures(&[secret], id, sent_at, body)),
    ];
    let header = |(name, text): (HeaderName, String)| Some((name, HeaderValue::try_from(text).ok()?));
    texts.into_iter().filter_map(header).collect()
}

/// Checks that a holder of one of `secrets` signed these bytes within the last 5 minutes. Returns the
/// `webhook-id`.
pub fn verify<'h>(
    secrets: &[&SigningSecret],
    headers: &'h HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<&'h str, SignatureError> {
    Signed::read(headers, now)?.verify(secrets, body)
}

/// The signatures of a request, as its headers have them.
#[derive(Debug)]
pub struct Signed<'h> {
    id: &'h str,
    sent_at_seconds: i64,
    codes: Vec<Vec<u8>>,
}

impl<'h> Signed<'h> {
    /// Checks that there is a signature, made within the last 5 minutes.
    pub fn read(headers: &'h HeaderMap, now: Timestamp) -> Result<Self, SignatureError> {
        let text = |name: &HeaderName| {
            let value = headers.get(name).and_then(|value| value.to_str().ok());
            value.filter(|value| !value.is_empty()).ok_or(SignatureError::Missing)
        };
        let (id, sent_at, signed) = (text(&ID)?, text(&TIMESTAMP)?, text(&SIGNATURE)?);
        let sent_at_seconds: i64 = sent_at.parse().map_err(|_| SignatureError::Missing)?;
        let codes: Vec<Vec<u8>> = signed.split(' ').take(SIGNATURES_MAX).filter_map(decoded).collect();
        if codes.is_empty() {
            return Err(SignatureError::Missing);
        }
        if now.as_second().abs_diff(sent_at_seconds) > TOLERANCE_SECONDS {
            return Err(SignatureError::Stale);
        }
        Ok(Self { id, sent_at_seconds, codes })
    }

    /// Checks that a holder of one of `secrets` signed these bytes. Returns the `webhook-id`.
    pub fn verify(&self, secrets: &[&SigningSecret], body: &[u8]) -> Result<&'h str, SignatureError> {
        // Compares in constant time, so that the duration does not reveal how much of a guess is right.
        let matches = |secret: &&SigningSecret| {
            let mac = secret.mac(self.id, self.sent_at_seconds, body);
            self.codes.iter().any(|code| mac.clone().verify_slice(code).is_ok())
        };
        if secrets.iter().any(matches) { Ok(self.id) } else { Err(SignatureError::Wrong) }
    }
}

/// The bytes of one signature. `None` for a scheme other than `v1`, which is ignored.
fn decoded(signature: &str) -> Option<Vec<u8>> {
    let (scheme, encoded) = signature.split_once(',')?;
    if scheme == SCHEME { BASE64_STANDARD.decode(encoded).ok() } else { None }
}

#[cfg(test)]
mod tests;

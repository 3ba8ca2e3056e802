//! Signatures by the Standard Webhooks specification: HMAC-SHA256 over id, time and body.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use domain::Timestamp;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

const PREFIX: &str = "whsec_";
/// The specification asks for 24 to 64.
const SECRET_BYTES: usize = 32;

/// What sender and receiver share, as receivers are told it: `whsec_` and base64. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

/// The operating system gives no random numbers, or a stored secret is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("no random numbers can be had: {0}")]
    NoRandomness(String),
    #[error("it does not begin with {PREFIX}, or the rest is not base64")]
    Malformed,
}

impl Secret {
    pub fn generate() -> Result<Self, SecretError> {
        let mut key = [0; SECRET_BYTES];
        getrandom::fill(&mut key).map_err(|error| SecretError::NoRandomness(error.to_string()))?;
        Ok(Self(format!("{PREFIX}{}", BASE64_STANDARD.encode(key))))
    }

    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, to be kept or shown to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    fn sign(&self, id: &str, seconds: i64, body: &[u8]) -> Result<String, SecretError> {
        let encoded = self.0.strip_prefix(PREFIX).ok_or(SecretError::Malformed)?;
        let key = BASE64_STANDARD.decode(encoded).map_err(|_| SecretError::Malformed)?;
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{seconds}.").as_bytes());
        mac.update(body);
        Ok(format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes())))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The value of `webhook-signature`: one signature of each secret. A receiver looks for one that it can verify.
pub fn signatures(
    secrets: &[&Secret],
    id: &str,
    sent_at: Timestamp,
    body: &[u8],
) -> Result<String, SecretError> {
    let signatures: Result<Vec<String>, SecretError> =
        secrets.iter().map(|secret| secret.sign(id, sent_at.as_second(), body)).collect();
    Ok(signatures?.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification's reference libraries.
    #[test]
    fn a_signature_is_that_of_the_reference_libraries() {
        let secret = Secret::stored("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".to_owned());
        let sent_at = Timestamp::from_second(1_614_265_330).unwrap();
        let signed =
            signatures(&[&secret], "msg_p5jXN8AQM9LWM0D4loKWxJek", sent_at, br#"{"test": 2432232314}"#);
        assert_eq!(signed.unwrap(), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn secrets_differ_and_are_not_shown_by_mistake() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        assert_ne!(one, other);
        assert_eq!(one.reveal().len(), PREFIX.len() + 44);
        assert!(!format!("{one:?}").contains("whsec_"));
    }

    #[test]
    fn while_a_secret_is_replaced_both_sign() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let signed = signatures(&[&one, &other], "msg_1", Timestamp::UNIX_EPOCH, b"{}").unwrap();
        let expected = [&one, &other].map(|secret| secret.sign("msg_1", 0, b"{}").unwrap());
        assert_eq!(signed, expected.join(" "));
    }
}

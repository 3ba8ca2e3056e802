//! The secrets of subscriptions, as they are stored, and what is signed with them.

use std::fmt;

use domain::Timestamp;

use crate::signature;
pub use crate::signature::SecretError;

/// What sender and receiver share, as receivers are told it: `whsec_` and base64. `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn generate() -> Result<Self, SecretError> {
        signature::Secret::generate().map(|secret| Self(secret.reveal()))
    }

    pub(crate) fn stored(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, to be kept or shown to its owner.
    pub fn reveal(&self) -> &str {
        &self.0
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
    let secrets: Vec<signature::Secret> =
        secrets.iter().map(|secret| signature::Secret::parse(&secret.0)).collect::<Result<_, _>>()?;
    Ok(signature::signatures(&secrets.iter().collect::<Vec<_>>(), id, sent_at, body))
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
        assert_eq!(one.reveal().len(), "whsec_".len() + 44);
        assert!(!format!("{one:?}").contains("whsec_"));
    }

    #[test]
    fn while_a_secret_is_replaced_both_sign() {
        let (one, other) = (Secret::generate().unwrap(), Secret::generate().unwrap());
        let signed = signatures(&[&one, &other], "msg_1", Timestamp::UNIX_EPOCH, b"{}").unwrap();
        let alone = |secret| signatures(&[secret], "msg_1", Timestamp::UNIX_EPOCH, b"{}").unwrap();
        let expected = [&one, &other].map(alone);
        assert_eq!(signed, expected.join(" "));
    }
}

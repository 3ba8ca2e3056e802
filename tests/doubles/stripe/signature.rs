//! How Stripe signs webhooks.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The header `Stripe-Signature` for a body sent at this time, in seconds since 1970.
pub fn signature(body: &str, secret: &str, at: i64) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes a key of any length");
    let signed = mac.chain_update(format!("{at}.{body}")).finalize().into_bytes();
    format!("t={at},v1={}", hex::encode(signed))
}

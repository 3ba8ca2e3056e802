//! How Stripe signs webhooks.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The `Stripe-Signature` of a body that is sent at this time, in seconds since 1970.
pub fn signature(body: &str, secret: &str, at: i64) -> String {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length is one");
    let signed = mac.chain_update(format!("{at}.{body}")).finalize().into_bytes();
    let mut header = format!("t={at},v1=");
    for byte in signed {
        write!(header, "{byte:02x}").expect("a text takes what is written to it");
    }
    header
}

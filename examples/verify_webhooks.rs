//! Receives webhooks: verifies the signature of each request, drops duplicates, and hands the event on.
//!
//! The scheme is Standard Webhooks (<https://www.standardwebhooks.com>). There are libraries for most
//! languages; this program shows what they do.

use std::{
    collections::HashSet,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{Router, extract::State, routing::post};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, StatusCode};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::{Mutex, mpsc};

/// Signatures older or newer than this are refused, so a recorded request cannot be replayed later.
const TOLERANCE_SECONDS: u64 = 5 * 60;

/// The state of the handler. Cheap to clone.
#[derive(Clone)]
struct Receiver {
    key: Arc<[u8]>,
    /// The `webhook-id`s received so far. Keep them in your database, in the transaction that handles the
    /// event.
    seen: Arc<Mutex<HashSet<String>>>,
    events: mpsc::Sender<Value>,
}

/// A server that accepts webhooks at `/` and sends each new event to `events`. `secret` is `whsec_…`, from
/// the answer to the subscription.
pub fn app(secret: &str, events: mpsc::Sender<Value>) -> Result<Router, String> {
    let encoded = secret.strip_prefix("whsec_").ok_or("the secret does not begin with whsec_")?;
    let key = STANDARD.decode(encoded).map_err(|error| format!("the secret is not base64: {error}"))?;
    let receiver = Receiver { key: key.into(), seen: Arc::default(), events };
    Ok(Router::new().route("/", post(receive)).with_state(receiver))
}

/// Verifies the signature over the bytes of the body, before it parses them.
async fn receive(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Some(id) = verified_id(&receiver.key, &headers, &body) else { return StatusCode::UNAUTHORIZED };
    let mut seen = receiver.seen.lock().await;
    if seen.contains(id) {
        // A duplicate: the platform repeats a webhook until it gets a 2xx.
        return StatusCode::NO_CONTENT;
    }
    let Ok(event) = serde_json::from_slice(&body) else { return StatusCode::BAD_REQUEST };
    // Do slow work in another task: the platform waits 15 s at most for the answer.
    if receiver.events.send(event).await.is_err() {
        return StatusCode::SERVICE_UNAVAILABLE;
    }
    seen.insert(id.to_owned());
    StatusCode::NO_CONTENT
}

/// The id of a genuine request. `None` if the signature or the time is wrong.
fn verified_id<'a>(key: &[u8], headers: &'a HeaderMap, body: &[u8]) -> Option<&'a str> {
    let header = |name: &str| headers.get(name)?.to_str().ok();
    let (id, timestamp) = (header("webhook-id")?, header("webhook-timestamp")?);
    let sent: u64 = timestamp.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    if now.abs_diff(sent) > TOLERANCE_SECONDS {
        return None;
    }
    // While a secret is rotated there are two signatures, separated by a space. One that matches is enough.
    let mut signatures = header("webhook-signature")?.split(' ');
    let matches = signatures.any(|signature| {
        let Some(encoded) = signature.strip_prefix("v1,") else { return false };
        let Ok(expected) = STANDARD.decode(encoded) else { return false };
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        // Compares in constant time.
        mac.verify_slice(&expected).is_ok()
    });
    matches.then_some(id)
}

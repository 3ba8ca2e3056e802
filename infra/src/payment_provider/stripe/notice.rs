//! Stripe's webhooks: checks the signature and decodes the event.
//!
//! Source: docs.stripe.com/webhooks/signature.

use domain::Timestamp;
use hex::FromHex;
use hmac::{Hmac, KeyInit, Mac};
use http::HeaderMap;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use sha2::Sha256;

use super::{
    movements::refund_report,
    object::{Dispute, Event, Intent, IntentStatus, Refund},
    report::report,
};
use crate::payment_provider::{Notice, NoticeContent, NoticeError};

const SIGNATURE: &str = "stripe-signature";
/// Largest difference between the time of a signature and the current time, as in Stripe's libraries.
const TOLERANCE_SECONDS: i64 = 300;

/// The signature of a webhook, as its header has it.
pub(super) struct Signed<'h> {
    signed_at: &'h str,
    signatures: Vec<[u8; 32]>,
}

impl<'h> Signed<'h> {
    /// Checks that there is a signature, made at most [`TOLERANCE_SECONDS`] ago.
    pub(super) fn read(headers: &'h HeaderMap, now: Timestamp) -> Result<Self, NoticeError> {
        let header =
            headers.get(SIGNATURE).and_then(|value| value.to_str().ok()).ok_or(NoticeError::NoSignature)?;
        let members = header.split(',').filter_map(|member| member.trim().split_once('='));
        let (mut time, mut signatures) = (None, Vec::new());
        for (name, value) in members {
            match name {
                "t" => time = Some(value),
                "v1" => signatures.extend(<[u8; 32]>::from_hex(value)),
                // Ignores other schemes, such as `v0` of test events.
                _ => {}
            }
        }
        let signed_at = time.ok_or(NoticeError::NoSignature)?;
        let seconds: i64 = signed_at.parse().map_err(|_| NoticeError::NoSignature)?;
        if signatures.is_empty() {
            return Err(NoticeError::NoSignature);
        }
        let is_recent = now.as_second().abs_diff(seconds) <= TOLERANCE_SECONDS.unsigned_abs();
        if is_recent { Ok(Self { signed_at, signatures }) } else { Err(NoticeError::Stale) }
    }

    /// Checks that the body was signed with this secret. While a secret is replaced, Stripe signs with the old
    /// and the new one.
    pub(super) fn verify(&self, body: &[u8], secret: &str) -> Result<(), NoticeError> {
        // Cannot fail: HMAC accepts keys of any length.
        let keyed =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| NoticeError::WrongSignature)?;
        let mac = keyed.chain_update(self.signed_at).chain_update(b".").chain_update(body);
        // `verify_slice` compares in constant time.
        let matches = self.signatures.iter().any(|signature| mac.clone().verify_slice(signature).is_ok());
        if matches { Ok(()) } else { Err(NoticeError::WrongSignature) }
    }
}

/// Decodes an event about a payment of this platform.
///
/// An event contains the state of its object at the time of the event. A failed confirmation is reported as a
/// pending charge, because the intent can still be confirmed. The platform looks up pending charges, and the
/// lookup ends them.
pub(super) fn read(body: &[u8]) -> Result<Notice, NoticeError> {
    let event: Event = serde_json::from_slice(body).map_err(|_| NoticeError::Unreadable)?;
    let object = event.data.object.as_deref();
    let content = match event.kind.as_str() {
        "payment_intent.succeeded"
        | "payment_intent.amount_capturable_updated"
        | "payment_intent.payment_failed"
        | "payment_intent.processing"
        | "payment_intent.requires_action"
        | "payment_intent.canceled" => of_intent(object)?,
        "refund.created" | "refund.updated" | "refund.failed" | "charge.refund.updated" => of_refund(object)?,
        "charge.dispute.created"
        | "charge.dispute.updated"
        | "charge.dispute.closed"
        | "charge.dispute.funds_withdrawn"
        | "charge.dispute.funds_reinstated" => moved(parse::<Dispute>(object)?.payment_intent),
        _ => NoticeContent::Other,
    };
    Ok(Notice { id: event.id, content })
}

fn of_intent(object: Option<&RawValue>) -> Result<NoticeContent, NoticeError> {
    let intent: Intent = parse(object)?;
    let Some((payment_id, charge)) = intent.ids() else { return Ok(NoticeContent::Other) };
    // No confirmation was tried, so a lookup would find no charge either.
    if intent.status == IntentStatus::RequiresConfirmation {
        return Ok(NoticeContent::Other);
    }
    let report = report(&intent, charge).map_err(|_| NoticeError::Unreadable)?;
    Ok(NoticeContent::Charge { payment_id, report })
}

fn of_refund(object: Option<&RawValue>) -> Result<NoticeContent, NoticeError> {
    let refund: Refund = parse(object)?;
    let Some((payment_id, _)) = refund.ids() else { return Ok(moved(refund.payment_intent)) };
    let report = refund_report(&refund, payment_id, None).map_err(|_| NoticeError::Unreadable)?;
    Ok(NoticeContent::Refund { payment_id, report })
}

/// A refund or dispute that began at Stripe names only its intent, whose metadata names the payment.
fn moved(intent: Option<String>) -> NoticeContent {
    intent.map_or(NoticeContent::Other, |reference| NoticeContent::Moved { reference })
}

fn parse<T: DeserializeOwned>(object: Option<&RawValue>) -> Result<T, NoticeError> {
    serde_json::from_str(object.ok_or(NoticeError::Unreadable)?.get()).map_err(|_| NoticeError::Unreadable)
}

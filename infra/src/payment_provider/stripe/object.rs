//! Stripe's objects, as far as they are read. Names and meanings are those of its API reference.

use std::collections::HashMap;

use domain::{Currency, PaymentId, RefundId};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Names of the metadata that tie Stripe's objects to this platform's.
pub(super) const PAYMENT: &str = "orderly_payment";
pub(super) const CHARGE: &str = "orderly_charge";
pub(super) const REFUND: &str = "orderly_refund";

/// Said when an intent is cancelled because its charge failed; a void says something else. Stripe may clear the error
/// of an intent when it changes, and this stays.
pub(super) const FAILED: &str = "abandoned";
pub(super) const VOIDED: &str = "requested_by_customer";

type Metadata = HashMap<String, String>;

#[derive(Clone, Deserialize)]
pub(super) struct Intent {
    pub id: String,
    pub status: IntentStatus,
    pub currency: String,
    pub amount: i64,
    #[serde(default)]
    pub amount_capturable: i64,
    #[serde(default)]
    pub amount_received: i64,
    #[serde(default)]
    pub metadata: Metadata,
    pub client_secret: Option<String>,
    pub next_action: Option<NextAction>,
    pub last_payment_error: Option<ErrorObject>,
    pub cancellation_reason: Option<String>,
    pub latest_charge: Option<LatestCharge>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum IntentStatus {
    /// Of the intents made here: a confirmation has failed, and another one may follow.
    RequiresPaymentMethod,
    /// Made, and not confirmed yet.
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Succeeded,
    Canceled,
    /// Newer than this adapter.
    #[serde(other)]
    Unknown,
}

#[derive(Clone, Deserialize)]
pub(super) struct NextAction {
    #[serde(rename = "type")]
    pub kind: String,
    pub redirect_to_url: Option<RedirectToUrl>,
}

#[derive(Clone, Deserialize)]
pub(super) struct RedirectToUrl {
    pub url: Option<String>,
}

/// The latest attempt to take the money; its id alone where it was not asked for in full.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum LatestCharge {
    Full(Box<Attempt>),
    Id(serde::de::IgnoredAny),
}

#[derive(Clone, Deserialize)]
pub(super) struct Attempt {
    /// `succeeded`, `pending` or `failed`. An authorisation is a success.
    pub status: String,
    pub amount: i64,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub outcome: Option<Outcome>,
    pub payment_method_details: Option<MethodDetails>,
}

#[derive(Clone, Deserialize)]
pub(super) struct MethodDetails {
    pub card: Option<CardDetails>,
}

#[derive(Clone, Deserialize)]
pub(super) struct CardDetails {
    pub multicapture: Option<Feature>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Feature {
    pub status: String,
}

#[derive(Clone, Deserialize)]
pub(super) struct Outcome {
    pub reason: Option<String>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Refund {
    pub id: String,
    pub status: Option<String>,
    pub failure_reason: Option<String>,
    pub metadata: Option<Metadata>,
}

/// A page of a list or of what was searched for.
#[derive(Deserialize)]
pub(super) struct Page<T> {
    pub data: Vec<T>,
    pub has_more: bool,
}

#[derive(Clone, Deserialize)]
pub(super) struct ErrorObject {
    #[serde(rename = "type")]
    pub kind: String,
    pub code: Option<String>,
    pub decline_code: Option<String>,
    pub message: Option<String>,
    /// The parameter that the error is about.
    pub param: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct ErrorBody {
    pub error: ErrorObject,
}

#[derive(Deserialize)]
pub(super) struct Event {
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default)]
    pub data: EventData,
}

#[derive(Default, Deserialize)]
pub(super) struct EventData {
    /// Read when the type of the event says what it is.
    pub object: Option<Box<RawValue>>,
}

impl Intent {
    /// The payment and the number of the charge; none for an intent of somebody else.
    pub(super) fn names(&self) -> Option<(PaymentId, u32)> {
        let payment = self.metadata.get(PAYMENT)?.parse().ok()?;
        Some((payment, self.metadata.get(CHARGE)?.parse().ok()?))
    }

    /// The latest attempt to take the money, where it was asked for in full and is decided.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.latest_charge {
            Some(LatestCharge::Full(attempt)) if attempt.status != "pending" => Some(attempt),
            Some(LatestCharge::Full(_) | LatestCharge::Id(_)) | None => None,
        }
    }

    /// As ISO 4217 writes it; Stripe uses small letters.
    pub(super) fn currency(&self) -> Option<Currency> {
        self.currency.to_ascii_uppercase().parse().ok()
    }
}

impl Attempt {
    pub(super) fn has_succeeded(&self) -> bool {
        self.status == "succeeded"
    }

    /// Whether it may be captured in parts, one after another.
    pub(super) fn takes_many_captures(&self) -> bool {
        let card = self.payment_method_details.as_ref().and_then(|details| details.card.as_ref());
        let feature = card.and_then(|card| card.multicapture.as_ref());
        feature.is_some_and(|feature| feature.status == "available")
    }
}

impl Refund {
    /// The payment and the refund; none for a refund of somebody else.
    pub(super) fn names(&self) -> Option<(PaymentId, RefundId)> {
        let metadata = self.metadata.as_ref()?;
        Some((metadata.get(PAYMENT)?.parse().ok()?, metadata.get(REFUND)?.parse().ok()?))
    }
}

//! Stripe's objects, limited to the members that this adapter reads. Names and meanings follow Stripe's API
//! reference.

use std::collections::HashMap;

use domain::{Currency, PaymentId, RefundId, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Metadata keys that link Stripe's objects to those of this platform.
pub(super) const PAYMENT: &str = "orderly_payment";
pub(super) const CHARGE: &str = "orderly_charge";
pub(super) const REFUND: &str = "orderly_refund";

/// Cancellation reason of an intent whose charge failed. Stripe may clear the error of an intent, but keeps
/// the cancellation reason.
pub(super) const FAILED: &str = "abandoned";
/// Cancellation reason of an intent whose charge was voided.
pub(super) const VOIDED: &str = "requested_by_customer";

pub(super) type Metadata = HashMap<String, String>;

#[derive(Clone, Deserialize)]
pub(super) struct Intent {
    pub id: String,
    /// Seconds since 1970.
    #[serde(default)]
    pub created: i64,
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
    /// For intents of this adapter: a confirmation has failed, and another one may follow.
    RequiresPaymentMethod,
    /// Created and not yet confirmed.
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Succeeded,
    Canceled,
    /// A status that this adapter does not know.
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

/// The latest attempt to take the money. Stripe sends only its id if the request did not expand it.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum LatestCharge {
    Full(Box<Attempt>),
    Id(serde::de::IgnoredAny),
}

#[derive(Clone, Deserialize)]
pub(super) struct Attempt {
    /// `succeeded`, `pending` or `failed`. An authorisation counts as success.
    pub status: String,
    pub amount: i64,
    pub failure_code: Option<String>,
    pub failure_message: Option<String>,
    pub outcome: Option<Outcome>,
    pub payment_method_details: Option<MethodDetails>,
    /// Refunded, or released by a partial capture.
    #[serde(default)]
    pub amount_refunded: i64,
    #[serde(default)]
    pub disputed: bool,
}

#[derive(Clone, Deserialize)]
pub(super) struct MethodDetails {
    pub card: Option<CardDetails>,
}

#[derive(Clone, Deserialize)]
pub(super) struct CardDetails {
    pub multicapture: Option<Feature>,
    /// When the authorisation runs out, in seconds since 1970.
    pub capture_before: Option<i64>,
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
    pub amount: i64,
    pub currency: String,
    /// The id of the refunded intent.
    pub payment_intent: Option<String>,
}

/// A refund in a list that expands its intent.
#[derive(Deserialize)]
pub(super) struct BookedRefund {
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    pub status: Option<String>,
    pub metadata: Option<Metadata>,
    pub amount: i64,
    pub currency: String,
    /// `None` for the refund of a charge without an intent.
    pub payment_intent: Option<BookedIntent>,
}

/// A dispute in a list that expands its intent.
#[derive(Deserialize)]
pub(super) struct BookedDispute {
    pub id: String,
    /// Seconds since 1970.
    pub created: i64,
    pub amount: i64,
    pub currency: String,
    pub status: String,
    /// `None` for the dispute of a charge without an intent.
    pub payment_intent: Option<BookedIntent>,
}

#[derive(Deserialize)]
pub(super) struct BookedIntent {
    pub id: String,
    #[serde(default)]
    pub metadata: Metadata,
}

#[derive(Clone, Deserialize)]
pub(super) struct Dispute {
    pub id: String,
    pub amount: i64,
    pub currency: String,
    pub status: String,
    pub reason: Option<String>,
    /// The id of the disputed intent.
    pub payment_intent: Option<String>,
}

/// A page of a list or of search results.
#[derive(Deserialize)]
pub(super) struct StripePage<T> {
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
    /// The parameter that caused the error.
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
    /// Decoded later, because its type depends on `kind`.
    pub object: Option<Box<RawValue>>,
}

/// The ISO 4217 code. Stripe writes it in lower case.
pub(super) fn currency_of(code: &str) -> Option<Currency> {
    code.to_ascii_uppercase().parse().ok()
}

impl Intent {
    /// The payment and the number of the charge. `None` for an intent that this platform did not create.
    pub(super) fn ids(&self) -> Option<(PaymentId, u32)> {
        charge_of(&self.metadata)
    }

    /// The latest attempt to take the money, if it is expanded and decided.
    pub(super) fn attempt(&self) -> Option<&Attempt> {
        match &self.latest_charge {
            Some(LatestCharge::Full(attempt)) if attempt.status != "pending" => Some(attempt),
            Some(LatestCharge::Full(_) | LatestCharge::Id(_)) | None => None,
        }
    }

    pub(super) fn currency(&self) -> Option<Currency> {
        currency_of(&self.currency)
    }
}

impl Attempt {
    pub(super) fn has_succeeded(&self) -> bool {
        self.status == "succeeded"
    }

    fn card(&self) -> Option<&CardDetails> {
        self.payment_method_details.as_ref().and_then(|details| details.card.as_ref())
    }

    /// When the authorisation runs out, if Stripe says so.
    pub(super) fn capture_before(&self) -> Option<Timestamp> {
        let seconds = self.card().and_then(|card| card.capture_before)?;
        Timestamp::from_second(seconds).ok()
    }

    /// True if the authorization can be captured in several parts.
    pub(super) fn allows_multicapture(&self) -> bool {
        let feature = self.card().and_then(|card| card.multicapture.as_ref());
        feature.is_some_and(|feature| feature.status == "available")
    }
}

impl Refund {
    /// The payment and the refund. `None` for a refund that this platform did not create.
    pub(super) fn ids(&self) -> Option<(PaymentId, RefundId)> {
        refund_of(self.metadata.as_ref()?)
    }
}

impl BookedRefund {
    /// The payment and the refund. `None` for a refund that this platform did not create.
    pub(super) fn ids(&self) -> Option<(PaymentId, RefundId)> {
        refund_of(self.metadata.as_ref()?)
    }
}

impl BookedIntent {
    /// The payment and the number of the charge. `None` for an intent that this platform did not create.
    pub(super) fn ids(&self) -> Option<(PaymentId, u32)> {
        charge_of(&self.metadata)
    }
}

fn charge_of(metadata: &Metadata) -> Option<(PaymentId, u32)> {
    Some((metadata.get(PAYMENT)?.parse().ok()?, metadata.get(CHARGE)?.parse().ok()?))
}

fn refund_of(metadata: &Metadata) -> Option<(PaymentId, RefundId)> {
    Some((metadata.get(PAYMENT)?.parse().ok()?, metadata.get(REFUND)?.parse().ok()?))
}

//! Converts the state of an intent or a refund into a report.

use domain::{
    Amount,
    payment::{ChargeEnding, ProviderReport},
};
use serde_json::json;

use super::{
    currency::from_stripe,
    object::{Attempt, ErrorObject, FAILED, Intent, IntentStatus, Refund},
};
use crate::payment_provider::{ChargeAnswer, ProviderError, RefundAnswer};

/// A recorded reason is cut to this length.
const REASON_CHARS_MAX: usize = 255;

/// Codes of declines because of fraud or a lost card: the customer must not retry. After any other decline
/// another card, or the same one later, may succeed. Source: docs.stripe.com/declines/codes.
const FINAL_DECLINES: [&str; 6] =
    ["fraudulent", "lost_card", "stolen_card", "pickup_card", "merchant_blacklist", "security_violation"];

/// Why a charge failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Decline {
    pub reason: String,
    pub retryable: bool,
}

impl Decline {
    fn new(codes: [Option<&str>; 2], message: Option<&str>) -> Self {
        let code = codes.into_iter().flatten().next().unwrap_or("declined");
        let reason = message.map_or_else(|| code.to_owned(), |message| format!("{code}: {message}"));
        Self {
            reason: printable(&reason),
            retryable: codes.into_iter().flatten().all(|code| !FINAL_DECLINES.contains(&code)),
        }
    }

    pub(super) fn of_error(error: &ErrorObject) -> Self {
        Self::new([error.decline_code.as_deref(), error.code.as_deref()], error.message.as_deref())
    }

    fn of_attempt(attempt: &Attempt) -> Self {
        let reason = attempt.outcome.as_ref().and_then(|outcome| outcome.reason.as_deref());
        Self::new([reason, attempt.failure_code.as_deref()], attempt.failure_message.as_deref())
    }

    /// Why the last confirmation of this intent failed, if Stripe still has the reason.
    pub(super) fn of_intent(intent: &Intent) -> Self {
        match (&intent.last_payment_error, intent.attempt()) {
            (Some(error), _) => Self::of_error(error),
            (None, Some(attempt)) => Self::of_attempt(attempt),
            (None, None) => Self::new([None, None], None),
        }
    }

    pub(super) fn ending(self) -> ChargeEnding {
        ChargeEnding::Failed { reason: Some(self.reason), retryable: self.retryable }
    }
}

/// Stripe's text without control characters, truncated to [`REASON_CHARS_MAX`].
pub(super) fn printable(text: &str) -> String {
    let visible = |char: char| if char.is_control() { ' ' } else { char };
    let clean: String = text.chars().take(REASON_CHARS_MAX).map(visible).collect();
    if clean.is_empty() { "no reason given".to_owned() } else { clean }
}

/// The state of the charge of this intent.
///
/// An intent whose confirmation failed is *pending*: it stays open at Stripe, and a customer with its client
/// secret could confirm it again. The charge counts as failed once the intent is cancelled.
pub(super) fn report(intent: &Intent, charge: u32) -> Result<ProviderReport, ProviderError> {
    let unreadable =
        |why: String| ProviderError::OutcomeUnknown(format!("{} cannot be read: {why}", intent.id));
    let currency =
        intent.currency().ok_or_else(|| unreadable(format!("its currency is {:?}", intent.currency)))?;
    let amount = |units| from_stripe(units, currency).map_err(|error| unreadable(error.to_string()));
    let (authorized, captured, ending) = match intent.status {
        IntentStatus::RequiresPaymentMethod
        | IntentStatus::RequiresConfirmation
        | IntentStatus::RequiresAction
        | IntentStatus::Processing => (Amount::ZERO, Amount::ZERO, None),
        IntentStatus::RequiresCapture => {
            let captured = amount(intent.amount_received)?;
            (amount(intent.amount_capturable)?.saturating_add(captured), captured, None)
        }
        IntentStatus::Succeeded => {
            let (authorized, captured) = (amount(intent.amount)?, amount(intent.amount_received)?);
            // The final capture, often the only one, releases the rest.
            (authorized.max(captured), captured, (captured < authorized).then_some(ChargeEnding::Voided))
        }
        IntentStatus::Canceled => {
            let captured = amount(intent.amount_received)?;
            (amount(authorized_amount(intent))?.max(captured), captured, Some(end_of_cancelled(intent)))
        }
        IntentStatus::Unknown => return Err(unreadable("this adapter does not know its status".to_owned())),
    };
    let is_held = intent.status == IntentStatus::RequiresCapture;
    let authorized_until = intent.attempt().filter(|_| is_held).and_then(Attempt::capture_before);
    let amounts = ProviderReport::of_amounts(charge, &*intent.id, authorized, captured);
    Ok(ProviderReport { authorized_until, ending, ..amounts })
}

fn authorized_amount(intent: &Intent) -> i64 {
    intent.attempt().filter(|attempt| attempt.has_succeeded()).map_or(0, |attempt| attempt.amount)
}

fn end_of_cancelled(intent: &Intent) -> ChargeEnding {
    let attempt_failed = intent.attempt().is_some_and(|attempt| !attempt.has_succeeded());
    let was_abandoned = intent.cancellation_reason.as_deref() == Some(FAILED);
    let has_failed = attempt_failed || intent.last_payment_error.is_some() || was_abandoned;
    // An authorisation may follow a failure, if the customer tried another card on the same intent.
    let was_authorized = authorized_amount(intent) > 0;
    if has_failed && !was_authorized { Decline::of_intent(intent).ending() } else { ChargeEnding::Voided }
}

/// The report on the charge, and the action that the customer must take.
pub(super) fn answer(intent: &Intent, charge: u32) -> Result<ChargeAnswer, ProviderError> {
    let waits_for_customer = intent.status == IntentStatus::RequiresAction;
    let next_action = intent.next_action.as_ref().filter(|_| waits_for_customer).map(|action| {
        let page = action.redirect_to_url.as_ref().and_then(|redirect| redirect.url.as_ref());
        let mut described = json!({ "type": action.kind, "client_secret": intent.client_secret });
        if let Some(page) = page {
            described["redirect_url"] = json!(page);
        }
        described
    });
    Ok(ChargeAnswer { report: report(intent, charge)?, next_action })
}

/// The state of a refund. A status that this adapter does not know counts as pending.
pub(super) fn refund_answer(refund: &Refund) -> RefundAnswer {
    match refund.status.as_deref() {
        Some("succeeded") => RefundAnswer::Refunded { reference: refund.id.clone() },
        Some(status @ ("failed" | "canceled")) => {
            let reason = refund.failure_reason.as_deref().unwrap_or(status);
            RefundAnswer::Failed { reason: printable(reason) }
        }
        Some(_) | None => RefundAnswer::Pending,
    }
}

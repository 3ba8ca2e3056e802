//! What an intent or a refund says, as this platform tells it.

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

/// The most characters of a reason that is passed on.
const REASON_CHARS_MAX: usize = 255;

/// Declines that tell of fraud or of a lost card: the customer is not to try another card. For every other decline
/// another card may do, or the same one later. Source: docs.stripe.com/declines/codes.
const FOR_GOOD: [&str; 6] =
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
            reason: presentable(&reason),
            retryable: codes.into_iter().flatten().all(|code| !FOR_GOOD.contains(&code)),
        }
    }

    pub(super) fn of_error(error: &ErrorObject) -> Self {
        Self::new([error.decline_code.as_deref(), error.code.as_deref()], error.message.as_deref())
    }

    fn of_attempt(attempt: &Attempt) -> Self {
        let reason = attempt.outcome.as_ref().and_then(|outcome| outcome.reason.as_deref());
        Self::new([reason, attempt.failure_code.as_deref()], attempt.failure_message.as_deref())
    }

    /// Why the last confirmation of this intent failed, as far as that is still known.
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

/// Stripe's words, fit to be recorded: no control characters, and not too many.
pub(super) fn presentable(text: &str) -> String {
    let visible = |char: char| if char.is_control() { ' ' } else { char };
    let clean: String = text.chars().take(REASON_CHARS_MAX).map(visible).collect();
    if clean.is_empty() { "no reason given".to_owned() } else { clean }
}

/// How the charge stands by this intent.
///
/// An intent whose confirmation failed is *pending*: it stays open at Stripe, and a customer who has its client secret
/// could confirm it again. It counts as failed when it is cancelled.
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
            // The last capture of an intent, often the only one, gives back what it does not take.
            (authorized.max(captured), captured, (captured < authorized).then_some(ChargeEnding::Voided))
        }
        IntentStatus::Canceled => {
            let captured = amount(intent.amount_received)?;
            (amount(was_authorized(intent))?.max(captured), captured, Some(end_of_cancelled(intent)))
        }
        IntentStatus::Unknown => return Err(unreadable("its status is not known here".to_owned())),
    };
    Ok(ProviderReport { charge, reference: intent.id.clone(), authorized, captured, ending })
}

fn was_authorized(intent: &Intent) -> i64 {
    intent.attempt().filter(|attempt| attempt.has_succeeded()).map_or(0, |attempt| attempt.amount)
}

fn end_of_cancelled(intent: &Intent) -> ChargeEnding {
    let attempt_failed = intent.attempt().is_some_and(|attempt| !attempt.has_succeeded());
    let was_given_up = intent.cancellation_reason.as_deref() == Some(FAILED);
    let has_failed = attempt_failed || intent.last_payment_error.is_some() || was_given_up;
    // An authorisation may follow a failure: the customer tried another card on the same intent.
    let was_authorized = was_authorized(intent) > 0;
    if has_failed && !was_authorized { Decline::of_intent(intent).ending() } else { ChargeEnding::Voided }
}

/// The report, and what the customer has to do.
pub(super) fn answer(intent: &Intent, charge: u32) -> Result<ChargeAnswer, ProviderError> {
    let waits_for_customer = intent.status == IntentStatus::RequiresAction;
    let next_action = intent.next_action.as_ref().filter(|_| waits_for_customer).map(|action| {
        let page = action.redirect_to_url.as_ref().and_then(|redirect| redirect.url.as_ref());
        let mut told = json!({ "type": action.kind, "client_secret": intent.client_secret });
        if let Some(page) = page {
            told["redirect_url"] = json!(page);
        }
        told
    });
    Ok(ChargeAnswer { report: report(intent, charge)?, next_action })
}

/// How a refund stands. A status that is newer than this adapter is not final.
pub(super) fn refund_answer(refund: &Refund) -> RefundAnswer {
    match refund.status.as_deref() {
        Some("succeeded") => RefundAnswer::Refunded { reference: refund.id.clone() },
        Some(status @ ("failed" | "canceled")) => {
            let reason = refund.failure_reason.as_deref().unwrap_or(status);
            RefundAnswer::Failed { reason: presentable(reason) }
        }
        Some(_) | None => RefundAnswer::Pending,
    }
}

//! Creates one intent for each charge, and confirms, captures and cancels it.
//!
//! **Why a charge has one intent.** The adapter creates an intent with an idempotency key that is derived
//! from the charge, and with metadata that names the charge. Stripe keeps a key for at least 24 hours after
//! it created the intent. If the charge was requested less than 23 hours ago, every intent of it is younger
//! than its key, and creating it again returns the same intent. Later, Stripe may have forgotten the key, so
//! the adapter first searches by the metadata. The search lags by about a minute, or by an hour when Stripe
//! has trouble. If the search finds nothing, the adapter creates the intent with *the same key*: Stripe still
//! knows the key of an intent that is too young to be found. Both could miss an intent only if the search
//! lagged by 24 hours.
//!
//! **Why the money is taken once.** Stripe takes money at most once per intent, even if it is confirmed
//! several times.
//!
//! **Why a failed charge is final.** Stripe leaves an intent open after a decline, and a customer with its
//! client secret could confirm it with another card. So the adapter cancels it, and only then reports the
//! charge as failed. If the customer was faster, the adapter reports the new state.
//!
//! **Why no charge follows a void.** If Stripe never received the charge, the void creates the intent under
//! its key and cancels it. A later request to charge then finds it cancelled, and a cancelled intent cannot
//! be confirmed.

use domain::{
    Amount,
    payment::{CaptureMode, ChargeEnding, ProviderReport},
};

use super::{
    StripeProvider,
    api::{Form, RequestFailure},
    currency::to_stripe,
    object::{Attempt, CHARGE, ErrorObject, FAILED, Intent, IntentStatus, PAYMENT, VOIDED},
    report::{Decline, answer, report},
};
use crate::payment_provider::{ChargeAnswer, ChargeRequest, ProviderError};

/// Why an operation has no intent to work on.
enum NoIntent {
    /// The intent does not exist, because Stripe refuses to create it. A retry fails too.
    NotCreated(String),
    Failed(ProviderError),
}

impl From<NoIntent> for ProviderError {
    fn from(reason: NoIntent) -> Self {
        match reason {
            NoIntent::NotCreated(why) => Self::Refused(why),
            NoIntent::Failed(error) => error,
        }
    }
}

impl From<RequestFailure> for NoIntent {
    fn from(failure: RequestFailure) -> Self {
        Self::Failed(failure.into())
    }
}

impl From<ProviderError> for NoIntent {
    fn from(error: ProviderError) -> Self {
        Self::Failed(error)
    }
}

impl StripeProvider {
    pub(super) async fn start_charge(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        let intent = self.find_or_create_intent(request).await?;
        if intent.status == IntentStatus::RequiresConfirmation {
            return self.confirm(request, &intent).await;
        }
        self.answer_or_cancel(request, intent).await
    }

    pub(super) async fn look_up_charge(
        &self,
        request: &ChargeRequest,
    ) -> Result<Option<ChargeAnswer>, ProviderError> {
        let intent = match self.find_or_create_intent(request).await {
            Ok(intent) => intent,
            Err(NoIntent::NotCreated(_)) => return Ok(None),
            Err(NoIntent::Failed(error)) => return Err(error),
        };
        // Created but never confirmed: no money was taken, and none will be before the next request to
        // charge.
        if intent.status == IntentStatus::RequiresConfirmation {
            return Ok(None);
        }
        let answer = self.answer_or_cancel(request, intent.clone()).await?;
        let report = self.with_movements(&intent, request.payment_id, answer.report).await?;
        Ok(Some(ChargeAnswer { report, ..answer }))
    }

    pub(super) async fn void_charge(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        let number = request.charge.number;
        let intent = match self.find_or_create_intent(request).await {
            Ok(intent) => intent,
            // Without an intent there is nothing to confirm.
            Err(NoIntent::NotCreated(_)) => return Ok(never_created(request)),
            Err(NoIntent::Failed(error)) => return Err(error),
        };
        if matches!(intent.status, IntentStatus::Canceled | IntentStatus::Succeeded) {
            return report(&intent, number);
        }
        let ended = self.cancel(&intent, VOIDED).await?;
        if ended.status != IntentStatus::RequiresCapture {
            return report(&ended, number);
        }
        // Captured in part: a final capture of 0 releases the rest.
        let (released, refusal) = self.capture(request, &ended, 0, true, "release").await?;
        match refusal {
            Some(error) if released.status == IntentStatus::RequiresCapture => {
                Err(RequestFailure::Refused(error).into())
            }
            Some(_) | None => report(&released, number),
        }
    }

    pub(super) async fn capture_total(
        &self,
        request: &ChargeRequest,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError> {
        let number = request.charge.number;
        let intent = self.find_or_create_intent(request).await?;
        let current = report(&intent, number)?;
        if current.captured >= total || intent.status == IntentStatus::Canceled {
            return Ok(current);
        }
        let wanted =
            to_stripe(total, request.currency).map_err(|error| ProviderError::Refused(error.to_string()))?;
        if intent.status != IntentStatus::RequiresCapture {
            let why = format!("{} has captured {} and cannot capture more now", intent.id, current.captured);
            return Err(ProviderError::Refused(why));
        }
        let is_last = !intent.attempt().is_some_and(Attempt::allows_multicapture)
            || wanted >= intent.amount_capturable + intent.amount_received;
        let amount = wanted - intent.amount_received;
        let (captured, refusal) =
            self.capture(request, &intent, amount, is_last, &format!("capture-{wanted}")).await?;
        match refusal {
            Some(error) if report(&captured, number)?.captured < total => {
                Err(RequestFailure::Refused(error).into())
            }
            Some(_) | None => self.answer_or_cancel(request, captured).await.map(|answer| answer.report),
        }
    }

    /// Captures `amount` more, in Stripe's units. Returns the intent after the capture, and Stripe's error if
    /// Stripe refused it. `is_last` releases the rest. `operation` is a part of the idempotency key.
    async fn capture(
        &self,
        request: &ChargeRequest,
        intent: &Intent,
        amount: i64,
        is_last: bool,
        operation: &str,
    ) -> Result<(Intent, Option<ErrorObject>), ProviderError> {
        let capture_key = key(request, operation);
        let mut answer = self.api.capture_intent(&intent.id, amount, is_last, &capture_key).await;
        if let Err(RequestFailure::ReplayedError { first_request, .. }) = &answer {
            let current = self.reload(intent).await?;
            if current.amount_received != intent.amount_received || current.status != intent.status {
                return Ok((current, None));
            }
            // Stripe replays the error of a request that has captured nothing. A final capture is safe under
            // another key, because an intent has only one. A partial capture is not, so it fails until Stripe
            // forgets the key.
            if is_last {
                let again = format!("{capture_key}-after-{first_request}");
                answer = self.api.capture_intent(&intent.id, amount, is_last, &again).await;
            }
        }
        match answer {
            Ok(answer) if !answer.is_replay => Ok((answer.object, None)),
            Ok(_) => Ok((self.reload(intent).await?, None)),
            Err(RequestFailure::Refused(error)) => Ok((self.reload(intent).await?, Some(error))),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The id of the intent of a charge without a recorded reference.
    pub(super) async fn find_intent_id(&self, request: &ChargeRequest) -> Result<String, ProviderError> {
        Ok(self.find_or_create_intent(request).await?.id)
    }

    /// The current state of the intent of this charge. Creates the intent, unconfirmed, if there is none.
    async fn find_or_create_intent(&self, request: &ChargeRequest) -> Result<Intent, NoIntent> {
        if let Some(reference) = known_intent_id(request) {
            let intent = self
                .api
                .retrieve_intent(reference)
                .await
                .map_err(|failure| lookup_failed(failure, reference))?;
            if intent.ids() != Some((request.payment_id, request.charge.number)) {
                let why = format!("{reference} does not have the metadata of this charge");
                return Err(ProviderError::OutcomeUnknown(why).into());
            }
            return Ok(intent);
        }
        if self.key_may_be_forgotten(request.requested_at)
            && let Some(found) = self.search(request).await?
        {
            return Ok(found);
        }
        let form = intent_form(request, self.options.multicapture)?;
        let created = match self.api.create_intent(form, &key(request, "create")).await {
            Ok(created) => created,
            Err(RequestFailure::Refused(error)) => {
                return Err(NoIntent::NotCreated(
                    ProviderError::from(RequestFailure::Refused(error)).to_string(),
                ));
            }
            Err(failure) => return Err(failure.into()),
        };
        // After a replayed answer, another request may have confirmed or cancelled the intent since.
        if created.is_replay {
            Ok(self.api.retrieve_intent(&created.object.id).await?)
        } else {
            Ok(created.object)
        }
    }

    /// Finds the intent by its metadata and reloads it, because search results may be old.
    async fn search(&self, request: &ChargeRequest) -> Result<Option<Intent>, ProviderError> {
        let (payment, charge) = (request.payment_id, request.charge.number);
        let query = format!("metadata['{PAYMENT}']:'{payment}' AND metadata['{CHARGE}']:'{charge}'");
        let found =
            self.api.search_intents(&query).await.map_err(|failure| lookup_failed(failure, "an intent"))?;
        let mut matching = found.data.into_iter().filter(|intent| intent.ids() == Some((payment, charge)));
        match (matching.next(), matching.next()) {
            (None, _) => Ok(None),
            (Some(intent), None) => Ok(Some(self.api.retrieve_intent(&intent.id).await?)),
            // Another program has copied the metadata to its own intent. Confirming one of the two could take
            // the money twice.
            (Some(one), Some(other)) => Err(ProviderError::OutcomeUnknown(format!(
                "{} and {} both have the metadata of charge {charge} of payment {payment}",
                one.id, other.id
            ))),
        }
    }

    async fn reload(&self, intent: &Intent) -> Result<Intent, ProviderError> {
        self.api.retrieve_intent(&intent.id).await.map_err(after_sending)
    }

    /// Confirms the intent, which takes the money. So most errors leave the outcome unknown.
    async fn confirm(&self, request: &ChargeRequest, intent: &Intent) -> Result<ChargeAnswer, ProviderError> {
        let confirm_key = key(request, "confirm");
        let mut answer = self.api.confirm_intent(&intent.id, &confirm_key).await;
        if let Err(RequestFailure::ReplayedError { first_request, .. }) = &answer {
            // Stripe replays this error as long as it knows the key, at least 24 hours. The intent shows
            // whether the confirmation took effect. If not, another key is safe, because Stripe takes money
            // once per intent.
            let current = self.reload(intent).await?;
            if current.status != IntentStatus::RequiresConfirmation {
                return self.answer_or_cancel(request, current).await;
            }
            let again = format!("{confirm_key}-after-{first_request}");
            answer = self.api.confirm_intent(&intent.id, &again).await;
        }
        match answer {
            Ok(answer) if !answer.is_replay => self.answer_or_cancel(request, answer.object).await,
            Ok(_) => {
                let current = self.reload(intent).await?;
                self.answer_or_cancel(request, current).await
            }
            Err(RequestFailure::Refused(error)) => {
                let current = self.reload(intent).await?;
                if current.status == IntentStatus::RequiresConfirmation {
                    return self.cancel_declined(request, &current, Decline::of_error(&error)).await;
                }
                self.answer_or_cancel(request, current).await
            }
            // `Unreachable` means that the request was not sent. All other errors leave the outcome unknown.
            Err(failure) => Err(failure.into()),
        }
    }

    /// The answer for this intent. After a decline, cancels the intent first, so that it cannot be confirmed
    /// again.
    async fn answer_or_cancel(
        &self,
        request: &ChargeRequest,
        intent: Intent,
    ) -> Result<ChargeAnswer, ProviderError> {
        if intent.status == IntentStatus::RequiresPaymentMethod {
            let decline = Decline::of_intent(&intent);
            return self.cancel_declined(request, &intent, decline).await;
        }
        answer(&intent, request.charge.number)
    }

    async fn cancel_declined(
        &self,
        request: &ChargeRequest,
        intent: &Intent,
        decline: Decline,
    ) -> Result<ChargeAnswer, ProviderError> {
        let ended = self.cancel(intent, FAILED).await.map_err(after_sending)?;
        let mut declined = answer(&ended, request.charge.number)?;
        // Stripe may clear the reason when it cancels, so this reports the reason that was read before.
        if declined.report.ending.is_some() && ended.status == IntentStatus::Canceled {
            declined.report.ending = Some(decline.ending());
        }
        Ok(declined)
    }

    /// Cancels the intent. If Stripe refuses, because the intent has changed or is being processed, returns
    /// its current state.
    async fn cancel(&self, intent: &Intent, reason: &str) -> Result<Intent, ProviderError> {
        match self.api.cancel_intent(&intent.id, reason).await {
            Ok(cancelled) => Ok(cancelled),
            Err(RequestFailure::Refused(_)) => self.reload(intent).await,
            Err(failure) => Err(failure.into()),
        }
    }
}

/// The recorded id of the intent. `None` if there is no reference, or if it is not the id of an intent: an
/// operator entered it, or Stripe never received the charge ([`never_created`]).
pub(super) fn known_intent_id(request: &ChargeRequest) -> Option<&str> {
    request.charge.reference.as_deref().filter(|reference| reference.starts_with("pi_"))
}

/// Maps the error of a request after an earlier request that may have taken effect: the outcome is unknown.
fn after_sending(failure: impl Into<ProviderError>) -> ProviderError {
    match failure.into() {
        unknown @ ProviderError::OutcomeUnknown(_) => unknown,
        error @ (ProviderError::Unreachable(_)
        | ProviderError::Refused(_)
        | ProviderError::Credentials(_)) => ProviderError::OutcomeUnknown(error.to_string()),
    }
}

/// Maps a refused lookup to an unknown outcome. The intent may exist although these credentials cannot read
/// it. A refusal would allow the platform to start another charge, and the money could be taken twice.
fn lookup_failed(failure: RequestFailure, what: &str) -> ProviderError {
    match failure {
        RequestFailure::Refused(error) => {
            let why = ProviderError::from(RequestFailure::Refused(error));
            ProviderError::OutcomeUnknown(format!("cannot look up {what}: {why}"))
        }
        other @ (RequestFailure::ReplayedError { .. } | RequestFailure::Unanswered(_)) => other.into(),
    }
}

/// The idempotency key of an operation on a charge.
fn key(request: &ChargeRequest, operation: &str) -> String {
    format!("orderly-{}-{}-{operation}", request.payment_id, request.charge.number)
}

/// The members of the request that creates the intent. They must be equal at every repetition, because Stripe
/// refuses an idempotency key that was used with other members.
fn intent_form(request: &ChargeRequest, multicapture: bool) -> Result<Form, NoIntent> {
    let amount = to_stripe(request.charge.amount, request.currency)
        .map_err(|error| NoIntent::NotCreated(error.to_string()))?;
    let capture_method = match request.charge.capture {
        CaptureMode::Automatic => "automatic",
        CaptureMode::Manual => "manual",
    };
    let mut form = vec![
        ("amount", amount.to_string()),
        ("currency", request.currency.as_str().to_ascii_lowercase()),
        ("payment_method", request.charge.method.clone()),
        ("capture_method", capture_method.to_owned()),
        // Excludes payment methods that redirect the customer, because they need a return URL.
        ("automatic_payment_methods[enabled]", "true".to_owned()),
        ("automatic_payment_methods[allow_redirects]", "never".to_owned()),
        ("metadata[orderly_payment]", request.payment_id.to_string()),
        ("metadata[orderly_charge]", request.charge.number.to_string()),
        ("metadata[orderly_order]", request.order_id.to_string()),
    ];
    if multicapture && request.charge.capture == CaptureMode::Manual {
        form.push(("payment_method_options[card][request_multicapture]", "if_available".to_owned()));
    }
    Ok(form)
}

/// The report on a void of a charge that has no intent.
fn never_created(request: &ChargeRequest) -> ProviderReport {
    let (number, reference) = (request.charge.number, key(request, "never-made"));
    let nothing = ProviderReport::of_amounts(number, reference, Amount::ZERO, Amount::ZERO);
    ProviderReport { ending: Some(ChargeEnding::Voided), ..nothing }
}

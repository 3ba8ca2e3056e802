//! One intent for each charge, and what is asked of it.
//!
//! **Why a charge has one intent.** An intent is made under an idempotency key that is derived from the charge, with
//! metadata that names it. Stripe keeps a key for 24 hours at least after the intent was made. While the charge was asked
//! for less than 23 hours ago, every intent of it is younger than its key, and making it again gives the same one. Later
//! the key may be forgotten, so it is searched for by its metadata first. The search lags behind, by about a minute, by
//! an hour when Stripe has trouble; so what is not found is made under *the same key*, which for an intent that is too
//! young to be found is still known. An intent could be missed by both only if the search lagged by 24 hours.
//!
//! **Why it is taken once.** Stripe takes money at most once for an intent, however often it is confirmed.
//!
//! **Why a failed charge is over.** Stripe leaves an intent open after a decline, and a customer who has its client
//! secret could confirm it with another card. So it is cancelled, and only then is the charge reported as failed; where
//! the customer was faster, what is found is reported.
//!
//! **Why nothing comes after a void.** A charge that Stripe never saw is made under its key and cancelled: whoever was to
//! make it finds it cancelled, and a cancelled intent cannot be confirmed.

use domain::{
    Amount,
    payment::{CaptureMode, ChargeEnding, ProviderReport},
};

use super::{
    StripeProvider,
    api::{Failure, Form},
    currency::to_stripe,
    object::{Attempt, CHARGE, ErrorObject, FAILED, Intent, IntentStatus, PAYMENT, VOIDED},
    report::{Decline, answer, report},
};
use crate::payment_provider::{ChargeAnswer, ChargeRequest, ProviderError};

/// Why there is no intent to work with.
enum NoIntent {
    /// Stripe does not make it: there is none, and none can come of this request.
    NotMade(String),
    Failed(ProviderError),
}

impl From<NoIntent> for ProviderError {
    fn from(reason: NoIntent) -> Self {
        match reason {
            NoIntent::NotMade(why) => Self::Refused(why),
            NoIntent::Failed(error) => error,
        }
    }
}

impl From<Failure> for NoIntent {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure.into())
    }
}

impl From<ProviderError> for NoIntent {
    fn from(error: ProviderError) -> Self {
        Self::Failed(error)
    }
}

impl StripeProvider {
    pub(super) async fn take(&self, request: &ChargeRequest) -> Result<ChargeAnswer, ProviderError> {
        let intent = self.obtain(request).await?;
        if intent.status == IntentStatus::RequiresConfirmation {
            return self.confirm(request, &intent).await;
        }
        self.settle(request, intent).await
    }

    pub(super) async fn inspect(
        &self,
        request: &ChargeRequest,
    ) -> Result<Option<ChargeAnswer>, ProviderError> {
        let intent = match self.obtain(request).await {
            Ok(intent) => intent,
            Err(NoIntent::NotMade(_)) => return Ok(None),
            Err(NoIntent::Failed(error)) => return Err(error),
        };
        // Made, and never confirmed: nothing was tried, and nothing is until it is asked for again.
        if intent.status == IntentStatus::RequiresConfirmation {
            return Ok(None);
        }
        self.settle(request, intent).await.map(Some)
    }

    pub(super) async fn end(&self, request: &ChargeRequest) -> Result<ProviderReport, ProviderError> {
        let number = request.charge.number;
        let intent = match self.obtain(request).await {
            Ok(intent) => intent,
            // What Stripe refuses to make cannot be confirmed either.
            Err(NoIntent::NotMade(_)) => return Ok(never_made(request)),
            Err(NoIntent::Failed(error)) => return Err(error),
        };
        if matches!(intent.status, IntentStatus::Canceled | IntentStatus::Succeeded) {
            return report(&intent, number);
        }
        let ended = self.cancel(&intent, VOIDED).await?;
        if ended.status != IntentStatus::RequiresCapture {
            return report(&ended, number);
        }
        // Captured in part, with more to come: a last capture, of nothing, gives back the rest.
        let (ended, refusal) = self.capture(request, &ended, 0, true, "release").await?;
        match refusal {
            Some(error) if ended.status == IntentStatus::RequiresCapture => {
                Err(Failure::Refused(error).into())
            }
            Some(_) | None => report(&ended, number),
        }
    }

    pub(super) async fn capture_total(
        &self,
        request: &ChargeRequest,
        total: Amount,
    ) -> Result<ProviderReport, ProviderError> {
        let number = request.charge.number;
        let intent = self.obtain(request).await?;
        let stands = report(&intent, number)?;
        if stands.captured >= total || intent.status == IntentStatus::Canceled {
            return Ok(stands);
        }
        let wanted =
            to_stripe(total, request.currency).map_err(|error| ProviderError::Refused(error.to_string()))?;
        if intent.status != IntentStatus::RequiresCapture {
            let why = format!("{} has {} captured, and takes no capture now", intent.id, stands.captured);
            return Err(ProviderError::Refused(why));
        }
        let is_last = !intent.attempt().is_some_and(Attempt::takes_many_captures)
            || wanted >= intent.amount_capturable + intent.amount_received;
        let amount = wanted - intent.amount_received;
        let (captured, refusal) =
            self.capture(request, &intent, amount, is_last, &format!("capture-{wanted}")).await?;
        match refusal {
            Some(error) if report(&captured, number)?.captured < total => Err(Failure::Refused(error).into()),
            Some(_) | None => self.settle(request, captured).await.map(|answer| answer.report),
        }
    }

    /// The intent as it stands after the capture, and Stripe's words where it refused.
    async fn capture(
        &self,
        request: &ChargeRequest,
        intent: &Intent,
        amount: i64,
        is_last: bool,
        operation: &str,
    ) -> Result<(Intent, Option<ErrorObject>), ProviderError> {
        let key = key(request, operation);
        let mut answer = self.api.capture_intent(&intent.id, amount, is_last, &key).await;
        if let Err(Failure::Kept { first_request, .. }) = &answer {
            let stands = self.as_it_stands(intent).await?;
            if stands.amount_received != intent.amount_received || stands.status != intent.status {
                return Ok((stands, None));
            }
            // A failure that Stripe keeps telling of, and that has captured nothing. The last capture is taken once under
            // any key; one in part is not, and waits until the key is forgotten.
            if is_last {
                let again = format!("{key}-after-{first_request}");
                answer = self.api.capture_intent(&intent.id, amount, is_last, &again).await;
            }
        }
        match answer {
            Ok(answer) if !answer.is_replay => Ok((answer.object, None)),
            Ok(_) => Ok((self.as_it_stands(intent).await?, None)),
            Err(Failure::Refused(error)) => Ok((self.as_it_stands(intent).await?, Some(error))),
            Err(failure) => Err(failure.into()),
        }
    }

    /// The id of the intent of a charge that has captured, whose reference was not recorded.
    pub(super) async fn find_intent(&self, request: &ChargeRequest) -> Result<String, ProviderError> {
        Ok(self.obtain(request).await?.id)
    }

    /// The one intent of this charge, as it stands now; made, unconfirmed, where there is none.
    async fn obtain(&self, request: &ChargeRequest) -> Result<Intent, NoIntent> {
        if let Some(reference) = intent_id(request) {
            let intent =
                self.api.retrieve_intent(reference).await.map_err(|failure| in_doubt(failure, reference))?;
            if intent.names() != Some((request.payment_id, request.charge.number)) {
                let why = format!("{reference} does not say that it is of this charge");
                return Err(ProviderError::OutcomeUnknown(why).into());
            }
            return Ok(intent);
        }
        if self.may_be_forgotten(request.requested_at)
            && let Some(found) = self.search(request).await?
        {
            return Ok(found);
        }
        let form = intent_form(request, self.options.multicapture)?;
        let made = match self.api.create_intent(form, &key(request, "create")).await {
            Ok(made) => made,
            Err(Failure::Refused(error)) => {
                return Err(NoIntent::NotMade(ProviderError::from(Failure::Refused(error)).to_string()));
            }
            Err(failure) => return Err(failure.into()),
        };
        // Another request may have confirmed it, or cancelled it, since.
        if made.is_replay { Ok(self.api.retrieve_intent(&made.object.id).await?) } else { Ok(made.object) }
    }

    /// By its metadata. What the search says of its state may be old.
    async fn search(&self, request: &ChargeRequest) -> Result<Option<Intent>, ProviderError> {
        let (payment, charge) = (request.payment_id, request.charge.number);
        let query = format!("metadata['{PAYMENT}']:'{payment}' AND metadata['{CHARGE}']:'{charge}'");
        let found =
            self.api.search_intents(&query).await.map_err(|failure| in_doubt(failure, "an intent"))?;
        let mut ours = found.data.into_iter().filter(|intent| intent.names() == Some((payment, charge)));
        match (ours.next(), ours.next()) {
            (None, _) => Ok(None),
            (Some(intent), None) => Ok(Some(self.api.retrieve_intent(&intent.id).await?)),
            // Not made here: somebody copied the metadata. Which of them is confirmed must not be left to chance.
            (Some(one), Some(other)) => Err(ProviderError::OutcomeUnknown(format!(
                "{} and {} both say that they are charge {charge} of payment {payment}",
                one.id, other.id
            ))),
        }
    }

    async fn as_it_stands(&self, intent: &Intent) -> Result<Intent, ProviderError> {
        self.api.retrieve_intent(&intent.id).await.map_err(after_sending)
    }

    /// From here on money may move, so that whatever goes wrong leaves the outcome unknown.
    async fn confirm(&self, request: &ChargeRequest, intent: &Intent) -> Result<ChargeAnswer, ProviderError> {
        let confirm_key = key(request, "confirm");
        let mut answer = self.api.confirm_intent(&intent.id, &confirm_key).await;
        if let Err(Failure::Kept { first_request, .. }) = &answer {
            // Stripe would say so for another day. The intent itself tells whether that confirmation came through, and
            // takes money once under any key.
            let stands = self.as_it_stands(intent).await?;
            if stands.status != IntentStatus::RequiresConfirmation {
                return self.settle(request, stands).await;
            }
            let again = format!("{confirm_key}-after-{first_request}");
            answer = self.api.confirm_intent(&intent.id, &again).await;
        }
        match answer {
            Ok(answer) if !answer.is_replay => self.settle(request, answer.object).await,
            Ok(_) => {
                let stands = self.as_it_stands(intent).await?;
                self.settle(request, stands).await
            }
            Err(Failure::Refused(error)) => {
                let stands = self.as_it_stands(intent).await?;
                if stands.status == IntentStatus::RequiresConfirmation {
                    return self.give_up(request, &stands, Decline::of_error(&error)).await;
                }
                self.settle(request, stands).await
            }
            // Not reached: it was not sent. Otherwise: unknown.
            Err(failure) => Err(failure.into()),
        }
    }

    /// The answer that this intent gives; after a decline only when it can be confirmed no more.
    async fn settle(&self, request: &ChargeRequest, intent: Intent) -> Result<ChargeAnswer, ProviderError> {
        if intent.status == IntentStatus::RequiresPaymentMethod {
            let decline = Decline::of_intent(&intent);
            return self.give_up(request, &intent, decline).await;
        }
        answer(&intent, request.charge.number)
    }

    async fn give_up(
        &self,
        request: &ChargeRequest,
        intent: &Intent,
        decline: Decline,
    ) -> Result<ChargeAnswer, ProviderError> {
        let ended = self.cancel(intent, FAILED).await.map_err(after_sending)?;
        let mut answer = answer(&ended, request.charge.number)?;
        // Stripe may have cleared the reason, which was read before.
        if answer.report.ending.is_some() && ended.status == IntentStatus::Canceled {
            answer.report.ending = Some(decline.ending());
        }
        Ok(answer)
    }

    /// The intent after it was cancelled, or as it stands where that was refused: it has moved on, or is being processed.
    async fn cancel(&self, intent: &Intent, reason: &str) -> Result<Intent, ProviderError> {
        match self.api.cancel_intent(&intent.id, reason).await {
            Ok(cancelled) => Ok(cancelled),
            Err(Failure::Refused(_)) => self.as_it_stands(intent).await,
            Err(failure) => Err(failure.into()),
        }
    }
}

/// The id of the intent, where it is known. The reference of a charge that was never made is none, nor is one that an
/// operator wrote.
pub(super) fn intent_id(request: &ChargeRequest) -> Option<&str> {
    request.charge.reference.as_deref().filter(|reference| reference.starts_with("pi_"))
}

/// The error of a request that follows one that may have done something.
fn after_sending(failure: impl Into<ProviderError>) -> ProviderError {
    match failure.into() {
        unknown @ ProviderError::OutcomeUnknown(_) => unknown,
        error @ (ProviderError::Unreachable(_)
        | ProviderError::Refused(_)
        | ProviderError::Credentials(_)) => ProviderError::OutcomeUnknown(error.to_string()),
    }
}

/// Of an intent that may be there, and that cannot be looked at with these credentials: what became of its money is not
/// known, so this is no refusal, after which another charge could be made.
fn in_doubt(failure: Failure, what: &str) -> ProviderError {
    match failure {
        Failure::Refused(error) => {
            let why = ProviderError::from(Failure::Refused(error));
            ProviderError::OutcomeUnknown(format!("{what} cannot be looked for: {why}"))
        }
        other @ (Failure::Kept { .. } | Failure::Unanswered(_)) => other.into(),
    }
}

/// Names what is asked of a charge, for Stripe to do it once.
fn key(request: &ChargeRequest, operation: &str) -> String {
    format!("orderly-{}-{}-{operation}", request.payment_id, request.charge.number)
}

/// The same for every repetition: Stripe refuses a key that comes with something else.
fn intent_form(request: &ChargeRequest, multicapture: bool) -> Result<Form, NoIntent> {
    let amount = to_stripe(request.charge.amount, request.currency);
    let amount = amount.map_err(|error| NoIntent::NotMade(error.to_string()))?;
    let capture_method = match request.charge.capture {
        CaptureMode::Automatic => "automatic",
        CaptureMode::Manual => "manual",
    };
    let mut form = vec![
        ("amount", amount.to_string()),
        ("currency", request.currency.as_str().to_ascii_lowercase()),
        ("payment_method", request.charge.method.clone()),
        ("capture_method", capture_method.to_owned()),
        // Means of payment that send the customer to a page of their own need an address to come back to.
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

fn never_made(request: &ChargeRequest) -> ProviderReport {
    ProviderReport {
        charge: request.charge.number,
        reference: key(request, "never-made"),
        authorized: Amount::ZERO,
        captured: Amount::ZERO,
        ending: Some(ChargeEnding::Voided),
    }
}

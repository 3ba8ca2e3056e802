//! Creates each refund of an intent once.
//!
//! The idempotency key of a refund contains its id, and so does its metadata. If Stripe may have forgotten
//! the key, the adapter first lists the refunds of the intent. A list is current, unlike a search.

use super::{
    StripeProvider,
    api::{Form, RequestFailure},
    charging::known_intent_id,
    currency::to_stripe,
    object::{ErrorObject, Refund},
    report::{printable, refund_answer},
};
use crate::payment_provider::{ChargeRequest, ProviderError, RefundAnswer, RefundRequest};

/// Most pages of 100 refunds that are searched. An order has fewer than 5,000 refunds.
pub(super) const PAGES_MAX: usize = 50;

/// Codes of refusals that concern the money, not the request: this refund fails, but another one may succeed.
const MONEY_ERRORS: [&str; 5] = [
    "charge_already_refunded",
    "charge_disputed",
    "refund_disputed_payment",
    "balance_insufficient",
    "insufficient_funds",
];

impl StripeProvider {
    pub(super) async fn refund_once(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let units = to_stripe(request.amount, request.charge.currency)
            .map_err(|error| ProviderError::Refused(error.to_string()))?;
        let intent = self.intent_of(&request.charge).await?;
        if self.key_may_be_forgotten(request.requested_at)
            && let Some(existing) = self.find_refund(&intent, request).await?
        {
            return Ok(refund_answer(&existing));
        }
        let key = format!("orderly-refund-{}", request.refund_id);
        match self.api.create_refund(refund_form(request, intent.clone(), units), &key).await {
            Ok(answer) if !answer.is_replay => Ok(refund_answer(&answer.object)),
            Ok(answer) => Ok(refund_answer(&self.api.retrieve_refund(&answer.object.id).await?)),
            // An earlier request for the same refund may have paid it, under a key that Stripe has forgotten.
            Err(RequestFailure::Refused(error)) => match self.find_refund(&intent, request).await? {
                Some(existing) => Ok(refund_answer(&existing)),
                None => refused(error),
            },
            Err(failure) => Err(failure.into()),
        }
    }

    async fn intent_of(&self, charge: &ChargeRequest) -> Result<String, ProviderError> {
        match known_intent_id(charge) {
            Some(id) => Ok(id.to_owned()),
            None => self.find_intent_id(charge).await,
        }
    }

    async fn find_refund(
        &self,
        intent: &str,
        request: &RefundRequest,
    ) -> Result<Option<Refund>, ProviderError> {
        let ids = Some((request.charge.payment_id, request.refund_id));
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.api.list_refunds(intent, after.as_deref()).await?;
            after = page.data.last().map(|refund| refund.id.clone());
            if let Some(found) = page.data.into_iter().find(|refund| refund.ids() == ids) {
                return Ok(Some(found));
            }
            if !page.has_more || after.is_none() {
                return Ok(None);
            }
        }
        Err(ProviderError::OutcomeUnknown(format!(
            "{intent} has more than {} refunds, so this one cannot be found",
            PAGES_MAX * 100
        )))
    }
}

fn refund_form(request: &RefundRequest, intent: String, units: i64) -> Form {
    vec![
        ("payment_intent", intent),
        ("amount", units.to_string()),
        ("metadata[orderly_payment]", request.charge.payment_id.to_string()),
        ("metadata[orderly_order]", request.charge.order_id.to_string()),
        ("metadata[orderly_refund]", request.refund_id.to_string()),
    ]
}

fn refused(error: ErrorObject) -> Result<RefundAnswer, ProviderError> {
    // Stripe has no code for an amount that is larger than the refundable rest. It names the parameter
    // `amount` instead.
    let is_about_money = error.param.as_deref() == Some("amount")
        || error.code.as_deref().is_some_and(|code| MONEY_ERRORS.contains(&code));
    if !is_about_money {
        return Err(RequestFailure::Refused(error).into());
    }
    let code = error.code.unwrap_or(error.kind);
    let reason = error.message.map_or_else(|| code.clone(), |message| format!("{code}: {message}"));
    Ok(RefundAnswer::Failed { reason: printable(&reason) })
}

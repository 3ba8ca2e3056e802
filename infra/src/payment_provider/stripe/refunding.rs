//! Refunds of an intent, each made once.
//!
//! A refund is made under an idempotency key of its id, with its id in the metadata. Where Stripe may have forgotten the
//! key, the refunds of the intent are listed first; a list, unlike a search, is of now.

use super::{
    StripeProvider,
    api::{Failure, Form},
    charging::intent_id,
    currency::to_stripe,
    object::{ErrorObject, Refund},
    report::{presentable, refund_answer},
};
use crate::payment_provider::{ChargeRequest, ProviderError, RefundAnswer, RefundRequest};

/// Pages of a hundred refunds. An order asks for fewer than 5,000 in its life.
const PAGES_MAX: usize = 50;

/// Refusals that are about this money, not about the request: this refund is not paid, and another one may be.
const MONEY_REFUSED: [&str; 5] = [
    "charge_already_refunded",
    "charge_disputed",
    "refund_disputed_payment",
    "balance_insufficient",
    "insufficient_funds",
];

impl StripeProvider {
    pub(super) async fn pay_back(&self, request: &RefundRequest) -> Result<RefundAnswer, ProviderError> {
        let refused = |why: String| ProviderError::Refused(why);
        let units =
            to_stripe(request.amount, request.charge.currency).map_err(|error| refused(error.to_string()))?;
        let intent = self.intent_of(&request.charge).await?;
        if self.may_be_forgotten(request.requested_at)
            && let Some(made) = self.find_refund(&intent, request).await?
        {
            return Ok(refund_answer(&made));
        }
        let key = format!("orderly-refund-{}", request.refund_id);
        match self.api.create_refund(refund_form(request, intent.clone(), units), &key).await {
            Ok(answer) if !answer.is_replay => Ok(refund_answer(&answer.object)),
            Ok(answer) => Ok(refund_answer(&self.api.retrieve_refund(&answer.object.id).await?)),
            // The money may be gone because this very refund has taken it, at a time that no key remembers.
            Err(Failure::Refused(error)) => match self.find_refund(&intent, request).await? {
                Some(made) => Ok(refund_answer(&made)),
                None => not_paid(error),
            },
            Err(failure) => Err(failure.into()),
        }
    }

    async fn intent_of(&self, charge: &ChargeRequest) -> Result<String, ProviderError> {
        match intent_id(charge) {
            Some(id) => Ok(id.to_owned()),
            None => self.find_intent(charge).await,
        }
    }

    async fn find_refund(
        &self,
        intent: &str,
        request: &RefundRequest,
    ) -> Result<Option<Refund>, ProviderError> {
        let wanted = Some((request.charge.payment_id, request.refund_id));
        let mut after: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let page = self.api.list_refunds(intent, after.as_deref()).await?;
            after = page.data.last().map(|refund| refund.id.clone());
            if let Some(found) = page.data.into_iter().find(|refund| refund.names() == wanted) {
                return Ok(Some(found));
            }
            if !page.has_more || after.is_none() {
                return Ok(None);
            }
        }
        Err(ProviderError::OutcomeUnknown(format!("{intent} has too many refunds to look through")))
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

fn not_paid(error: ErrorObject) -> Result<RefundAnswer, ProviderError> {
    // More than is left to refund has no code of its own.
    let is_about_money = error.param.as_deref() == Some("amount")
        || error.code.as_deref().is_some_and(|code| MONEY_REFUSED.contains(&code));
    if !is_about_money {
        return Err(Failure::Refused(error).into());
    }
    let code = error.code.unwrap_or(error.kind);
    let reason = error.message.map_or_else(|| code.clone(), |message| format!("{code}: {message}"));
    Ok(RefundAnswer::Failed { reason: presentable(&reason) })
}

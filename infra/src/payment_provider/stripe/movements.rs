//! Reads the refunds and disputes of an intent, also those that began at Stripe.

use domain::{
    Amount, PaymentId, RefundId,
    payment::{DisputeReport, DisputeState, ProviderReport, RefundOutcome, RefundReport},
};

use super::{
    StripeProvider,
    api::RequestFailure,
    currency::from_stripe,
    object::{Attempt, Dispute, Intent, Refund, currency_of},
    refunding::PAGES_MAX,
    report::{printable, refund_answer, report},
};
use crate::payment_provider::{ProviderError, RefundAnswer};

impl StripeProvider {
    /// The report of an intent that a webhook or a caller names. `None` if this platform did not create the intent.
    pub(super) async fn report_of_intent(
        &self,
        id: &str,
    ) -> Result<Option<(PaymentId, ProviderReport)>, ProviderError> {
        // Callers may send any text. An empty one would list all intents.
        if !id.starts_with("pi_") {
            return Ok(None);
        }
        let intent = match self.api.retrieve_intent(id).await {
            Ok(intent) => intent,
            Err(RequestFailure::Refused(error)) if error.code.as_deref() == Some("resource_missing") => {
                return Ok(None);
            }
            Err(failure) => return Err(failure.into()),
        };
        let Some((payment_id, charge)) = intent.ids() else { return Ok(None) };
        let reported = report(&intent, charge)?;
        Ok(Some((payment_id, self.with_movements(&intent, payment_id, reported).await?)))
    }

    /// Adds the refunds and disputes of the intent. Asks Stripe for them only if the intent has some.
    pub(super) async fn with_movements(
        &self,
        intent: &Intent,
        payment_id: PaymentId,
        reported: ProviderReport,
    ) -> Result<ProviderReport, ProviderError> {
        let attempt = intent.attempt();
        let has_refunds = attempt.is_some_and(|attempt| attempt.amount_refunded > 0);
        let has_disputes = attempt.is_some_and(|attempt: &Attempt| attempt.disputed);
        let (mut refunds, mut disputes) = (Vec::new(), Vec::new());
        if has_refunds {
            for refund in self.refunds_of(&intent.id).await? {
                refunds.push(refund_report(&refund, payment_id, Some(reported.charge))?);
            }
        }
        if has_disputes {
            for dispute in self.api.list_disputes(&intent.id).await?.data {
                disputes.extend(dispute_report(&dispute, reported.charge)?);
            }
        }
        Ok(ProviderReport { refunds, disputes, ..reported })
    }

    async fn refunds_of(&self, intent: &str) -> Result<Vec<Refund>, ProviderError> {
        let (mut refunds, mut after): (Vec<Refund>, Option<String>) = (Vec::new(), None);
        for _ in 0..PAGES_MAX {
            let page = self.api.list_refunds(intent, after.as_deref()).await?;
            refunds.extend(page.data);
            after = refunds.last().map(|refund| refund.id.clone());
            if !page.has_more || after.is_none() {
                break;
            }
        }
        Ok(refunds)
    }
}

/// The state of a refund. A refund without the metadata of this platform began at Stripe.
pub(super) fn refund_report(
    refund: &Refund,
    payment_id: PaymentId,
    charge: Option<u32>,
) -> Result<RefundReport, ProviderError> {
    let requested = refund.ids().filter(|(of, _)| *of == payment_id).map(|(_, refund_id)| refund_id);
    let outcome = match refund_answer(refund) {
        RefundAnswer::Pending => RefundOutcome::Pending,
        RefundAnswer::Refunded { .. } => RefundOutcome::Refunded,
        RefundAnswer::Failed { reason } => RefundOutcome::Failed { reason: Some(reason) },
    };
    Ok(RefundReport {
        refund_id: requested.unwrap_or_else(|| RefundId::of_provider(payment_id, &refund.id)),
        charge,
        amount: amount_of(&refund.id, refund.amount, &refund.currency)?,
        reference: refund.id.clone(),
        outcome,
    })
}

/// `None` for an inquiry, which takes no money.
pub(super) fn dispute_state(status: &str) -> Option<DisputeState> {
    match status {
        "warning_needs_response" | "warning_under_review" | "warning_closed" | "prevented" => None,
        "won" => Some(DisputeState::Won),
        "lost" => Some(DisputeState::Lost),
        _ => Some(DisputeState::Open),
    }
}

/// The state of a dispute. `None` for an inquiry.
fn dispute_report(dispute: &Dispute, charge: u32) -> Result<Option<DisputeReport>, ProviderError> {
    let Some(state) = dispute_state(&dispute.status) else { return Ok(None) };
    Ok(Some(DisputeReport {
        charge,
        reference: dispute.id.clone(),
        amount: amount_of(&dispute.id, dispute.amount, &dispute.currency)?,
        reason: dispute.reason.as_deref().map(printable),
        state,
    }))
}

pub(super) fn amount_of(id: &str, units: i64, currency: &str) -> Result<Amount, ProviderError> {
    let unreadable = |why: String| ProviderError::OutcomeUnknown(format!("{id} cannot be read: {why}"));
    let known = currency_of(currency).ok_or_else(|| unreadable(format!("its currency is {currency:?}")))?;
    from_stripe(units, known).map_err(|error| unreadable(error.to_string()))
}

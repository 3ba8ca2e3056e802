//! The books of an account at Stripe: its intents and refunds by the second in which they were created.

use domain::{Amount, Currency, RefundId, Timestamp};

use super::{
    StripeProvider,
    movements::amount_of,
    object::{BookedRefund, Intent, currency_of},
};
use crate::payment_provider::{BookEntry, BookPage, Period, ProviderError};

impl StripeProvider {
    pub(super) async fn page_of_charges(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<BookPage, ProviderError> {
        let page = self.api.list_intents_of(period, after).await?;
        let next = page.data.last().filter(|_| page.has_more).map(|intent| intent.id.clone());
        let entries = page.data.iter().filter_map(|intent| charge_entry(intent).transpose());
        Ok(BookPage { entries: entries.collect::<Result<_, _>>()?, next })
    }

    pub(super) async fn page_of_refunds(
        &self,
        period: Period,
        after: Option<&str>,
    ) -> Result<BookPage, ProviderError> {
        let page = self.api.list_refunds_of(period, after).await?;
        let next = page.data.last().filter(|_| page.has_more).map(|refund| refund.id.clone());
        let entries = page.data.iter().filter_map(|refund| refund_entry(refund).transpose());
        Ok(BookPage { entries: entries.collect::<Result<_, _>>()?, next })
    }
}

/// `None` for an intent that this platform did not create.
fn charge_entry(intent: &Intent) -> Result<Option<BookEntry>, ProviderError> {
    let Some((payment_id, charge)) = intent.ids() else { return Ok(None) };
    let (currency, amount) = money(&intent.id, intent.amount_received, &intent.currency)?;
    Ok(Some(BookEntry {
        payment_id,
        charge,
        charge_reference: intent.id.clone(),
        refund_id: None,
        reference: intent.id.clone(),
        currency,
        amount,
        made_at: instant(&intent.id, intent.created)?,
    }))
}

/// `None` for a refund of an intent that this platform did not create.
fn refund_entry(refund: &BookedRefund) -> Result<Option<BookEntry>, ProviderError> {
    let Some(intent) = &refund.payment_intent else { return Ok(None) };
    let Some((payment_id, charge)) = intent.ids() else { return Ok(None) };
    let requested = refund.ids().filter(|(of, _)| *of == payment_id).map(|(_, refund_id)| refund_id);
    let is_paid = refund.status.as_deref() == Some("succeeded");
    let (currency, amount) = money(&refund.id, refund.amount, &refund.currency)?;
    Ok(Some(BookEntry {
        payment_id,
        charge,
        charge_reference: intent.id.clone(),
        refund_id: Some(requested.unwrap_or_else(|| RefundId::of_provider(payment_id, &refund.id))),
        reference: refund.id.clone(),
        currency,
        amount: if is_paid { amount } else { Amount::ZERO },
        made_at: instant(&refund.id, refund.created)?,
    }))
}

fn money(id: &str, units: i64, currency: &str) -> Result<(Currency, Amount), ProviderError> {
    let amount = amount_of(id, units, currency)?;
    let known = currency_of(currency).ok_or_else(|| unreadable(id, "currency"))?;
    Ok((known, amount))
}

fn instant(id: &str, seconds: i64) -> Result<Timestamp, ProviderError> {
    Timestamp::from_second(seconds).map_err(|_| unreadable(id, "time"))
}

fn unreadable(id: &str, member: &str) -> ProviderError {
    ProviderError::OutcomeUnknown(format!("{id} cannot be read: its {member} is unknown"))
}
